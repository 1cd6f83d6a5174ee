"""A mask that is given out again is the one that would have been drawn, and leaves no trace."""

import pytest
import torch
from draws import CountedDraws
from torch.nn.functional import dropout

from agwm.numerics.rng import DrawnOnce, seeded


def passes(layouts, p=0.3, seeds=(1, 1)):
    """Dropped tensors of each pass, and a number drawn after it."""
    found = []
    for seed in seeds:
        with seeded(seed):
            found.append([dropout(torch.ones(8, 6).as_strided(*layout), p) for layout in layouts])
            found[-1].append(torch.rand(1))
    return found


ROWS, COLUMNS, SQUARE = ((8, 6), (6, 1)), ((8, 6), (1, 8)), ((6, 6), (6, 1))


def test_draws_and_what_follows_are_those_of_the_generator():
    layouts = [ROWS, COLUMNS, SQUARE, ROWS]
    expected = passes(layouts)
    with CountedDraws() as counted, DrawnOnce():
        found = passes(layouts)
    assert counted.draws == 4  # of the first pass alone
    for one, other in zip(expected, found, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(found[0][0], found[0][3])


@pytest.mark.parametrize(
    "second",
    [
        {"seeds": [2]},
        {"p": 0.5},
        {"layouts": [COLUMNS]},
        {"layouts": [SQUARE]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_draw_is_not_mistaken_for_it(second):
    first = {"layouts": [ROWS], "p": 0.3, "seeds": [1]}
    expected = passes(**first | second)
    with CountedDraws() as counted, DrawnOnce():
        passes(**first)
        found = passes(**first | second)
    assert counted.draws == 2
    assert torch.equal(found[0][0], expected[0][0])


def test_a_generator_of_its_own_is_left_alone():
    own = torch.Generator().manual_seed(0)
    with DrawnOnce():
        one, other = (torch.empty(64).bernoulli_(0.5, generator=own) for _ in range(2))
    own.manual_seed(0)
    assert torch.equal(one, torch.empty(64).bernoulli_(0.5, generator=own))
    assert not torch.equal(one, other)
