import pytest
import torch

from agwm.results.record import code_digest
from agwm.training.account import Account
from agwm.training.checkpoints import Checkpoints
from agwm.training.runner import LightningRunner

AGWM = ("method=agwm", "method.num_searches=3", "method.search_epochs=1")
SOUP = ("method=model_soup", "method.members=3")
REFIT = ("method=joint", "method.refit=true")
PAINT = ("method=paint",)


@pytest.fixture
def interrupt(monkeypatch):
    """`interrupt(fit)`: the fit of that number is stopped after it has trained; None = none is."""
    fit_of_the_run = LightningRunner._fit

    def at(stopped):
        def fit(runner, module, *rest):
            fit_of_the_run(runner, module, *rest)
            if runner.progress.index == stopped:
                raise KeyboardInterrupt

        monkeypatch.setattr(LightningRunner, "_fit", fit)
        if stopped is not None:
            # The process was gone before it could keep what it had.
            monkeypatch.setattr(Account, "keep", keep_up_to(stopped))
        else:
            monkeypatch.setattr(Account, "keep", KEEP)

    return at


KEEP = Account.keep


def keep_up_to(stopped):
    def keep(account, model):
        if account.progress.index != stopped:
            KEEP(account, model)

    return keep


def results(folder):
    return {
        name: (folder / name).read_bytes()
        for name in ("model/model.safetensors", "predictions.jsonl", "metrics.csv")
    }


def account(record):
    phases = [(phase["name"], phase["steps"], phase["epochs"]) for phase in record.phases]
    cost = record.cost
    assert cost.total_seconds > cost.train_seconds
    return phases, cost.forward_passes, cost.backward_passes, cost.optimizer_steps


@pytest.mark.parametrize(
    ("overrides", "stopped"),
    [(AGWM, 0), (AGWM, 1), (AGWM, 2), (AGWM, 3), (SOUP, 1), (PAINT, 1), (REFIT, 1)],
)
def test_a_run_that_is_started_again_ends_as_one_that_was_not_interrupted(
    tiny_run, tmp_path, interrupt, overrides, stopped
):
    whole, expected = tiny_run(*overrides)
    interrupt(stopped)
    with pytest.raises(KeyboardInterrupt):
        tiny_run(*overrides, f"runs_dir={tmp_path / 'again'}")
    interrupt(None)
    record, folder = tiny_run(*overrides, f"runs_dir={tmp_path / 'again'}")
    assert results(folder) == results(expected)
    assert account(record) == account(whole)
    log = (folder / "train.log").read_text()
    assert log.count("taken from an earlier start") == stopped
    assert not (folder / "checkpoints").exists()


def test_a_checkpoint_of_another_origin_or_a_broken_one_is_not_used(tmp_path):
    model, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    before = other.weight.clone()
    checkpoints = Checkpoints(tmp_path, {"config_hash": "a"})
    checkpoints.save(0, model, {"steps": 7})
    assert Checkpoints(tmp_path, {"config_hash": "b"}).restore(0, other) is None
    assert checkpoints.restore(1, other) is None
    assert checkpoints.restore(0, torch.nn.Linear(3, 2, bias=False)) is None
    assert torch.equal(other.weight, before)
    assert checkpoints.restore(0, other) == {"steps": 7}
    assert torch.equal(other.weight, model.weight) and torch.equal(other.bias, model.bias)
    path = tmp_path / "checkpoints/0.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    assert checkpoints.restore(0, other) is None


def test_a_full_disk_costs_the_checkpoint_alone(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("agwm.training.checkpoints.save_file", full)
    checkpoints, model = Checkpoints(tmp_path, {}), torch.nn.Linear(3, 2)
    checkpoints.save(0, model, {})
    assert checkpoints.restore(0, model) is None and not list(tmp_path.rglob("*.*"))


def test_a_run_that_has_not_finished_goes_on_forced_or_not(tiny_run, interrupt):
    interrupt(2)
    for overrides, taken in (((), 0), ((), 2), (("force=true",), 2)):
        with pytest.raises(KeyboardInterrupt):
            tiny_run(*AGWM, *overrides)
        (log,) = tiny_run.runs.rglob("train.log")
        assert log.read_text().count("taken from an earlier start") == taken
        log.unlink()


def test_frozen_parameters_are_not_kept(tmp_path):
    model = torch.nn.Linear(3, 2)
    model.weight.requires_grad_(False)
    checkpoints = Checkpoints(tmp_path, {})
    checkpoints.save(0, model, {})
    weight = torch.zeros(2, 3)
    model.weight.data = weight.clone()
    assert checkpoints.restore(0, model) == {}
    assert torch.equal(model.weight, weight)


@pytest.mark.parametrize("changed", ["agwm.run.digest", "agwm.run.code_digest"])
def test_fits_of_other_start_weights_or_other_code_are_not_used(
    tiny_run, interrupt, monkeypatch, changed
):
    interrupt(2)
    with pytest.raises(KeyboardInterrupt):
        tiny_run(*AGWM)
    interrupt(None)
    monkeypatch.setattr(changed, lambda *_: "other")
    _, folder = tiny_run(*AGWM)
    assert "taken from an earlier start" not in (folder / "train.log").read_text()


def test_the_code_is_known_by_its_content(monkeypatch, tmp_path):
    monkeypatch.setattr("agwm.results.record.__file__", str(tmp_path / "results" / "record.py"))
    (tmp_path / "a.py").write_text("x = 1")
    first = code_digest()
    assert first == code_digest()
    (tmp_path / "a.py").write_text("x = 2")
    assert code_digest() != first
