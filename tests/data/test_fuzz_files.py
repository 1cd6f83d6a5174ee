"""Files of any content: what was written is read, or one line says why not. Never a wrong label."""

import csv
import gzip
import io
import json
import re
from dataclasses import replace
from itertools import count

import pyarrow
import pytest
from fuzz import tried
from hypothesis import assume, given
from hypothesis import strategies as st
from pyarrow import parquet

from agwm.data.files import read_rows
from agwm.data.own import load_own, settled
from agwm.errors import UserError

KINDS = ("csv", "tsv", "jsonl", "jsonl.gz", "parquet")


def encoded(kind, rows):
    """A file's bytes, by the modules that anyone would write it with."""
    if kind == "parquet":
        file = io.BytesIO()
        parquet.write_table(pyarrow.Table.from_pylist(rows), file)
        return file.getvalue()
    if kind.startswith("jsonl"):
        ascii_only = len(rows) % 2 == 0
        lines = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows).encode()
        return gzip.compress(lines) if kind.endswith("gz") else lines
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), dialect="excel" if kind == "csv" else "excel-tab")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8-sig" if len(rows) % 3 == 0 else "utf-8")


@pytest.fixture
def own(compose, tmp_path):
    """`own(kind, content, **task)`: own data of these bytes, settled, each in a file of its own."""
    config = compose("task=file", "task.train=in.csv")
    names = (tmp_path / f"{number}" for number in count())

    def read(suffix, content, /, **task):
        path = next(names).with_suffix(f".{suffix}")
        path.write_bytes(content)
        return settled(replace(config, task=replace(config.task, train=str(path), **task))).task

    return read


def all_examples(task):
    """`[(text, label), ...]` of both sides, in the order of the file."""
    sides = [load_own(task, split) for split in ("train", "validation")]
    found = {
        row: (text, label)
        for side in sides
        for row, (text,), label in zip(side.ids, side.texts, side.labels, strict=True)
    }
    assert len(found) == sum(map(len, sides)) and sorted(found) == list(range(1, len(found) + 1))
    return [found[row] for row in sorted(found)]


def is_number(name):
    try:
        float(name)
    except ValueError:
        return False
    return True


# No file of lines holds NUL.
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
names = words.map(str.strip).filter(lambda name: name and not is_number(name))
SPELLINGS = [str, lambda n: f"{n}.0", lambda n: f" {n} ", lambda n: f"{n}.00"]


@st.composite
def labelled(draw, classes):
    """Different texts, and for each the position of its class."""
    size = draw(st.integers(2 * classes, 6 * classes))
    texts = draw(st.lists(words, min_size=size, max_size=size, unique=True))
    return [(text, position % classes) for position, text in enumerate(texts)]


@pytest.mark.parametrize("kind", KINDS)
@tried(8, 250)
def test_names_are_read_as_they_were_written(own, kind, budget):
    @budget
    @given(st.data())
    def holds(data):
        labels = data.draw(st.lists(names, min_size=2, max_size=4, unique=True))
        rows = data.draw(labelled(len(labels)))
        blanks = data.draw(st.sampled_from(["", " ", "\t"]))
        written = [{"text": text, "label": blanks + labels[code]} for text, code in rows]
        task = own(kind, encoded(kind, written))
        assert task.labels == sorted(labels)
        expected = [(text, sorted(labels).index(labels[code])) for text, code in rows]
        assert all_examples(task) == expected

    holds()


@pytest.mark.parametrize("kind", KINDS)
@tried(4, 100)
def test_a_whole_number_is_one_label_however_it_is_written(own, kind, budget):
    @budget
    @given(st.data())
    def holds(data):
        labels = data.draw(st.lists(st.integers(-99, 99), min_size=2, max_size=4, unique=True))
        rows = data.draw(labelled(len(labels)))
        spelling = st.sampled_from(SPELLINGS if kind != "parquet" else SPELLINGS[:2])
        written = [{"text": t, "label": data.draw(spelling)(labels[code])} for t, code in rows]
        if kind.startswith("jsonl"):
            for row in written[::2]:
                row["label"] = json.loads(row["label"].strip())
        task = own(kind, encoded(kind, written))
        assert task.labels == [str(number) for number in sorted(labels)]
        expected = [(text, sorted(labels).index(labels[code])) for text, code in rows]
        assert all_examples(task) == expected

    holds()


@pytest.mark.parametrize("kind", KINDS)
@tried(4, 100)
def test_numbers_are_read_as_they_were_written(own, kind, budget):
    @budget
    @given(st.data())
    def holds(data):
        texts = data.draw(st.lists(words, min_size=10, max_size=30, unique=True))
        finite = st.floats(allow_nan=False, allow_infinity=False)
        numbers = data.draw(st.lists(finite, min_size=len(texts), max_size=len(texts)))
        assume(len(set(numbers)) > 1)
        rows = list(zip(texts, numbers, strict=True))
        content = encoded(kind, [{"text": text, "label": number} for text, number in rows])
        assert all_examples(own(kind, content, kind="regression")) == rows

    holds()


def otherwise_read(kind, content):
    """The rows by the plainest reader there is."""
    if kind == "parquet":
        return parquet.read_table(io.BytesIO(content)).to_pylist()
    text = (gzip.decompress(content) if kind.endswith("gz") else content).decode("utf-8-sig")
    if kind.startswith("jsonl"):
        return [json.loads(line) for line in re.split(r"\r\n|\r|\n", text) if line.strip()]
    lines = io.StringIO(text.lstrip("\r\n"), newline="")
    dialect = "excel" if kind == "csv" else "excel-tab"
    return list(csv.DictReader(lines, dialect=dialect, strict=True))


# Likely to be nearly a file of the kind.
near = st.text(st.sampled_from('abé,;\t"\n\r\0 01.{}[]:\\')).map(str.encode)
SOUND = [{"text": f"w{number}", "label": "ab"[number % 2]} for number in range(6)]


@st.composite
def spliced(draw, kind):
    """A sound file with some of its bytes replaced, taken away or put in."""
    content = encoded(kind, SOUND)
    start = draw(st.integers(0, len(content)))
    end = draw(st.integers(start, min(len(content), start + 9)))
    return content[:start] + draw(st.binary(max_size=9) | near) + content[end:]


@pytest.mark.parametrize("kind", KINDS)
@tried(12, 400)
def test_any_bytes_are_read_rightly_or_refused(own, kind, budget, tmp_path):
    path = tmp_path / f"any.{kind}"

    @budget
    @given(st.binary() | near | spliced(kind))
    def holds(content):
        path.write_bytes(content)
        try:
            rows = read_rows(path)
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert repr([*map(dict, rows)]) == repr(otherwise_read(kind, content))
        try:
            task = own(kind, content)
            found = all_examples(task)
        except UserError as error:
            assert str(error).strip()
        else:
            for text, label in found:
                assert isinstance(text, str)
                assert label in range(len(task.labels)) if task.labels else label == float(label)

    holds()
