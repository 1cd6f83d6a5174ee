"""Linear probe: a frozen encoder, mean-pooled, under scikit-learn's logistic or ridge regression.

What many would try first, and much the cheapest. The features are standardized by the training
examples; the standardization is folded into the head. `strength` is that of the L2 penalty:
1 / C of the logistic, alpha of the ridge regression.

The result is no sequence classifier of transformers: `model/` holds the encoder as an ordinary
folder and `head.safetensors` (README, "A run's directory"). Encoder-decoders are refused.

One forward pass over the examples, no backward pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agwm.errors import UserError, require
from agwm.method import Method, Phase, Runner

if TYPE_CHECKING:
    from pathlib import Path

    from numpy import ndarray
    from torch.nn import Module

    from agwm.models.pretrained import Pretrained


@dataclass(kw_only=True)
class LinearProbe(Method):
    """A linear model on frozen features."""

    strength: float

    def __post_init__(self) -> None:
        require(0 < self.strength < math.inf, "method.strength", self.strength, "a number > 0")

    def plan(self) -> list[Phase]:
        return []

    def run(self, runner: Runner) -> Module:
        import numpy as np
        import torch

        from agwm.models.probe import MeanPooled

        classifier = runner.pretrained()
        if classifier.config.is_encoder_decoder:
            kind = classifier.config.model_type
            raise UserError(f"method={self.name}: {kind} is an encoder-decoder; give an encoder")
        model = MeanPooled(classifier.base_model)
        features = runner.logits(model).double().numpy()
        mean, scale = features.mean(0), features.std(0)
        scale = np.where(scale > 0, scale, 1.0)
        weight, bias = self._fit((features - mean) / scale, runner)
        weight = weight / scale
        head = torch.nn.Linear(weight.shape[1], weight.shape[0])
        head.weight.data = torch.from_numpy(weight).float()
        head.bias.data = torch.from_numpy(bias - weight @ mean).float()
        model.head = head
        return model

    def _fit(self, features: ndarray, runner: Runner) -> tuple[ndarray, ndarray]:
        """Weight (labels, hidden) and bias (labels,) on standardized features."""
        import numpy as np
        from sklearn.linear_model import LogisticRegression, Ridge

        labels = np.asarray(runner.labels)
        if runner.classes is None:
            fitted = Ridge(alpha=self.strength).fit(features, labels)
            return fitted.coef_.reshape(1, -1), np.atleast_1d(fitted.intercept_)
        seen = np.unique(labels)
        weight = np.zeros((runner.classes, features.shape[1]))
        # A class without an example is never predicted.
        bias = np.full(runner.classes, -1e4)
        if len(seen) == 1:
            bias[seen] = 0.0
            return weight, bias
        fitted = LogisticRegression(C=1 / self.strength, max_iter=10_000).fit(features, labels)
        if len(seen) == 2:
            # One row for the log-odds of the second class: half of it for each.
            weight[seen] = np.concatenate([-fitted.coef_, fitted.coef_]) / 2
            bias[seen] = np.concatenate([-fitted.intercept_, fitted.intercept_]) / 2
        else:
            weight[seen], bias[seen] = fitted.coef_, fitted.intercept_
        return weight, bias

    def save(self, model: Module, loaded: Pretrained, folder: Path) -> None:
        from agwm.models.probe import save_probe

        save_probe(model, loaded.tokenizer, folder)
