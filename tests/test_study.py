"""The study's text says what its records hold."""

from runpy import run_path

import pytest

from agwm.paths import root

STUDY = root() / "docs" / "study"


@pytest.fixture
def text():
    return (STUDY / "README.md").read_text(encoding="utf-8")


def test_the_tables_in_the_text_are_those_of_the_records(text):
    tables = run_path(str(STUDY / "tables.py"))["all_tables"]()
    assert len(tables) == 9 and [table for table in tables if table not in text] == []


@pytest.mark.parametrize(
    ("folder", "told"),
    [("records", "# {} runs that need not be run"), ("options/records", "{} of the 96 runs")],
)
def test_the_text_counts_the_records(text, folder, told):
    assert told.format(len(list((STUDY / folder).rglob("record.json")))) in text
