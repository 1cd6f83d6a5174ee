"""Named, independent random streams, each derived from `(seed, purpose)` alone.

Nothing draws from a shared stream, so a method that draws more, or draws earlier, shifts nobody
else's numbers: at one seed all methods see the same subsample, head and batch order. A training
step derives its own dropout seed from its number, so that no generator state has to be carried
from step to step, or saved to resume.
"""

import hashlib

import numpy as np


def derive(seed: int, *purpose: str | int) -> int:
    """Seed of the stream `purpose`, in [0, 2**63)."""
    name = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *purpose: str | int) -> np.random.Generator:
    """Generator of the stream `purpose`."""
    return np.random.default_rng(derive(seed, *purpose))
