"""The keys by which a method's weight mixture is chosen, shared by all methods that mix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agwm.errors import UserError, require

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.random import Generator
    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel

    from agwm.method import Runner

FORMS = ("product", "convex")
WITHOUT_FACTORS = ("full", "row", "layer")


@dataclass(kw_only=True)
class Mixture:
    """Which mixture, and where alpha starts."""

    rank: Any  # r >= 1, or one of WITHOUT_FACTORS
    mix_form: str
    alpha_init_std: float
    alpha_init_mean: float
    xlnet_attention: bool  # whether its raw attention weights are mixed too

    def __post_init__(self) -> None:
        whole = isinstance(self.rank, int) and not isinstance(self.rank, bool) and self.rank >= 1
        allowed = f"a whole number >= 1 or one of {', '.join(WITHOUT_FACTORS)}"
        require(whole or self.rank in WITHOUT_FACTORS, "method.rank", self.rank, allowed)
        require(
            self.mix_form in FORMS, "method.mix_form", self.mix_form, "one of " + ", ".join(FORMS)
        )
        std, mean = self.alpha_init_std, self.alpha_init_mean
        require(0 <= std < float("inf"), "method.alpha_init_std", std, "a number >= 0")
        require(0 <= mean <= 1, "method.alpha_init_mean", mean, "in [0, 1]")

    def mixed(self, model: PreTrainedModel, runner: Runner, *purpose: str | int) -> Module:
        """`model` with its pretrained linear layers mixed, alpha drawn from ("alpha", *purpose)."""
        return self.put_into(model, runner.fresh, runner.stream("alpha", *purpose))

    def fixed(self, runner: Runner, start: Mapping[str, Tensor], *purpose: str | int) -> Module:
        """The pretrained model, mixed, with what `start` holds of a state dict, and alpha fixed."""
        from agwm.models.mixed import fix_alpha

        model = self.mixed(runner.pretrained(), runner, *purpose)
        model.load_state_dict(start, strict=False)
        return fix_alpha(model)

    def put_into(self, model: Module, fresh: Collection[str], generator: Generator) -> Module:
        """`model`, in place, all its linear layers mixed but those of parameters in `fresh`.

        Raises:
            UserError: `xlnet_attention` is set, and the model is none that has such weights.
        """
        import torch

        from agwm.models.mixed import mix_attention, mix_pretrained
        from agwm.numerics.mixing import init_alpha

        def draw(shape: tuple[int, ...]) -> Tensor:
            return torch.from_numpy(generator.standard_normal(shape, dtype="float32"))

        mean, std = self.alpha_init_mean, self.alpha_init_std

        def new_alpha(shape: tuple[int, int]) -> tuple[Tensor, ...]:
            return init_alpha(shape, self.rank, draw, std, mean)

        mixed = mix_pretrained(model, fresh, new_alpha, self.mix_form)
        if self.xlnet_attention and not mix_attention(mixed, fresh, new_alpha, self.mix_form):
            raise UserError(
                f"method.xlnet_attention=true: {model.config.model_type} has no attention weights "
                "outside its linear layers, which are mixed anyway; leave it false"
            )
        return mixed

    def merge(self, model: Module) -> Module:
        """Fold the mixture into plain weights."""
        from agwm.models.mixed import merge

        return merge(model)
