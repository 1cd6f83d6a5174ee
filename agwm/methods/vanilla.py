"""Plain fine-tuning: AdamW with linear warm-up and decay, last checkpoint (arXiv 1810.04805).

One forward and one backward pass a step. What every other method is measured against.
"""

from dataclasses import dataclass

from agwm.method import Method


@dataclass(kw_only=True)
class Vanilla(Method):
    """The contract of `Method` as it stands."""
