"""The report as a W&B run: its tables and pictures, offline unless asked otherwise."""

import re
from pathlib import Path

from agwm.report.build import Report
from agwm.report.render import flat
from agwm.report.style import Plot, to_pixels

# These name folders of this machine, and a log is made to be shared.
_PRIVATE = ("failed", "unreadable")


def log_report(report: Report, plots: list[Plot], folder: Path, mode: str) -> None:
    """One run with `job_type` "report", in the group of its sweeps; files go below `folder`.

    Args:
        report: tables.
        plots: pictures.
        folder: of the report, made already.
        mode: "offline" or "online".
    """
    # Only a report that asks for it pays for the import.
    import wandb

    from agwm.results.wandb_settings import shareable_settings

    run = wandb.init(
        project="agwm",
        mode=mode,
        dir=folder,
        group="+".join(report.sweeps) or None,
        name="report",
        job_type="report",
        config={"baseline": report.baseline, "facts": report.facts},
        reinit="create_new",
        settings=shareable_settings(),
    )
    with run:
        tables = {
            f"tables/{table.name}": wandb.Table(*flat(table), allow_mixed_types=True)
            for table in report.tables
            if table.name not in _PRIVATE
        }
        pictures = {
            f"plots/{_key(plot.name)}": wandb.Image(to_pixels(plot.figure), caption=plot.title)
            for plot in plots
        }
        run.log(tables | pictures)


def _key(name: str) -> str:
    """`name`, which holds names from records, as one that W&B can call a file by."""
    return re.sub(r"[^\w.+=-]+", "_", name)
