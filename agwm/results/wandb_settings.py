"""Settings of every W&B run: a log is made to be shared."""

import wandb


def shareable_settings() -> wandb.Settings:
    """No console capture, no machine or repository details."""
    return wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        save_code=False,
        x_disable_meta=True,
        x_disable_stats=True,
    )
