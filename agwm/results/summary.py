"""The small table at the end of a run."""

from pathlib import Path

from rich.table import Table

from agwm.console import PlainConsole
from agwm.results.record import COLLAPSED, Record


def print_summary(record: Record, folder: Path) -> None:
    """Headline, what a constant prediction gets, time, and where things lie."""
    name, value = record.headline["name"], record.headline["value"]
    table = Table(
        show_header=False,
        title=f"{record.method} on {record.task}, {record.model}, seed {record.seed}",
        title_justify="left",
    )
    constant = "mean" if name in ("pearson", "spearman") else "majority class"
    table.add_row(f"{name}", f"{value:.2f}")
    table.add_row(f"{name} of the {constant}", f"{record.baseline:.2f}")
    table.add_row(
        "training",
        f"{record.cost.train_seconds:.1f} s, "
        f"{record.cost.forward_passes} forward and {record.cost.backward_passes} "
        "backward passes",
    )
    table.add_row("in all", f"{record.cost.total_seconds:.1f} s")
    console = PlainConsole()
    console.print(table)
    if record.degenerate:
        console.print("note: the model predicts the same for every text", style="yellow")
    if record.mixture in COLLAPSED:
        console.print(f"note: {COLLAPSED[record.mixture]}", style="yellow")
    if zero := sum(phase.get("zero_directions", 0) for phase in record.phases):
        console.print(f"note: {zero} search steps had no outer gradient to follow", style="yellow")
    # Paths are to be copied: never wrapped.
    for what, name in {"model": "model", "page": "page.html", "record": "record.json"}.items():
        if (folder / name).exists():
            console.print(f"{what + ':':7} {folder / name}", soft_wrap=True)
