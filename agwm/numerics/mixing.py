"""The weight mixture (paper, sections 3.1 and 3.2) as pure functions of tensors.

With task weight W (N x M), pretrained weight W0 (N x M) and attention parameters a1 (N x r),
a2 (r x M) with entries in [0, 1]:

    product   W~ = (1/r) (a1 a2) * W + (1/r) ((1 - a1) (1 - a2)) * W0      section 3.2, the default
    convex    W~ = A * W + (1 - A) * W0,  A = (1/r) a1 a2                  section 3.1, low rank

Full rank is A itself, N x M, in the convex form (section 3.1): it has no factors to multiply. So
are one attention parameter a row, A of N x 1, and one for the whole weight, of 1 x 1 (ours).
The product form is no interpolation: its coefficients sum to 1 only where a1 and a2 are both 0 or
both 1, and at W = W0 it shrinks the pretrained weight (by 0.4 % at the default start).
"""

import torch
from torch import Tensor

Alpha = tuple[Tensor, ...]  # (a1, a2), or (A,) where it has no factors
FORMS = ("product", "convex")


def mix(task: Tensor, pretrained: Tensor, alpha: Alpha, form: str = "product") -> Tensor:
    """Mixed weight W~, N x M; exact at the bounds (A = 1 returns `task` bit for bit).

    Differentiable, twice, in all arguments but `pretrained`. Saves no N x M tensor besides its
    inputs. Computed in the dtype of `task` also under autocast: rounded to bfloat16, a product
    near 1 moves in steps of 0.004, larger than a step of alpha.

    Raises:
        ValueError: the shapes do not fit, or `form` is not one of `FORMS`.
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {FORMS}, got {form!r}")
    shapes = [tuple(factor.shape) for factor in alpha]
    if task.shape != pretrained.shape or not _fits(alpha, task.shape):
        raise ValueError(
            f"alpha of shapes {shapes} does not fit weights of {tuple(task.shape)} "
            f"and {tuple(pretrained.shape)}"
        )
    if len(alpha) == 1:
        return torch.lerp(pretrained, task, alpha[0])
    return _Mix.apply(task, pretrained, *alpha, form)


def coefficients(alpha: Alpha, form: str = "product") -> tuple[Tensor, Tensor]:
    """Factors of W and of W0 in the mixture, of shapes that broadcast to N x M."""
    own = alpha[0] if len(alpha) == 1 else _times(*alpha)
    if form == "convex" or len(alpha) == 1:
        return own, 1 - own
    return own, _times(*(1 - factor for factor in alpha))


def _fits(alpha: Alpha, shape: tuple[int, ...]) -> bool:
    if len(alpha) == 1:  # to be broadcast
        return all(own in (1, of) for own, of in zip(alpha[0].shape, shape, strict=True))
    a1, a2 = alpha
    return a1.shape[1] == a2.shape[0] and (a1.shape[0], a2.shape[1]) == shape


def init_alpha(
    shape: tuple[int, int], rank: int | str, draw, std: float, mean: float = 1.0
) -> Alpha:
    """Attention parameters from N(mean, std), clipped to [0, 1] (paper, appendix D.1).

    Args:
        shape: (N, M) of the weight.
        rank: r, or "full", "row" or "layer".
        draw: shape -> float32 tensor of standard normal values.
        std: 0.005 in the paper.
        mean: 1 in the paper.
    """
    rows, columns = shape
    whole = {"full": shape, "row": (rows, 1), "layer": (1, 1)}
    shapes = [whole[rank]] if rank in whole else [(rows, rank), (rank, columns)]
    return tuple((mean + std * draw(shape)).clamp_(0, 1) for shape in shapes)


def _times(a1: Tensor, a2: Tensor) -> Tensor:
    """(1/r) a1 a2; by broadcasting at rank 1, which is exact and quicker than a matmul."""
    rank = a1.shape[1]
    return a1 * a2 if rank == 1 else (a1 @ a2) / rank


class _Mix(torch.autograd.Function):
    """Low-rank mixture with the gradients of G = dL/dW~ in closed form.

    product:  dL/dW = C * G,  dL/da1 = (1/r) [(G * W) a2' - (G * W0) (1 - a2)'],
              dL/da2 = (1/r) [a1' (G * W) - (1 - a1)' (G * W0)]
    convex:   the same with W0's terms replaced by (G * W0) a2' and a1' (G * W0).
    Backward is made of differentiable operations, so that it can be differentiated again.
    """

    @staticmethod
    def forward(ctx, task: Tensor, pretrained: Tensor, a1: Tensor, a2: Tensor, form: str) -> Tensor:
        ctx.save_for_backward(task, pretrained, a1, a2)
        ctx.form = form
        with torch.autocast(task.device.type, enabled=False):
            own = _times(a1, a2)
            if form == "convex":
                return torch.lerp(pretrained, task, own)
            return own.mul_(task).addcmul_(_times(1 - a1, 1 - a2), pretrained)

    @staticmethod
    def backward(ctx, grad: Tensor):
        task, pretrained, a1, a2 = ctx.saved_tensors
        grad_task = grad_a1 = grad_a2 = None
        with torch.autocast(task.device.type, enabled=False):
            if ctx.needs_input_grad[0]:
                grad_task = grad * a1 * a2 if a1.shape[1] == 1 else grad * _times(a1, a2)
            if ctx.needs_input_grad[2] or ctx.needs_input_grad[3]:
                rank = a1.shape[1]
                own, other = grad * task, grad * pretrained
                b1, b2 = (a1, a2) if ctx.form == "convex" else (1 - a1, 1 - a2)
                if rank == 1:
                    grad_a1 = (own @ a2[0] - other @ b2[0])[:, None]
                    grad_a2 = (a1[:, 0] @ own - b1[:, 0] @ other)[None]
                else:
                    grad_a1 = (own @ a2.T - other @ b2.T) / rank
                    grad_a2 = (a1.T @ own - b1.T @ other) / rank
        return grad_task, None, grad_a1, grad_a2, None
