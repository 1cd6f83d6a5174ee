import io

import pytest

from agwm.console import PlainConsole
from agwm.errors import UserError, one_line
from agwm.shown import masked, short_repr, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a day\n\tor two: größer, 日本, \N{ZERO WIDTH JOINER}", None),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("over\rwritten\b\x9b1m", "over\\rwritten\\x08\\x9b1m"),
        ("left\N{RIGHT-TO-LEFT OVERRIDE}right", "left\\u202eright"),
        ("half \ud83d", "half \\ud83d"),
    ],
)
def test_what_would_steer_a_terminal_is_shown(text, expected):
    assert shown(text) == (text if expected is None else expected)
    assert shown(shown(text)) == shown(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no https://me:secret@host/x:1@y here", "no https://***@host/x:1@y here"),
        ("s3://secret@bucket and s3://secret@b", "s3://***@bucket and s3://***@b"),
        ("me@host.org, https://host/@me", None),
    ],
)
def test_names_and_passwords_are_left_out_of_addresses(text, expected):
    assert masked(text) == (text if expected is None else expected)


def test_a_mistake_is_told_without_either():
    error = UserError("data_dir=https://me:secret@host: \x1b[2Jnone")
    assert one_line(error) == "data_dir=https://***@host: \\x1b[2Jnone"


def test_a_terminal_shows_what_is_in_the_data():
    from rich.table import Table
    from rich.text import Text

    table = Table(title="[red]title[/red]\x1b[5m")
    table.add_column("[b]name[/b]\x1b[5m")
    table.add_row("[link=http://x]:cat:[/link]\x1b[5m")
    table.add_row(Text("text\x1b[5m"))  # too short to be cut
    file = io.StringIO()
    console = PlainConsole(file=file, force_terminal=True, color_system=None, width=80)
    console.print(table)
    console.print("[red]line[/red] :cat:\x1b[5m", soft_wrap=True)
    printed = file.getvalue()
    assert "\x1b[5m" not in printed and printed.count("\\x1b[5m") == 5
    for text in ("[red]title[/red]", "[b]name[/b]", "[link=http://x]:cat:[/link]", "[red]line"):
        assert text in printed


@pytest.mark.parametrize(
    "level", [lambda inner: [inner] * 9, lambda inner: dict.fromkeys("abcdefgh", inner)]
)
def test_a_value_of_any_depth_is_told_in_few_letters(level):
    value = "x" * 99
    for _ in range(5):
        value = level(value)
    assert 50 < len(short_repr(value)) < 2000
