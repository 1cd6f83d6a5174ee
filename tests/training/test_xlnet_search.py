"""The search step where XLNet's attention is mixed, against autograd through the look-ahead."""

import pytest
import torch
from families import FAMILIES
from search_harness import ALPHA_LR, ETA, settings
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AutoConfig, AutoModelForSequenceClassification

from agwm.models.mixed import mix_attention, mix_pretrained
from agwm.numerics.mixing import init_alpha
from agwm.training.search_step import SearchStep


def batch(seed):
    ids = torch.randint(5, 100, (4, 6), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(ids)
    mask[0, 4:] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([0, 1, 1, 0])}


def searching(chosen):
    torch.manual_seed(0)
    config = AutoConfig.for_model(**FAMILIES["xlnet"], num_labels=2)
    model = AutoModelForSequenceClassification.from_config(config).double().train()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)

    def alpha(shape):
        return tuple(a.double() for a in init_alpha(shape, 1, torch.randn, 0.1, 0.7))

    fresh = {"sequence_summary.summary.weight", "logits_proj.weight"}
    mix_pretrained(model, fresh, alpha)
    assert mix_attention(model, fresh, alpha) == 10
    return SearchStep(model, chosen, lambda step, mask: len(mask))


@pytest.mark.parametrize(
    ("hypergradient", "tolerance"), [("exact", 1e-9), ("finite_difference", 1e-5)]
)
def test_one_iteration_is_the_derivative_through_the_step(hypergradient, tolerance):
    chosen = settings(hypergradient=hypergradient, max_grad_norm=1e9, fd_radius=1e-3)
    done, reference = searching(chosen), searching(chosen)
    inner, outer = batch(1), batch(2)
    parts = (list(done.weights.values()), ETA), (list(done.alpha.values()), ALPHA_LR)
    done(inner, outer, [torch.optim.SGD(values, rate) for values, rate in parts])

    weights, alpha = list(reference.weights.values()), list(reference.alpha.values())
    losses = reference.loss(inner, "inner"), reference.loss(outer, "outer")
    with sdpa_kernel(SDPBackend.MATH):
        slope = torch.autograd.grad(
            losses[0](weights, alpha), weights, create_graph=True, allow_unused=True
        )
        ahead = [w if g is None else w - ETA * g for w, g in zip(weights, slope, strict=True)]
        expected = torch.autograd.grad(losses[1](ahead, alpha), alpha)
        direct = torch.autograd.grad(losses[1]([w.detach() for w in ahead], alpha), alpha)
    attention = [".rel_attn." in name for name in reference.alpha]
    assert sum(attention) == 20
    size = max(e.abs().max() for e in expected)
    for name, after, before, e in zip(
        reference.alpha, done.alpha.values(), alpha, expected, strict=True
    ):
        assert ((before - after) / ALPHA_LR - e).abs().max() < tolerance * size, name
    # Neither the attention's share nor the implicit term is a trifle.
    of_attention = [e for e, is_it in zip(expected, attention, strict=True) if is_it]
    assert max(e.abs().max() for e in of_attention) > 0.01 * size
    assert max((d - e).abs().max() for d, e in zip(direct, expected, strict=True)) > 0.01 * size
    for name, f in zip(reference.weights, ahead, strict=True):
        torch.testing.assert_close(done.weights[name], f, rtol=1e-9, atol=1e-12, msg=name)
