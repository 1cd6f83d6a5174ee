"""What a run has left in its directory."""

import json


def results(runs):
    """What a run leaves behind, without times and what was of one start alone."""
    (path,) = runs.rglob("record.json")
    folder = path.parent
    record = json.loads(path.read_text())
    for name in ("started_at", "finished_at", "peak_memory_bytes"):
        del record[name]
    for name in ("train_seconds", "total_seconds"):
        del record["cost"][name]
    for phase in record["phases"]:
        del phase["seconds"]
    found = {"record": record}
    for name in ("model/model.safetensors", "predictions.jsonl", "metrics.csv"):
        found[name] = (folder / name).read_bytes()
    if record["method"] == "agwm":
        found["alpha"] = (folder / "alpha.safetensors").read_bytes()
    names = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    found["files"] = names - {"train.log", "error.txt", ".lock"}
    return found


def whole(runs):
    """Every file of a run that is in its place can be read; nothing vouches for what is not."""
    from safetensors import safe_open

    for file in runs.rglob("*"):
        if not file.is_file() or any(part.startswith(".") for part in file.relative_to(runs).parts):
            continue
        if file.suffix == ".json":
            json.loads(file.read_text())
        elif file.suffix == ".jsonl":
            [json.loads(line) for line in file.read_text().splitlines()]
        elif file.suffix == ".safetensors":
            with safe_open(file, "pt") as opened:
                opened.keys()
    for file in runs.rglob("record.json"):
        record = json.loads(file.read_text())
        there = {path.name for path in file.parent.iterdir()}
        assert record["status"] != "ok" or {"model", "predictions.jsonl"} <= there
