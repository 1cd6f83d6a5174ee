from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import (
    BartConfig,
    BartForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
)

from agwm.config import Optim
from agwm.errors import UserError
from agwm.method import build_method
from agwm.seeding import stream

BERT = BertForSequenceClassification, BertConfig(
    vocab_size=32, hidden_size=64, num_hidden_layers=3, num_attention_heads=2,
    intermediate_size=256,
)  # fmt: skip


def checkpoint(kind, config):
    """A model no tensor of which has a fresh one's values."""
    model = kind(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(0.3, 0.7, generator=generator)
    return model


def re_init(layers, pooler=True):
    target = "agwm.methods.re_init.ReInit"
    return build_method({"_target_": target, "name": "x", "layers": layers, "pooler": pooler})


def redrawn(model, *settings):
    """Names of the parameters that the method has changed, with their values."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    fresh = frozenset(n for n in before if n.startswith(("classifier.", "classification_head.")))
    runner = SimpleNamespace(fresh=fresh, stream=lambda *purpose: stream(0, *purpose))
    after = dict(re_init(*settings).prepare(model, runner).named_parameters())
    return {name: p.detach() for name, p in after.items() if not torch.equal(p, before[name])}


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_the_pooler_and_all_sixteen_tensors_of_each_top_block_are_drawn_anew(layers):
    found = redrawn(checkpoint(*BERT), layers)
    assert len(found) == 16 * layers + 2
    tops = tuple(f"bert.encoder.layer.{2 - i}." for i in range(layers))
    assert all(name.startswith(("bert.pooler.dense.", *tops)) for name in found)


def test_the_pooler_can_be_kept():
    found = redrawn(checkpoint(*BERT), 1, False)
    assert len(found) == 16 and not any("pooler" in name for name in found)


@pytest.mark.parametrize("deviation", [0.02, 0.05])
def test_matrices_have_the_model_s_deviation_norms_are_one_and_biases_zero(deviation):
    kind, config = BERT
    changed = BertConfig(**{**config.to_dict(), "initializer_range": deviation})
    found = redrawn(checkpoint(kind, changed), 2)
    matrices = torch.cat([p.flatten() for p in found.values() if p.dim() == 2])
    assert matrices.std().item() == pytest.approx(deviation, rel=0.01)
    assert matrices.mean().abs() < 0.01 * deviation
    for name, parameter in found.items():
        if parameter.dim() == 1:
            assert (parameter == float("LayerNorm.weight" in name)).all(), name


def test_of_bart_the_top_decoder_blocks_are_drawn_with_its_own_deviation():
    config = BartConfig(
        vocab_size=32, d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=256, decoder_ffn_dim=256, init_std=0.03,
        max_position_embeddings=20,
    )  # fmt: skip
    found = redrawn(checkpoint(BartForSequenceClassification, config), 1)
    assert found and all(name.startswith("model.decoder.layers.1.") for name in found)
    matrices = torch.cat([p.flatten() for p in found.values() if p.dim() == 2])
    assert matrices.std().item() == pytest.approx(0.03, rel=0.01)


def test_more_blocks_than_the_model_has_are_refused():
    with pytest.raises(UserError, match=r"method.layers=4: the model has 3 blocks"):
        redrawn(checkpoint(*BERT), 4)


def test_the_first_step_is_the_learning_rate_for_adam_is_bias_corrected():
    method, model = re_init(1), nn.Linear(3, 2).double()
    optim = Optim(lr=1e-3, epochs=1, batch_size=1, warmup_ratio=0.0, weight_decay=0.0)
    optimizer = method.build_optimizer(method.parameter_groups(model, optim))
    before = model.weight.detach().clone()
    model.weight.grad = torch.tensor([[2.0, -3.0, 0.5], [-1.0, 4.0, 7.0]]).double()
    optimizer.step()
    expected = before - 1e-3 * model.weight.grad.sign()
    torch.testing.assert_close(model.weight.detach(), expected, rtol=0, atol=1e-10)
