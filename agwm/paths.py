"""Where the packaged configuration lies."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def root() -> Path:
    """Folder that holds `conf/` and `sweeps/`: the package in a wheel, its parent in a checkout.

    The packaged copy is tried first: beside an installed package lies site-packages, where a
    stranger's `conf/` may live.
    """
    for candidate in (_PACKAGE, _PACKAGE.parent):
        if (candidate / "conf" / "train.yaml").is_file():
            return candidate
    raise FileNotFoundError(f"no conf/train.yaml inside or beside {_PACKAGE}")
