"""What holds for every `conf/method/*.yaml`."""

import json
import random
from dataclasses import fields

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from agwm.data.acceptability import generate
from agwm.method import build_method
from agwm.models.probe import MeanPooled
from agwm.paths import root

METHODS = sorted(path.stem for path in (root() / "conf" / "method").glob("*.yaml"))
# What the tiny model and the tests' time ask for; methods without such a need are not named.
SHORT = {
    "agwm": ["method.num_searches=2", "method.search_epochs=1"],
    "vanilla_matched": ["method.matched.num_searches=2", "method.matched.search_epochs=1"],
    "top_k_layers": ["method.layers=1"],
    "lora": ["method.epochs=2"],
    "prefix": ["method.epochs=2"],
    "prompt": ["method.epochs=2"],
}


def outcome(folder):
    """All that a run computes: exported weights, predictions, and the record without its times."""
    record = json.loads((folder / "record.json").read_text())
    for key in ("started_at", "finished_at", "peak_memory_bytes", "sweep"):
        record.pop(key)
    record["cost"] = {k: v for k, v in record["cost"].items() if not k.endswith("seconds")}
    record["phases"] = [{k: v for k, v in p.items() if k != "seconds"} for p in record["phases"]]
    files = sorted((folder / "model").rglob("*.safetensors"))
    return (
        {f"{f.parent.name}/{k}": v for f in files for k, v in load_file(f).items()},
        (folder / "predictions.jsonl").read_text(),
        record,
    )


def same_weights(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def read(folder):
    """The exported model: an ordinary one, or as README says for those that cannot be merged."""
    if (folder / "adapter").is_dir():
        base = AutoModelForSequenceClassification.from_pretrained(folder / "base")
        return PeftModel.from_pretrained(base, folder / "adapter")
    if (folder / "head.safetensors").exists():
        head = load_file(folder / "head.safetensors")
        linear = torch.nn.Linear(*reversed(head["weight"].shape))
        linear.load_state_dict(head)
        return MeanPooled(AutoModel.from_pretrained(folder), linear)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert model.config.id2label == {0: "unacceptable", 1: "acceptable"}
    return model


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tmp_path_factory.mktemp("made"), {}


@pytest.fixture
def ordinary(tiny_run, made):
    """`ordinary(method)`: folder of its run, made once for all tests here and not to be changed."""
    runs_dir, folders = made

    def once(name):
        if name not in folders:
            overrides = [f"method={name}", *SHORT.get(name, [])]
            folders[name] = tiny_run(f"runs_dir={runs_dir}", *overrides)[1]
        return folders[name]

    return once


@pytest.fixture
def disturb():
    """`disturb()`: what the process shares with all that runs in it is not as it was."""
    before = torch.get_default_dtype()

    def changed():
        torch.manual_seed(2)
        np.random.seed(2)  # noqa: NPY002
        random.seed(2)
        torch.rand(3), random.random()
        torch.set_default_dtype(torch.float64)

    yield changed
    torch.set_default_dtype(before)


@pytest.mark.parametrize("name", METHODS, scope="module")
def test_same_seed_same_bits_and_another_seed_another_result(tiny_run, ordinary, disturb, name):
    overrides = [f"method={name}", *SHORT.get(name, [])]
    weights, predictions, record = outcome(ordinary(name))
    disturb()
    again = outcome(tiny_run(*overrides, "sweep=again")[1])
    assert same_weights(weights, again[0])
    assert predictions == again[1]
    record.pop("config_hash"), again[2].pop("config_hash")
    assert record == again[2]
    assert torch.get_default_dtype() is torch.float64
    other = outcome(tiny_run(*overrides, "seed=1")[1])
    assert not same_weights(weights, other[0])
    assert other[2]["subsample_hash"] != record["subsample_hash"]


@pytest.mark.parametrize("name", [name for name in METHODS if name != "vanilla"], scope="module")
def test_differs_from_vanilla_and_equals_it_at_the_neutral_setting(
    tiny_run, ordinary, compose, name
):
    vanilla, predicted, _ = outcome(ordinary("vanilla"))
    weights, predictions, _ = outcome(ordinary(name))
    assert predicted != predictions
    if vanilla.keys() == weights.keys():
        assert not same_weights(vanilla, weights)
    neutral = build_method(compose(f"method={name}").method).neutral
    if neutral is None:
        pytest.skip(f"{name} has no neutral setting")
    values = [
        f"method.{key}={'null' if value is None else value}" for key, value in neutral.items()
    ]
    assert same_weights(vanilla, outcome(tiny_run(f"method={name}", *values)[1])[0])


@pytest.mark.parametrize("name", METHODS, scope="module")
def test_the_exported_model_gives_the_predictions_in_plain_transformers(ordinary, name):
    folder = ordinary(name)
    model = read(folder / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    rows = generate()["validation"][:32]
    lines = (folder / "predictions.jsonl").read_text().splitlines()[:32]
    batch = tokenizer([row["sentence"] for row in rows], padding=True, return_tensors="pt")
    with torch.no_grad():
        scores = model(**batch).logits.softmax(-1)
    expected = torch.tensor([json.loads(line)["scores"] for line in lines])
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)


@pytest.fixture
def stsb_run(tiny_run, tmp_path):
    """`stsb_run(method, unit, *overrides)`: record and folder of a run on labels of that unit."""

    def made(name, unit, *overrides):
        folder = tmp_path / f"in {unit}" / "stsb"
        folder.mkdir(parents=True)
        rows = [
            {"sentence1": f"it was {word}", "sentence2": "is it", "label": unit * i / 7, "idx": i}
            for i, word in enumerate(("good", "new", "right", "first", "long") * 7)
        ]
        for split in ("train", "validation"):
            text = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"{split}.jsonl").write_text(text)
        return tiny_run(
            "task=stsb", f"data_dir='{folder.parent}'", "n_train=30", f"method={name}",
            f"runs_dir={tmp_path / 'runs'}", f"sweep=in{unit}", *SHORT.get(name, []), *overrides,
        )  # fmt: skip

    return made


def numbers(run):
    """What a run has predicted, one number for each row."""
    lines = (run / "predictions.jsonl").read_text().splitlines()
    return [number for line in lines for number in json.loads(line)["scores"]]


@pytest.mark.parametrize("name", METHODS, scope="module")
def test_standardized_labels_have_no_unit(stsb_run, name):
    """A power of two changes no digit: in another unit everything is the same, to the last bit."""
    one, four = (numbers(stsb_run(name, unit, "task.standardize=true")[1]) for unit in (1, 4))
    assert four == [4 * number for number in one]


@pytest.mark.parametrize("name", METHODS, scope="module")
def test_works_on_regression(stsb_run, name):
    record, run = stsb_run(name, 1)
    assert record.status == "ok" and record.headline["name"] == "spearman"
    assert len(numbers(run)) == 35
    configs = [json.loads(file.read_text()) for file in (run / "model").rglob("config.json")]
    # An encoder alone has no labels.
    assert [c["problem_type"] for c in configs if "problem_type" in c] in ([], ["regression"])


@pytest.mark.parametrize("name", METHODS, scope="module")
def test_the_yaml_and_the_method_have_the_same_keys(compose, name):
    config = compose(f"method={name}")
    keys = {field.name for field in fields(build_method(config.method))}
    assert keys == set(config.method) - {"_target_"}
