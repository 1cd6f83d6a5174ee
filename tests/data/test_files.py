import csv
import gzip
import json
import re

import pyarrow
import pytest
from pyarrow import parquet

from agwm.data.files import SUFFIXES, find_split, read_rows
from agwm.errors import UserError

ROWS = [
    {"sentence": 'He said "no", twice.', "label": "1", "idx": "0"},
    {"sentence": "A line\nbreak and a comma, inside.", "label": "0", "idx": "1"},
    {"sentence": "NA", "label": "1", "idx": "2"},
    {"sentence": "Zoë läuft — 走る.", "label": "0", "idx": "3"},
]


def write_jsonl(path):
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")


def write_gzipped_jsonl(path):
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    path.write_bytes(gzip.compress(lines.encode()))


def write_csv(path, encoding="utf-8", dialect="excel"):
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(ROWS[0]), dialect=dialect)
        writer.writeheader()
        writer.writerows(ROWS)


def write_csv_with_byte_order_mark(path):
    write_csv(path, encoding="utf-8-sig")


def write_tsv(path):
    write_csv(path, dialect="excel-tab")


def write_parquet(path):
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)


@pytest.mark.parametrize(
    ("suffix", "write"),
    [
        (".jsonl", write_jsonl),
        (".jsonl.gz", write_gzipped_jsonl),
        (".csv", write_csv),
        (".csv", write_csv_with_byte_order_mark),
        (".tsv", write_tsv),
        (".parquet", write_parquet),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_every_format_gives_the_same_rows(tmp_path, suffix, write):
    write(tmp_path / f"train{suffix}")
    assert read_rows(find_split(tmp_path, "train")) == ROWS


def test_blank_lines_of_jsonl_are_passed_by(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"a": 1}\n\n  \n{"a": 2}\n')
    assert read_rows(tmp_path / "train.jsonl") == [{"a": 1}, {"a": 2}]


def test_a_split_is_found_by_its_whole_name(tmp_path):
    (tmp_path / "validation_matched.jsonl").touch()
    with pytest.raises(UserError, match="validation"):
        find_split(tmp_path, "validation")


def test_a_missing_folder_is_told_with_its_name(tmp_path):
    with pytest.raises(UserError, match=f"no folder {re.escape(str(tmp_path))}/sst2"):
        find_split(tmp_path / "sst2", "train")


def test_a_missing_file_is_told_with_all_names_it_may_have(tmp_path):
    with pytest.raises(UserError) as error:
        find_split(tmp_path, "train")
    assert all(f"train{suffix}" in str(error.value) for suffix in SUFFIXES)


def test_two_files_of_one_split_are_refused(tmp_path):
    for suffix in (".jsonl", ".csv"):
        (tmp_path / f"train{suffix}").touch()
    with pytest.raises(UserError, match=r"both train\.jsonl and train\.csv"):
        find_split(tmp_path, "train")


BROKEN = {
    "empty": ("train.jsonl", b"", "holds no rows"),
    "empty csv": ("train.csv", b"", "holds no rows"),
    "header alone": ("train.csv", b"sentence,label\n", "holds no rows"),
    "not JSON": ("train.jsonl", b'{"a": 1}\n\n{"a": \n', "line 3: not JSON"),
    "JSON array": ("train.jsonl", b'{"a": 1}\n["b", 2]\n', r"line 2: not a JSON object but '\["),
    "JSON number": ("train.jsonl", b"7\n", "line 1: not a JSON object but '7"),
    "latin-1 jsonl": ("train.jsonl", '{"a": "é"}\n'.encode("latin-1"), "not UTF-8"),
    "latin-1 csv": ("train.csv", "sentence,label\né,1\n".encode("latin-1"), "not UTF-8"),
    # Read in blocks, whose bytes are not those of the file.
    "latin-1 far down": (
        "train.csv",
        ("sentence,label\n" + "ab,1\n" * 9000 + "é,1\n").encode("latin-1"),
        r"not UTF-8 \(invalid continuation byte b'\\xe9'\); save it as UTF-8",
    ),
    "semicolons": ("train.csv", b"sentence;label\nwell, yes;1\n", "stand apart by ';'; save it"),
    "tabs in csv": ("train.csv", b"sentence\tlabel\nab\t1\n", "or as .tsv with tabs"),
    "not gzip": ("train.jsonl.gz", b'{"a": 1}\n', "cannot be read"),
    "truncated gzip": ("train.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 99)[:-9], "cannot be read"),
    "damaged gzip": (
        "train.jsonl.gz",
        gzip.compress(b'{"a": 1}\n' * 99)[:10] + b"\xff" * 40,
        "cannot be read",
    ),
    "cell too many": ("train.csv", b"sentence,label\na,1\nb,1,2\n", "line 3: not 2 cells"),
    "cell too few": ("train.csv", b"sentence,label\na,1\nb\n", "line 3: not 2 cells"),
    "open quote": ("train.csv", b'sentence,label\n"a,1\n', "not CSV"),
    "text behind a quote": ("train.csv", b'sentence,label\n"a"b,1\n', "line 2: not CSV"),
    "no parquet": ("train.parquet", b"PAR1 and no more", "not Parquet"),
    "empty parquet": ("train.parquet", b"", "not Parquet"),
    "another kind": ("train.xlsx", b"PK", "not one of .jsonl, .jsonl.gz, .csv, .tsv, .parquet"),
}


@pytest.mark.parametrize(("name", "content", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_told_in_one_line_with_its_name(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_rows(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_in_the_place_of_a_file_is_none(tmp_path):
    (tmp_path / "train.jsonl").mkdir()
    with pytest.raises(UserError, match="holds none of"):
        find_split(tmp_path, "train")
