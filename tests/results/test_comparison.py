import json

import pytest
import torch
from safetensors.torch import save_file

from agwm.errors import RunError
from agwm.results.comparison import compare_runs, environment_differences

RECORD = {
    "headline": {"name": "accuracy", "value": 50.0},
    "metrics": {"accuracy": 0.5},
    "weights_hash": "a" * 12,
}
ROWS = [
    {"id": 0, "label": 0, "prediction": 0, "scores": [0.75, 0.25]},
    {"id": 1, "label": 1, "prediction": 0, "scores": [0.5, 0.5]},
]
WEIGHTS = {"w": torch.tensor([1.0, float("nan")]), "v": torch.zeros(2, 2)}


@pytest.fixture
def write(tmp_path):
    """`write(name, tensors, rows)`: a run's directory."""

    def written(name, tensors=WEIGHTS, rows=ROWS):
        folder = tmp_path / name
        (folder / "model").mkdir(parents=True)
        if tensors is not None:
            save_file(tensors, folder / "model" / "model.safetensors")
        (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return folder

    return written


def compared(first, second, **changed):
    """`{what: (equal, told)}`; `changed` goes into the second record."""
    found = compare_runs(first, second, (RECORD, RECORD | changed))
    return {what: (equal, told) for what, equal, told in found}


def test_a_run_equals_itself_nan_and_all(write):
    found = compared(write("a"), write("b"))
    assert [*found] == ["weights", "predictions", "accuracy"]
    assert all(equal for equal, _ in found.values())
    assert found["weights"][1] == "2 tensors, bit for bit"


def test_the_largest_difference_of_weights_is_told(write):
    other = WEIGHTS | {"v": torch.tensor([[0.0, 1e-7], [-0.25, 0.0]])}
    equal, told = compared(write("a"), write("b", other))["weights"]
    assert not equal and told == "1 of 2 tensors differ, the most by 0.25 in v"


def test_a_zero_of_another_sign_is_not_the_same(write):
    equal, told = compared(write("a"), write("b", WEIGHTS | {"v": -torch.zeros(2, 2)}))["weights"]
    assert not equal and "1 of 2 tensors differ, the most by 0 in v" in told


@pytest.mark.parametrize(
    "other",
    [
        {"w": WEIGHTS["w"]},
        {"w": WEIGHTS["w"], "u": WEIGHTS["v"]},
        {"w": WEIGHTS["w"], "v": torch.zeros(4)},
        {"w": WEIGHTS["w"], "v": torch.zeros(2, 2).double()},
    ],
    ids=["fewer", "another name", "another shape", "another type"],
)
def test_other_tensors_are_not_the_same(write, other):
    assert not compared(write("a"), write("b", other))["weights"][0]


def test_a_file_that_only_one_run_has_is_a_difference(write):
    equal, told = compared(write("a"), write("b", None))["weights"]
    assert not equal and "model.safetensors" in told


def test_weights_that_were_not_kept_are_compared_by_their_hash(write):
    first, second = write("a", None), write("b", None)
    assert compared(first, second)["weights"] == (True, f"hash {'a' * 12}")
    assert not compared(first, second, weights_hash="b" * 12)["weights"][0]
    assert not compared(first, second, weights_hash=None)["weights"][0]


def test_hashes_that_differ_outweigh_the_files(write):
    assert not compared(write("a"), write("b"), weights_hash="b" * 12)["weights"][0]


def test_changed_predictions_are_counted_and_the_scores_measured(write):
    rows = [ROWS[0], ROWS[1] | {"prediction": 1, "scores": [0.375, 0.625]}]
    equal, told = compared(write("a"), write("b", rows=rows))["predictions"]
    assert not equal and told == "1 of 2 differ; scores by at most 0.125"
    equal, told = compared(write("c"), write("d", rows=ROWS[:1]))["predictions"]
    assert not equal and told == "2 and 1 rows of other texts"


def test_the_headline_and_the_metrics_beside_it_count(write):
    first, second = write("a"), write("b")
    assert not compared(first, second, metrics={"accuracy": 0.5, "f1": 0.1})["accuracy"][0]
    equal, told = compared(first, second, headline={"name": "accuracy", "value": 50.1})["accuracy"]
    assert not equal and told == "50.0 then, 50.1 now"


def test_a_file_that_cannot_be_read_is_told(write):
    first, second = write("a"), write("b")
    (second / "model" / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(RunError, match=r"b/model/model.safetensors: cannot be read"):
        compared(first, second)


def test_what_differs_in_the_environment_is_listed_where_both_tell():
    then = {
        "versions": {"torch": "2.1", "numpy": "1"},
        "git": {"commit": "c0", "dirty": False},
        "machine": {"threads": 2},
        "device": "cpu",
    }
    now = then | {
        "versions": {"torch": "2.2", "numpy": "1", "peft": "3"},
        "git": {"commit": "c0", "dirty": True},
        "machine": None,
        "start_hash": "e" * 12,
    }
    assert environment_differences((then, then)) == []
    assert environment_differences((then, now)) == [
        ("torch", "2.1", "2.2"),
        ("commit", "c0", "c0 with changes"),
    ]
