"""Which examples, in which order: index arithmetic on named random streams."""

from collections.abc import Iterator, Sequence

from torch.utils.data import Sampler

from agwm.errors import UserError
from agwm.seeding import stream

_GROUP = 8  # batches among which texts are sorted by length


def subsample(num_examples: int, keep: int | None, seed: int) -> list[int]:
    """`keep` indices drawn without replacement, not stratified; all, in order, if None.

    The draw is nested: at one seed, 300 examples are the first 300 of 500.

    Raises:
        UserError: fewer examples than `keep`.
    """
    if keep is None:
        return list(range(num_examples))
    if keep > num_examples:
        raise UserError(f"n_train={keep}: the training data holds {num_examples} examples")
    return stream(seed, "subsample").permutation(num_examples)[:keep].tolist()


def split(
    num_examples: int, inner_fraction: float, seed: int, k: int, cross_fit: bool = False
) -> tuple[list[int], list[int]]:
    """Indices of the inner and of the outer part of split `k`; disjoint, all together.

    Each split is drawn by itself. With `cross_fit` the outer parts are stretches of one order, one
    behind the other and round again: no example is held out twice before all have been once.

    Raises:
        UserError: one of the two would be empty.
    """
    # Twelve digits: 0.1 * 30 is not to lose an example to rounding.
    num_inner = int(round(inner_fraction * num_examples, 12))
    if not 0 < num_inner < num_examples:
        raise UserError(
            f"a split of {num_examples} examples with a share of {inner_fraction} leaves "
            f"{num_inner} on that side; both sides need one (method.inner_fraction, .held_out)"
        )
    order = stream(seed, "split", *([] if cross_fit else [k])).permutation(num_examples).tolist()
    if cross_fit:
        first = k * (num_examples - num_inner) % num_examples
        order = order[first:] + order[:first]
    return order[:num_inner], order[num_inner:]


class StreamBatches(Sampler[list[int]]):
    """Endless shuffled passes over the indices, cut into epochs of a fixed number of batches.

    Pass p is a permutation of the stream `(seed, *purpose, p)`; its last batch may be short. An
    epoch is found from its number alone, so that nothing has to be saved to resume. With
    `epoch_batches` of another loader, passes run on across epochs: the outer batches cycle at
    their own pace. Each batch is given `hold` times.

    With `lengths`, of all examples by index, texts of like length come together: each group of
    eight batches of the same permutation is sorted before it is cut, and the batches of a pass are
    put in an order of their own.
    """

    def __init__(
        self,
        indices: list[int],
        batch_size: int,
        seed: int,
        *purpose: str | int,
        epoch_batches: int | None = None,
        hold: int = 1,
        lengths: Sequence[int] | None = None,
    ) -> None:
        self.indices = indices
        self.batch_size = batch_size
        self.seed = seed
        self.purpose = purpose
        self.pass_batches = -(-len(indices) // batch_size)
        self.epoch_batches = self.pass_batches if epoch_batches is None else epoch_batches
        self.hold = hold
        self.lengths = lengths
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.epoch_batches

    def __iter__(self) -> Iterator[list[int]]:
        start = self.epoch * self.epoch_batches
        batches, batches_of = [], None
        for batch in range(start, start + self.epoch_batches):
            number, position = divmod(batch // self.hold, self.pass_batches)
            if number != batches_of:
                batches, batches_of = self._batches(number), number
            yield batches[position]

    def _batches(self, number: int) -> list[list[int]]:
        """The batches of pass `number`."""
        draws = stream(self.seed, *self.purpose, number)
        order = [self.indices[i] for i in draws.permutation(len(self.indices))]
        if self.lengths is None:
            return cut(order, self.batch_size)
        groups = cut(order, _GROUP * self.batch_size)
        grouped = [i for group in groups for i in sorted(group, key=self.lengths.__getitem__)]
        batches = cut(grouped, self.batch_size)
        return [batches[i] for i in draws.permutation(len(batches))]


def cut(indices: Sequence[int], size: int) -> list[list[int]]:
    """Batches of `size` in the order of the indices; the last one may be short."""
    return [list(indices[first : first + size]) for first in range(0, len(indices), size)]
