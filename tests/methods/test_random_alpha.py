import pytest
import torch
from safetensors.torch import load_file


def test_alpha_is_drawn_once_for_a_seed_and_never_learned(tiny_run):
    def alpha(*overrides):
        _, folder = tiny_run("method=random_alpha", "method.alpha_init_std=0.1", *overrides)
        return torch.cat([a.flatten() for a in load_file(folder / "alpha.safetensors").values()])

    first = alpha()
    assert torch.equal(first, alpha("optim.epochs=2"))
    assert not torch.equal(first, alpha("seed=1"))
    assert first.min() >= 0 and first.max() == 1 and first.min() < 0.9
    inside = alpha("method.alpha_init_mean=0.5")
    assert inside.mean().item() == pytest.approx(0.5, abs=0.02)
    assert inside.std().item() == pytest.approx(0.1, abs=0.02)


def test_the_form_of_the_mixture_reaches_the_model(tiny_run):
    def predictions(form):
        overrides = ("method=random_alpha", "method.alpha_init_std=0.1", f"method.mix_form={form}")
        return (tiny_run(*overrides)[1] / "predictions.jsonl").read_text()

    assert predictions("product") != predictions("convex")
