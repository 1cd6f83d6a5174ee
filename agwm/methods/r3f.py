"""R3F and R4F (Aghajanyan et al., arXiv 2008.03156): outputs that small noise does not move.

L = CE(f(x), y) + weight * KL_S(f(x) || f(x + z)),  KL_S(p, q) = KL(p || q) + KL(q || p), with
noise z on the word embeddings of the second pass, which are detached there. R4F (`spectral_norm`)
also divides the head's last matrix by its largest singular value.

In the released code for RoBERTa the noise never reaches the network; here it does. Dropout is on
in both passes, with masks of their own, as in the published baselines: at the default noise of
1e-5 the divergence is then all but dropout's. `shared_dropout_mask: true` leaves the noise alone.
On regression there is no divergence: the released code trains plainly, and so does this.

Two forward and two backward passes a step, one of each on regression.
"""

from __future__ import annotations

import logging
import math
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from agwm.errors import require
from agwm.method import Batch, Method, Phase, Runner, Step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel

NOISES = ("uniform", "normal")


@dataclass(kw_only=True)
class R3F(Method):
    """Fine-tuning with a penalty on what noise in the embeddings changes."""

    neutral: ClassVar[dict[str, Any] | None] = {"weight": 0.0, "spectral_norm": False}

    weight: float
    noise: str
    noise_scale: float
    shared_dropout_mask: bool
    spectral_norm: bool

    def __post_init__(self) -> None:
        for key in ("weight", "noise_scale"):
            value = getattr(self, key)
            require(0 <= value < math.inf, f"method.{key}", value, "a number >= 0")
        require(self.noise in NOISES, "method.noise", self.noise, "one of " + ", ".join(NOISES))

    def plan(self) -> list[Phase]:
        return [Phase("finetune", passes=2)]

    def prepare(self, model: PreTrainedModel, runner: Runner) -> Module:
        from torch.nn.utils.parametrizations import spectral_norm

        from agwm.models.layers import last_linear
        from agwm.numerics.rng import seeded

        self._classification = runner.classes is not None
        if not self._classification:
            logging.getLogger("agwm").warning("regression: %s trains as vanilla does", self.name)
        elif self.spectral_norm:
            with seeded(runner.seed("spectral_norm")):
                spectral_norm(last_linear(model)[1])
        return model

    def loss(self, model: Module, batch: Batch, step: Step) -> Tensor:
        from agwm.numerics.divergence import symmetric_kl
        from agwm.numerics.rng import replayed

        if not self._classification:
            return super().loss(model, batch, step)
        with replayed() if self.shared_dropout_mask else nullcontext():
            clean = model(**batch)
        with self._noisy_embeddings(model, step):
            noisy = model(**batch)
        return clean.loss + self.weight * symmetric_kl(clean.logits, noisy.logits).mean()

    def merge(self, model: Module) -> Module:
        from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

        for module in model.modules():
            if is_parametrized(module, "weight"):
                remove_parametrizations(module, "weight")
        return model

    @contextmanager
    def _noisy_embeddings(self, model: Module, step: Step) -> Iterator[None]:
        """What the embedding layer gives is detached and noisy inside; the decoder's is not."""
        import torch

        encoder = model.get_encoder() if model.config.is_encoder_decoder else model

        def add_noise(module: Module, inputs: Any, found: Tensor) -> Tensor:
            noise = torch.empty_like(found)
            generator = step.generator("noise", found.device)
            if self.noise == "uniform":
                noise.uniform_(-self.noise_scale, self.noise_scale, generator=generator)
            else:
                noise.normal_(0, self.noise_scale, generator=generator)
            return found.detach() + noise

        hook = encoder.get_input_embeddings().register_forward_hook(add_noise)
        try:
            yield
        finally:
            hook.remove()
