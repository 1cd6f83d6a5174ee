"""What a method runs with: fresh copies of the model, fits by Lightning, and their bookkeeping."""

import logging
import math
import time
import warnings
from copy import deepcopy
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger
from numpy.random import Generator
from torch.nn import Module
from transformers import PreTrainedModel

from agwm.bilevel import SearchSettings
from agwm.config import RunConfig
from agwm.data.datamodule import GlueDataModule
from agwm.errors import RunError
from agwm.method import Method, Phase
from agwm.models.pretrained import Pretrained
from agwm.results.record import Cost
from agwm.seeding import stream
from agwm.training.finetune import FineTuneModule, PassCounter
from agwm.training.progress import RunProgress
from agwm.training.search import BilevelSearchModule

_LOG = logging.getLogger("agwm")
# They concern what is chosen here on purpose, or Lightning's own insides.
_EXPECTED_WARNINGS = (
    # Alpha's optimizer may be stepped at every T-th iteration only.
    ".*lr_scheduler.step.. before .optimizer.step.*",
    ".*does not have many workers.*",
    ".*in eval mode at the start of training.*",
    ".*Experiment logs directory.*",
    ".*LeafSpec.*",
)


def silence() -> None:
    """Keep Lightning's advice out of a run's few lines; errors still come through."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for pattern in _EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", pattern)


class LightningRunner:
    """Implements `agwm.method.Runner`.

    Args:
        config: of the run.
        loaded: model, tokenizer and the names of the fresh parameters.
        data: subsample and loaders.
        loggers: every fit of the run logs to the same ones.
        plan: the method's fits, for the progress bar.
    """

    def __init__(
        self,
        config: RunConfig,
        loaded: Pretrained,
        data: GlueDataModule,
        loggers: list[Logger],
        plan: list[Phase],
    ) -> None:
        self.config = config
        self.optim = config.optim
        self.fresh = loaded.fresh
        self.data = data
        self.loggers = loggers
        self.cost = Cost()
        self.phases: list[dict[str, Any]] = []
        self.progress = RunProgress(
            plan, [self._planned_steps(p) for p in plan], config.trainer.progress
        )
        self.on_gpu = torch.cuda.is_available() and config.trainer.accelerator != "cpu"
        self._model = loaded.model
        self._names = iter([phase.name for phase in plan])

    def pretrained(self) -> PreTrainedModel:
        """Fresh copy of the loaded model; its head is the same in every copy."""
        return deepcopy(self._model)

    def stream(self, *purpose: str | int) -> Generator:
        """Random generator of the stream `(seed, *purpose)`."""
        return stream(self.config.seed, *purpose)

    def finetune(self, model: Module, method: Method, epochs: int | None = None) -> None:
        """Fit `model` in place on all examples; `epochs` None = as `optim` says."""
        loader = self.data.train_dataloader()
        epochs, steps = self._length(len(loader), epochs)
        module = FineTuneModule(model, method, self.optim, steps, self.config.seed)
        self._fit(module, loader, epochs, steps, self.config.trainer.precision)

    def search(self, model: Module, settings: SearchSettings, k: int) -> None:
        """Run search `k` on the mixed `model`, in place; float32 whatever fine-tuning uses."""
        loader = self.data.search_dataloader(k, settings.inner_fraction, settings.alpha_every)
        steps = settings.epochs * len(loader.iterables["inner"])
        module = BilevelSearchModule(model, settings, self.optim, steps, self.config.seed, k)
        self._fit(module, loader, settings.epochs, None, "32-true")

    def predict(self, model: Module, split: str) -> torch.Tensor:
        """Logits of an evaluation split in its own order, (rows, labels), float32, on the CPU."""
        loader, order = self.data.evaluation_dataloader(split)
        trainer = self._trainer("32-true", logger=False)
        device = trainer.strategy.root_device
        model.to(device).eval()
        batches = []
        with torch.inference_mode():
            for batch in loader:
                batch.pop("labels")
                inputs = {name: tensor.to(device) for name, tensor in batch.items()}
                batches.append(model(**inputs).logits.float().cpu())
        logits = torch.cat(batches)
        if not logits.isfinite().all():
            raise RunError(f"evaluation on {split}: the model's outputs are not finite")
        return torch.empty_like(logits).index_copy_(0, torch.tensor(order), logits)

    def _fit(
        self,
        module: FineTuneModule | BilevelSearchModule,
        loader: Any,
        epochs: int,
        max_steps: int | None,
        precision: str,
    ) -> None:
        # A Trainer that has reached its last epoch does nothing the second time: one each.
        # Lightning's step counter counts both optimizers of a search: epochs end it.
        trainer = self._trainer(
            precision,
            logger=self.loggers,
            max_epochs=epochs,
            max_steps=max_steps or -1,
            callbacks=[self.progress],
        )
        counter = PassCounter(module.model)
        started = time.perf_counter()
        try:
            trainer.fit(module, loader)
        except SystemExit:
            # Lightning's way out of Ctrl-C, which hides that it was one.
            raise KeyboardInterrupt from None
        finally:
            counter.close()
        seconds = time.perf_counter() - started
        self.cost.forward_passes += counter.forward
        self.cost.backward_passes += module.backward_passes
        self.cost.optimizer_steps += trainer.global_step
        self.cost.train_seconds += seconds
        name = next(self._names)
        self.phases.append(
            {"name": name, "steps": module.step, "epochs": epochs, "seconds": seconds}
        )
        _LOG.info("%s: %d steps in %.1f s", name, module.step, seconds)

    def _trainer(self, precision: str, **options: Any) -> Trainer:
        return Trainer(
            accelerator=self.config.trainer.accelerator,
            devices=self.config.trainer.devices,
            precision=precision,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=1,
            use_distributed_sampler=False,
            # On the CPU all kernels in use are deterministic; the flag would only slow them.
            deterministic=self.on_gpu or None,
            **options,
        )

    def _length(self, batches: int, epochs: int | None) -> tuple[int, int]:
        """Epochs to go through, and the optimizer steps after which to stop."""
        if epochs is None and self.optim.steps is not None:
            return math.ceil(self.optim.steps / batches), self.optim.steps
        epochs = self.optim.epochs if epochs is None else epochs
        return epochs, epochs * batches

    def _planned_steps(self, phase: Phase) -> int:
        examples = len(self.data.train)
        if phase.share < 1:
            examples = len(self.data.split(0, phase.share)[0])
        return self._length(math.ceil(examples / self.optim.batch_size), phase.epochs)[1]
