"""Data and checkpoints at the edge of what can be: right, or refused in one line."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from agwm.errors import RunError, UserError
from agwm.models.tiny import tiny_tokenizer

BERT = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 128,
    "max_position_embeddings": 64,
}
AGWM = ("method=agwm", "method.num_searches=2", "method.search_epochs=1")
WORDS = "the of and a to in is was it for on are as with his they".split()


@pytest.fixture
def checkpoint(tmp_path):
    """`checkpoint(name, dtype)`: a tiny model's folder, with its tokenizer."""

    def saved(name="checkpoint", dtype=torch.float32, **head):
        folder = tmp_path / name
        torch.manual_seed(7)
        kind = AutoModelForSequenceClassification if head else AutoModel
        kind.from_config(AutoConfig.for_model(**BERT, **head)).to(dtype).save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)
        return folder

    return saved


@pytest.fixture
def csv(tmp_path):
    """`csv(*labels)`: overrides for a file with a text for each label, evaluated on itself."""

    def written(*labels):
        rows = [f"{WORDS[i % 16]} {WORDS[i * 5 % 7]} {i},{name}" for i, name in enumerate(labels)]
        path = tmp_path / "texts.csv"
        path.write_text("\n".join(["text,label", *rows]) + "\n")
        given = ("task=file", f"task.train={path}", f"task.validation={path}", "n_train=null")
        return (*given, "task.kind=classification")

    return written


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_half_precision_checkpoint_trains_as_its_values_in_float32_do(
    tiny_run, checkpoint, dtype
):
    half, single = checkpoint("half", dtype), checkpoint("single")
    values = {name: t.float() for name, t in load_file(half / "model.safetensors").items()}
    assert any(
        not torch.equal(values[name], tensor)
        for name, tensor in load_file(single / "model.safetensors").items()
    )
    save_file(values, single / "model.safetensors", {"format": "pt"})
    (one, here), (other, there) = (
        tiny_run(f"model.name_or_path={f}", f"sweep={f.name}", *AGWM, "optim.max_length=48")
        for f in (half, single)
    )
    assert one.start_hash == other.start_hash and one.weights_hash == other.weights_hash
    kept = load_file(here / "model/model.safetensors")
    assert {tensor.dtype for tensor in kept.values()} == {torch.float32}
    lines = [(folder / "predictions.jsonl").read_bytes() for folder in (here, there)]
    assert lines[0] == lines[1]


@pytest.mark.parametrize(("n_train", "preset"), [(2, "paper"), (3, "released")])
def test_two_examples_are_enough_for_a_search(tiny_run, n_train, preset):
    record, _ = tiny_run(*AGWM, f"method.preset={preset}", f"n_train={n_train}")
    assert record.status == "ok"
    assert [phase["steps"] for phase in record.phases] == [1, 1, 1]


def test_one_example_is_refused_before_anything_is_loaded(tiny_run):
    with pytest.raises(UserError, match=r"n_train=1: must be null \(all\) or a whole number >= 2"):
        tiny_run(*AGWM, "n_train=1")


def test_a_split_without_inner_examples_is_refused(tiny_run):
    with pytest.raises(UserError, match=r"a split of 3 examples with a share of 0\.3 leaves 0"):
        tiny_run(*AGWM, "n_train=3", "method.inner_fraction=0.3")
    (record,) = tiny_run.runs.rglob("record.json")
    assert json.loads(record.read_text())["status"] == "failed"


@pytest.mark.parametrize("batch_size", [7, 1000])
def test_batches_larger_than_the_data_or_short_at_the_end_cover_each_example(tiny_run, batch_size):
    record, _ = tiny_run(*AGWM, f"optim.batch_size={batch_size}")
    inner, whole = -(-32 // batch_size), -(-40 // batch_size)
    assert [phase["steps"] for phase in record.phases] == [inner, inner, whole]


def test_a_batch_larger_than_the_data_is_the_data(tiny_run):
    first, other = (
        tiny_run("method=vanilla", f"optim.batch_size={size}")[0] for size in (40, 1000)
    )
    assert first.weights_hash == other.weights_hash


@pytest.mark.parametrize("method", ["vanilla", "agwm", "linear_probe", "paint"])
def test_a_class_of_one_example_is_learned_from_and_scored(tiny_run, csv, method):
    record, folder = tiny_run(*csv(*["bad", "good"] * 8, "odd"), f"method={method}")
    assert record.status == "ok" and record.headline["name"] == "matthews_corrcoef"
    rows = list(map(json.loads, (folder / "predictions.jsonl").read_text().splitlines()))
    assert len(rows) == 17 and [row["label"] for row in rows].count(2) == 1
    assert all(len(row["scores"]) == 3 for row in rows)


def test_a_class_of_one_example_cannot_be_held_out(tiny_run, csv):
    overrides = [o for o in csv(*["bad", "good"] * 8, "odd") if "validation" not in o]
    with pytest.raises(UserError, match="'odd' stands beside one text alone"):
        tiny_run(*overrides, "method=vanilla")


def test_more_tokens_than_the_model_has_positions_are_refused(tiny_run, checkpoint):
    given = ("method=vanilla", f"model.name_or_path={checkpoint()}")
    told = "optim.max_length=65: the model has positions for 64 tokens alone; optim.max_length=64 "
    with pytest.raises(UserError, match=told):
        tiny_run(*given, "optim.max_length=65")


def test_texts_longer_than_the_model_are_cut_and_that_is_told(
    tiny_run, checkpoint, csv, tmp_path, capsys
):
    overrides = csv("bad", "good", "bad", "good")
    path = tmp_path / "texts.csv"
    path.write_text(path.read_text() + f"{'the ' * 300},good\n")
    record, _ = tiny_run(
        *overrides, "method=vanilla", f"model.name_or_path={checkpoint()}", "optim.max_length=64"
    )
    assert record.status == "ok"
    out = " ".join(capsys.readouterr().out.split())
    assert "longer than 64 tokens" in out


def test_a_head_for_other_labels_is_drawn_anew_and_that_is_logged(tiny_run, checkpoint):
    folder = checkpoint(num_labels=3)
    record, run = tiny_run("method=vanilla", f"model.name_or_path={folder}", "optim.max_length=64")
    assert record.status == "ok"
    assert load_file(run / "model/model.safetensors")["classifier.weight"].shape == (2, 16)
    log = (run / "train.log").read_text()
    assert (
        "classifier.bias, classifier.weight: of another shape in the checkpoint, drawn anew" in log
    )
    # As fresh as the head of a checkpoint without one.
    bare, _ = tiny_run(
        "method=vanilla", f"model.name_or_path={checkpoint('bare')}", "optim.max_length=64",
        "sweep=bare",
    )  # fmt: skip
    assert record.config_hash != bare.config_hash


def test_a_body_of_another_shape_is_refused(tiny_run, checkpoint):
    folder = checkpoint()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 48}))
    with pytest.raises(UserError, match=f"model.name_or_path={folder}: .*intermediate"):
        tiny_run("method=vanilla", f"model.name_or_path={folder}", "optim.max_length=64")


def test_a_gradient_pass_over_a_loss_that_is_not_finite_names_its_batch(tiny_run, checkpoint):
    folder = checkpoint()
    tensors = load_file(folder / "model.safetensors")
    tensors["pooler.dense.weight"][0, 0] = float("nan")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(RunError, match=r"fisher.*, step 0: the loss is nan .*bert.pooler.dense"):
        tiny_run("method=child_tuning_d", f"model.name_or_path={folder}", "optim.max_length=64")
