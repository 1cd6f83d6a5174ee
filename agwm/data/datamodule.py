"""A GLUE task for one seed: the subsample, the K random splits and the padded batches."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

from agwm.config import Optim, Task
from agwm.data.examples import Examples, load_examples
from agwm.data.own import load_own
from agwm.data.sampling import StreamBatches, cut, split, subsample

_EVALUATION_BATCH = 64


class Encoded(Dataset):
    """Examples as token ids, tokenised once; indexed by a list of indices, gives a batch.

    A batch is padded to the longest text in it: `input_ids`, `attention_mask`, ... of shape
    (batch, length), int64, and `labels` of shape (batch,), int64 or, for regression, float32.
    """

    def __init__(
        self, examples: Examples, tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> None:
        columns = [list(column) for column in zip(*examples.texts, strict=True)]
        encoded = tokenizer(*columns, truncation=True, max_length=max_length)
        self.rows = [
            {name: values[index] for name, values in encoded.items()} | {"label": label}
            for index, label in enumerate(examples.labels)
        ]
        self.collate = DataCollatorWithPadding(tokenizer)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: list[int]) -> dict[str, Tensor]:
        return dict(self.collate([self.rows[index] for index in indices]))

    def by_length(self) -> list[int]:
        """Indices, longest first, so that batches pad little and memory peaks at once."""
        lengths = self.lengths
        return sorted(range(len(self)), key=lambda index: -lengths[index])

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each text."""
        return [len(row["input_ids"]) for row in self.rows]


class GlueDataModule(LightningDataModule):
    """Batches of one task at one seed.

    Args:
        task: columns and labels.
        optim: batch size and longest input.
        seed: draws the subsample, the splits and the batch orders, each from its own stream.
        n_train: labelled examples to keep; None = all.
        data_dir: folder with a folder for each task; None = the Hub.

    Raises:
        UserError: from the constructor, which reads the files; see `load_examples`, `subsample`.
    """

    def __init__(
        self, task: Task, optim: Optim, seed: int, n_train: int | None, data_dir: str | None
    ) -> None:
        super().__init__()
        self.task = task
        self.optim = optim
        self.seed = seed
        everything = _load(task, "train", data_dir)
        self.train = everything.take(subsample(len(everything), n_train, seed))
        self.evaluation = {name: _load(task, name, data_dir) for name in task.evaluation}
        self.tokenizer: PreTrainedTokenizerBase | None = None

    def tokenize_with(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Set the tokenizer; to be called once, before any loader is made."""
        self.tokenizer = tokenizer

    @cached_property
    def encoded_train(self) -> Encoded:
        """Token ids of the subsample."""
        examples = replace(self.train, labels=self.targets)
        return Encoded(examples, self.tokenizer, self.optim.max_length)

    @cached_property
    def targets(self) -> list[int] | list[float]:
        """The training labels as they are learned: in units of `label_scale`."""
        mean, std = self.label_scale
        if (mean, std) == (0, 1):
            return self.train.labels
        return [(label - mean) / std for label in self.train.labels]

    @cached_property
    def label_scale(self) -> tuple[float, float]:
        """Mean and standard deviation of the training labels; (0, 1) to learn them as they are."""
        if not self.task.standardize:
            return 0.0, 1.0
        labels = np.asarray(self.train.labels)
        # Of equal numbers rounding can leave a deviation that is not quite 0.
        return float(labels.mean()), float(labels.std()) if np.ptp(labels) else 1.0

    def train_dataloader(
        self,
        examples: list[int] | None = None,
        *purpose: str | int,
        batch_size: int | None = None,
    ) -> DataLoader:
        """Examples of the subsample (None = all), shuffled anew every epoch.

        The last batch may be short; the order comes from the stream ("order", *purpose).
        """
        chosen = list(range(len(self.train))) if examples is None else examples
        return self._loader(chosen, "order", *purpose, batch_size=batch_size)

    def ordered_dataloader(self, examples: Sequence[int] | None = None) -> DataLoader:
        """Examples of the subsample (None = all) as they come, once."""
        order = range(len(self.train)) if examples is None else examples
        batches = cut(order, self.optim.batch_size)
        return DataLoader(self.encoded_train, batch_size=None, sampler=batches)

    def digest(self) -> str:
        """Twelve hex digits over the subsample and the evaluation splits, rows in their order."""
        parts = [self.train, *(self.evaluation[name] for name in self.task.evaluation)]
        digests = " ".join(part.digest(ordered=True) for part in parts)
        return hashlib.sha256(digests.encode()).hexdigest()[:12]

    def split(
        self, k: int, inner_fraction: float, cross_fit: bool = False
    ) -> tuple[list[int], list[int]]:
        """Indices, in the subsample, of the inner and the outer part of split `k`."""
        return split(len(self.train), inner_fraction, self.seed, k, cross_fit)

    def search_dataloader(
        self, k: int, inner_fraction: float, outer_every: int = 1, cross_fit: bool = False
    ) -> CombinedLoader:
        """`{"inner": batch, "outer": batch}` of split `k`; an epoch is one pass over the inner.

        The outer batch stays for `outer_every` inner ones, so that a search which looks at every
        T-th of them sees all of its outer examples.
        """
        inner_indices, outer_indices = self.split(k, inner_fraction, cross_fit)
        inner = self._loader(inner_indices, "order", "inner", k)
        outer = self._loader(
            outer_indices, "order", "outer", k, epoch_batches=len(inner), hold=outer_every
        )
        return CombinedLoader({"inner": inner, "outer": outer}, "min_size")

    def evaluation_dataloader(self, name: str) -> tuple[DataLoader, list[int]]:
        """Loader of an evaluation split, sorted by length, and the index of each row it gives."""
        encoded = Encoded(self.evaluation[name], self.tokenizer, self.optim.max_length)
        order = encoded.by_length()
        return DataLoader(encoded, batch_size=None, sampler=cut(order, _EVALUATION_BATCH)), order

    def constant_prediction(self) -> int | float:
        """Majority class of the training examples, or their mean: what needs no model."""
        if self.task.labels is None:
            return sum(self.train.labels) / len(self.train)
        return Counter(sorted(self.train.labels)).most_common(1)[0][0]

    def _loader(
        self,
        indices: list[int],
        *purpose: str | int,
        batch_size: int | None = None,
        **cycle: int,
    ) -> DataLoader:
        size = batch_size or self.optim.batch_size
        lengths = self.encoded_train.lengths if self.optim.group_by_length else None
        sampler = StreamBatches(indices, size, self.seed, *purpose, lengths=lengths, **cycle)
        # batch_size=None: the sampler gives whole batches.
        return DataLoader(self.encoded_train, batch_size=None, sampler=sampler)


def _load(task: Task, split: str, data_dir: str | None) -> Examples:
    own = task.train is not None
    return load_own(task, split) if own else load_examples(task, split, data_dir)
