"""The report's files, each written whole or not at all."""

from pathlib import Path

from agwm.atomic import write_atomically
from agwm.errors import UserError
from agwm.report.build import Report
from agwm.report.page import to_html
from agwm.report.render import csv_text, to_csv, to_latex, to_markdown
from agwm.report.style import Plot


def write_report(report: Report, plots: list[Plot], folder: Path) -> list[Path]:
    """Write all formats below `folder`; returns where they are.

    Raises:
        UserError: `folder` cannot be written to.
    """
    tables = folder / "tables"
    lines = [*report.facts, *(f"warning: {line}" for line in report.warnings)]
    files = {
        folder / "report.md": to_markdown(report.title, lines, report.tables),
        folder / "report.tex": to_latex(report.tables),
        folder / "report.html": to_html(report, plots),
        **{tables / f"{table.name}.csv": to_csv(table) for table in report.tables},
    }
    if report.runs:
        files[tables / "runs.csv"] = csv_text(report.runs)
    try:
        tables.mkdir(parents=True, exist_ok=True)
        for path, text in files.items():
            write_atomically(path, text)
    except OSError as error:
        raise UserError(f"--out {folder}: cannot be written ({error}); give another") from error
    return [folder / "report.html", folder / "report.md", folder / "report.tex", tables]
