import pytest
import torch

from agwm.numerics.masks import kth_largest, largest


def awkward(dtype):
    """Ties, zeros, denormals, the smallest and the largest numbers, in one row."""
    info = torch.finfo(dtype)
    denormal = info.smallest_normal * info.eps
    special = [0.0, 0.0, 0.0, denormal, 2 * denormal, denormal, info.smallest_normal, info.max]
    special += [info.max, info.max * (1 - info.eps), 1.0, 1.0, 1.0, 1 + info.eps, 1 - info.eps]
    values = torch.rand(40, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return torch.cat([torch.tensor(special, dtype=dtype), values, values[:9], values * 1e-30])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("top", [None, 1.0, float("inf")])
def test_every_kth_largest_is_that_of_a_sort(dtype, top):
    values = awkward(dtype)
    if top is not None:
        values = values.clamp(max=1.0)
        values[5] = top
    ordered = torch.sort(values, descending=True).values
    found = torch.stack([kth_largest([values], k) for k in range(1, len(values) + 1)])
    assert found.dtype == dtype
    assert torch.equal(found, ordered)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_of_any_shape_and_order_in_memory_are_counted_together(dtype):
    values = awkward(dtype)[:84]
    tensors = [values[:40].view(5, 8).t(), values[40:83].view(43, 1), values[83]]
    ordered = torch.sort(values, descending=True).values
    for k in range(1, 85):
        assert kth_largest(tensors, k) == ordered[k - 1]
        assert kth_largest(tensors[::-1], k) == ordered[k - 1]


def test_neither_the_entries_nor_their_gradients_are_touched():
    values = torch.rand(3, 4, requires_grad=True)
    before = values.detach().clone()
    assert not kth_largest([values], 5).requires_grad
    assert torch.equal(values, before) and values.grad is None


def test_all_zeros_have_a_largest_of_zero():
    assert kth_largest([torch.zeros(5)], 3) == 0


@pytest.mark.parametrize("keep", [1, 5, 24, 59, 60])
def test_as_many_entries_are_kept_as_asked_for_and_they_are_the_largest(keep):
    values = 1 + torch.randperm(60, generator=torch.Generator().manual_seed(1)).float()
    masks = largest([values[:20].view(4, 5), values[20:]], keep)
    assert [(mask.dtype, mask.shape) for mask in masks] == [
        (torch.bool, (4, 5)),
        (torch.bool, (40,)),
    ]
    assert torch.equal(torch.cat([mask.flatten() for mask in masks]), values > 60 - keep)


def test_ties_with_the_last_one_are_kept_in_all_tensors():
    masks = largest([torch.tensor([3.0, 1.0, 2.0]), torch.tensor([2.0, 0.5])], 2)
    assert [mask.tolist() for mask in masks] == [[True, False, True], [True, False]]


def test_a_zero_is_kept_only_if_everything_is():
    values = torch.tensor([0.0, 4.0, 0.0, 0.0])
    for keep in (1, 2, 3):
        assert largest([values], keep)[0].tolist() == [False, True, False, False]
    assert largest([values], 4)[0].all()
    assert not largest([torch.zeros(4)], 3)[0].any()


@pytest.mark.parametrize("keep", [0, -1])
def test_nothing_is_kept_where_nothing_is_asked_for(keep):
    assert not largest([torch.ones(3)], keep)[0].any()
