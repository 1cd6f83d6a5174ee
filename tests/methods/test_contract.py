"""What holds for every `conf/method/*.yaml`."""

import json
from dataclasses import fields

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from agwm.data.acceptability import generate
from agwm.method import build_method
from agwm.paths import root

METHODS = sorted(path.stem for path in (root() / "conf" / "method").glob("*.yaml"))
# Keeps the searches of agwm short; has no key of any other method.
SHORT = {"agwm": ["method.num_searches=2", "method.search_epochs=1"]}


def outcome(folder):
    """All that a run computes: exported weights, predictions, and the record without its times."""
    record = json.loads((folder / "record.json").read_text())
    for key in ("started_at", "finished_at", "peak_memory_bytes", "sweep"):
        record.pop(key)
    record["cost"] = {k: v for k, v in record["cost"].items() if not k.endswith("seconds")}
    record["phases"] = [{k: v for k, v in p.items() if k != "seconds"} for p in record["phases"]]
    return (
        load_file(folder / "model" / "model.safetensors"),
        (folder / "predictions.jsonl").read_text(),
        record,
    )


def same_weights(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", METHODS)
def test_same_seed_same_bits_and_another_seed_another_result(tiny_run, name):
    overrides = [f"method={name}", *SHORT.get(name, [])]
    torch.manual_seed(1)
    weights, predictions, record = outcome(tiny_run(*overrides)[1])
    torch.manual_seed(2)
    again = outcome(tiny_run(*overrides, "sweep=again")[1])
    assert same_weights(weights, again[0])
    assert predictions == again[1]
    record.pop("config_hash"), again[2].pop("config_hash")
    assert record == again[2]
    other = outcome(tiny_run(*overrides, "seed=1")[1])
    assert not same_weights(weights, other[0])
    assert other[2]["subsample_hash"] != record["subsample_hash"]


@pytest.mark.parametrize("name", [name for name in METHODS if name != "vanilla"])
def test_differs_from_vanilla_and_equals_it_at_the_neutral_setting(tiny_run, compose, name):
    vanilla = outcome(tiny_run("method=vanilla")[1])[0]
    ordinary = outcome(tiny_run(f"method={name}", *SHORT.get(name, []))[1])[0]
    assert vanilla.keys() == ordinary.keys()
    assert not same_weights(vanilla, ordinary)
    neutral = build_method(compose(f"method={name}").method).neutral
    if neutral is None:
        pytest.skip(f"{name} has no neutral setting")
    values = [f"method.{key}={value}" for key, value in neutral.items()]
    assert same_weights(vanilla, outcome(tiny_run(f"method={name}", *values)[1])[0])


@pytest.mark.parametrize("name", METHODS)
def test_the_exported_model_gives_the_predictions_in_plain_transformers(tiny_run, name):
    _, folder = tiny_run(f"method={name}", *SHORT.get(name, []))
    model = AutoModelForSequenceClassification.from_pretrained(folder / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    assert model.config.id2label == {0: "unacceptable", 1: "acceptable"}
    rows = generate()["validation"][:32]
    lines = (folder / "predictions.jsonl").read_text().splitlines()[:32]
    batch = tokenizer([row["sentence"] for row in rows], padding=True, return_tensors="pt")
    with torch.no_grad():
        scores = model(**batch).logits.softmax(-1)
    expected = torch.tensor([json.loads(line)["scores"] for line in lines])
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", METHODS)
def test_works_on_regression(tiny_run, tmp_path, name):
    folder = tmp_path / "data" / "stsb"
    folder.mkdir(parents=True)
    rows = [
        {"sentence1": f"the man was {word}", "sentence2": "it is time", "label": i / 7, "idx": i}
        for i, word in enumerate(("good", "new", "right", "first", "long") * 7)
    ]
    for split in ("train", "validation"):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(text)
    record, run = tiny_run(
        "task=stsb", f"data_dir={folder.parent}", "n_train=30", f"method={name}",
        *SHORT.get(name, []),
    )  # fmt: skip
    assert record.status == "ok" and record.headline["name"] == "spearman"
    config = json.loads((run / "model" / "config.json").read_text())
    assert config["problem_type"] == "regression"


@pytest.mark.parametrize("name", METHODS)
def test_the_yaml_and_the_method_have_the_same_keys(compose, name):
    config = compose(f"method={name}")
    keys = {field.name for field in fields(build_method(config.method))}
    assert keys == set(config.method) - {"_target_"}
