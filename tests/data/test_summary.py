import csv

import pytest

from agwm.data.datamodule import GlueDataModule
from agwm.data.own import settled
from agwm.data.summary import print_data, summarize
from agwm.models.tiny import tiny_tokenizer


@pytest.fixture
def summary(compose, tmp_path):
    """`summary(rows, dev, *overrides)` of two CSV files with these rows."""

    def made(rows, dev, *overrides):
        for name, content in (("train", rows), ("dev", dev)):
            with (tmp_path / f"{name}.csv").open("w", newline="") as file:
                csv.writer(file).writerows([("text", "label"), *content])
        files = (f"task.{key}={tmp_path / f'{name}.csv'}" for key, name in
                 (("train", "train"), ("validation", "dev")))  # fmt: skip
        config = settled(compose("task=file", "model=tiny", *files, *overrides))
        data = GlueDataModule(config.task, config.optim, 0, config.n_train, None)
        data.tokenize_with(tiny_tokenizer())
        return summarize(data)

    return made


ROWS = [(f"the {'long ' * number}dog", "ab"[number % 2]) for number in range(20)]


def test_counts_and_lengths_are_those_of_the_file(summary):
    found = summary(ROWS, [("one", "a"), ("two", "a"), ("three", "b")], "optim.max_length=12")
    assert (found.train, found.evaluation, found.held_out) == (20, 3, False)
    assert found.classes == {"a": [10, 2], "b": [10, 1]}
    # A word is a token here, and two special ones stand around them: 4 to 23.
    assert found.tokens == {"median": 14, "95 %": 22, "longest": 23, "limit": 12}
    assert found.truncated == 11
    assert any("11 of 20 training texts are longer than 12 tokens" in r for r in found.remarks)


def test_numbers_are_described(summary, capsys):
    rows = [(f"text {number}", number / 4) for number in range(5)]
    for given, unit in (("null", "(label - mean) / std"), ("false", "they are")):
        found = summary(rows, rows, "task.kind=regression", f"task.standardize={given}")
        print_data(found, "numbers.csv")
        assert f"learned as {unit}: min 0, mean 0.5" in capsys.readouterr().out
    assert found.classes is None
    assert found.numbers == pytest.approx({"min": 0, "mean": 0.5, "max": 1, "std": 0.125**0.5})


def test_f1_says_of_which_label_it_is(summary, capsys):
    rows = [(f"text {number}", ("fraud", "legal")[number % 2]) for number in range(20)]
    print_data(summary(rows, rows, "task.metrics=[f1]"), "reviews.csv")
    assert "f1 of 'legal' (task.labels= orders them)" in capsys.readouterr().out
    print_data(summary(rows, rows, "task.metrics=[f1]", "task.labels=[legal,fraud]"), "reviews.csv")
    assert "f1 of 'fraud'" in capsys.readouterr().out


def test_names_are_printed_as_they_stand(summary, capsys):
    rows = [(f"text {number}", ("[red]", "[/b]")[number % 2]) for number in range(20)]
    path = f"{'long/' * 30}data[1].csv"
    print_data(summary(rows, rows), path)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == path
    assert any("[red]" in line for line in printed) and any("[/b]" in line for line in printed)


SUSPICIOUS = {
    "repeated": ([*ROWS, ROWS[3]], [], "training texts that repeat an earlier one: 1, row 21"),
    "two labels": ([*ROWS, (ROWS[3][0], "a")], [], "with more than one label: 1, row 21"),
    "overlap": (ROWS, [ROWS[2], ROWS[4]], "trained on, which flatters: 2, rows 1, 2"),
    "empty": ([*ROWS, ("  ", "a")], [], "empty training texts: 1, row 21"),
    "empty to evaluate on": (ROWS, [("", "a")], "empty evaluation texts: 1, row 1"),
    "few of a class": (
        [*ROWS, ("x", "c"), ("y", "c")],
        [],
        "too few training texts to be learned: c (2)",
    ),
    "untested class": (ROWS, [("x", "a")], "without a text to evaluate them on: b"),
    "few texts": (
        ROWS,
        [("x", "a"), ("y", "b")],
        "2 texts to evaluate on: one is worth 50.0 points",
    ),
    "labels alike": (
        [*ROWS, *((f"more {number}", "A") for number in range(3))],
        [],
        "labels that differ by case or spaces alone: A, a",
    ),
}


@pytest.mark.parametrize(("rows", "dev", "remark"), SUSPICIOUS.values(), ids=SUSPICIOUS)
def test_what_is_suspicious_is_said(summary, rows, dev, remark):
    clean = [(f"other {number}", "ab"[number % 2]) for number in range(100)]
    said = summary(rows, dev or clean).remarks
    assert any(remark in line for line in said), said
    assert not any(remark in line for line in summary(ROWS, clean).remarks)


def test_clean_data_has_no_remarks(summary, capsys):
    clean = [(f"other {number}", "ab"[number % 2]) for number in range(100)]
    found = summary(ROWS, clean)
    assert found.remarks == []
    print_data(found, "reviews.csv")
    printed = capsys.readouterr().out
    assert "reviews.csv" in printed and "note" not in printed
