from types import SimpleNamespace

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from agwm.errors import UserError
from agwm.method import build_method
from agwm.methods.top_k_layers import TopKLayers
from agwm.training.runner import LightningRunner

BERT = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
}  # fmt: skip
SIZES = {
    "bert": BERT,
    "deberta": {**BERT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "bart": {
        "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
    },
    "xlnet": {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32},
}  # fmt: skip
BERT_LARGE = {
    "vocab_size": 28996, "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
    "intermediate_size": 4096,
}  # fmt: skip
HEADS = ("classifier.", "classification_head.", "pooler.", "sequence_summary.", "logits_proj.")


def classifier(family, **sizes):
    config = AutoConfig.for_model(family, num_labels=2, **sizes)
    return AutoModelForSequenceClassification.from_config(config)


def prepared(model, layers, embeddings=False, frozen_eval=False, heads=HEADS):
    target = "agwm.methods.top_k_layers.TopKLayers"
    values = {"layers": layers, "embeddings": embeddings, "frozen_eval": frozen_eval}
    fresh = frozenset(n for n, _ in model.named_parameters() if n.startswith(heads))
    method = build_method({"_target_": target, "name": "top_k_layers", **values})
    return method.prepare(model, SimpleNamespace(fresh=fresh))


def trained(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("layers", "count"), [(0, 1_051_650), (3, 38_840_322), (24, 303_361_026), (None, 303_361_026)]
)
def test_trained_parameters_of_bert_large(layers, count):
    with torch.device("meta"):
        model = prepared(classifier("bert", **BERT_LARGE), layers)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == count


@pytest.mark.parametrize(
    ("family", "layers", "parts"),
    [
        ("bert", 1, ["bert.encoder.layer.1.", "bert.pooler.", "classifier."]),
        ("deberta", 1, ["deberta.encoder.layer.1.", "pooler.", "classifier."]),
        ("xlnet", 1, ["transformer.layer.1.", "sequence_summary.", "logits_proj."]),
        ("bart", 1, ["model.decoder.layers.1.", "classification_head."]),
        ("bart", 3, ["model.encoder.layers.1.", "model.decoder.layers.", "classification_head."]),
    ],
)
def test_the_top_blocks_the_pooler_and_the_head_are_trained_and_nothing_else(family, layers, parts):
    model = prepared(classifier(family, vocab_size=32, **SIZES[family]), layers)
    names = {name for name, _ in model.named_parameters()}
    assert trained(model) == {name for name in names if name.startswith(tuple(parts))}
    assert all(any(name.startswith(part) for name in names) for part in parts)


def test_all_layers_with_the_embeddings_freeze_nothing():
    model = prepared(classifier("bert", vocab_size=32, **BERT), None, embeddings=True)
    assert all(p.requires_grad for p in model.parameters())


def test_a_pooler_that_the_checkpoint_lacks_is_trained_too():
    model = classifier("bert", vocab_size=32, **BERT)
    prepared(model, 0, heads=("classifier.", "bert.pooler."))
    assert {name.rpartition(".")[0] for name in trained(model)} == {
        "bert.pooler.dense", "classifier"
    }  # fmt: skip


def test_more_blocks_than_the_model_has_are_refused():
    with pytest.raises(UserError, match=r"method.layers=3: the model has 2 blocks"):
        prepared(classifier("bert", vocab_size=32, **BERT), 3)


def test_embeddings_are_trained_with_all_blocks_or_not_at_all():
    with pytest.raises(UserError, match=r"method.embeddings=True"):
        prepared(classifier("bert", vocab_size=32, **BERT), 1, embeddings=True)


def test_dropout_is_off_in_frozen_parts_alone_and_only_when_asked_for():
    for frozen_eval, expected in ((False, set()), (True, {"embeddings", "encoder.layer.0"})):
        model = prepared(classifier("bert", vocab_size=32, **BERT), 1, frozen_eval=frozen_eval)
        off = {
            part
            for part in ("embeddings", "encoder.layer.0", "encoder.layer.1")
            for module in model.bert.get_submodule(part).modules()
            if isinstance(module, torch.nn.Dropout) and module.p == 0
        }
        assert off == expected
        assert model.dropout.p == 0.1


def test_frozen_tensors_keep_their_bits_and_have_no_gradient(tiny_run, monkeypatch):
    seen = {}
    finetune = LightningRunner.finetune

    def watched(runner, model, method, phase):
        seen["start"] = {name: p.detach().clone() for name, p in model.named_parameters()}
        finetune(runner, model, method, phase)
        seen["model"] = model

    def grads(method, model, step):
        seen.setdefault("grads", []).append(
            {name for name, p in model.named_parameters() if p.grad is not None}
        )
        seen["optimized"] = sum(len(group["params"]) for group in step.optimizer.param_groups)

    monkeypatch.setattr(LightningRunner, "finetune", watched)
    monkeypatch.setattr(TopKLayers, "after_step", grads)
    tiny_run(
        "method=top_k_layers", "method.layers=1", "optim.weight_decay=0.5", "optim.epochs=2"
    )  # fmt: skip
    top = ("bert.encoder.layer.1.", "bert.pooler.", "classifier.")
    expected = {name for name in seen["start"] if name.startswith(top)}
    assert seen["grads"] == [expected] * 6
    assert seen["optimized"] == len(expected) == 16 + 2 + 2
    for name, parameter in seen["model"].named_parameters():
        assert torch.equal(parameter, seen["start"][name]) == (name not in expected), name
