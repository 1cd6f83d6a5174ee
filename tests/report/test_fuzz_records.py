"""Any record: it is read with a value that can be, or listed with its reason."""

import json
from itertools import count

import pytest
from fuzz import tried
from hypothesis import given
from hypothesis import strategies as st

from agwm.errors import UserError
from agwm.report.build import report_on_runs
from agwm.report.records import read_records
from agwm.results.record import read_record

texts = st.text(st.characters(), max_size=8)  # with halves of surrogate pairs
plain = st.none() | st.booleans() | st.integers() | st.floats() | texts
anything = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
)


@st.composite
def near(draw, record):
    """`record` with one or two of its fields changed or taken away."""
    changed = json.loads(json.dumps(record))
    for _ in range(draw(st.integers(1, 2))):
        target = draw(st.sampled_from([changed, *(v for v in changed.values() if type(v) is dict)]))
        if target:
            name = draw(st.sampled_from(sorted(target)))
            target[name] = draw(anything)
            if draw(st.integers(0, 4)) == 0:
                del target[name]
    return changed


@pytest.fixture
def beside(tmp_path, write_run):
    """`beside(content)`: report on two sound records and one of these bytes; None if refused."""
    sound = [write_run(50.0, method=method) for method in ("vanilla", "agwm")]
    numbers = count()

    def reported(content):
        folder = tmp_path / "more" / f"{next(numbers)}"
        folder.mkdir(parents=True)
        (folder / "record.json").write_bytes(content)
        read_record(folder)  # what a run in its place would do
        try:
            records = read_records([*sound, folder])
        except UserError as error:
            # A record that is sound, but another one of the same cell.
            assert str(folder) in str(error) and "\n" not in str(error)
            return
        kept = [run for run in (*records.ok, *records.failed) if run.folder == folder]
        listed = [why for file, why in records.unreadable if file == folder / "record.json"]
        assert len(kept) + len(listed) == 1
        assert all(why and "\n" not in why and len(why) < 2000 and why.encode() for why in listed)
        assert all(run.value is None or -100.001 <= run.value <= 100.001 for run in kept)
        assert {run.folder for run in records.ok} >= set(sound)
        report = report_on_runs(records, "vanilla", published=False)
        assert f"{len(listed)} unreadable" in report.facts[0]

    return reported


@tried(60, 1000)
def test_any_bytes_are_listed_with_their_reason(beside, budget):
    @budget
    @given(st.binary() | texts.map(lambda text: text.encode(errors="replace")))
    def holds(content):
        beside(content)

    holds()


@tried(60, 1000)
def test_any_json_is_read_or_listed(beside, budget, write_run):
    record = json.loads((write_run(seed=1) / "record.json").read_text())

    @budget
    @given(anything | near(record) | near(record) | near(record))
    def holds(value):
        beside(json.dumps(value).encode())

    holds()
