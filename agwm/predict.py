"""Command line: `python -m agwm.predict MODEL INPUT`; see `--help`."""

import argparse
import sys
from pathlib import Path

from agwm.command import Parser, exit_code
from agwm.errors import UserError
from agwm.models.folder import read_folder
from agwm.results.rows import check_rows_file, row_writer, warn_of_formulas
from agwm.scoring import Added, add_arguments, classified, prepare

_DESCRIPTION = """\
Labels and probabilities for new texts.

The output has the input's columns, then `prediction` (the label's name, or the number of a
regression) and a column `p_LABEL` with the probability of each label. Rows stay in their order.
"""
_EPILOG = """\
Texts longer than the model's limit are cut and counted. Data is written to CSV as it is: a cell
that begins with = + - or @ stays so, to be read back unchanged, and is counted, since a
spreadsheet would take it for a formula and could run it; --for-spreadsheet puts an apostrophe
before it.
"""


def main(arguments: list[str] | None = None) -> int:
    """Classify; 0, 1 if that failed, 2 for a mistake of the user."""
    options = _parser().parse_args(arguments)
    return exit_code(lambda: _predict(options))


def _parser() -> Parser:
    parser = Parser(
        prog="python -m agwm.predict",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="folder: a run's, or its model/")
    parser.add_argument(
        "input",
        metavar="INPUT",
        help=".csv, .tsv, .jsonl, .jsonl.gz, .parquet, .txt (a text per line), or - for standard "
        "input",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help=".csv, .tsv, .jsonl or .parquet (CSV to standard output)",
    )
    parser.add_argument("--force", action="store_true", help="replace the output")
    parser.add_argument(
        "--prefix", default="", metavar="TEXT", help="before the names of the added columns"
    )
    add_arguments(parser)
    return parser


def _predict(options: argparse.Namespace) -> None:
    check_rows_file("-o", options.output, options.force)
    if options.output is not None and options.output.exists():
        given = Path(options.input)
        if given.exists() and given.samefile(options.output):
            raise UserError(f"-o {options.output}: is the input; give another name")
    folder = read_folder(options.model)
    added = Added(folder.labels, options.prefix)
    job = prepare(folder, options, options.input, added.refuse_clash)
    with row_writer(options.output, options.for_spreadsheet) as writer:
        for rows, logits in classified(job, options):
            writer.write(added.to(rows, logits))
    warn_of_formulas(writer)
    if options.output is not None:
        print(f"{job.done} rows: {options.output}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
