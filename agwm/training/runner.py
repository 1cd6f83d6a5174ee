"""What a method runs with: fresh copies of the model, fits by Lightning, and their bookkeeping."""

import logging
import math
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
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
from agwm.models.pretrained import Pretrained, load_pretrained
from agwm.numerics.finite import culprit
from agwm.numerics.rng import seeded
from agwm.seeding import derive, stream
from agwm.stopping import held_back
from agwm.training.account import Account
from agwm.training.checkpoints import Checkpoints
from agwm.training.finetune import FineTuneModule
from agwm.training.metrics import predictions, score
from agwm.training.midway import Midway
from agwm.training.progress import RunProgress
from agwm.training.search import BilevelSearchModule

_LOG = logging.getLogger("agwm")


class LightningRunner:
    """Implements `agwm.method.Runner`.

    Args:
        config: of the run.
        loaded: model, tokenizer and the names of the fresh parameters.
        data: subsample and loaders.
        loggers: every fit of the run logs to the same ones, metrics.csv first.
        plan: the method's fits, for the progress bar.
        checkpoints: of the fits that an earlier start of the run has finished.
    """

    def __init__(
        self,
        config: RunConfig,
        loaded: Pretrained,
        data: GlueDataModule,
        loggers: list[Logger],
        plan: list[Phase],
        checkpoints: Checkpoints,
    ) -> None:
        self.config = config
        self.optim = config.optim
        self.fresh = loaded.fresh
        self.data = data
        self.labels = data.targets
        self.classes = len(config.task.labels) if config.task.labels else None
        self.loggers = loggers
        self.progress = RunProgress(
            plan, [self._length(phase)[1] for phase in plan], config.trainer.progress
        )
        self.account = Account(loggers[0], checkpoints, self.progress)
        self.device = self._trainer("32-true", logger=False).strategy.root_device
        self._model = loaded.model
        self._finetuned = 0  # steps, over all fits

    @property
    def on_gpu(self) -> bool:
        """Whether the fits run on a GPU."""
        return self.device.type == "cuda"

    def pretrained(self, *head: str | int) -> PreTrainedModel:
        """Fresh copy of the loaded model, on the device.

        The head is the same in every copy, unless `head` says for what another is to be drawn.
        """
        if not head:
            return deepcopy(self._model).to(self.device)
        config = self.config
        seed, scale = self.seed("head", *head), self.data.label_scale
        drawn = load_pretrained(config.model, config.task, seed, self.labels, scale)
        return drawn.model.to(self.device)

    def stream(self, *purpose: str | int) -> Generator:
        """Random generator of the stream `(seed, *purpose)`."""
        return stream(self.config.seed, *purpose)

    def seed(self, *purpose: str | int) -> int:
        """Seed of the stream `(seed, *purpose)`."""
        return derive(self.config.seed, *purpose)

    def finetune(self, model: Module, method: Method, phase: Phase) -> None:
        """Fit `model` in place on the phase's share of the examples."""
        loader = self.data.train_dataloader(self._examples(phase), *phase.streams)
        epochs, steps = self._length(phase)
        optim = self.optim
        if phase.as_long_as or phase.epochs not in (None, optim.epochs):
            # The recipe's steps of warm-up are meant for a fit of the recipe's length.
            optim = replace(optim, warmup_steps=None)
        module = FineTuneModule(
            model, method, optim, steps, self.config.seed, phase, self._finetuned
        )
        self._finetuned += steps
        self._fit(module, loader, phase, epochs, steps, self.config.trainer.precision)

    def search(self, model: Module, settings: SearchSettings, k: int, phase: Phase) -> None:
        """Run search `k` on the mixed `model`, in place; float32 whatever fine-tuning uses."""
        loader = self.data.search_dataloader(
            k, settings.inner_fraction, settings.alpha_every, bool(settings.cross_fit)
        )
        epochs, steps = self._length(phase)
        module = BilevelSearchModule(model, settings, self.optim, steps, self.config.seed, k)
        self._fit(module, loader, phase, epochs, None, "32-true")

    def gradients(self, model: Module, phase: Phase) -> Iterator[None]:
        """One pass over the training examples in training mode, dropout on.

        At each turn the gradients of one batch's mean loss are in place; they are gone after it.
        """
        loader = self.data.train_dataloader(None, *phase.streams, batch_size=phase.batch_size)
        model.train()
        with self.account.counted(model, phase.name) as (done, _):
            self.progress.begin()
            for index, batch in enumerate(loader):
                with seeded(self.seed("dropout", *phase.streams, index)):
                    loss = model(**self._placed(batch)).loss
                    loss.backward()
                if not loss.isfinite():
                    reason = culprit(model.named_parameters(), "parameter")
                    raise RunError(f"{phase.name}, step {index}: the loss is {loss} ({reason})")
                self.account.cost.backward_passes += 1
                yield
                model.zero_grad()
                done["steps"] = index + 1
                self.progress.advance(index + 1)
            self.progress.end()

    def held_out(self, share: float) -> list[int]:
        """Indices of the training examples that a phase of this share leaves out."""
        return self.data.split(0, share)[1]

    def logits(self, model: Module, examples: Sequence[int] | None = None) -> torch.Tensor:
        """Outputs for training examples (None = all), in their order, float32, on the CPU."""
        with self.account.counted(model, "outputs") as (done, _):
            outputs = self._outputs(model, self.data.ordered_dataloader(examples))
            done["steps"] = len(outputs)
            self.account.cost.forward_passes += len(outputs)
        return torch.cat(outputs)

    def score(self, logits: torch.Tensor, examples: Sequence[int]) -> float:
        """The task's headline metric on training examples, in [-1, 1]; NaN if it is undefined."""
        task = self.config.task
        labels = [self.labels[index] for index in examples]
        try:
            return score(task.metrics[0], predictions(logits, task), labels, task)
        except RunError:
            return math.nan

    def predict(self, model: Module, split: str) -> torch.Tensor:
        """Logits of an evaluation split in its own order, (rows, labels), float32, on the CPU."""
        loader, order = self.data.evaluation_dataloader(split)
        logits = torch.cat(self._outputs(model, loader))
        if not logits.isfinite().all():
            reason = culprit(model.named_parameters(), "parameter")
            raise RunError(f"evaluation on {split}: the model's outputs are not finite ({reason})")
        return torch.empty_like(logits).index_copy_(0, torch.tensor(order), logits)

    def _outputs(self, model: Module, loader: Any) -> list[torch.Tensor]:
        model.to(self.device).eval()
        batches = []
        with torch.inference_mode():
            for batch in loader:
                batch.pop("labels")
                batches.append(model(**self._placed(batch)).logits.float().cpu())
        return batches

    def _placed(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def _fit(
        self,
        module: FineTuneModule | BilevelSearchModule,
        loader: Any,
        phase: Phase,
        epochs: int,
        max_steps: int | None,
        precision: str,
    ) -> None:
        if self.account.restored(module.model):
            module.model.train()  # as a fit leaves it: spectral norms go on from pass to pass
            return
        # A Trainer that has reached its last epoch does nothing the second time: one each.
        # Lightning's step counter counts both optimizers of a search: epochs end it.
        trainer = self._trainer(
            precision,
            logger=self.loggers,
            max_epochs=epochs,
            max_steps=max_steps or -1,
            callbacks=[self.progress],
        )
        # A stop waits for the end of a step, and behind the last one until the fit is kept.
        with held_back() as held:
            with self.account.counted(module.model, phase.name, epochs) as (done, counter):
                pause = partial(self.account.pause, counter)
                trainer.callbacks.append(Midway(held, pause, self.account.resumed(counter)))
                _LOG.info("%s: begins", phase.name)
                try:
                    trainer.fit(module, loader)
                except SystemExit as error:
                    # Lightning's way out of Ctrl-C, which hides that it was one, and by which one.
                    if isinstance(error.__context__, KeyboardInterrupt):
                        raise error.__context__ from None
                    raise
                done["steps"] = module.step
                self.account.cost.optimizer_steps += trainer.global_step
                # In fine-tuning each forward pass has its backward pass; a search counts its own.
                backward = counter.forward
                if isinstance(module, BilevelSearchModule):
                    backward = module.backward_passes
                    done["zero_directions"] = module.search.zero_directions
                self.account.cost.backward_passes += backward
            self.account.keep(module.model)

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
            deterministic=(torch.cuda.is_available() and self.config.trainer.accelerator != "cpu")
            or None,
            **options,
        )

    def _examples(self, phase: Phase) -> list[int] | None:
        return None if phase.share == 1 else self.data.split(0, phase.share)[0]

    def _length(self, phase: Phase) -> tuple[int, int]:
        """Epochs to go through, and the optimizer steps after which to stop."""
        examples = self._examples(phase)
        count = len(self.data.train) if examples is None else len(examples)
        batches = math.ceil(count / (phase.batch_size or self.optim.batch_size))
        steps = self.optim.steps
        if phase.as_long_as:
            passes = sum(self._length(other)[1] * other.passes for other in phase.as_long_as)
            steps = math.ceil(passes / phase.passes)
        elif phase.epochs is not None or steps is None:
            epochs = self.optim.epochs if phase.epochs is None else phase.epochs
            return epochs, epochs * batches
        return math.ceil(steps / batches), steps
