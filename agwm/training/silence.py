"""Which warnings of the libraries say nothing to the user of a run."""

import logging
import warnings

# They concern what is chosen here on purpose, or Lightning's own insides.
_EXPECTED_WARNINGS = (
    ".*does not have many workers.*",
    ".*in eval mode at the start of training.*",
    ".*Experiment logs directory.*",
    ".*LeafSpec.*",
    ".*is_gradient_checkpointing.*",  # PEFT's own
    ".*srun.* command is available.*",  # a run is one process, on a cluster too
)


def silence() -> None:
    """Keep Lightning's advice out of a run's few lines; errors still come through."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for pattern in _EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", pattern)
