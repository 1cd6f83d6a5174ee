"""Two processes in one directory, a full disk, too little memory, a directory that is read-only."""

import fcntl
import json
import os
import sys

import pytest
from aftermath import results, whole

from agwm import train
from agwm.atomic import remove_partial, replacing
from agwm.errors import UserError
from agwm.results.claim import claimed

TINY = (
    "task=acceptability", "model=tiny", "n_train=40", "logger=none", "trainer.progress=false",
    "method=agwm", "method.num_searches=1", "method.search_epochs=1",
)  # fmt: skip


def test_a_second_process_says_who_works_there_and_leaves(cli, tmp_path):
    code, out, _ = cli(*TINY, "dry_run=true", f"runs_dir={tmp_path / 'runs'}")
    folder = tmp_path / out.split()[-1]
    with claimed(folder):
        code, out, err = cli(*TINY, f"runs_dir={tmp_path / 'runs'}")
    assert (code, out) == (2, "")
    assert f"process {os.getpid()} on " in err and err.count("\n") == 1
    assert not list(folder.iterdir())


def test_what_another_process_finished_meanwhile_stays(cli, tmp_path, monkeypatch):
    argv = (*TINY, "method=vanilla", f"runs_dir={tmp_path / 'runs'}")
    argv = [line for line in argv if "searches" not in line and "search_epochs" not in line]
    assert cli(*argv)[0] == 0
    (record,) = tmp_path.rglob("record.json")
    before = record.read_bytes(), record.stat().st_mtime_ns
    found, looked = train.finished_record, []

    def at_the_second_look(*key):
        looked.append(key)
        return found(*key) if len(looked) > 1 else None

    monkeypatch.setattr(train, "finished_record", at_the_second_look)
    code, out, _ = cli(*argv)
    assert code == 0 and out.startswith("finished already: ") and len(looked) == 2
    assert (record.read_bytes(), record.stat().st_mtime_ns) == before


@pytest.mark.parametrize("kilobytes", [pytest.param(20, marks=pytest.mark.nightly), 60])
def test_a_full_disk_leaves_nothing_half_and_the_run_can_go_on(nursery, tmp_path, kilobytes):
    argv = (*TINY, f"runs_dir={tmp_path / 'runs'}")
    log = tmp_path / "log"
    os.close(os.open(log, os.O_CREAT))
    assert nursery.run(log, *argv, file_size=kilobytes << 10) == 1
    lines = [line for line in log.read_text().splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "File too large" in lines[0]
    assert "Traceback" not in log.read_text()
    whole(tmp_path / "runs")
    assert not any(
        json.loads(path.read_text())["status"] == "ok" for path in tmp_path.rglob("record.json")
    )
    assert nursery.run(log, *argv) == 0
    assert nursery.run(log, *argv[:-1], f"runs_dir={tmp_path / 'whole'}") == 0
    assert results(tmp_path / "runs") == results(tmp_path / "whole")


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is that of Linux")
def test_too_little_memory_is_told_in_one_line_and_the_run_can_go_on(nursery, tmp_path):
    # Small weights, but a hundred thousand numbers between them for every token.
    wide = ("model.config.intermediate_size=100000", "optim.batch_size=40", "method=vanilla")
    argv = (*TINY[:5], *wide, f"runs_dir={tmp_path / 'runs'}")
    log = tmp_path / "log"
    log.touch()
    assert nursery.run(log, *argv, memory=300 << 20) == 1
    lines = [line for line in log.read_text().splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "out of memory; a smaller optim.batch_size" in lines[0]
    whole(tmp_path / "runs")
    (record,) = tmp_path.rglob("record.json")
    assert json.loads(record.read_text())["status"] == "failed"
    assert nursery.run(log, *argv) == 0, log.read_text()


def test_a_directory_that_cannot_be_made_is_told_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match=r"file/seed0: cannot be made .*; give another runs_dir"),
        claimed(tmp_path / "file" / "seed0"),
    ):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_is_read_only_is_told_in_one_line(tmp_path):
    (tmp_path / "seed0").mkdir(mode=0o555)
    with (
        pytest.raises(UserError, match="seed0: cannot be made or written to"),
        claimed(tmp_path / "seed0"),
    ):
        pass


def test_what_killed_processes_were_writing_is_taken_away(tmp_path):
    (tmp_path / ".record.json.4711").write_text("{")
    (tmp_path / "a.1").write_text("")
    with replacing(tmp_path / "record.json") as temporary:
        temporary.write_text("{}")
        (tmp_path / f"{temporary.name}1").write_text("")
    remove_partial(tmp_path, tmp_path / "not there")
    assert {path.name for path in tmp_path.iterdir()} == {"record.json", "a.1"}


def test_a_lock_that_was_taken_away_while_it_was_opened_is_not_held(tmp_path, monkeypatch):
    flock, opened = fcntl.flock, []

    def late(file, how):
        if not opened:  # the holder ends between our open and our lock
            (tmp_path / ".lock").unlink()
        opened.append(file)
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with claimed(tmp_path):
        assert len(opened) == 2
        with pytest.raises(UserError, match=f"process {os.getpid()} on"), claimed(tmp_path):
            pass
