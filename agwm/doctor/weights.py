"""The file that holds a model's weights, and what a run makes of its size."""

from pathlib import Path

from agwm.config import Model
from agwm.models.package import package_folder

# Copies of the weights in a search: docs/performance.md counts 7, and there are the model as it
# was loaded and the mean over the searches.
_COPIES = 9
_NAMES = ("model.safetensors", "model.safetensors.index.json")


def weights_file(model: Model) -> Path | None:
    """File with the weights, or with the list of their files; None if none is on this machine."""
    if model.name_or_path is None:
        return None
    folder = package_folder(model)
    if folder is None and Path(model.name_or_path).is_dir():
        folder = Path(model.name_or_path)
    if folder is not None:
        return next((folder / name for name in _NAMES if (folder / name).is_file()), None)
    from huggingface_hub import try_to_load_from_cache

    cached = (try_to_load_from_cache(model.name_or_path, name) for name in _NAMES)
    # Besides a path and None there is a mark for what is known not to exist.
    return next((Path(path) for path in cached if isinstance(path, str)), None)


def weights_size(model: Model) -> int | None:
    """Bytes of the weights; None if they are not on this machine."""
    file = weights_file(model)
    if file is None:
        return None
    parts = file.parent.glob("*.safetensors") if file.suffix == ".json" else [file]
    return sum(part.stat().st_size for part in parts)


def memory_needed(model: Model) -> int:
    """Bytes that the tensors of the weights' size take in a search of the paper; 0 if unknown."""
    return _COPIES * (weights_size(model) or 0)


def gib(size: int) -> str:
    """`size` bytes in GiB."""
    return f"{size / 2**30:.1f} GiB"
