"""Text that came from files or libraries, before people see it: it steers no terminal."""

import re
from reprlib import Repr

# Control characters save line feed and tab, what turns the direction of writing round, and halves
# of surrogate pairs, which no stream can encode.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_CREDENTIALS = re.compile(r"(\w+://)[^/\s@]+@")


def shown(text: str) -> str:
    r"""`text` with each character that would act on a terminal as its escape, `\x1b` for one."""
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def masked(text: str) -> str:
    """`text` without the name and password of an address: "https://***@host/"."""
    return _CREDENTIALS.sub(r"\1***@", text)


_brief = Repr()
_brief.maxlevel = 2  # at the usual 6 a nest of dicts and lists fills a screen

short_repr = _brief.repr
"""`repr` for messages: some of a long or nested value, below 2,000 characters."""
