"""Adapters as the methods prepare them: large models without memory, and tiny ones with weights."""

from copy import deepcopy
from types import SimpleNamespace

import torch
from families import FAMILIES
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from agwm.config import Model, Optim, Task
from agwm.method import build_method
from agwm.models.pretrained import load_pretrained
from agwm.training.runner import LightningRunner

OPTIM = Optim(lr=2e-5, epochs=3, batch_size=16, warmup_ratio=0.1, weight_decay=0.01)
TASK = Task("sst2", ["sentence"], ["negative", "positive"], ["accuracy"], ["validation"])
SENTENCES = ["The time is now.", "Where will they go, and how long?"]
_LARGE = {
    "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
    "intermediate_size": 4096,
}  # fmt: skip
LARGE = {
    "bert": {**_LARGE, "vocab_size": 28996},
    "roberta": {**_LARGE, "vocab_size": 50265, "type_vocab_size": 1},
    "bart": {"d_model": 1024, "encoder_layers": 12, "decoder_layers": 12, "vocab_size": 50265},
    "deberta": {**_LARGE, "vocab_size": 50265},
    "deberta-v2": {**_LARGE, "vocab_size": 128100},
    "xlnet": {"d_model": 1024, "n_layer": 24, "n_head": 16, "d_inner": 4096, "vocab_size": 32000},
}


def runner(fresh, seed=0):
    """What `prepare` asks of a runner."""
    return SimpleNamespace(fresh=frozenset(fresh), optim=OPTIM, seed=lambda *purpose: seed)


def method_of(compose, *overrides):
    return build_method(compose(*overrides).method)


def large(method, family, labels=2):
    """Prepared model of the large configuration, on no device; its head is what is fresh."""
    with torch.device("meta"):
        config = AutoConfig.for_model(family, num_labels=labels, **LARGE[family])
        model = AutoModelForSequenceClassification.from_config(config)
        body = f"{model.base_model_prefix}."
        fresh = [name for name, _ in model.named_parameters() if not name.startswith(body)]
        return method.prepare(model, runner(fresh))


def counts(model):
    """Trained parameters, and all."""
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(size for size, trained in sizes if trained), sum(size for size, _ in sizes)


def adapted(method, family="bert", seed=0):
    """The plain model, the same prepared by the method, and a batch."""
    loaded = tiny(family)
    plain = deepcopy(loaded.model)
    model = method.prepare(loaded.model, runner(loaded.fresh, seed))
    return plain, model, batch_of(loaded.tokenizer)


def copy_heads(model, plain):
    """Give the plain model the trained head of a model with virtual tokens."""
    for name in heads(model):
        trained = model.base_model.get_submodule(name).modules_to_save.default
        plain.get_submodule(name).load_state_dict(trained.state_dict())


def heads(model):
    """Modules that are trained whole."""
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    whole = [name for name in trained if ".modules_to_save." in name]
    return {name.partition(".modules_to_save.")[0].removeprefix("base_model.") for name in whole}


def tiny(family, head_seed=0, folder=None):
    """Tiny model with a fresh head, its tokenizer and the names of what is fresh."""
    source = (
        Model("tiny", config=FAMILIES[family]) if folder is None else Model("tiny", str(folder))
    )
    return load_pretrained(source, TASK, head_seed)


def batch_of(tokenizer):
    return tokenizer(SENTENCES, padding=True, return_tensors="pt")


def logits(model, batch):
    with torch.no_grad():
        return model.eval()(**batch).logits


def disturb(model, size=0.3):
    """Move every trained parameter off its start."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += size * torch.randn(parameter.shape, generator=generator)


def first_gradients(model, batch):
    """Gradient of every trained parameter in the first step, by name."""
    labels = torch.tensor([0, 1])
    torch.manual_seed(0)
    model.train()(**batch, labels=labels).loss.backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def states_of_a_run(tiny_run, monkeypatch, *overrides):
    """All tensors before and after the fit of a run, by name."""
    seen = []
    finetune = LightningRunner.finetune

    def watched(self, model, method, phase):
        seen.append({name: t.clone() for name, t in model.state_dict().items()})
        finetune(self, model, method, phase)
        seen.append({name: t.clone() for name, t in model.state_dict().items()})

    monkeypatch.setattr(LightningRunner, "finetune", watched)
    tiny_run(*overrides)
    return seen


def trained_on_a_frozen_body(compose, tiny_run, monkeypatch, name, part):
    """Names of what a run of the method trains: adapters, with `part` in their name, and the head.

    Fails where one of them has not moved, or a pretrained tensor has.
    """
    before, after = states_of_a_run(tiny_run, monkeypatch, f"method={name}", "method.epochs=1")
    torch.manual_seed(0)
    config = AutoConfig.for_model(**compose("model=tiny").model.config)
    pretrained = AutoModel.from_config(config).state_dict()
    frozen = body(after)
    assert frozen.keys() == pretrained.keys()
    assert all(torch.equal(frozen[name], pretrained[name]) for name in frozen)
    trained = [n for n in after if part in n or ".modules_to_save." in n]
    assert not any(torch.equal(before[name], after[name]) for name in trained)
    return trained


def exported(method, tmp_path):
    """Logits of a trained model, the folder that `save` made of it, and the batch.

    The base is loaded from a folder, whose path nothing in the export may name.
    """
    source = tmp_path / "source"
    loaded = tiny("bert")
    loaded.model.save_pretrained(source)
    loaded.tokenizer.save_pretrained(source)
    loaded = tiny("bert", folder=source)
    model = method.prepare(deepcopy(loaded.model), runner(["classifier.weight"]))
    disturb(model)
    batch = batch_of(loaded.tokenizer)
    expected = logits(model, batch)
    method.save(method.merge(model), loaded, tmp_path / "model")
    return expected, tmp_path / "model", batch


def body(state):
    """The pretrained tensors among those of a prepared BERT, by their own names."""
    return {
        name.partition("bert.")[2].replace(".base_layer", ""): tensor
        for name, tensor in state.items()
        if "bert." in name and "lora_" not in name
    }
