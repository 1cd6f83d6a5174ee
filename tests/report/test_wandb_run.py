import json
from collections import defaultdict

from wandb_file import read_wandb

from agwm.report.__main__ import main


def test_the_report_is_one_offline_run_with_tables_and_pictures(tmp_path, write_run, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    for seed in range(3):
        write_run(40.0 + seed, seed=seed, sweep="table3")
        write_run(51.0 - seed, seed=seed, sweep="table3", method="agwm")
    write_run(seed=3, status="failed", error="boom", n_train=None)
    out = tmp_path / "out"
    assert main([str(tmp_path / "runs"), "--out", str(out), "--wandb"]) == 0
    (path,) = out.rglob("*.wandb")
    records = read_wandb(path)
    run = next(found.run for found in records if found.WhichOneof("record_type") == "run")
    assert (run.job_type, run.run_group, run.display_name) == ("report", "table3", "report")

    logged = defaultdict(dict)  # a table or picture by its fields
    for found in records:
        if found.WhichOneof("record_type") == "history":
            for item in found.history.item:
                name, *key = item.nested_key or [item.key]
                logged[name]["/".join(key)] = json.loads(item.value_json)
    names = ("scores", "comparisons", "cells", "stability", "cost")
    assert {key for key in logged if "tables/" in key} == {f"tables/{name}" for name in names}
    pictures = [fields for key, fields in logged.items() if "plots/" in key]
    assert [fields["format"] for fields in pictures] == ["png", "png"]
    scores = json.loads((path.parent / "files" / logged["tables/scores"]["path"]).read_text())
    assert scores["columns"] == ["model", "n", "method", "cola mean", "cola std"]
    assert scores["data"][1] == ["tiny", 300, "agwm", 50.0, 1.0]
    for file in out.rglob("*"):
        assert not file.is_file() or b"x" * 40 not in file.read_bytes()
