"""Command line: `python -m agwm.evaluate MODEL FILE`; see `--help`."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from agwm.atomic import write_atomically
from agwm.command import Parser, exit_code
from agwm.data.targets import Targets
from agwm.data.texts import Row
from agwm.errors import UserError
from agwm.models.folder import read_folder
from agwm.results.rows import check_free, check_rows_file, row_writer, warn_of_formulas
from agwm.scoring import Added, Job, add_arguments, classified, prepare

if TYPE_CHECKING:
    from agwm.report.table import Table
    from agwm.training.quality import Quality

_DESCRIPTION = """\
How well a model does on labelled texts.

Metrics with a bootstrap interval for the first of them, then, for classes, precision, recall and
F1 of each and the confusion matrix; for a regression, correlations and errors.
"""


def main(arguments: list[str] | None = None) -> int:
    """Classify and compare; 0, 1 if that failed, 2 for a mistake of the user."""
    options = _parser().parse_args(arguments)
    return exit_code(lambda: _evaluate(options))


def _parser() -> Parser:
    parser = Parser(
        prog="python -m agwm.evaluate",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="folder: a run's, or its model/")
    parser.add_argument(
        "file", metavar="FILE", help=".csv, .tsv, .jsonl, .jsonl.gz, .parquet, or - (--format)"
    )
    parser.add_argument(
        "--label",
        metavar="C",
        help="column with the labels' names or codes, or the number (that of the training; else "
        "label)",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="the same as JSON; metrics in [-1, 1]"
    )
    parser.add_argument(
        "--mistakes",
        type=Path,
        metavar="FILE",
        help="misclassified rows, the most confident first (.csv, .tsv, .jsonl or .parquet)",
    )
    parser.add_argument("--force", action="store_true", help="replace these files")
    add_arguments(parser)
    return parser


def _evaluate(options: argparse.Namespace) -> None:
    check_free("-o", options.output, options.force)
    check_rows_file("--mistakes", options.mistakes, options.force)
    folder = read_folder(options.model)
    if options.mistakes is not None and folder.labels is None:
        raise UserError("--mistakes: a regression has no misclassified rows; see agwm.predict")
    targets = Targets(folder.labels, options.label or folder.label or "label", options.file)
    added = Added(folder.labels)

    def check(row: Row, number: int) -> None:
        targets.check(row, number)
        if options.mistakes is not None:
            added.refuse_clash(row, number)

    job = prepare(folder, options, options.file, check, targets.column)
    if options.mistakes is not None and not job.source.rereadable:
        raise UserError(f"--mistakes: {job.source.name} can be read only once; give a file")
    predicted, target, mistakes = _classify(job, options, targets, added)
    # Seconds, which a mistake is not to wait for.
    from agwm.console import PlainConsole
    from agwm.report.terminal import print_table
    from agwm.training.quality import measure

    quality = measure(predicted, target, folder.labels, folder.metrics)
    console = PlainConsole()
    if targets.are_codes:
        names = ", ".join(f"{code} {name}" for code, name in enumerate(folder.labels))
        console.print(f"labels are codes: {names}")
    for table in _tables(quality, job.done):
        print_table(table, console)
    if options.output is not None:
        told = {"model": str(folder.path), "file": options.file, "rows": job.done}
        told |= {"cut": job.cut, "empty": job.empty} | quality.as_dict()
        text = json.dumps(told, indent=2, ensure_ascii=False)
        write_atomically(options.output, text + "\n")
    if options.mistakes is not None:
        with row_writer(options.mistakes, options.for_spreadsheet) as writer:
            writer.write(mistakes)
        warn_of_formulas(writer)
        print(f"{len(mistakes)} mistakes: {options.mistakes}", file=sys.stderr)


def _classify(
    job: Job, options: argparse.Namespace, targets: Targets, added: Added
) -> tuple[list[float], list[float], list[Row]]:
    """Predictions, targets, and the misclassified rows, the most confident first."""
    predicted, given, shares, wrong = [], [], [], []
    for rows, logits in classified(job, options):
        given += [row[targets.column] for row in rows]
        if added.labels is None:
            predicted += logits[:, 0].tolist()
            continue
        codes = logits.argmax(-1).tolist()
        predicted += codes
        if options.mistakes is None:
            continue
        # Names or codes is settled: `prepare` has been through the file.
        target = targets.values([row[targets.column] for row in rows])
        indices = [i for i, pair in enumerate(zip(codes, target, strict=True)) if len({*pair}) > 1]
        wrong += added.to([rows[index] for index in indices], logits[indices])
        shares += logits[indices].softmax(-1).amax(-1).tolist()
    order = sorted(range(len(wrong)), key=lambda index: -shares[index])
    return predicted, targets.values(given), [wrong[index] for index in order]


def _tables(quality: "Quality", rows: int) -> Iterator["Table"]:
    from agwm.report.table import Column, Table

    def percent(value: float | None) -> float | None:
        return None if value is None else 100 * value

    interval = quality.interval and tuple(map(percent, quality.interval))
    yield Table(
        "metrics",
        f"metrics of {rows} rows, in percent",
        [Column("metric"), Column("value", "percent"), Column("95 % interval", "interval")],
        [
            [name, percent(value), interval if name == quality.headline else None]
            for name, value in quality.metrics.items()
        ],
        note="Interval: bootstrap over the rows; it does not know what another training run "
        "would give." + (f" f1 is that of {quality.labels[1]}." if "f1" in quality.metrics else ""),
    )
    if quality.labels is None:
        yield Table(
            "errors",
            "errors, in the unit of the labels",
            [Column("error"), Column("value", "decimal")],
            [list(pair) for pair in quality.errors.items()],
        )
        return
    counts, parts = ("examples", "predicted"), ("precision", "recall", "f1")
    yield Table(
        "classes",
        "classes, in percent",
        [
            Column("label"),
            *(Column(name, "count") for name in counts),
            *(Column(name, "percent") for name in parts),
        ],
        [
            [label, *(found[name] for name in counts), *(percent(found[name]) for name in parts)]
            for label, found in quality.per_class.items()
        ],
    )
    yield Table(
        "confusion",
        "confusion matrix, rows by label and prediction",
        [Column("label"), *(Column(f"as {label}", "count") for label in quality.labels)],
        [[label, *row] for label, row in zip(quality.labels, quality.confusion, strict=True)],
    )


if __name__ == "__main__":
    sys.exit(main())
