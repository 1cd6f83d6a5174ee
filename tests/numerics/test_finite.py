import pytest
import torch

from agwm.numerics.finite import culprit

NAN, INF = float("nan"), float("inf")
FINE = torch.tensor([1.0, -3.0])


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_the_first_tensor_that_is_not_finite_is_named(bad):
    ruined = torch.tensor([[0.0, bad], [bad, 2.0]])
    named = [("a", FINE), ("b", None), ("c", ruined), ("d", ruined)]
    assert culprit(named, "gradient") == "first gradient not finite: c, 2 of 4 entries"


def test_where_all_are_finite_the_largest_is_named():
    # Its square is what a norm cannot hold.
    named = [("a", FINE), ("b", torch.tensor([-2e30, 0.0])), ("c", torch.zeros(0))]
    assert culprit(named, "gradient") == "every gradient is finite, the largest up to 2e+30 in b"


def test_nothing_to_name():
    assert culprit([], "gradient") == culprit([("a", None)], "gradient") == ""
