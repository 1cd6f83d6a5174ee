"""Where the learned mixtures stand: the mean of F(a1, a2) in each mixed layer."""

import re
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

FILE = "alpha.safetensors"
Place = tuple[str, str]  # row (layer) and column (module) of the heat-map
_SHARED = re.compile(r"albert_layer_groups\.(\d+)\.albert_layers\.(\d+)\.(.+)$")
_LAYER = re.compile(r"^(?:(?P<above>.*)\.)?layers?\.(?P<number>\d+)\.(?P<module>.+)$")


def read_alpha(folder: Path) -> dict[Place, float] | None:
    """Mean coefficient of the task weight in each mixed layer; None if missing or broken.

    That is the mean over the N x M entries of (1/r) a1 a2, or of A itself where it has no factors
    (`agwm.numerics.mixing`).
    """
    found = {}
    try:
        with safe_open(folder / FILE, framework="numpy") as tensors:
            for key in tensors.keys():
                layer, _, factor = key.rpartition(".")
                if factor == "a1":
                    a1, a2 = tensors.get_tensor(key), tensors.get_tensor(f"{layer}.a2")
                    found[place(layer)] = mean_coefficient(a1, a2)
                elif factor == "alpha":
                    found[place(layer)] = float(np.mean(tensors.get_tensor(key), dtype=float))
    except (OSError, SafetensorError, ValueError, ZeroDivisionError):
        return None
    return found if np.isfinite(list(found.values())).all() else None


def mean_coefficient(a1: np.ndarray, a2: np.ndarray) -> float:
    """Mean of (1/r) a1 a2 for a1 (N, r) and a2 (r, M), without the N x M product."""
    return float(a1.mean(0, dtype=float) @ a2.mean(1, dtype=float)) / a1.shape[1]


def place(layer: str) -> Place:
    """Row and column of a layer's name.

    "bert.encoder.layer.3.output.dense" is ("layer 3", "output.dense"); what is in no numbered
    layer has a row of its own: "bert.pooler.dense" is ("pooler", "dense"). ALBERT's layers, each
    used at several depths, have the numbers of their group and in it.
    """
    shared = _SHARED.search(layer)
    if shared:
        return f"group {shared[1]} layer {shared[2]}", shared[3]
    match = _LAYER.match(layer)
    if match is None:
        above, _, module = layer.rpartition(".")
        return above.rpartition(".")[2] or module, module
    stack = "decoder layer" if "decoder" in (match["above"] or "") else "layer"
    return f"{stack} {match['number']}", match["module"]


def mean_alpha(maps: list[dict[Place, float]]) -> dict[Place, float]:
    """Mean over runs, of the layers that all of them mix."""
    shared = [key for key in maps[0] if all(key in one for one in maps)]
    return {key: float(np.mean([one[key] for one in maps])) for key in shared}
