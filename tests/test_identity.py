from copy import deepcopy
from pathlib import Path

import pytest

from agwm.identity import config_hash, run_dir


def test_the_run_directory_names_every_part_of_the_cell(compose):
    config = compose(
        "runs_dir=out", "sweep=low", "task=cola", "model=tiny", "n_train=300", "seed=3"
    )
    assert run_dir(config) == Path("out/low/cola/tiny/agwm/n300/seed3")
    assert run_dir(compose("task=cola", "model=tiny")) == Path(
        "runs/single/cola/tiny/agwm/nfull/seed0"
    )


@pytest.mark.parametrize(
    ("overrides", "folder"),
    [
        (["method.rank=2"], "agwm+rank=2"),
        (["optim.lr=1e-4"], "agwm+optim.lr=0.0001"),
        (["method.rank=2", "optim.epochs=7"], "agwm+optim.epochs=7+finetune_epochs=7+rank=2"),
        (["method=vanilla", "optim.batch_size=8"], "vanilla+optim.batch_size=8"),
        (["trainer.threads=1"], "agwm"),
        (["logger=none", "force=true", "save_model=false"], "agwm"),
    ],
)
def test_the_run_directory_tells_what_differs_from_the_defaults(compose, overrides, folder):
    config = compose("task=cola", "model=bert_large", *overrides)
    found = run_dir(config).parts[4]
    assert sorted(found.split("+")) == sorted(folder.split("+"))


def test_the_hash_ignores_where_a_run_lies_and_what_it_prints(compose):
    default = config_hash(compose())
    for override in (
        *("runs_dir=other", "sweep=other", "force=true", "save_model=false"),
        *("trainer.progress=false",),
        *("logger=none", "logger=tensorboard", "logger.project=other", "logger.mode=online"),
    ):
        assert config_hash(compose(override)) == default, override


def test_the_hash_reacts_to_everything_else(compose):
    overrides = [
        *("task=cola", "model=tiny", "method=joint", "method=vanilla", "seed=1", "n_train=299"),
        *("n_train=null", "data_dir=data", "optim.lr=1e-5", "optim.epochs=4"),
        *("optim.batch_size=8", "optim.warmup_ratio=0", "optim.weight_decay=0"),
        *("optim.max_grad_norm=2", "optim.max_length=64", "optim.warmup_steps=1"),
        *("trainer.accelerator=cpu", "trainer.precision=bf16-mixed", "trainer.threads=1"),
        *("method.preset=released", "method.rank=2", "task.metrics=[accuracy]"),
        *("model.name_or_path=elsewhere", "model.package=null", "task.group_by=null"),
        *("model.output_bias=prior", "model.reinit_layers=0"),
    ]
    hashes = {override: config_hash(compose(override)) for override in overrides}
    assert len({*hashes.values(), config_hash(compose())}) == len(overrides) + 1


def test_a_key_that_comes_later_and_is_null_leaves_the_hash_as_it_is(compose):
    config = compose("method=agwm")
    before = config_hash(config)
    config.method["added_later"] = None
    assert config_hash(config) == before
    config.method["added_later"] = 0
    assert config_hash(config) != before


def test_the_hash_does_not_change_the_configuration(compose):
    config = compose()
    before = deepcopy(config)
    config_hash(config)
    assert config == before and config.trainer.progress is True


def test_the_cell_is_the_configuration_without_its_seed(compose):
    first, second, other = compose("seed=0"), compose("seed=1"), compose("n_train=200")
    assert config_hash(first, "seed") == config_hash(second, "seed") != config_hash(other, "seed")
