import pytest

from agwm.methods.vanilla_long import VanillaLong
from agwm.training.finetune import FineTuneModule


@pytest.fixture
def watched(monkeypatch):
    """Rate and largest change of a weight at each step, and the optimizer."""
    seen = {"lr": [], "change": [], "seen": []}
    take = FineTuneModule.training_step
    before_step = VanillaLong.before_step

    def rate(method, model, step):
        seen["lr"].append(step.lr)
        seen["optimizer"], seen["total"] = step.optimizer, step.total
        before_step(method, model, step)

    def changes(module, batch, batch_idx):
        if len(seen["change"]) < 2:
            before = [p.detach().clone() for p in module.model.parameters()]
            take(module, batch, batch_idx)
            after = module.model.parameters()
            pairs = zip(before, after, strict=True)
            seen["change"].append(max((b - a).abs().max().item() for a, b in pairs))
        else:
            take(module, batch, batch_idx)

    monkeypatch.setattr(VanillaLong, "before_step", rate)
    monkeypatch.setattr(FineTuneModule, "training_step", changes)
    return seen


def test_twenty_epochs_of_300_examples_warm_up_for_38_of_380_steps_and_end_at_zero(
    tiny_run, watched
):
    record, _ = tiny_run("method=vanilla_long", "n_train=300", "optim.batch_size=16")
    lr = watched["lr"]
    assert record.cost.optimizer_steps == watched["total"] == len(lr) == 380
    assert lr[:3] == pytest.approx([0.0, 1e-3 / 38, 2e-3 / 38])
    assert lr[38] == max(lr) == pytest.approx(1e-3)
    assert lr[-1] == pytest.approx(1e-3 / 342)
    assert [group["lr"] for group in watched["optimizer"].param_groups] == [0.0, 0.0]
    assert watched["change"][0] == 0
    # Adam without bias correction would go 3.16 times as far.
    assert watched["change"][1] == pytest.approx(1e-3 / 38, rel=0.05)


def test_its_epochs_and_eps_stand_over_the_recipe_s(tiny_run, watched):
    record, _ = tiny_run(
        "method=vanilla_long", "method.epochs=2", "method.eps=1e-5", "optim.epochs=1"
    )
    assert record.phases[0]["epochs"] == 2 and record.cost.optimizer_steps == 2 * 3
    assert {group["eps"] for group in watched["optimizer"].param_groups} == {1e-5}


def test_eps_is_1e_6_unless_told_otherwise(tiny_run, watched):
    tiny_run("method=vanilla_long", "method.epochs=1")
    assert {group["eps"] for group in watched["optimizer"].param_groups} == {1e-6}
