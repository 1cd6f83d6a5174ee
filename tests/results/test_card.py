import csv
import json
from statistics import stdev

import pytest
import yaml

from agwm.results.card import write_card
from agwm.results.record import read_record


@pytest.fixture
def finished(tiny_run, tmp_path):
    """`finished(seed, ...)`: folder of a run of own data with three classes."""
    path = tmp_path / "reviews.csv"
    with path.open("w", newline="") as file:
        rows = [
            (f"the {word} {number}", word) for number in range(20) for word in ("dog", "cat", "a|b")
        ]
        csv.writer(file).writerows([("text", "label"), *rows])

    def made(seed, *overrides):
        run = ("task=file", f"task.train={path}", "n_train=null", "method=vanilla", f"seed={seed}")
        return tiny_run(*run, *overrides)[1]

    return made


def split(card):
    _, header, body = card.read_text().split("---\n", 2)
    return yaml.safe_load(header), body


def test_a_card_says_what_the_model_is_and_what_it_was_made_of(finished, tmp_path):
    folder = finished(0)
    header, body = split(write_card(folder))
    assert header["library_name"] == "transformers" and "agwm" in header["tags"]
    record = read_record(folder)
    assert f"| accuracy of this model | {record['headline']['value']:.2f} |" in body
    assert "spread over seeds | not known" in body
    assert "| a\\|b | 16 | 4 |" in body
    assert "12 texts that were held out of the training file" in body
    assert str(tmp_path) not in body


def test_a_card_knows_the_seeds_that_have_finished_beside(finished):
    folders = [finished(seed) for seed in range(3)]
    # Another configuration in the same place is none of them.
    other = read_record(folders[2]) | {"cell_hash": "another"}
    (folders[2] / "record.json").write_text(json.dumps(other))
    values = [read_record(folder)["headline"]["value"] for folder in folders[:2]]
    _, body = split(write_card(folders[0]))
    mean = sum(values) / 2
    assert f"over 2 seeds | {mean:.2f} ± {stdev(values):.2f} |" in body


def test_a_run_that_kept_no_model_gets_no_card(finished):
    assert write_card(finished(0, "save_model=false")) is None


def test_names_from_a_file_break_neither_table_nor_list(tiny_run, tmp_path):
    path = tmp_path / "reviews.csv"
    with path.open("w", newline="") as file:
        names = ("two\nlines", "<b>*bold*</b>")
        rows = [(f"text {number}", names[number % 2]) for number in range(20)]
        csv.writer(file).writerows([("text", "label"), *rows])
    file = f"task.train={path}"
    run = ("task=file", "n_train=null", "method=vanilla", file, f"task.validation={path}")
    _, folder = tiny_run(*run)
    _, body = split(write_card(folder))
    assert "| two lines | 10 | 10 |" in body
    assert r"| &lt;b&gt;\*bold\*&lt;/b&gt; | 10 | 10 |" in body
    assert r"the labels &lt;b&gt;\*bold\*&lt;/b&gt;, two lines," in body
    # It was trained on these very texts, and a remark says so.
    assert "no training has seen" not in body and "20 texts of a file of their own" in body
