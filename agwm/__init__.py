"""Stable fine-tuning of pretrained language models on few labelled texts."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Found when first asked for: what only imports the package does not wait for torch.
_HOMES = {
    "finetune": "agwm.library",
    "mixed": "agwm.library",
    "search": "agwm.library",
    "fix_alpha": "agwm.models.mixed",
    "mean_state": "agwm.models.mixed",
    "merge": "agwm.models.mixed",
    "hypergradient": "agwm.numerics.hypergradient",
    "mixing": "agwm.numerics.mixing",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(_HOMES[name])
    return home if _HOMES[name].endswith(f".{name}") else getattr(home, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
