"""Broken files of labelled texts: `agwm.train task=file` refuses each of them in one line."""

import gzip
import io
import json
import os

import pyarrow
import pytest
from one_line import assert_told
from pyarrow import parquet

HEAD = "text,label\n"
GOOD = "".join(f"word {number},{'ab'[number % 2]}\n" for number in range(20))
OBJECTS = "".join(f'{{"text": "word {n}", "label": "{"ab"[n % 2]}"}}\n' for n in range(20))
COLUMNS = {"text": [f"word {n}" for n in range(20)], "label": ["ab"[n % 2] for n in range(20)]}
NUMBERS = "".join(f"word {number},{number / 4}\n" for number in range(40))


def written(columns, names=None):
    """A Parquet file's bytes."""
    arrays = [pyarrow.array(values) for values in columns.values()]
    table = pyarrow.Table.from_arrays(arrays, names or list(columns))
    file = io.BytesIO()
    parquet.write_table(table, file)
    return file.getvalue()


TABLE = written(COLUMNS)
# A name, its content, what else is on the command line, and what the line says.
FILES = {
    "empty": ("in.csv", "", "", "in.csv: holds no rows"),
    "empty TSV": ("in.tsv", "", "", "in.tsv: holds no rows"),
    "empty JSONL": ("in.jsonl", "", "", "in.jsonl: holds no rows"),
    "blank lines alone": ("in.csv", "\n\n\n", "", "in.csv: holds no rows"),
    "header alone": ("in.csv", HEAD, "", "in.csv: holds no rows"),
    "a cell too many": (
        "in.csv",
        HEAD + GOOD + "a,b,a\n",
        "",
        "in.csv, line 22: not 2 cells, as in the header, but 3",
    ),
    "a cell too few": (
        "in.csv",
        HEAD + "no label\n" + GOOD,
        "",
        "in.csv, line 2: not 2 cells, as in the header, but 1",
    ),
    "a cell too few behind a long one": (
        "in.csv",
        HEAD + '"two\nlines",a\nnone\n',
        "",
        "in.csv, line 4: not 2 cells, as in the header, but 1",
    ),
    "comma in a text": (
        "in.csv",
        HEAD + "well, yes,a\n" + GOOD,
        "",
        "in.csv, line 2: not 2 cells, as in the header, but 3",
    ),
    "open quote": ("in.csv", HEAD + 'one,a\n"two,b\n' + GOOD, "", "in.csv, line 3: not CSV"),
    "quote inside": (
        "in.csv",
        HEAD + 'one,a\n"two" or three,b\n' + GOOD,
        "",
        "in.csv, line 3: not CSV",
    ),
    "a cell without an end": (
        "in.csv",
        HEAD + '"' + "a" * 200_000 + '",a\n' + GOOD,
        "",
        "in.csv, line 2: not CSV",
    ),
    "Latin-1": ("in.csv", (HEAD + "é,a\n" + GOOD).encode("latin-1"), "", "in.csv: not UTF-8"),
    "UTF-16": ("in.csv", (HEAD + GOOD).encode("utf-16"), "", "in.csv: not UTF-8"),
    "UTF-16 without a mark": (
        "in.csv",
        (HEAD + GOOD).encode("utf-16-le"),
        "",
        "in.csv, line 1: holds a NUL byte; save it as UTF-8 text",
    ),
    "NUL byte": (
        "in.csv",
        HEAD + GOOD + "a\0b,a\n",
        "",
        "in.csv, line 22: holds a NUL byte; save it as UTF-8 text",
    ),
    "NUL byte in TSV": (
        "in.tsv",
        "text\tlabel\na\0b\ta\n",
        "",
        "in.tsv, line 2: holds a NUL byte; save it as UTF-8 text",
    ),
    "picture": ("in.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "", "in.csv: not UTF-8"),
    "zip": (
        "in.csv",
        b"PK\x03\x04\x14\0\0\0\x08\0",
        "",
        "in.csv, line 1: holds a NUL byte; save it as UTF-8 text",
    ),
    "column twice": (
        "in.csv",
        "text,label,label\na,b,a\n",
        "",
        "in.csv: its header has 'label' twice",
    ),
    "semicolons": (
        "in.csv",
        HEAD.replace(",", ";") + GOOD.replace(",", ";"),
        "",
        "in.csv: the cells of its header stand apart by ';'; save it with commas,",
    ),
    "no label column": (
        "in.csv",
        "text\na\nb\n",
        "",
        "in.csv: which column holds the label? task.label=COLUMN, of none besides",
    ),
    "no header": (
        "in.csv",
        GOOD,
        "",
        "in.csv: which column holds the text? task.text=COLUMN, of word 0, a",
    ),
    "several columns for the label": (
        "in.csv",
        "text,a,b\n" + "x,1,2\n" * 9,
        "",
        "in.csv: which column holds the label? task.label=COLUMN, of a, b",
    ),
    "text's column is not there": (
        "in.csv",
        HEAD + GOOD,
        "task.text=txt",
        "task.text=txt: must be a column of in.csv: text, label",
    ),
    "label's column is not there": (
        "in.csv",
        HEAD + GOOD,
        "task.label=lable",
        "task.label=lable: must be a column of in.csv: text, label",
    ),
    "one class": (
        "in.csv",
        HEAD + "x,a\ny,a\n",
        "",
        "in.csv: column 'label' holds one label alone: 'a'; two are needed",
    ),
    "no labels": (
        "in.csv",
        HEAD + "x,\ny, \n",
        "",
        "in.csv: column 'label' holds no labels; two are needed",
    ),
    "a label empty": (
        "in.csv",
        HEAD + GOOD + "x,\n",
        "",
        "in.csv, row 21 (line 22): label is '', not one of a, b",
    ),
    "a label of one text": (
        "in.csv",
        HEAD + GOOD + "x,c\n",
        "",
        "in.csv, row 21 (line 22): 'c' stands beside one text alone, which cannot",
    ),
    "a label for each text": (
        "in.csv",
        HEAD + "x,a\ny,b\nz,c\n",
        "",
        "in.csv: column 'label' holds 3 different labels in 3 rows; give",
    ),
    "a label that is not listed": (
        "in.csv",
        HEAD + GOOD,
        "task.labels=[a,c]",
        "in.csv, row 2 (line 3): label is 'b', not one of a, c",
    ),
    "labels that are one": (
        "in.csv",
        HEAD + GOOD,
        "task.labels=[1,1.0]",
        "task.labels=['1', '1']: must be two or more different names",
    ),
    "no number": (
        "in.csv",
        HEAD + NUMBERS + "x,high\n",
        "task.kind=regression",
        "in.csv, row 41 (line 42): label is 'high', not a number",
    ),
    "only Python's number": (
        "in.csv",
        HEAD + NUMBERS + "x,1_0\n",
        "task.kind=regression",
        "in.csv, row 41 (line 42): label is '1_0', not a number",
    ),
    "infinite": (
        "in.csv",
        HEAD + NUMBERS + "x,1e999\n",
        "task.kind=regression",
        "in.csv, row 41 (line 42): label is '1e999', not a number",
    ),
    "one number": (
        "in.csv",
        HEAD + "x,0.5\ny,0.5\n" * 20,
        "",
        "in.csv: holds one number alone, 0.5: nothing to rank or to learn",
    ),
    "cut JSON": ("in.jsonl", OBJECTS + '{"text": "wo', "", "in.jsonl, line 21: not JSON"),
    "JSON array": (
        "in.jsonl",
        '[{"text": "x", "label": "a"}]\n',
        "",
        'in.jsonl, line 1: not a JSON object but \'[{"text": "x", "label": "a"}]\\n\'',
    ),
    "JSON number": (
        "in.jsonl",
        OBJECTS + "7\n",
        "",
        "in.jsonl, line 21: not a JSON object but '7\\n'",
    ),
    "JSON text": ("in.jsonl", '"x"\n', "", "in.jsonl, line 1: not a JSON object but '\"x\"\\n'"),
    "one JSON over several lines": (
        "in.jsonl",
        json.dumps({"text": "x"}, indent=1),
        "",
        "in.jsonl, line 1: not JSON",
    ),
    "key twice": (
        "in.jsonl",
        '{"text": "x", "label": "a", "label": "b"}\n',
        "",
        "in.jsonl, line 1: not JSON",
    ),
    "JSON too deep": ("in.jsonl", "[" * 100_000, "", "in.jsonl, line 1: not JSON"),
    "no keys": (
        "in.jsonl",
        "{}\n" * 5,
        "",
        "in.jsonl: which column holds the text? task.text=COLUMN, of none",
    ),
    "half a character": (
        "in.jsonl",
        OBJECTS + '{"text": "\\ud83d", "label": "a"}\n',
        "",
        "in.jsonl, line 21: not JSON",
    ),
    "nested text": (
        "in.jsonl",
        OBJECTS + '{"text": {"en": "x"}, "label": "a"}\n',
        "",
        "in.jsonl, row 21: text is {'en': 'x'}, not a text",
    ),
    "nested label": (
        "in.jsonl",
        OBJECTS + '{"text": "x", "label": {"a": 1}}\n',
        "",
        "in.jsonl, row 21: label is {'a': 1}, not a name or a number",
    ),
    "huge number": (
        "in.jsonl",
        "".join(f'{{"text": "x{n}", "label": {n}.5}}\n' for n in range(40))
        + f'{{"text": "x", "label": {10**400}}}\n',
        "task.kind=regression",
        "in.jsonl, row 41: label is 100000000000000000...0000000000000000000, not a",
    ),
    "null text": (
        "in.jsonl",
        OBJECTS + '{"text": null, "label": "a"}\n',
        "",
        "in.jsonl, row 21: text is None, not a text",
    ),
    "missing label": (
        "in.jsonl",
        OBJECTS + '\n{"text": "x"}\n',
        "",
        "in.jsonl, row 21 (line 22): label is None, not one of a, b",
    ),
    "JSONL that is CSV": ("in.jsonl", HEAD + GOOD, "", "in.jsonl, line 1: not JSON"),
    "not gzip": ("in.jsonl.gz", OBJECTS, "", "in.jsonl.gz: cannot be read"),
    "cut gzip": (
        "in.jsonl.gz",
        gzip.compress(OBJECTS.encode())[:-9],
        "",
        "in.jsonl.gz: cannot be read",
    ),
    "cut Parquet": ("in.parquet", TABLE[: len(TABLE) // 2], "", "in.parquet: not Parquet"),
    "Parquet without its end": ("in.parquet", TABLE[:-4], "", "in.parquet: not Parquet"),
    "Parquet that is CSV": ("in.parquet", HEAD + GOOD, "", "in.parquet: not Parquet"),
    "Parquet without rows": (
        "in.parquet",
        written({"text": [], "label": []}),
        "",
        "in.parquet: holds no rows",
    ),
    "lists of labels": (
        "in.parquet",
        written(COLUMNS | {"label": [["a"]] * 20}),
        "",
        "in.parquet: column 'label' holds one label alone: \"['a']\"; two are needed",
    ),
    "lists of texts": (
        "in.parquet",
        written(COLUMNS | {"text": [["a"]] * 20}),
        "",
        "in.parquet, row 1: text is ['a'], not a text",
    ),
    "bytes": (
        "in.parquet",
        written(COLUMNS | {"text": [b"a"] * 20}),
        "",
        "in.parquet, row 1: text is b'a', not a text",
    ),
    "Parquet's column twice": (
        "in.parquet",
        written(COLUMNS | {"more": ["b"] * 20}, ["text", "label", "label"]),
        "",
        "in.parquet: its header has 'label' twice",
    ),
    "another suffix": (
        "in.xlsx",
        b"PK",
        "",
        "in.xlsx: not one of .jsonl, .jsonl.gz, .csv, .tsv, .parquet",
    ),
    "no suffix": (
        "reviews",
        HEAD + GOOD,
        "",
        "reviews: not one of .jsonl, .jsonl.gz, .csv, .tsv, .parquet",
    ),
    "a name that is too long": (
        None,
        "",
        f"task.train={'a' * 300}.csv",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ),
    "not there": (None, "", "task.train=nowhere.csv", "nowhere.csv: cannot be read"),
    "evaluation not there": (
        "in.csv",
        HEAD + GOOD,
        "task.validation=nowhere.csv",
        "nowhere.csv: cannot be read",
    ),
    "evaluation is a folder": ("in.csv", HEAD + GOOD, "task.validation=.", ".: cannot be read"),
}
RUN = ("task=file", "model=tiny", "logger=none", "trainer.progress=false", "method=vanilla")


@pytest.mark.parametrize(("name", "content", "further", "message"), FILES.values(), ids=FILES)
def test_a_broken_file_is_told_in_one_line(cli, tmp_path, name, content, further, message):
    given = []
    if name is not None:
        content = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(content)
        given = [f"task.train={name}"]
    code, out, err = cli(*RUN, *given, *further.split())
    assert_told(code, err, message)
    assert out == ""


def test_a_folder_is_no_file(cli, tmp_path):
    (tmp_path / "in.csv").mkdir()
    code, _, err = cli(*RUN, "task.train=in.csv")
    assert_told(code, err, "in.csv: cannot be read")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_file_that_may_not_be_read_is_told(cli, tmp_path):
    (tmp_path / "in.csv").write_text(HEAD + GOOD)
    (tmp_path / "in.csv").chmod(0)
    code, _, err = cli(*RUN, "task.train=in.csv")
    assert_told(code, err, "in.csv: cannot be read (")


@pytest.mark.parametrize("name", ["in.csv", "in.tsv", "in.jsonl"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(cli, tmp_path, name):
    good = {"csv": HEAD + GOOD, "tsv": (HEAD + GOOD).replace(",", "\t"), "jsonl": OBJECTS}
    (tmp_path / name).write_text(good[name[3:]], encoding="utf-8-sig")
    assert cli(*RUN, f"task.train={name}", "--dry-run")[0] == 0
