"""A search on the tiny model, driven as Lightning drives it."""

import copy

import torch
from lightning.pytorch import Trainer

from agwm.bilevel import PRESETS, SearchSettings
from agwm.config import Optim
from agwm.models.mixed import mix_pretrained
from agwm.numerics.mixing import init_alpha
from agwm.training.search import BilevelSearchModule

ETA, ALPHA_LR = 0.5, 1e-3
OPTIM = Optim(lr=1e-2, epochs=1, batch_size=8, warmup_ratio=0.0, weight_decay=0.01)
PAPER = {
    **PRESETS["paper"], "fd_radius": 0.01, "alpha_lr": 0.1, "alpha_every": 1, "epochs": 1,
    "inner_fraction": 0.8, "hypergradient_steps": 3, "neumann_scale": None,
}  # fmt: skip


def settings(preset="paper", **changes):
    return SearchSettings(**{**PAPER, **PRESETS[preset], **changes})


def mixed_model(pretrained, std=0.1, rank=1):
    generator = torch.Generator().manual_seed(0)

    def draw(shape):
        return torch.randn(shape, generator=generator)

    model = copy.deepcopy(pretrained.model)
    return mix_pretrained(model, pretrained.fresh, lambda s: init_alpha(s, rank, draw, std, 0.7))


def fit(module, data, callback=None, steps=None):
    trainer = Trainer(
        accelerator="cpu", logger=False, max_epochs=module.settings.epochs,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        limit_train_batches=steps, callbacks=[callback] if callback else None,
    )  # fmt: skip
    trainer.fit(module, data.search_dataloader(module.k, module.settings.inner_fraction))
    return module


def build(pretrained, chosen, eta=ETA):
    """Search module in float64, before its first step."""
    model = mixed_model(pretrained, std=0.05).double()
    optim = Optim(**{**vars(OPTIM), "lr": eta})
    return BilevelSearchModule(model, chosen, optim, steps=5, seed=0, k=0)


def problem(pretrained, data, chosen):
    """W, alpha, and the inner and the outer loss of the first iteration, masks and all."""
    reference = build(pretrained, chosen)
    reference.model.train()
    search = reference.search
    batch = next(iter(data.search_dataloader(0, chosen.inner_fraction)))[0]
    inner, outer = (search.loss(batch[part], part) for part in ("inner", "outer"))
    return list(search.weights.values()), list(search.alpha.values()), inner, outer
