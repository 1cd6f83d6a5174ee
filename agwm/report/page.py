"""The report as one HTML page that needs nothing beside itself."""

from markupsafe import Markup

from agwm.report.build import Report
from agwm.report.html import render
from agwm.report.style import Plot, to_svg


def to_html(report: Report, plots: list[Plot]) -> str:
    """The page; everything that came from data is escaped."""
    pictures = [
        # Markup: matplotlib's own SVG, which escapes the names in it.
        {"title": plot.title, "note": plot.note, "svg": Markup(to_svg(plot.figure))}
        for plot in plots
    ]
    return render("page.html.j2", title=report.title, report=report, plots=pictures)
