import pytest

from agwm.errors import UserError
from agwm.method import build_method
from agwm.methods.vanilla_matched import VanillaMatched


@pytest.mark.parametrize(
    "values",
    [
        {"num_searches": 2, "search_epochs": 1},
        {"num_searches": 1, "search_epochs": 2, "finetune_epochs": 2},
        {"num_searches": 1, "search_epochs": 1, "inner_fraction": 0.5},
        {"num_searches": 1, "search_epochs": 2, "preset": "first_order"},
    ],
)
def test_takes_as_many_passes_as_the_run_it_is_matched_to(tiny_run, values):
    other, _ = tiny_run("method=agwm", *(f"method.{k}={v}" for k, v in values.items()))
    record, _ = tiny_run(
        "method=vanilla_matched", *(f"method.matched.{k}={v}" for k, v in values.items())
    )
    assert record.cost.forward_passes == other.cost.forward_passes > 3
    assert record.cost.backward_passes == other.cost.backward_passes
    assert record.cost.optimizer_steps == record.cost.forward_passes


def test_can_be_matched_to_another_method(tiny_run):
    other, _ = tiny_run("method=r_drop", "optim.epochs=2")
    record, _ = tiny_run("method=vanilla_matched", "method@method.matched=r_drop", "optim.epochs=2")
    assert record.cost.forward_passes == other.cost.forward_passes == 12


def test_the_schedule_is_stretched_over_all_of_its_steps(tiny_run, monkeypatch):
    rates = []
    monkeypatch.setattr(
        VanillaMatched, "before_step", lambda method, model, step: rates.append(step.lr)
    )
    tiny_run(
        "method=vanilla_matched", "method.matched.num_searches=2",
        "method.matched.search_epochs=1",
    )  # fmt: skip
    total = len(rates)
    warmup = -(-total // 10)
    expected = [1e-3 * min(t / warmup, (total - t) / (total - warmup)) for t in range(total)]
    assert rates == pytest.approx(expected)


def test_a_mistake_in_the_matched_run_names_its_own_key(compose):
    config = compose("method=vanilla_matched", "method.matched.num_searches=-1")
    with pytest.raises(UserError, match=r"^method\.matched\.num_searches=-1: must be >= 0$"):
        build_method(config.method)


def test_a_method_that_does_not_train_is_nothing_to_be_matched_to(compose):
    config = compose("method=vanilla_matched", "method@method.matched=linear_probe")
    with pytest.raises(UserError, match=r"^method\.matched=.*LinearProbe: must be a method that"):
        build_method(config.method)
