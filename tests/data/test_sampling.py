import random
from collections import Counter

import pytest
import torch

from agwm.data.sampling import StreamBatches, split, subsample
from agwm.errors import UserError


def epoch(batches, number):
    batches.set_epoch(number)
    return list(batches)


def flat(batches):
    return [index for batch in batches for index in batch]


def test_three_hundred_examples_are_the_first_of_five_hundred():
    assert subsample(2000, 500, seed=4)[:300] == subsample(2000, 300, seed=4)


def test_a_subsample_holds_no_example_twice():
    found = subsample(400, 399, seed=0)
    assert len(set(found)) == 399 and set(found) < set(range(400))


def test_the_subsample_depends_on_the_seed_alone():
    first = subsample(2000, 300, seed=1)
    random.seed(9)
    torch.manual_seed(9)
    assert subsample(2000, 300, seed=1) == first
    assert set(subsample(2000, 300, seed=2)) != set(first)


def test_no_number_keeps_all_in_order():
    assert subsample(5, None, seed=3) == [0, 1, 2, 3, 4]


def test_more_examples_than_there_are_cannot_be_kept():
    with pytest.raises(UserError, match="n_train=301: the training data holds 300 examples"):
        subsample(300, 301, seed=0)
    assert len(subsample(300, 300, seed=0)) == 300


def test_the_paper_split_of_three_hundred_is_240_and_60():
    inner, outer = split(300, 0.8, seed=0, k=0)
    assert (len(inner), len(outer)) == (240, 60)
    assert sorted(inner + outer) == list(range(300))


@pytest.mark.parametrize(
    ("examples", "fraction", "inner"), [(30, 0.1, 3), (10, 0.7, 7), (100, 0.29, 29), (7, 0.5, 3)]
)
def test_the_inner_part_is_rounded_down_and_not_by_an_accident_of_floats(examples, fraction, inner):
    assert len(split(examples, fraction, seed=0, k=0)[0]) == inner


def test_every_search_has_a_split_of_its_own():
    parts = [frozenset(split(300, 0.8, seed=0, k=k)[0]) for k in range(5)]
    assert len(set(parts)) == 5
    assert parts[3] == frozenset(split(300, 0.8, seed=0, k=3)[0])
    assert parts[3] != frozenset(split(300, 0.8, seed=1, k=3)[0])


@pytest.mark.parametrize(
    ("examples", "fraction", "splits", "times"),
    [(300, 0.8, 5, {1}), (300, 0.8, 10, {2}), (300, 0.8, 3, {0, 1}), (7, 0.5, 2, {1, 2})],
)
def test_cross_fit_holds_out_each_example_equally_often(examples, fraction, splits, times):
    parts = [split(examples, fraction, seed=0, k=k, cross_fit=True) for k in range(splits)]
    for inner, outer in parts:
        assert sorted(inner + outer) == list(range(examples))
        assert len(inner) == len(split(examples, fraction, seed=0, k=0)[0])
    counts = Counter(flat(outer for _, outer in parts))
    assert {counts[index] for index in range(examples)} == times
    again = [split(examples, fraction, seed=1, k=k, cross_fit=True) for k in range(splits)]
    assert again != parts


@pytest.mark.parametrize(("examples", "fraction"), [(2, 0.4), (4, 0.2), (1, 0.5)])
def test_a_split_that_leaves_one_part_empty_is_refused(examples, fraction):
    with pytest.raises(
        UserError, match=f"split of {examples} examples with a share of {fraction} leaves 0"
    ):
        split(examples, fraction, seed=0, k=0)


@pytest.mark.parametrize(("examples", "sizes"), [(10, [4, 4, 2]), (8, [4, 4]), (3, [3])])
def test_an_epoch_covers_each_index_exactly_once(examples, sizes):
    indices = [100 + index for index in range(examples)]
    batches = StreamBatches(indices, 4, 0, "order")
    for number in range(3):
        found = epoch(batches, number)
        assert [len(batch) for batch in found] == sizes and len(batches) == len(sizes)
        assert sorted(flat(found)) == indices


def test_no_batch_is_ever_empty_or_too_large():
    for examples in range(1, 12):
        for size in range(1, 14):
            for cycle in ({}, {"epoch_batches": 7}, {"epoch_batches": 7, "hold": 3}):
                batches = StreamBatches(list(range(examples)), size, 0, "order", **cycle)
                found = epoch(batches, 0) + epoch(batches, 1)
                assert found and all(1 <= len(batch) <= size for batch in found)


def test_every_epoch_is_shuffled_anew():
    batches = StreamBatches(list(range(50)), 8, 0, "order")
    orders = [flat(epoch(batches, number)) for number in range(3)]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert orders[0] != list(range(50))


def test_purposes_and_seeds_have_orders_of_their_own():
    def order(seed, *purpose):
        return tuple(flat(StreamBatches(list(range(50)), 8, seed, *purpose)))

    found = {
        order(0, "order"),
        order(1, "order"),
        order(0, "order", "inner", 0),
        order(0, "order", "outer", 0),
        order(0, "order", "inner", 1),
    }
    assert len(found) == 5


def test_outer_batches_use_every_example_before_any_comes_again_across_epochs():
    batches = StreamBatches(list(range(60)), 16, 0, "outer", epoch_batches=15)
    drawn = [batch for number in range(4) for batch in epoch(batches, number)]
    assert len(drawn) == 60
    passes = [drawn[first : first + 4] for first in range(0, 60, 4)]
    for one_pass in passes:
        assert sorted(flat(one_pass)) == list(range(60))
    assert len({tuple(flat(one_pass)) for one_pass in passes}) == len(passes)
    assert set(Counter(flat(drawn)).values()) == {15}


def test_outer_batches_of_a_part_larger_than_the_inner_one_go_on_where_they_stopped():
    batches = StreamBatches(list(range(40)), 8, 0, "outer", epoch_batches=2)
    drawn = [batch for number in range(5) for batch in epoch(batches, number)]
    assert sorted(flat(drawn[:5])) == sorted(flat(drawn[5:])) == list(range(40))


def test_an_epoch_is_found_from_its_number_alone():
    whole = StreamBatches(list(range(30)), 4, 5, "outer", epoch_batches=5)
    expected = [epoch(whole, number) for number in range(4)]
    fresh = StreamBatches(list(range(30)), 4, 5, "outer", epoch_batches=5)
    assert epoch(fresh, 3) == expected[3]
    assert epoch(whole, 1) == expected[1]


def test_the_order_does_not_depend_on_what_others_draw():
    def order():
        return list(StreamBatches(list(range(30)), 4, 5, "order"))

    expected = order()
    random.random()
    torch.rand(3)
    half = iter(StreamBatches(list(range(30)), 4, 5, "order"))
    next(half)
    torch.rand(3)
    assert order() == expected and list(half) == expected[1:]


def test_grouped_batches_hold_texts_of_like_length_and_every_text_once():
    lengths = [(37 * i) % 101 for i in range(300)]
    batches = StreamBatches(list(range(300)), 16, 0, "order", lengths=lengths)
    first, second = epoch(batches, 0), epoch(batches, 1)
    spread = [max(lengths[i] for i in batch) - min(lengths[i] for i in batch) for batch in first]
    # 128 texts are sorted before they are cut: a batch spans an eighth of them, 101 / 8 at a guess.
    assert sorted(spread)[len(spread) // 2] < 20
    assert sorted(i for batch in first for i in batch) == list(range(300))
    assert sorted(map(len, first)) == [12] + [16] * 18
    assert first != second
    longest = [max(lengths[i] for i in batch) for batch in first]
    assert longest != sorted(longest)  # no course from short to long


def test_grouping_draws_the_permutation_that_the_others_have():
    """The first group holds the texts of the first eight batches."""
    plain = epoch(StreamBatches(list(range(300)), 16, 0, "order"), 0)
    grouped = epoch(StreamBatches(list(range(300)), 16, 0, "order", lengths=range(300)), 0)
    first = {i for batch in plain[:8] for i in batch}
    whole = [batch for batch in grouped if first.issuperset(batch)]
    assert len(whole) == 8
