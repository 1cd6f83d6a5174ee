"""A fit that is stopped between two steps goes on there, to the bits of one that never was."""

import os
import pickle
import signal
import weakref
from pathlib import Path

import pytest
import torch

from agwm.paths import root
from agwm.stopping import Stopped, stoppable
from agwm.training.checkpoints import Checkpoints
from agwm.training.finetune import FineTuneModule
from agwm.training.midway import Midway, overwrite
from agwm.training.runner import LightningRunner

METHODS = sorted(path.stem for path in (root() / "conf/method").glob("*.yaml"))
METHODS.remove("linear_probe")  # has no steps
# Each remembers something of its own from step to step, or has several fits.
TELLING = ("agwm", "bi_drop", "dps_dense", "dps_mix", "lora", "mixout", "model_soup", "r4f")
every_method = pytest.mark.parametrize(
    "method",
    [m if m in TELLING else pytest.param(m, marks=pytest.mark.nightly) for m in METHODS],
)
SHORT = {
    "agwm": ("method.num_searches=2", "method.search_epochs=2"),
    "vanilla_matched": ("method.matched.num_searches=1", "method.matched.search_epochs=1"),
    "model_soup": ("method.members=2",),
    "top_k_layers": ("method.layers=1",),
}
FILES = ("predictions.jsonl", "metrics.csv")


@pytest.fixture
def stop_at(monkeypatch):
    """`stop_at(fit, step)`: SIGTERM has come when that fit is to begin that step; None = never.

    Fits are counted from the end, too.
    """
    look = Midway.on_train_batch_start

    def at(fit, step):
        def ask(midway, trainer, module, *batch):
            (progress,) = (c for c in trainer.callbacks if hasattr(c, "plan"))
            plan = range(len(progress.plan))
            if fit is not None and (progress.index, module.step) == (plan[fit], step):
                midway.held.number = signal.SIGTERM
            look(midway, trainer, module, *batch)

        monkeypatch.setattr(Midway, "on_train_batch_start", ask)

    return at


def told(record):
    phases = [{k: v for k, v in phase.items() if k != "seconds"} for phase in record.phases]
    cost = record.cost
    passes = cost.forward_passes, cost.backward_passes, cost.optimizer_steps
    return record.weights_hash, record.headline, phases, passes


def stopped_and_repeated(tiny_run, stop_at, moments, *overrides):
    expected, folder = tiny_run(*overrides)
    files = {name: (folder / name).read_bytes() for name in FILES}
    for moment in moments:
        stop_at(*moment)
        with pytest.raises(Stopped):
            tiny_run(*overrides, "runs_dir=" + str(tiny_run.runs / "stopped"))
    (paused,) = (tiny_run.runs / "stopped").rglob("paused.pt")
    stop_at(None, None)
    found, folder = tiny_run(*overrides, "runs_dir=" + str(tiny_run.runs / "stopped"))
    assert told(found) == told(expected)
    assert {name: (folder / name).read_bytes() for name in FILES} == files
    assert not paused.parent.exists()
    return found, (folder / "train.log").read_text()


@every_method
def test_every_method_goes_on_where_it_was_stopped(tiny_run, stop_at, method):
    overrides = (f"method={method}", *SHORT.get(method, ()), "optim.epochs=2")
    stopped_and_repeated(tiny_run, stop_at, [(-1, 3)], *overrides)


@pytest.mark.parametrize(
    "moments",
    [[(0, 0)], [(0, 1)], [(0, 3), (1, 2), (1, 3), (2, 1)], [(1, 3)], [(2, 5)]],
    ids=str,
)
def test_a_search_goes_on_where_it_was_stopped(tiny_run, stop_at, moments):
    overrides = ("method=agwm", *SHORT["agwm"], "optim.epochs=2")
    _, log = stopped_and_repeated(tiny_run, stop_at, moments, *overrides)
    assert log.count("goes on behind step") == len(moments)
    assert f"goes on behind step {moments[-1][1]} of" in log


def test_a_fit_that_ends_by_steps_goes_on_to_that_number(tiny_run, stop_at):
    overrides = ("optim.steps=7", "optim.epochs=null", "method=vanilla")
    record, _ = stopped_and_repeated(tiny_run, stop_at, [(0, 4)], *overrides)
    assert record.phases[-1]["steps"] == record.cost.optimizer_steps == 7


def test_sigterm_within_a_step_waits_for_its_end(tiny_run, monkeypatch):
    step = FineTuneModule.training_step

    def stopped(module, *batch):
        if module.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(module, *batch)

    with monkeypatch.context() as patched, stoppable(), pytest.raises(Stopped) as stop:
        patched.setattr(FineTuneModule, "training_step", stopped)
        tiny_run("method=vanilla")
    assert stop.value.number == signal.SIGTERM
    _, folder = tiny_run("method=vanilla")
    assert "goes on behind step 2 of" in (folder / "train.log").read_text()


@every_method
def test_a_run_that_is_stopped_behind_its_last_fit_fits_no_more(tiny_run, monkeypatch, method):
    overrides = (f"method={method}", *SHORT.get(method, ()))
    expected, whole = tiny_run(*overrides)
    other = "runs_dir=" + str(tiny_run.runs / "stopped")

    def stopped(*_):
        raise Stopped(signal.SIGTERM)

    with monkeypatch.context() as patched, pytest.raises(Stopped):
        patched.setattr(LightningRunner, "predict", stopped)
        tiny_run(*overrides, other)
    found, folder = tiny_run(*overrides, other)
    assert told(found) == told(expected)
    assert all((folder / name).read_bytes() == (whole / name).read_bytes() for name in FILES)
    log = (folder / "train.log").read_text()
    assert log.count("taken from an earlier start") == log.count("begins") > 0
    assert not (folder / "checkpoints").exists()


def test_a_stop_while_a_fit_is_kept_waits_for_that(tiny_run, monkeypatch):
    save = Checkpoints.save

    def stopped(*given):
        os.kill(os.getpid(), signal.SIGTERM)
        save(*given)

    with monkeypatch.context() as patched, stoppable(), pytest.raises(Stopped):
        patched.setattr(Checkpoints, "save", stopped)
        tiny_run("method=vanilla")
    _, folder = tiny_run("method=vanilla")
    assert "finetune: taken from an earlier start" in (folder / "train.log").read_text()


def test_what_a_fit_goes_on_from_is_let_go_of(tiny_run, stop_at, monkeypatch):
    stop_at(0, 2)
    with pytest.raises(Stopped):
        tiny_run("method=vanilla")
    stop_at(None, None)
    held = []

    def overwritten(model, tensors):
        held.append(weakref.ref(next(iter(tensors.values()))))
        overwrite(model, tensors)

    def step(module, *batch, of=FineTuneModule.training_step):
        of(module, *batch)
        held.append(held[0]())

    monkeypatch.setattr("agwm.training.midway.overwrite", overwritten)
    monkeypatch.setattr(FineTuneModule, "training_step", step)
    tiny_run("method=vanilla")
    assert len(held) > 1 and held[1:] == [None] * len(held[1:])


def test_a_second_run_that_was_forced_goes_on_too(tiny_run, stop_at):
    tiny_run("method=vanilla")
    stop_at(0, 2)
    with pytest.raises(Stopped):
        tiny_run("method=vanilla", "force=true")
    stop_at(None, None)
    _, folder = tiny_run("method=vanilla", "force=true")
    assert "goes on behind step 2 of" in (folder / "train.log").read_text()


def test_of_another_fit_or_origin_or_broken_it_is_not_used(tmp_path, caplog):
    checkpoints = Checkpoints(tmp_path, {"seed": 0})
    checkpoints.pause(1, {"weights": {"a": torch.ones(2)}})
    assert checkpoints.paused(0) is None
    assert Checkpoints(tmp_path, {"seed": 1}).paused(1) is None
    assert torch.equal(checkpoints.paused(1)["weights"]["a"], torch.ones(2))
    path = tmp_path / "checkpoints/paused.pt"
    planted = pickle.dumps(Touch(tmp_path / "was run"), protocol=2)
    other = tmp_path / "other"
    torch.save([1], other)
    for content in (path.read_bytes()[:-40], b"", b"no zip", planted, other.read_bytes()):
        path.write_bytes(content)
        assert checkpoints.paused(1) is None
    assert not (tmp_path / "was run").exists()


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)
