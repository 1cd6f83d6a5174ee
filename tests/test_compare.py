import csv

import pytest
from hydra.core.global_hydra import GlobalHydra

from agwm import compare, train

RUN = ["model=tiny", "logger=none", "hydra/launcher=basic", "trainer.progress=false"]


@pytest.fixture
def called(monkeypatch, capsys, tmp_path):
    """`called(*arguments)`: exit code, stdout and stderr of `agwm.compare` beside reviews.csv."""
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "reviews.csv").open("w", newline="") as file:
        rows = [(f"the {word} {number}", word) for number in range(30) for word in ("dog", "cat")]
        csv.writer(file).writerows([("text", "label"), *rows])

    def run(*arguments):
        monkeypatch.setattr(train, "_exit_codes", [])
        GlobalHydra.instance().clear()
        code = compare.main(list(arguments))
        return code, *capsys.readouterr()

    return run


def test_two_methods_are_run_reported_and_judged(called, tmp_path):
    given = [*RUN, "task=file", "task.train=reviews.csv", "method=vanilla,joint", "seed=0,1"]
    code, out, _ = called(*given)
    assert code == 0
    for said in ("held out", "4 runs: 4 finished", "Scores", "report.html"):
        assert said in out
    assert any(line.startswith(("Use ", "The data cannot tell")) for line in out.splitlines())
    folder = tmp_path / "runs/compare/reviews/tiny/joint/nfull/seed0/model"
    assert "over 2 seeds" in (folder / "README.md").read_text()
    # Once more: nothing is run again, and the verdict is the same.
    again = called(*given)
    assert again[0] == 0 and "4 runs: 4 skipped" in again[1]
    assert again[1].splitlines()[-3:] == out.splitlines()[-3:]


def test_a_key_for_all_runs_names_them_as_the_report_does(called):
    given = ["task=file", "task.train=reviews.csv", "method=vanilla,joint", "seed=0"]
    code, out, _ = called(*RUN, *given, "optim.lr=0.002")
    assert code == 0 and "joint+optim.lr=0.002" in out
    assert "joint's accuracy is" in out


def test_runs_of_a_file_before_it_was_edited_are_not_reported(called, tmp_path):
    given = [*RUN, "task=file", "task.train=reviews.csv", "method=vanilla,joint"]
    assert called(*given, "seed=0")[0] == 0
    with (tmp_path / "reviews.csv").open("a", newline="") as file:
        csv.writer(file).writerows([("the dog and the cat", "dog"), ("a cat", "cat")])
    code, out, err = called(*given, "seed=1")
    assert (code, err) == (0, "")
    assert "one seed" in out.replace("\n", " ")


def test_an_interrupt_while_it_reports_ends_in_one_line(called, monkeypatch):
    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(compare, "_print_data", interrupted)
    code, _, err = called(*RUN, "task=file", "task.train=reviews.csv")
    assert code == 130 and err == "error: interrupted; the same command goes on\n"


MISTAKES = {
    "no file": (["task=file"], "task.train=None: must be a file"),
    "one method": (["task=file", "task.train=reviews.csv", "method=agwm"], "name two or more"),
    "one method twice": (["method=agwm,agwm"], "name two or more"),
    "option of train": (["task=file", "-m"], "-m: no such option; --dry-run, --help or key"),
    "unknown method": (["method=vanilla,magic"], "method=magic: no such method"),
    "unknown key": (["optim.rate=1"], "optim.rate=1: no such key"),
}


@pytest.mark.parametrize(("given", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_ends_in_one_line(called, given, message):
    code, _, err = called(*given)
    assert code == 2
    assert err.startswith("error: ") and message in err and err.count("\n") == 1


def test_help_is_printed_without_arguments(called):
    code, out, _ = called()
    assert code == 0 and out.startswith("usage: python -m agwm.compare")
