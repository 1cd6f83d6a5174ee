import json
import math
import re
import subprocess
import sys

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    pipeline,
)

from agwm.data.acceptability import generate
from agwm.method import build_method
from agwm.models.tiny import tiny_tokenizer
from agwm.paths import root

README = (root() / "README.md").read_text()


def test_the_method_table_names_every_method():
    choices = re.search(r"^\| `method` \| `([^`]*)`", README, flags=re.MULTILINE).group(1)
    assert sorted(choices.split()) == sorted(
        p.stem for p in (root() / "conf/method").glob("*.yaml")
    )


def table():
    lines = README[README.index("## Methods") : README.index("## A run's directory")].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return {row[0].strip("`"): row[1:] for row in rows[2:]}


def test_the_table_of_methods_is_that_of_the_folder(compose):
    assert sorted(table()) == sorted(p.stem for p in (root() / "conf/method").glob("*.yaml"))
    for name, (paper, *_) in table().items():
        method = build_method(compose(f"method={name}").method)
        doc = sys.modules[type(method).__module__].__doc__
        for number in re.findall(r"arxiv.org/abs/(\S+)\)", paper):
            assert number in doc + (root() / f"conf/method/{name}.yaml").read_text(), name


def test_the_passes_of_the_table_are_those_of_the_plan(compose):
    epochs = compose("model=minilm").optim.epochs

    def passes(phases):
        return sum(
            passes(p.as_long_as)
            or (epochs if p.epochs is None else p.epochs) * p.share * p.passes / epochs
            for p in phases
        )

    for name, (_, _, said, *_) in table().items():
        planned = passes(build_method(compose(f"method={name}", "model=minilm").method).plan())
        formula = re.match(r"[\d.+ KT]+", said)
        if name == "vanilla_matched":
            formula = re.match(r"[\d.+ KT]+", table()["agwm"][2])
        if name == "linear_probe":
            assert planned == 0 and said == "T, forward only"
            continue
        terms = [term.split() for term in formula.group().split("+")]
        values = {"K": 5, "T": 1 / epochs}
        found = sum(math.prod(values.get(f) or float(f) for f in term) for term in terms)
        assert planned == pytest.approx(found), name


@pytest.mark.parametrize("name", ["prefix", "linear_probe"])
def test_the_models_that_are_no_classifier_are_read_as_described(tiny_run, monkeypatch, name):
    overrides = ["method.epochs=1"] if name == "prefix" else []
    _, folder = tiny_run(f"method={name}", *overrides)
    monkeypatch.chdir(folder)
    code = re.search(rf"```python\n# model/ of {name}.*?\n(.*?)```", README, flags=re.DOTALL)
    texts = [row["sentence"] for row in generate()["validation"][:8]]
    scope = {"texts": texts, "load_file": load_file, "PeftModel": PeftModel} | {
        cls.__name__: cls for cls in (AutoModel, AutoModelForSequenceClassification, AutoTokenizer)
    }
    exec(code.group(1), scope)
    lines = (folder / "predictions.jsonl").read_text().splitlines()[:8]
    expected = torch.tensor([json.loads(line)["scores"] for line in lines])
    torch.testing.assert_close(scope["logits"].softmax(-1), expected, atol=1e-5, rtol=0)


# None makes an import fail.
_WITHOUT = """
import json, sys
for name in ("lightning", "hydra", "omegaconf", "datasets", "torchmetrics", "wandb", "peft"):
    sys.modules[name] = None
checkpoint, texts, labels = json.loads(sys.argv[1])
{code}
batch = tokenizer(texts, padding=True, return_tensors="pt")
print(json.dumps(tuned(**batch).logits.softmax(-1).tolist()))
"""


def test_the_library_example_runs_as_printed_without_hydra_and_lightning(tmp_path, compose):
    code = re.search(r"## As a library.*?```python\n(.*?)```", README, flags=re.DOTALL).group(1)
    config = AutoConfig.for_model(**compose("model=tiny").model.config)
    AutoModel.from_config(config).save_pretrained(tmp_path / "pretrained")
    tiny_tokenizer().save_pretrained(tmp_path / "pretrained")
    rows = generate()["train"][:20]
    texts = [row["sentence"] for row in rows]
    given = json.dumps(["pretrained", texts, [row["label"] for row in rows]])
    printed = subprocess.run(
        [sys.executable, "-c", _WITHOUT.replace("{code}", code), given],
        cwd=tmp_path, check=True, capture_output=True, text=True, timeout=300,
    ).stdout  # fmt: skip
    expected = torch.tensor(json.loads(printed.splitlines()[-1]))
    classify = pipeline("text-classification", str(tmp_path / "tuned"), top_k=None, device="cpu")
    for row, scores in zip(expected, classify(texts), strict=True):
        found = {score["label"]: score["score"] for score in scores}
        assert row.tolist() == pytest.approx([found["LABEL_0"], found["LABEL_1"]], abs=1e-5)
    start = load_file(tmp_path / "pretrained" / "model.safetensors")
    tuned = load_file(tmp_path / "tuned" / "model.safetensors")
    name = "encoder.layer.0.output.dense.weight"
    assert 1e-5 < (tuned[f"bert.{name}"] - start[name]).abs().max() < 0.1
