"""Where the packaged configuration lies."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def root() -> Path:
    """Folder that holds `conf/` and `sweeps/`: `packaged/` in a wheel, else the checkout.

    The packaged copy is tried first: beside an installed package lies site-packages, where a
    stranger's `conf/` may live. It has a folder of its own: in one that Hydra searches, a package
    `sweep/` would be taken for a group of that name, and the key `sweep` for a choice in it.
    """
    for candidate in (_PACKAGE / "packaged", _PACKAGE.parent):
        if (candidate / "conf" / "train.yaml").is_file():
            return candidate
    raise FileNotFoundError(f"no conf/train.yaml inside or beside {_PACKAGE}")
