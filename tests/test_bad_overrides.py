"""Broken command lines of `agwm.train` and `agwm.compare`: each ends in one line."""

import sys
from types import SimpleNamespace

import pytest
from hydra.core.global_hydra import GlobalHydra
from one_line import assert_told

from agwm import compare, train
from agwm.results.record import Record

COMMAND_LINES = {
    # Types and ranges.
    "seed=first": "seed=first: Value 'first' of type 'str' could not be converted to Integer",
    "seed=-1": "seed=-1: must be a whole number >= 0",
    "n_train=1.5": "n_train=1.5: Value '1.5' of type 'float' could not be converted to Integer",
    "n_train=0": "n_train=0: must be null",
    "force=maybe": "force=maybe: Value 'maybe' is not a valid bool",
    "optim.lr=fast": "optim.lr=fast: Value 'fast' of type 'str' could not be converted to Float",
    "optim.lr=nan": "optim.lr=nan: must be a number >= 0",
    "optim.max_length=1": "optim.max_length=1: must be >= 8 tokens",
    "trainer.threads=0": "trainer.threads=0: must be >= 1",
    "method.inner_fraction=1": "method.inner_fraction=1.0: must be inside",
    "method.fd_radius=tiny": "method.fd_radius=tiny: Value 'tiny' of type 'str' could not be",
    # Lists and texts.
    "task.metrics=f1": "task.metrics=f1: must be a list, task.metrics=[f1]",
    "task.columns=text": "task.columns=text: must be a list, task.columns=[text]",
    "task.labels=a": "task.labels=a: must be a list, task.labels=[a]",
    "task.metrics=[f1,nosuch]": "task.metrics=['f1', 'nosuch']: must be some of accuracy, f1,",
    "task.metrics=[[f1]]": "task.metrics=[['f1']]: must be some of accuracy, f1, macro_f1,",
    "task=[1,2]": "task=[1,2]: a list; a run has one, and -m task=a,b has a run for each",
    "+method=[null]": "+method=[null]: a list; a run has one, and -m method=a,b has",
    "hydra/launcher=[basic]": "hydra/launcher=[basic]: a list; a run has one, and -m",
    "optim=3": "optim=3: no such optim; one of bart_large_cola, bart_large_mrpc,",
    "seed=[1,2]": "seed=[1,2]: Value '[1, 2]' of type 'list' could not be converted to Integer",
    "seed={a:1}": "seed={a:1}: Value '{'a': 1}' of type 'dict' could not be converted to",
    # Unknown keys and choices.
    "sead=1": "sead=1: no such key; did you mean seed?",
    "optim.lrr=1": "optim.lrr=1: no such key; did you mean optim.lr?",
    "method.num_search=3": "method.num_search=3: no such key; did you mean method.num_searches?",
    "+method.num_search=3": "method.num_search=3: no such key; did you mean method.num_searches?",
    "+optim.rate=1": "optim.rate: no such key; did you mean optim.lr?",
    "taks=cola": "taks=cola: no such key; did you mean task?",
    "task=coal": "task=coal: no such task; one of acceptability, cola, file, mnli, mrpc,",
    "method=": "method=: no such method; one of agwm, bi_drop, child_tuning_d,",
    "model=bert": "model=bert: no such model; one of bart_large, bert_base, bert_large,",
    "optim=nosuch": "optim=nosuch: no such optim; one of bart_large_cola, bart_large_mrpc,",
    "hydra/launcher=nosuch": "hydra/launcher=nosuch: no such hydra/launcher; one of agwm_local,",
    "+sweeps=nosuch": "sweeps=nosuch: no such sweeps; one of alpha_every, figure3, glue_minilm,",
    # What contradicts itself.
    "optim.steps=5": "optim.epochs=10: must be null if optim.steps is set, and only then",
    "task=stsb task.metrics=[accuracy]": "task.metrics=['accuracy']: must be some of pearson,",
    "task=mnli task.metrics=[f1]": "task.metrics=['f1']: must be without f1 unless there are two",
    "task=file task.train=a task.kind=regression task.labels=[a,b]": "task.labels=['a', 'b']: must",
    "task=rte model=roberta_large n_train=300": "n_train=300: conf/optim/roberta_large_rte.yaml is",
    "model=tiny model.config=null": "model.name_or_path=None: must be a model on the Hub or a",
    "model.output_bias=mean": "model.output_bias=mean: must be prior or null",
    "model.reinit_layers=-1": "model.reinit_layers=-1: must be >= 0 or null",
    "trainer.devices=2": "trainer.devices=2: must be 1",
    # What is not there.
    "task=file": "task.train=None: must be a file of labelled texts: task=file",
    # Places outside of the runs.
    "sweep=../other": "sweep=../other: must be a folder's name",
    "task.name=..": "task.name=..: must be a folder's name",
    # What is no override at all.
    "seed": "seed: missing EQUAL at '<EOF>'; key=value, with quotes about what has",
    "=1": "'': no such key",
    "seed=0,1": "seed=0,1: several values; -m has a run for each, [a,b] makes a list of them",
    "seed='range(0,3)'": "seed='range(0,3)': Value 'range(0,3)' of type 'str' could not be",
    "seed=choice(0,1)": "seed=choice(0,1): several values; -m has a run for each, [a,b] makes a",
    "optim.lr=${nosuch}": "optim.lr: Interpolation key 'nosuch' not found",
    "optim.lr=${optim.lr}": "optim.lr: Recursive interpolation detected",
    "optim.lr=${": "optim.lr=${: extraneous input '{' expecting <EOF>; key=value, with quotes",
    "runs_dir=a:b:[": "runs_dir=a:b:[: extraneous input '[' expecting <EOF>; key=value, with",
    "method=vanilla method=agwm method=": "method=: no such method; one of agwm, bi_drop,",
    "--nosuch": "unrecognized arguments: --nosuch; key=value, -m for several runs, or --help",
    "--cfg nosuch": "argument --cfg/-c: invalid choice: 'nosuch'",
    "-m seed=": "seed=: Value '' of type 'str' could not be converted to Integer",
    "-m seed=0,0": "runs/single/acceptability/minilm/agwm/n300/seed0: 2 runs of the sweep lead",
    "-m method=vanilla,nosuch": "method=nosuch: no such method; one of agwm, bi_drop,",
}


@pytest.fixture
def checked(cli, monkeypatch):
    """`cli`, where starting a run is a failure."""

    def started(*_):
        raise AssertionError("the run was started")

    monkeypatch.setitem(sys.modules, "agwm.run", SimpleNamespace(run=started))
    monkeypatch.setitem(sys.modules, "agwm.results.summary", SimpleNamespace(print_summary=started))
    return cli


@pytest.mark.parametrize(("given", "message"), COMMAND_LINES.items(), ids=COMMAND_LINES)
def test_a_broken_command_line_is_told_in_one_line(checked, tmp_path, given, message):
    code, out, err = checked(*given.split())
    assert_told(code, err, message)
    assert out == "" and not list(tmp_path.iterdir())


@pytest.mark.parametrize("given", ["", " ", "\t"], ids=repr)
def test_an_empty_argument_is_told(checked, given):
    code, _, err = checked(given)
    assert_told(code, err, "an empty argument; key=value")


def test_an_argument_of_two_lines_is_told_in_one(checked):
    code, _, err = checked("\r0")
    assert_told(code, err, "error: 0: not readable; key=value, with quotes")


def test_what_hydra_stumbles_over_is_told(checked):
    code, _, err = checked("+=${seed}")
    assert_told(code, err, "error: the command line makes no configuration: ")


# What only the data can tell, in a run of the tiny model.
TOO_SMALL = {
    "task=sst2 data_dir=nowhere": "data_dir: no folder nowhere/sst2; it must hold train.jsonl",
    "n_train=100000": "n_train=100000: the training data holds 3216 examples",
    "n_train=3 method.inner_fraction=0.1": "a split of 3 examples with a share of 0.1 leaves 0 on",
}


@pytest.mark.parametrize(("given", "message"), TOO_SMALL.items(), ids=TOO_SMALL)
def test_data_too_small_for_what_is_asked_is_told_in_one_line(cli, given, message):
    code, _, err = cli("model=tiny", "logger=none", "trainer.progress=false", *given.split())
    assert_told(code, err, message)


COMPARED = {
    "task=file task.train=in.csv model=minilm,tiny": "model=minilm,tiny: several values; methods",
    "task=file task.train=in.csv optim.lr=1e-4,1e-5": "optim.lr=1e-4,1e-5: several values; methods",
    "task=file task.train=in.csv n_train=range(10,30,10)": "n_train=range(10,30,10): several",
    "task=file task.train=in.csv method=agwm": "method=agwm: name two or more, method=vanilla,agwm",
    "task=file task.train=in.csv method=vanilla,agmw": "method=agmw: no such method; one of agwm,",
    "task=file task.train=in.csv optim.rl=1": "optim.rl=1: no such key; did you mean optim.lr?",
    "task=file task.train=in.csv task.metrics=accuracy": "task.metrics=accuracy: must be a list,",
    "task=file task.train=in.csv reviews": "reviews: missing EQUAL at '<EOF>'; key=value, with",
    "task=file task.train=nowhere.csv": "nowhere.csv: cannot be read",
    "task=file task.train=in.csv model=tiny seed=first": "seed=first: Value 'first' of type 'str'",
    "--nosuch": "--nosuch: no such option; --dry-run, --help or key=value",
}


@pytest.fixture
def compared(monkeypatch, capsys, tmp_path):
    """`compared(*arguments)`: exit code, stdout and stderr of `agwm.compare` beside in.csv."""
    monkeypatch.chdir(tmp_path)
    lines = [f"word {number},{'ab'[number % 2]}\n" for number in range(40)]
    (tmp_path / "in.csv").write_text("text,label\n" + "".join(lines))

    def run(*arguments):
        monkeypatch.setattr(train, "_exit_codes", [])
        GlobalHydra.instance().clear()
        return compare.main(list(arguments)), *capsys.readouterr()

    return run


@pytest.mark.parametrize(("given", "message"), COMPARED.items(), ids=COMPARED)
def test_a_broken_comparison_is_told_in_one_line(compared, tmp_path, given, message):
    code, _, err = compared(*given.split())
    assert_told(code, err, message)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_a_comparison_of_which_no_run_finished_prints_no_empty_tables(compared):
    given = ["task=file", "task.train=in.csv", "model=tiny", "logger=none", "seed=0"]
    failing = ["optim.lr=1e30", "optim.max_grad_norm=inf", "optim.epochs=9", "method=vanilla,joint"]
    basic = ["hydra/launcher=basic", "trainer.progress=false"]
    code, out, err = compared(*given, *failing, *basic)
    assert code == 1 and "2 runs: 2 failed" in out and "Scores" not in out
    assert err.splitlines()[-1] == (
        "error: runs/compare/in: no run has finished, so there is nothing to compare"
    )


def test_a_record_without_its_headline_is_run_again(cli, compose, tmp_path):
    """It is no finished run, whatever it says of itself."""
    given = ("model=tiny", "logger=none", "n_train=40", "method=vanilla")
    code, out, _ = cli(*given, "--dry-run")
    folder = tmp_path / out.removeprefix("to do: ").strip()
    fields = dict(task="acceptability", model="tiny", method="vanilla", sweep="single", seed=0)
    record = Record(**fields, status="ok", n_train=40, config_hash="other", cell_hash="")
    folder.mkdir(parents=True)
    record.write(folder)
    assert cli(*given, "--dry-run")[:2] == (code, out)
    record.headline = {"name": "accuracy", "value": 50.0}
    record.write(folder)
    assert_told(*cli(*given, "--dry-run")[::2], "holds a finished run of another configuration")
