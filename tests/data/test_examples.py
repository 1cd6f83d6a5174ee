import json
import math

import pytest

from agwm.config import Task
from agwm.data.examples import Examples, load_examples
from agwm.errors import UserError

SINGLE = Task("sst2", ["sentence"], ["negative", "positive"], ["accuracy"], ["validation"])
PAIR = Task("rte", ["sentence1", "sentence2"], ["yes", "no"], ["accuracy"], ["validation"])
NUMBER = Task("stsb", ["sentence1", "sentence2"], None, ["spearman"], ["validation"])
GENERATED = Task(
    *("acceptability", ["sentence"], ["no", "yes"], ["accuracy"], ["validation"]),
    generated=True,
    group_by="phenomenon",
)


@pytest.fixture
def load(tmp_path):
    def loaded(task, *rows, split="train"):
        folder = tmp_path / task.name
        folder.mkdir(exist_ok=True)
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return load_examples(task, split, str(tmp_path))

    return loaded


def test_texts_labels_and_ids_come_in_the_order_of_the_file(load):
    found = load(
        SINGLE,
        {"sentence": "bad", "label": 0, "idx": 7},
        {"sentence": "good", "label": 1, "idx": 3},
    )
    assert found == Examples([7, 3], [("bad",), ("good",)], [0, 1])


def test_rows_without_idx_are_numbered(load):
    found = load(SINGLE, {"sentence": "a", "label": 0}, {"sentence": "b", "label": 1})
    assert found.ids == [0, 1]


def test_a_pair_keeps_both_texts_in_the_order_of_the_columns(load):
    found = load(PAIR, {"sentence2": "b", "label": 1, "sentence1": "a"})
    assert found.texts == [("a", "b")]


@pytest.mark.parametrize("given", [1, "1", 1.0])
def test_a_class_is_an_int_however_the_file_writes_it(load, given):
    (label,) = load(SINGLE, {"sentence": "a", "label": given}).labels
    assert label == 1 and type(label) is int


@pytest.mark.parametrize("given", [2.5, "2.5"])
def test_a_number_to_regress_on_stays_a_float(load, given):
    found = load(NUMBER, {"sentence1": "a", "sentence2": "b", "label": given})
    assert found.labels == [2.5]


def test_generated_examples_come_with_their_groups():
    found = load_examples(GENERATED, "validation", None)
    assert len(found) == len(found.groups) == len(found.ids)
    assert len(set(found.groups)) >= 10


@pytest.mark.parametrize("given", [None, True, False, -1, 2, 0.5, "positive", "", [1], math.nan])
def test_an_unknown_label_is_told_with_its_row_and_the_known_ones(load, given):
    with pytest.raises(UserError) as error:
        load(SINGLE, {"sentence": "a", "label": 1}, {"sentence": "b", "label": given})
    message = str(error.value)
    assert "row 2" in message and "train.jsonl" in message
    assert f"label is {given!r}, not one of 0 (negative), 1 (positive)" in message


@pytest.mark.parametrize("given", [None, True, math.nan, math.inf, "high", {}])
def test_a_label_that_is_no_finite_number_cannot_be_regressed_on(load, given):
    with pytest.raises(UserError, match=r"row 1: label is .*, not a number"):
        load(NUMBER, {"sentence1": "a", "sentence2": "b", "label": given})


@pytest.mark.parametrize("given", [None, 3, ["a"]])
def test_what_is_no_text_is_told_with_its_row_and_column(load, given):
    rows = [{"sentence1": "a", "sentence2": text, "label": 0} for text in ("b", given)]
    with pytest.raises(UserError, match=r"row 2: sentence2 is .*, not a text"):
        load(PAIR, *rows)


def test_one_text_of_a_pair_may_be_empty_but_not_both(load):
    examples = load(PAIR, {"sentence1": "a", "sentence2": "", "label": 0})
    assert examples.texts == [("a", "")]
    with pytest.raises(UserError, match=r"row 1: sentence1 is ' ', not a text"):
        load(PAIR, {"sentence1": " ", "sentence2": "\n", "label": 0})


@pytest.mark.parametrize("column", ["sentence1", "sentence2", "label"])
def test_a_missing_column_is_told_with_those_there_are(load, column):
    row = {"sentence1": "a", "sentence2": "b", "label": 0}
    del row[column]
    with pytest.raises(UserError, match=f"no column '{column}' among '{next(iter(row))}'"):
        load(PAIR, row)


@pytest.mark.parametrize("column", ["sentence", "label"])
def test_a_column_missing_in_a_later_row_is_told_with_its_row(load, column):
    row = {"sentence": "a", "label": 0}
    with pytest.raises(UserError, match=f"row 2: {column} is None"):
        load(SINGLE, row, {key: value for key, value in row.items() if key != column})


def test_a_missing_group_column_is_told_in_one_line(load):
    task = Task("own", ["sentence"], ["a", "b"], ["accuracy"], ["validation"], group_by="kind")
    with pytest.raises(UserError, match="kind"):
        load(task, {"sentence": "a", "label": 0})


def test_a_task_that_is_not_on_the_hub_asks_for_data_dir():
    with pytest.raises(UserError, match="task=sst2: not on the Hub; give data_dir=FOLDER"):
        load_examples(SINGLE, "train", None)


def test_take_gives_all_columns_in_the_order_asked_for():
    examples = Examples([10, 11, 12], [("a",), ("b",), ("c",)], [0, 1, 0], ["x", "y", "z"])
    assert examples.take([2, 0]) == Examples([12, 10], [("c",), ("a",)], [0, 0], ["z", "x"])


def test_the_digest_is_of_the_examples_and_not_of_their_order():
    examples = Examples([10, 11], [("a",), ("b",)], [0, 1])
    assert examples.digest() == examples.take([1, 0]).digest()
    others = (
        Examples([10, 12], [("a",), ("b",)], [0, 1]),
        Examples([10, 11], [("a",), ("c",)], [0, 1]),
        Examples([10, 11], [("a",), ("b",)], [0, 0]),
        examples.take([0]),
        examples.take([0, 1, 1]),
    )
    assert len({examples.digest(), *(other.digest() for other in others)}) == 6
