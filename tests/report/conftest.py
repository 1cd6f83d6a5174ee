import json

import pytest


@pytest.fixture
def write_run(tmp_path):
    """`write_run(value, **fields)`: a run's folder below tmp_path with a record of that headline.

    `predictions` are the rows of predictions.jsonl; the other fields go into the record.
    """

    def write(value=50.0, *, predictions=None, folder=None, **fields):
        record = {
            "schema_version": 1,
            "status": "ok",
            "task": "cola",
            "model": "tiny",
            "method": "vanilla",
            "n_train": 300,
            "seed": 0,
            "sweep": "single",
            "variant": [],
            "headline": {"name": "matthews_corrcoef", "value": value},
            "baseline": 0.0,
            "degenerate": False,
            "cost": {
                "forward_passes": 10,
                "backward_passes": 10,
                "optimizer_steps": 10,
                "train_seconds": 2.0,
                "total_seconds": 3.0,
            },
            "peak_memory_bytes": 2**20,
            "device": "cpu",
            "error": None,
        } | fields
        if record["status"] == "failed":
            record["headline"] = None
        method = "+".join([record["method"], *record["variant"]])
        place = (record["sweep"], record["task"], record["model"], method)
        folder = folder or tmp_path.joinpath(
            "runs", *place, f"n{record['n_train']}", f"seed{record['seed']}"
        )
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(json.dumps(record))
        if predictions is not None:
            lines = "".join(json.dumps(row) + "\n" for row in predictions)
            (folder / "predictions.jsonl").write_text(lines)
        return folder

    return write


@pytest.fixture
def report(tmp_path):
    """`report(baseline="vanilla", published=False)`: `{name: table}` and the report itself."""
    from agwm.report.build import report_on_runs
    from agwm.report.records import read_records

    def build(baseline="vanilla", published=False):
        found = report_on_runs(read_records([tmp_path / "runs"]), baseline, published)
        return {table.name: table for table in found.tables}, found

    return build


@pytest.fixture
def rows():
    """`rows(table)`: its rows as dictionaries of raw values."""

    def as_dicts(table):
        names = [column.name for column in table.columns]
        return [dict(zip(names, row, strict=True)) for row in table.rows]

    return as_dicts
