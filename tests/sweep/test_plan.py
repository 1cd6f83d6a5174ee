import json

import pytest
from hydra.errors import ConfigCompositionException

from agwm.compose import compose_config, composed
from agwm.errors import UserError
from agwm.identity import config_hash, run_dir
from agwm.sweep.plan import expand, plan

TINY = ["model=tiny", "n_train=40", "method=vanilla"]


@pytest.fixture
def planned(parse, tmp_path, monkeypatch):
    """`planned(*arguments)`: the runs of a command line, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments, also=(): plan(expand({}, also, [*TINY, *arguments], parse), composed)


def lines(runs):
    return [" ".join(override.input_line for override in run) for run in runs]


def test_the_rightmost_key_varies_fastest_and_the_command_line_narrows(parse):
    params = {"task": "sst2,stsb", "seed": "range(0,3)"}
    assert lines(expand(params, [], [], parse)) == [
        *("task=sst2 seed=0", "task=sst2 seed=1", "task=sst2 seed=2"),
        *("task=stsb seed=0", "task=stsb seed=1", "task=stsb seed=2"),
    ]
    assert lines(expand(params, [], ["seed=7", "n_train=9"], parse)) == [
        "task=sst2 seed=7 n_train=9",
        "task=stsb seed=7 n_train=9",
    ]


def test_a_further_block_changes_adds_and_takes_away_keys(parse):
    params = {"method": "agwm", "method.rank": "1,2"}
    also = [
        {"method": "vanilla", "method.rank": None},
        {"method.rank": "full", "method.mix_form": "convex"},
    ]
    assert lines(expand(params, also, [], parse)) == [
        "method=agwm method.rank=1",
        "method=agwm method.rank=2",
        "method=vanilla",
        "method=agwm method.rank=full method.mix_form=convex",
    ]


ALSO = [{"method": "vanilla", "method.rank": None}, {"method.mix_form": "convex"}]


def test_a_block_that_gives_a_value_to_a_key_of_the_command_is_left_out(parse):
    params = {"method": "agwm", "method.rank": "1"}
    assert lines(expand(params, ALSO, ["method=joint"], parse)) == [
        "method=joint method.rank=1",
        "method=joint method.rank=1 method.mix_form=convex",
    ]


def test_a_block_that_takes_a_key_away_takes_that_of_the_command(parse):
    """So a sweep over fewer ranks keeps the baseline, which has none."""
    params = {"method": "agwm", "method.rank": "1,2,8"}
    assert lines(expand(params, ALSO, ["method.rank=2", "seed=3"], parse)) == [
        "method=agwm method.rank=2 seed=3",
        "method=vanilla seed=3",
        "method=agwm method.rank=2 method.mix_form=convex seed=3",
    ]


def test_two_sweeps_at_once_are_refused(parse):
    with pytest.raises(UserError, match=r"\+sweeps=\[table2,table9\]: one sweep at a time"):
        expand({}, [], ["+sweeps=[table2,table9]"], parse)


@pytest.mark.parametrize(
    "argument",
    ["~optim", "task.columns=[a,b]", "data_dir='a, b'", "+task.group_by=kind", "data_dir=null"],
)
def test_an_argument_that_is_no_sweep_goes_through_as_it_was_written(parse, argument):
    assert lines(expand({}, [], [argument], parse)) == [argument]


def test_quoted_values_of_a_sweep_keep_their_quotes(parse):
    assert lines(expand({}, [], ["data_dir='a b','c,d'"], parse)) == [
        "data_dir='a b'",
        "data_dir='c,d'",
    ]


def test_a_planned_run_has_the_configuration_that_its_command_alone_would_give(planned):
    for run in planned("seed=0,3", "n_train=40,50", "optim.lr=1e-3,1e-4"):
        alone = compose_config(*run.overrides)
        assert run.config == alone
        assert run.folder == run_dir(alone)
        assert config_hash(run.config) == config_hash(alone)


@pytest.mark.parametrize(
    "arguments",
    [
        ["task=stsb,cola", "method=agwm,vanilla", "model.output_bias=null,prior"],
        ["optim.lr=1e-3,3", "optim.epochs=null", "optim.steps=7", "trainer.precision=bf16-mixed"],
        ["method=agwm", "method.preset=first_order", "method.num_searches=5,1"],
        ["force=true", "sweep=other,'a b'", "++save_model=false", "seed='7'"],
        ["method=child_tuning_d", "++method.child_fraction=0.2,0.4"],
        ["optim.lr=1e-3", "optim={lr:1e-4}"],
        ["optim.lr=${optim.weight_decay}", "optim.weight_decay=0.1,0.2"],
        [
            "task.metrics=[accuracy],[accuracy,matthews_corrcoef]",
            "optim.lr=1e-3",
            "++optim.lr=1e-4",
        ],
    ],
)
def test_runs_that_share_choices_have_the_configuration_of_their_own_command(planned, arguments):
    """Hydra composes each run by itself here, and the shared choices alone in `plan`."""
    # Each block sets a key that the next one does not: a copy that is shared would show it.
    also = [{"optim.warmup_ratio": "0.2"}, {"optim.weight_decay": "0.3"}]
    for run in planned(*arguments, also=also):
        assert run.config == compose_config(*run.overrides)


def test_finished_runs_are_known_by_record_and_configuration(planned, tmp_path):
    first, second, third = planned("seed=0,1,2")
    for run, status in ((first, "ok"), (second, "failed")):
        run.folder.mkdir(parents=True)
        record = {"status": status, "config_hash": config_hash(run.config)}
        record["headline"] = {"name": "accuracy", "value": 50.0}
        (run.folder / "record.json").write_text(json.dumps(record))
    third.folder.mkdir(parents=True)
    (third.folder / "record.json").write_text('{"status": "ok", "config_')
    assert [run.finished for run in planned("seed=0,1,2")] == [True, False, False]
    assert [run.finished for run in planned("seed=0,1,2", "force=true")] == [False] * 3
    with pytest.raises(UserError, match="seed0: holds a finished run of another configuration"):
        planned("seed=0,1,2", "trainer.precision=bf16-mixed")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seed=range(0,0)"], "no runs: a key of the sweep has no values"),
        (["seed=0,0"], "seed0: 2 runs of the sweep lead there"),
        (["seed=0,-1"], "seed=-1: must be a whole number >= 0"),
        (["n_train=40,1"], "n_train=1: must be null"),
        (["method=agwm", "method.rank=1,0"], "method.rank=0"),
    ],
)
def test_a_mistake_in_any_run_is_told_before_the_first(planned, arguments, message):
    with pytest.raises(UserError, match=message):
        planned(*arguments)


@pytest.mark.parametrize(
    "mistake",
    [
        ["optim.lr=x"],
        ["optim.rl=1"],
        ["sed=1"],
        ["optim.lr@optim=1e-3"],
        ["optim.warmup_steps=10", "+optim.warmup_steps=30"],
    ],
)
def test_what_hydra_refuses_it_refuses_in_its_own_words(planned, mistake):
    with pytest.raises(ConfigCompositionException) as alone:
        composed([*TINY, *mistake])
    with pytest.raises(ConfigCompositionException) as refused:
        planned(*mistake)
    assert mistake[-1] in str(refused.value)
    assert str(refused.value) == str(alone.value)
