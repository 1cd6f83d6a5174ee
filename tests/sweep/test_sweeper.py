import json
import sys

import pytest

from agwm import train
from agwm.sweep.launcher import LocalLauncher
from agwm.sweep.sweeper import CellSweeper

TINY = ("-m", "model=tiny", "n_train=40", "logger=none", "save_model=false")
TWO = (*TINY, "method=vanilla", "seed=0,1")


@pytest.fixture
def launched(monkeypatch):
    """Instead of launching: the overrides of what would have been."""
    found = []
    monkeypatch.setattr(LocalLauncher, "launch", lambda self, jobs, **_: found.extend(jobs))
    return found


def write_record(folder, config_hash, status="ok"):
    folder.mkdir(parents=True, exist_ok=True)
    record = {"status": status, "config_hash": config_hash, "error": "out\nof luck"}
    (folder / "record.json").write_text(json.dumps(record))


def test_a_sweep_runs_once_and_then_only_what_is_missing(cli, tmp_path):
    """Real processes, as the command line starts them."""
    code, out, _ = cli(*TWO)
    assert code == 0 and "2 runs: 2 finished" in out
    records = sorted(tmp_path.rglob("record.json"))
    before = [path.stat().st_mtime_ns for path in records]
    code, out, _ = cli(*TWO)
    assert code == 0 and "2 runs: 2 skipped" in out and "runs by cell" not in out
    assert [path.stat().st_mtime_ns for path in records] == before
    records[1].unlink()
    code, out, _ = cli(*TWO)
    assert code == 0 and "2 runs: 1 finished, 1 skipped" in out
    assert records[0].stat().st_mtime_ns == before[0] and records[1].is_file()


def test_a_dry_run_lists_what_would_be_run_and_runs_nothing(cli, launched, tmp_path):
    code, out, _ = cli(*TWO, "--dry-run")
    cell = "runs/single/acceptability/tiny/vanilla/n40"
    assert out.splitlines() == [
        *(f"{cell}/seed0", f"{cell}/seed1"),
        "2 of 2 runs to do, 0 finished already",
    ]
    assert code == 0 and not launched and not list(tmp_path.iterdir())


def test_a_launcher_that_fails_is_told_and_the_records_are_counted(cli, monkeypatch, tmp_path):
    def launch(self, jobs, **_):
        assert len(jobs) == 3
        cell = tmp_path / "runs/single/acceptability/tiny/vanilla/n40"
        write_record(cell / "seed0", "0")
        write_record(cell / "seed1", "0", "failed")
        raise RuntimeError("lost\na job")

    monkeypatch.setattr(LocalLauncher, "launch", launch)
    code, out, err = cli(*TINY, "method=vanilla", "seed=0,1,2")
    assert code == 1
    assert err == "error: RuntimeError: lost: a job\n"
    assert "3 runs: 1 finished, 1 failed, 1 not run" in out
    assert "seed1: out of luck" in out and "python -m agwm.report runs/single" in out


def test_a_record_that_lay_there_before_says_nothing_of_a_sweep_that_did_not_run(
    cli, launched, tmp_path
):
    cell = tmp_path / "runs/single/acceptability/tiny/vanilla/n40"
    write_record(cell / "seed0", "0")
    write_record(cell / "seed1", "0", "failed")
    code, out, _ = cli(*TWO, "force=true")
    assert len(launched) == 2
    assert code == 1 and "2 runs: 2 not run" in out and "out of luck" not in out


def test_a_record_without_a_status_is_a_failed_one(cli, monkeypatch, tmp_path):
    def launch(self, jobs, **_):
        folder = tmp_path / "runs/single/acceptability/tiny/vanilla/n40/seed0"
        folder.mkdir(parents=True)
        (folder / "record.json").write_text("{}")

    monkeypatch.setattr(LocalLauncher, "launch", launch)
    code, out, _ = cli(*TINY, "method=vanilla", "seed=0")
    assert code == 1 and "1 runs: 1 failed" in out


def test_an_interrupted_run_of_this_process_ends_in_the_table_too(cli, monkeypatch):
    def run(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "_run_once", run)
    code, out, err = cli(*TWO, "hydra/launcher=basic")
    assert code == 130 and "2 runs: 2 not run" in out and err.count("error:") == 1


@pytest.mark.parametrize("gpus", ["3", "[a]", "x"])
def test_gpus_that_are_no_list_of_indices_are_refused(cli, gpus):
    code, _, err = cli(*TWO, f"hydra.launcher.gpus={gpus}")
    assert code == 2 and err.startswith("error: hydra.launcher.gpus=") and err.count("\n") == 1


def test_an_interrupt_is_counted_and_has_its_exit_code(cli, monkeypatch):
    def launch(self, jobs, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr(LocalLauncher, "launch", launch)
    code, out, _ = cli(*TWO)
    assert code == 130 and "2 runs: 2 not run" in out


def test_each_run_has_the_command_that_would_be_typed_for_it(cli, monkeypatch):
    commands = []
    monkeypatch.setattr(
        LocalLauncher, "launch", lambda self, jobs, **_: commands.extend(map(self._command, jobs))
    )
    given = ("model=tiny", "task=cola", "seed=0", "method.rank=1", "optim.lr=1e-3")
    cli("+sweeps=rank", *given, "hydra.job.chdir=false")
    shared = ["task=cola", "model=tiny", "n_train=300", "seed=0"]
    assert commands == [
        [
            *(sys.executable, "-m", "agwm.train", *shared, *own),
            *("+sweeps=rank", "optim.lr=1e-3", "hydra.job.chdir=false", "hydra.mode=RUN"),
        ]
        for own in (["method=agwm", "method.rank=1"], ["method=vanilla"])
    ]


def test_hydras_own_launcher_is_given_one_run_at_a_time_also_behind_a_lost_one(cli, monkeypatch):
    given = []
    monkeypatch.setattr(train, "_run_once", lambda cfg: None)
    launch = CellSweeper._launch

    def watched(sweeper, runs):
        one = sweeper.launcher.launch

        def counted(part, initial_job_idx):
            given.append((len(part), initial_job_idx))
            if initial_job_idx == 0:
                raise OSError("lost")
            return one(part, initial_job_idx)

        sweeper.launcher.launch = counted
        launch(sweeper, runs)

    monkeypatch.setattr(CellSweeper, "_launch", watched)
    code, _, err = cli(*TWO, "hydra/launcher=basic")
    assert given == [(1, 0), (1, 1)]
    assert code == 1 and err == "error: OSError: lost\n"
