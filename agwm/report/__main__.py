"""Command line: `python -m agwm.report RUNS...`; see `--help`."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agwm.command import Parser, exit_code
from agwm.errors import UserError

if TYPE_CHECKING:
    from agwm.report.records import Records


def main(arguments: list[str] | None = None) -> int:
    """Read, print and write; 0, 1 if that failed, 2 for a mistake of the user."""
    options = _parser().parse_args(arguments)
    return exit_code(lambda: _report(options))


def _parser() -> Parser:
    parser = Parser(
        prog="python -m agwm.report",
        description="Tables, tests and plots from the records of runs.",
    )
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUNS", help="folders of runs")
    parser.add_argument(
        "--baseline",
        metavar="METHOD",
        help="method that the others are compared with (vanilla)",
    )
    parser.add_argument(
        "--names",
        type=Path,
        metavar="FILE",
        help="YAML of what methods are to be called, each line as label: name",
    )
    parser.add_argument(
        "--published",
        action="store_true",
        help="put the paper's figures beside ours; without RUNS, check the paper's own tables",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("report"), help="folder to write to (%(default)s)"
    )
    parser.add_argument(
        "--wandb",
        nargs="?",
        const="offline",
        choices=("offline", "online"),
        help="log tables and pictures as a W&B run, offline unless asked otherwise",
    )
    return parser


def _report(options: argparse.Namespace) -> None:
    if not options.runs and not options.published:
        raise UserError("no RUNS; give runs' folders, or --published for the paper's own figures")
    # Half a second of imports, which --help need not wait for.
    from agwm.console import PlainConsole
    from agwm.report.build import report_on_paper, report_on_runs
    from agwm.report.records import read_names, read_records
    from agwm.report.terminal import print_report

    if options.runs:
        names = read_names(options.names) if options.names else None
        records = read_records(options.runs, names)
        _refuse_nothing(records)
        _refuse_unknown_baseline(records, options.baseline)
        report = report_on_runs(records, options.baseline or "vanilla", options.published)
    else:
        report = report_on_paper()
    console = PlainConsole()
    print_report(report, console)
    # Imported after the tables are out: matplotlib takes a second.
    from agwm.report.output import write_report
    from agwm.report.plots import make_plots

    plots = make_plots(report.blocks, report.baseline)
    for file in write_report(report, plots, options.out):
        console.print(f"{file}", soft_wrap=True)
    if options.wandb:
        from agwm.report.wandb_run import log_report

        log_report(report, plots, options.out, options.wandb)


def _refuse_unknown_baseline(records: "Records", given: str | None) -> None:
    """One that was asked for; where no run is of the usual one, the report says so."""
    methods = sorted({run.cell.method for run in (*records.ok, *records.failed)})
    if given is not None and given not in methods:
        raise UserError(f"--baseline={given}: no run of it; one of {', '.join(methods)}")


def _refuse_nothing(records: "Records") -> None:
    if not records.ok and not records.failed:
        file, reason = records.unreadable[0]
        others = len(records.unreadable) - 1
        more = f", nor {others} others" if others else ""
        raise UserError(f"{file}: no record that can be read ({reason}){more}; give other RUNS")


if __name__ == "__main__":
    sys.exit(main())
