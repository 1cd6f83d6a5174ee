import json

import pytest

from agwm.errors import UserError
from agwm.report.predictions import is_degenerate, read_predictions
from agwm.report.records import CellKey, read_records
from agwm.results.record import Record


def test_runs_are_found_at_any_depth_once_and_not_below_a_run(tmp_path, write_run):
    first = write_run(seed=0)
    write_run(seed=1)
    write_run(seed=2, folder=first / "model" / "inner")
    (tmp_path / "link").symlink_to(first)
    found = read_records([tmp_path, first, first / "record.json", tmp_path / "link"])
    assert sorted(run.seed for run in found.ok) == [0, 1]


def test_a_variant_is_a_method_of_its_own(tmp_path, write_run):
    write_run(method="agwm", n_train=None)
    write_run(method="agwm", n_train=None, variant=["num_searches=2", "rank=8"])
    keys = {run.cell for run in read_records([tmp_path]).ok}
    labels = ("agwm", "agwm+num_searches=2+rank=8")
    assert keys == {CellKey("tiny", None, label, "cola") for label in labels}


def test_a_failed_run_has_no_value_even_if_its_record_holds_one(tmp_path, write_run):
    write_run(seed=0)
    folder = write_run(seed=1, status="failed", error="ValueError: no")
    text = (folder / "record.json").read_text()
    headline = '"headline": {"name": "matthews_corrcoef", "value": 99.0}'
    (folder / "record.json").write_text(text.replace('"headline": null', headline))
    found = read_records([tmp_path])
    assert [run.value for run in found.ok] == [50.0]
    assert [(run.seed, run.value) for run in found.failed] == [(1, None)]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"seed": 1', '"seed": "one"', "'one'"),
        ('"status": "ok"', '"status": "running"', "'running'"),
        ('"value": 50.0', '"value": NaN', "nan"),
        ('"task": "cola", ', "", "no field 'task'"),
        ('"schema_version": 1, ', "", "no field 'schema_version'"),
        ("}", "", "JSONDecodeError"),
        ('{"schema_version"', '[{"schema_version"', "JSONDecodeError"),
    ],
)
def test_what_is_no_record_is_listed_with_its_reason(tmp_path, write_run, old, new, reason):
    write_run(seed=0)
    file = write_run(seed=1) / "record.json"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    found = read_records([tmp_path])
    assert [run.seed for run in found.ok] == [0]
    ((listed, why),) = found.unreadable
    assert listed == file and reason in why and "\n" not in why


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", True),
        ("seed", -1),
        ("seed", 1.0),
        ("schema_version", True),
        ("schema_version", [1]),
        ("n_train", 1),
        ("n_train", False),
        ("n_train", 2**63),
        ("task", "\ud800"),
        ("method", "half \udfff"),
        ("model", None),
        ("status", ["ok"]),
        ("headline", 50.0),
        ("headline", None),
        ("headline.value", None),
        ("headline.value", True),
        ("headline.value", "50"),
        ("headline.value", float("inf")),
        ("headline.value", 100.1),
        ("headline.value", 2**63),
        ("headline.name", 1),
        ("baseline", float("nan")),
        ("baseline", "0"),
        ("degenerate", 0),
        ("mixture", "W1"),
        ("mixture", ["W"]),
        ("cost", [1]),
        ("cost.train_seconds", "2"),
        ("cost.train_seconds", -1.0),
        ("cost.forward_passes", float("inf")),
        ("cost.optimizer_steps", 2**63),
        ("cost.backward_passes", True),
        ("peak_memory_bytes", 1.5),
        ("peak_memory_bytes", 2**63),
        ("device", ["cpu"]),
        ("sweep", {}),
        ("finished_at", 20261121),
        ("subsample_hash", ["a"]),
        ("cell_hash", 7),
        ("error", {"type": "ValueError"}),
        ("error", "\ud800"),
        ("variant", "rank=8"),
        ("variant", [8]),
        ("git", "e9b0028"),
        ("git.commit", 9),
        ("git.dirty", "no"),
        ("versions", ["torch"]),
        ("versions.torch", 2.6),
    ],
)
def test_a_field_that_cannot_be_makes_a_record_unreadable(tmp_path, write_run, path, value):
    write_run(seed=0)
    file = write_run(seed=1) / "record.json"
    record = json.loads(file.read_text())
    outer, _, inner = path.rpartition(".")
    target = record.setdefault(outer, {}) if outer else record
    target[inner] = value
    file.write_text(json.dumps(record))
    found = read_records([tmp_path])
    assert [run.seed for run in found.ok] == [0]
    ((listed, why),) = found.unreadable
    assert listed == file and path in why and len(why) < 120
    assert why.encode()  # can be written into a report


@pytest.mark.parametrize("content", [b"[" * 10**6, b"\xff", b"", b"null", b"9" * 5000])
def test_a_file_of_anything_is_unreadable(tmp_path, write_run, content):
    file = write_run() / "record.json"
    file.write_bytes(content)
    assert [path for path, _ in read_records([tmp_path]).unreadable] == [file]


@pytest.mark.parametrize(
    "outcome", [{"status": "ok", "headline": {"name": "f1", "value": 5.0}}, {"status": "failed"}]
)
def test_a_record_with_no_more_than_agwm_always_writes_is_read(tmp_path, outcome):
    names = dict.fromkeys(("task", "model", "method", "sweep", "config_hash", "cell_hash"), "x")
    Record(**names, **outcome, n_train=None, seed=0).write(tmp_path)
    found = read_records([tmp_path])
    assert len(found.ok) + len(found.failed) == 1 and found.unreadable == []


@pytest.mark.parametrize("value", [-100, 100.0000001, 0])
def test_a_headline_may_be_any_percentage(tmp_path, write_run, value):
    write_run(value)
    assert [run.value for run in read_records([tmp_path]).ok] == [value]


def test_a_list_is_no_record(tmp_path, write_run):
    file = write_run() / "record.json"
    file.write_text("[1, 2]")
    assert [path for path, _ in read_records([tmp_path]).unreadable] == [file]


def refusal(path):
    with pytest.raises(UserError) as error:
        read_records([path])
    message = str(error.value)
    assert "\n" not in message
    return message


def test_two_runs_of_one_seed_are_refused_also_across_sweeps(tmp_path, write_run):
    folders = [write_run(sweep=sweep) for sweep in ("one", "two")]
    message = refusal(tmp_path)
    assert all(str(folder) in message for folder in folders)


def test_a_failed_run_beside_its_repetition_is_no_duplicate(tmp_path, write_run):
    write_run(sweep="one", status="failed")
    write_run(sweep="two")
    found = read_records([tmp_path])
    assert len(found.ok) == len(found.failed) == 1


def test_two_configurations_in_one_cell_are_refused(tmp_path, write_run):
    folders = [write_run(seed=seed, cell_hash=hash_) for seed, hash_ in enumerate("aab")]
    message = refusal(tmp_path)
    assert str(folders[2]) in message and "(a, b)" in message


def test_two_metrics_in_one_cell_are_refused(tmp_path, write_run):
    for seed, name in enumerate(("accuracy", "f1")):
        write_run(seed=seed, headline={"name": name, "value": 50.0})
    assert "two headline metrics (accuracy, f1)" in refusal(tmp_path)


def test_records_without_a_cell_hash_are_taken(tmp_path, write_run):
    write_run(seed=0, cell_hash="a")
    write_run(seed=1)
    assert len(read_records([tmp_path]).ok) == 2


def test_a_record_of_another_schema_version_is_listed(tmp_path, write_run):
    write_run(seed=0)
    folder = write_run(seed=1, schema_version=99)
    found = read_records([tmp_path])
    ((listed, why),) = found.unreadable
    assert len(found.ok) == 1 and listed == folder / "record.json" and "schema_version 99" in why


def test_nothing_found_is_told(tmp_path):
    assert "no record.json" in refusal(tmp_path)
    assert "no such" in refusal(tmp_path / "nowhere")


def rows_of(predictions, split=None):
    further = {} if split is None else {"split": split}
    return [
        {"id": i, "label": 0, "prediction": p, "scores": [1 - p, p]} | further
        for i, p in enumerate(predictions)
    ]


def test_only_the_first_split_is_read(write_run):
    rows = rows_of([0, 1, 1]) + rows_of([1, 1], "validation_mismatched")
    found = read_predictions(write_run(predictions=rows))
    assert found.ids == [0, 1, 2]
    assert found.predicted.tolist() == [[0, 1, 1]]
    assert found.scores.tolist() == [[[1, 0], [0, 1], [0, 1]]]


@pytest.mark.parametrize(
    ("recorded", "predicted", "expected"),
    [
        (None, [1, 1, 1], True),
        (None, [1, 1, 0], False),
        (None, None, None),
        (True, [1, 1, 0], True),  # the record knows better
        (False, None, False),
    ],
)
def test_a_run_is_degenerate_if_it_predicts_one_thing(
    tmp_path, write_run, recorded, predicted, expected
):
    predictions = None if predicted is None else rows_of(predicted)
    write_run(predictions=predictions, degenerate=recorded)
    (run,) = read_records([tmp_path]).ok
    assert is_degenerate(run) is expected


def test_broken_predictions_are_as_good_as_none(write_run):
    folder = write_run()
    (folder / "predictions.jsonl").write_text('{"id": 0, "predi')
    assert read_predictions(folder) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"prediction": "1"},
        {"prediction": True},
        {"prediction": None},
        {"prediction": 2},  # there are classes 0 and 1
        {"prediction": 0.5},
        {"prediction": [1]},
        {"prediction": {"class": 1}},
        {"scores": [0.5, 0.6]},
        {"scores": [-0.5, 1.5]},
        {"scores": [None, 1.0]},
        {"scores": ["0", "1"]},
        {"scores": []},
        {"scores": None},
        {"scores": 1.0},
        {"scores": {"0": 1.0}},
    ],
)
@pytest.mark.parametrize("everywhere", [False, True])
def test_predictions_that_cannot_be_are_as_good_as_none(tmp_path, write_run, wrong, everywhere):
    rows = rows_of([0, 1, 1])
    rows = [row | wrong if everywhere or row["id"] == 1 else row for row in rows]
    assert read_predictions(write_run(predictions=rows, degenerate=None)) is None
    (run,) = read_records([tmp_path]).ok
    assert is_degenerate(run) is None


def test_scores_of_other_numbers_of_classes_are_as_good_as_none(write_run):
    rows = [
        {"id": i, "label": 0, "prediction": 0, "scores": scores}
        for i, scores in enumerate(([1.0], [0.5, 0.2, 0.3]))  # 2 a row on average
    ]
    assert read_predictions(write_run(predictions=rows)) is None


@pytest.mark.parametrize("content", ["", '{"id": 0}\n', "[1]\n", "\n", "\0"])
def test_a_file_of_something_else_has_no_predictions(write_run, content):
    folder = write_run()
    (folder / "predictions.jsonl").write_text(content)
    assert read_predictions(folder) is None
