"""The report as one HTML page that needs nothing beside itself."""

from importlib import resources

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from agwm.report.build import Report
from agwm.report.style import Plot, to_svg


def to_html(report: Report, plots: list[Plot]) -> str:
    """The page; everything that came from data is escaped."""
    source = resources.files("agwm.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    environment.filters["breakable"] = _breakable
    template = environment.from_string(source)
    pictures = [
        # Markup: matplotlib's own SVG, which escapes the names in it.
        {"title": plot.title, "note": plot.note, "svg": Markup(to_svg(plot.figure))}
        for plot in plots
    ]
    return template.render(report=report, plots=pictures) + "\n"


def _breakable(text: str) -> Markup:
    """`text`, escaped, with a line break allowed before each plus of a method's name."""
    return Markup("<wbr>+").join(map(escape, text.split("+")))
