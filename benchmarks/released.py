"""One iteration of the released formulation, from its description; to be timed, not used.

Two matmuls a layer with both coefficient matrices materialised by plain autograd, eager attention,
unfused optimizers; per iteration five forward and six backward passes and two steps of AdamW on W.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

RADIUS = 0.01


class TwoMatmuls(nn.Module):
    """x (a1 a2 * W)' + x ((1 - a1)(1 - a2) * W0)' + b."""

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = plain.weight, plain.bias
        self.register_buffer("start", plain.weight.detach().clone())
        rows, columns = plain.weight.shape
        near_one = [1 + 0.005 * torch.randn(shape) for shape in ((rows, 1), (1, columns))]
        self.alpha = nn.ParameterList(a.clamp(0, 1).to(plain.weight.device) for a in near_one)

    def forward(self, x: Tensor) -> Tensor:
        a1, a2 = self.alpha
        own, other = torch.matmul(a1, a2), torch.matmul(1 - a1, 1 - a2)
        return linear(x, own * self.weight, self.bias) + linear(x, other * self.start)


class ReleasedStep:
    """Changes `model` in place; a call is one iteration."""

    def __init__(self, model: nn.Module, lr: float, weight_decay: float) -> None:
        model.set_attn_implementation("eager")
        for name, module in list(model.named_modules()):
            if isinstance(module, nn.Linear) and not name.startswith("classifier"):
                model.set_submodule(name, TwoMatmuls(module))
        self.model = model.train()
        named = dict(model.named_parameters())
        self.alpha = [p for name, p in named.items() if ".alpha." in name]
        self.weights = [p for name, p in named.items() if ".alpha." not in name]
        self.inner = torch.optim.AdamW(self.weights, lr=lr, weight_decay=weight_decay)
        self.outer = torch.optim.AdamW(self.alpha, lr=2e-3, weight_decay=0.0)

    def __call__(self, inner: Mapping[str, Tensor], outer: Mapping[str, Tensor]) -> None:
        self._step_weights(inner)
        loss = self._loss(outer)
        direct = torch.autograd.grad(loss, self.alpha, retain_graph=True)
        v = [
            grad / self._root_mean_square(weight)
            for weight, grad in zip(
                self.weights, torch.autograd.grad(loss, self.weights), strict=True
            )
        ]
        eps = RADIUS / torch.cat([d.flatten() for d in v]).norm()
        self._displace(v, eps)
        plus = torch.autograd.grad(self._loss(inner), self.alpha)
        self._displace(v, -2 * eps)
        minus = torch.autograd.grad(self._loss(inner), self.alpha)
        for factor, d, p, m in zip(self.alpha, direct, plus, minus, strict=True):
            factor.grad = d + (m - p) / (2 * eps)
        self.outer.step()
        self._step_weights(inner)

    def _loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        with torch.no_grad():
            for factor in self.alpha:
                factor.clamp_(0, 1)
        return self.model(**batch).loss

    def _step_weights(self, batch: Mapping[str, Tensor]) -> None:
        self.inner.zero_grad()
        self.outer.zero_grad()
        self._loss(batch).backward(inputs=self.weights)
        nn.utils.clip_grad_norm_(self.weights, 5.0)
        self.inner.step()

    def _root_mean_square(self, weight: Tensor) -> Tensor:
        state = self.inner.state[weight]
        mean = (0.999 * state["exp_avg_sq"]).mean().sqrt() + 1e-8
        return mean / (1 - 0.999 ** float(state["step"])) ** 0.5

    @torch.no_grad()
    def _displace(self, v: list[Tensor], length: Tensor) -> None:
        for weight, direction in zip(self.weights, v, strict=True):
            weight += length * direction
