"""Pages of one file that loads nothing; everything that came from data is escaped."""

from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape


def render(template: str, **values: Any) -> str:
    """The template of that name in this package, filled in."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FunctionLoader(_source)
    )
    environment.filters["breakable"] = _breakable
    return environment.get_template(template).render(values) + "\n"


def _source(name: str) -> str:
    return resources.files("agwm.report").joinpath(name).read_text(encoding="utf-8")


def _breakable(text: str) -> Markup:
    """`text`, escaped, with a line break allowed before each plus of a method's name."""
    return Markup("<wbr>+").join(map(escape, text.split("+")))
