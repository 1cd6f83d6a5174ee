import logging
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy, kl_div
from torch.nn.utils.parametrize import is_parametrized
from transformers import AutoConfig, AutoModelForSequenceClassification

from agwm.method import Step, build_method
from agwm.models.layers import set_dropout
from agwm.numerics.divergence import symmetric_kl
from agwm.numerics.rng import seeded
from agwm.seeding import derive

BERT = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 40,
}  # fmt: skip
SIZES = {
    "bert": BERT,
    "roberta": BERT,
    "deberta": {**BERT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "bart": {
        "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
        "max_position_embeddings": 40,
    },
    "xlnet": {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32},
}  # fmt: skip
HEADS = {
    "bert": "classifier", "roberta": "classifier.out_proj", "deberta": "classifier",
    "bart": "classification_head.out_proj", "xlnet": "logits_proj",
}  # fmt: skip


def classifier(family="bert", labels=3, dropout=True):
    config = AutoConfig.for_model(family, vocab_size=32, num_labels=labels, **SIZES[family])
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).train()
    with torch.no_grad():
        for parameter in model.parameters():
            # At 0.02 the outputs would hardly depend on the inputs.
            parameter.mul_(10 if parameter.dim() > 1 else 1)
    if not dropout:
        set_dropout(model, 0.0)
    return model


def examples(rows=6, length=9, labels=3):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 30, (rows, length), generator=generator)
    mask = torch.ones_like(ids)
    mask[0, 5:] = 0
    ids[:, -1] = 2
    types = (torch.arange(length) > 3).long().expand(rows, -1)
    found = {"input_ids": ids, "attention_mask": mask, "labels": torch.arange(rows) % labels}
    return found, found | {"token_type_ids": types}


def step(seed=0):
    return Step(0, 10, seed, None)


@pytest.fixture
def prepared(compose):
    """`prepared(model, name, **values)`: the method of that yaml, and the model it has changed."""

    def changed(model, name="r3f", classes=3, **values):
        config = compose(f"method={name}", "model=tiny", "logger=none").method
        method = build_method({**config, **values})
        # As if the checkpoint had held no more than the body.
        body = {f"{model.base_model_prefix}.{n}" for n, _ in model.base_model.named_parameters()}
        fresh = frozenset(n for n, _ in model.named_parameters() if n not in body)
        runner = SimpleNamespace(classes=classes, fresh=fresh, seed=lambda *p: derive(0, *p))
        return method, method.prepare(model, runner)

    return changed


def test_the_divergence_is_the_sum_of_both_directions_and_the_mean_of_the_batch():
    one, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    for p, q in ((one, other), (other, one)):
        each = kl_div(q.log_softmax(-1), p.log_softmax(-1), log_target=True, reduction="batchmean")
        assert each.item() == pytest.approx(0.4621172, abs=1e-7)
    assert symmetric_kl(one, other).item() == pytest.approx(0.9242343, abs=1e-7)
    rows = symmetric_kl(torch.cat([one, one, one, one]), torch.cat([other, one, one, one])).mean()
    assert rows.item() == pytest.approx(0.9242343 / 4, abs=1e-7)


def test_the_divergence_of_half_precision_logits_is_taken_in_single_precision():
    one = torch.tensor([[1.0, 0.0]]).bfloat16()
    other = torch.tensor([[1.0078125, 0.0]]).bfloat16()
    exact = symmetric_kl(one.double(), other.double())
    assert exact > 0 and symmetric_kl(one, other).item() == pytest.approx(exact.item(), rel=1e-3)


@pytest.mark.parametrize("family", SIZES)
def test_noise_reaches_the_network_and_without_it_the_divergence_is_exactly_zero(prepared, family):
    model = classifier(family, dropout=False)
    batch, _ = examples()
    with torch.no_grad():
        method, _ = prepared(model, weight=1e6, noise_scale=0.0)
        assert torch.equal(method.loss(model, batch, step()), model(**batch).loss)
        method, _ = prepared(model, weight=1.0, noise_scale=1.0)
        one, same, other = (method.loss(model, batch, step(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert one != other
    assert one > model(**batch).loss


def watched_noise(model):
    """Grows by what each later pass adds to the sum of the embeddings of the first."""
    seen = []
    model.bert.embeddings.LayerNorm.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].detach().clone())
    )
    return seen


@pytest.mark.parametrize(("noise", "deviation"), [("uniform", 0.3 / 3**0.5), ("normal", 0.3)])
def test_noise_has_the_distribution_and_the_scale_asked_for(prepared, noise, deviation):
    model = classifier(dropout=False).double()
    method, _ = prepared(model, noise=noise, noise_scale=0.3)
    seen = watched_noise(model)
    batch, _ = examples(rows=60, length=30)
    for seed in (1, 2):
        method.loss(model, batch, step(seed))
    clean, noisy, _, other = seen
    noise_values = noisy - clean
    assert noise_values.std().item() == pytest.approx(deviation, rel=0.02)
    assert noise_values.mean().abs() < 0.01
    if noise == "uniform":
        assert 0.29 < noise_values.abs().max() <= 0.3
    assert not torch.allclose(noise_values, other - clean)


def test_loss_and_gradients_are_those_of_the_formula_with_detached_noisy_embeddings(prepared):
    model = classifier(dropout=False).double()
    method, _ = prepared(model, weight=0.7, noise_scale=0.5)
    seen = watched_noise(model)
    _, batch = examples()
    loss = method.loss(model, batch, step())
    found = torch.autograd.grad(loss, list(model.parameters()))
    noise = seen[1] - seen[0]

    embedded = model.get_input_embeddings()(batch["input_ids"]).detach() + noise
    rest = {key: batch[key] for key in ("attention_mask", "token_type_ids")}
    clean = model(input_ids=batch["input_ids"], **rest).logits
    p = clean.log_softmax(-1)
    q = model(inputs_embeds=embedded, **rest).logits.log_softmax(-1)
    options = {"log_target": True, "reduction": "batchmean"}
    divergence = kl_div(q, p, **options) + kl_div(p, q, **options)
    expected = cross_entropy(clean, batch["labels"]) + 0.7 * divergence
    assert divergence > 1e-3
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    grads = torch.autograd.grad(expected, list(model.parameters()))
    for (name, _), one, other in zip(model.named_parameters(), found, grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6, msg=name)


def test_in_bart_the_encoder_s_words_alone_are_noisy(prepared):
    model = classifier("bart", dropout=False)
    method, _ = prepared(model, noise_scale=1.0)
    seen = {"encoder": [], "decoder": []}
    for part, inputs_of in seen.items():
        getattr(model.model, part).layernorm_embedding.register_forward_pre_hook(
            lambda module, inputs, kept=inputs_of: kept.append(inputs[0])
        )
    method.loss(model, examples()[0], step())
    assert not torch.allclose(*seen["encoder"])
    assert torch.equal(*seen["decoder"])


def test_masks_are_independent_unless_they_are_to_be_shared(prepared):
    model, (batch, _) = classifier(), examples()
    for shared in (True, False):
        method, _ = prepared(model, noise_scale=0.0, shared_dropout_mask=shared)
        with seeded(5), torch.no_grad():
            loss = method.loss(model, batch, step())
        with seeded(5), torch.no_grad():
            plain = model(**batch).loss
        assert torch.equal(loss, plain) == shared
        assert shared or loss > plain


@pytest.mark.parametrize("name", ["r3f", "r4f"])
def test_regression_is_the_squared_error_of_one_pass_and_says_so(
    prepared, name, caplog, monkeypatch
):
    monkeypatch.setattr(logging.getLogger("agwm"), "propagate", True)
    model = classifier(labels=1, dropout=False)
    batch = examples()[0] | {"labels": torch.tensor([0.0, 1.0, 2.5, 4.0, 5.0, 3.0])}
    method, changed = prepared(model, name, classes=None, noise_scale=1.0)
    outputs = []
    model.register_forward_hook(lambda module, inputs, output: outputs.append(output.logits))
    loss = method.loss(changed, batch, step())
    assert len(outputs) == 1
    expected = (outputs[0][:, 0] - batch["labels"]).square().mean()
    torch.testing.assert_close(loss, expected)
    assert not any(is_parametrized(module) for module in changed.modules())
    assert set(caplog.messages) == {f"regression: {name} trains as vanilla does"}


@pytest.mark.parametrize("family", SIZES)
def test_r4f_divides_the_head_s_last_matrix_by_its_top_singular_value(prepared, family):
    model = classifier(family)
    raw = model.get_submodule(HEADS[family]).weight.detach().clone()
    method, model = prepared(model, "r4f")
    for _ in range(20):
        model(**examples()[0])
    model.eval()
    normalized = model.get_submodule(HEADS[family]).weight.detach().clone()
    top = torch.linalg.svdvals(normalized)[0].item()
    assert top == pytest.approx(1, abs=0.01)
    torch.testing.assert_close(
        normalized, raw / torch.linalg.matrix_norm(raw, 2), rtol=0.01, atol=0
    )
    assert [n for n, m in model.named_modules() if is_parametrized(m)] == [HEADS[family]]
    merged = method.merge(model)
    assert torch.equal(merged.get_parameter(HEADS[family] + ".weight"), normalized)
    assert not any(is_parametrized(module) for module in merged.modules())


def test_the_exported_head_of_r4f_is_normalized(tiny_run):
    record, folder = tiny_run("method=r4f", "optim.epochs=4", "optim.lr=0.01")
    weight = load_file(folder / "model" / "model.safetensors")["classifier.weight"]
    assert torch.linalg.svdvals(weight)[0].item() == pytest.approx(1, abs=0.01)
    assert record.cost.forward_passes == 2 * record.cost.optimizer_steps == 2 * 12
