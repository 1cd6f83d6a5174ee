import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

import agwm
from agwm.method import Method, build_method
from agwm.paths import root


def choices(group):
    return sorted(path.stem for path in (root() / "conf" / group).glob("*.yaml"))


@pytest.fixture
def command_line(cli, monkeypatch):
    """`cli`, where starting a run is a failure."""

    def started(*_):
        raise AssertionError("the run was started")

    monkeypatch.setitem(sys.modules, "agwm.run", SimpleNamespace(run=started))
    monkeypatch.setitem(sys.modules, "agwm.results.summary", SimpleNamespace(print_summary=started))
    return cli


@pytest.mark.parametrize("method", choices("method"))
def test_every_method_builds_for_every_model(compose, method):
    built = set()
    for model in choices("model"):
        config = compose("task=rte", f"model={model}", f"method={method}")
        built.add(type(build_method(config.method)))
        assert build_method(config.method).name == method
    assert len(built) == 1 and issubclass(built.pop(), Method)


@pytest.mark.parametrize("model", choices("model"))
def test_every_task_composes_with_every_model(compose, model):
    for task in choices("task"):
        own = ["task.train=reviews.csv"] if task == "file" else []
        config = compose(f"task={task}", f"model={model}", *own)
        assert (config.task.name, config.model.name) == (task, model)
        assert build_method(config.method).name == "agwm"


# Batch size, learning rate, epochs, steps, warm-up ratio, warm-up steps, weight decay: table 7.
PUBLISHED = {
    ("bert_large", "cola"): (16, 2e-5, 3, None, 0.1, None, 0.01),
    ("bert_large", "rte"): (16, 2e-5, 3, None, 0.1, None, 0.01),
    ("bert_large", "mnli"): (16, 2e-5, 3, None, 0.1, None, 0.01),
    ("roberta_large", "rte"): (16, 2e-5, None, 2036, 0.06, 122, 0.1),
    ("roberta_large", "mrpc"): (16, 1e-5, None, 2296, 0.06, 137, 0.1),
    ("roberta_large", "stsb"): (16, 2e-5, None, 3598, 0.06, 214, 0.1),
    ("roberta_large", "cola"): (16, 1e-5, None, 5336, 0.06, 320, 0.1),
    ("deberta_large", "rte"): (32, 1e-5, 6, None, 0.06, 50, 0.01),
    ("deberta_large", "mrpc"): (32, 1e-5, 6, None, 0.06, 50, 0.01),
    ("deberta_large", "stsb"): (32, 7e-6, 4, None, 0.06, 100, 0.01),
    ("deberta_large", "cola"): (32, 7e-6, 6, None, 0.06, 100, 0.01),
    ("bart_large", "rte"): (32, 1e-5, None, 1018, 0.1, 61, 0.01),
    ("bart_large", "mrpc"): (64, 2e-5, None, 1148, 0.1, 68, 0.01),
    ("bart_large", "stsb"): (32, 2e-5, None, 1799, 0.1, 107, 0.01),
    ("bart_large", "cola"): (64, 2e-5, None, 1334, 0.1, 80, 0.01),
    ("xlnet_large", "rte"): (32, 2e-5, None, 3000, 0.17, 500, 0.01),
    ("xlnet_large", "mrpc"): (32, 2e-5, None, 800, 0.17, 200, 0.01),
    ("xlnet_large", "stsb"): (32, 2e-5, None, 800, 0.17, 200, 0.01),
    ("xlnet_large", "cola"): (32, 2e-5, None, 3000, 0.17, 500, 0.01),
}


@pytest.mark.parametrize(("model", "task"), PUBLISHED, ids="-".join)
def test_the_recipe_that_is_printed_is_the_published_one(cli, model, task):
    code, out, _ = cli(f"task={task}", f"model={model}", "--cfg", "job")
    assert code == 0
    optim = OmegaConf.create(out).optim
    found = (
        *(optim.batch_size, optim.lr, optim.epochs, optim.get("steps")),
        *(optim.warmup_ratio, optim.get("warmup_steps"), optim.weight_decay),
    )
    assert found == PUBLISHED[model, task]
    assert optim.max_length == 128


# Appendix D.1 and D.2; K = 5 and the alpha of section 4.
SEARCH = {
    "num_searches": 5, "inner_fraction": 0.8, "search_epochs": 3, "rank": 1, "mix_form": "product",
    "alpha_lr": 2e-3, "alpha_weight_decay": 0.01, "alpha_init_mean": 1.0, "alpha_init_std": 0.005,
    "finetune_epochs": 3, "finetune_lr": None, "xlnet_attention": False,
}  # fmt: skip


def test_the_search_is_the_published_one(compose):
    method = build_method(compose("task=rte", "model=bert_large").method)
    assert {key: getattr(method, key) for key in SEARCH} == SEARCH


def test_bert_base_takes_the_recipe_of_bert_large(compose):
    assert compose("model=bert_base").optim == compose("model=bert_large").optim


def test_the_default_is_three_hundred_embedded_examples_and_agwm_on_minilm(compose):
    config = compose()
    assert (config.task.name, config.model.name, config.method["name"], config.seed) == (
        *("acceptability", "minilm", "agwm"),
        0,
    )
    assert config.n_train == 300
    assert compose("task=cola").n_train is None


# Overrides, and what the one line has to name.
BROKEN = [
    ("nosuch=1", "nosuch=1"),
    ("+nosuch=1", "nosuch"),
    ("+task.nosuch=1", "nosuch"),
    ("+optim.nosuch=1", "nosuch"),
    ("+method.nosuch=1", "method.nosuch=1"),
    *[
        (f"{group}.nosuch=1", f"{group}.nosuch=1")
        for group in ("task", "model", "optim", "method", "trainer", "logger")
    ],
    *[
        (f"{group}=nosuch", f"{group}=nosuch")
        for group in ("task", "model", "method", "trainer", "logger")
    ],
    ("task=null", "Config group override must be a string"),
    *[
        (override, override)
        for override in (
            *("seed=abc", "seed=1.5", "n_train=abc", "force=perhaps", "optim.lr=abc"),
            *("optim.epochs=1.5", "trainer.threads=abc", "task.columns=3"),
            *("method.num_searches=abc", "method.shared_masks=perhaps", "method.fd_radius=abc"),
            *(
                "seed=-1",
                "n_train=1",
                "n_train=0",
                "sweep=../x",
                "sweep=/x",
                "task.columns=[]",
                "task.metrics=[]",
            ),
            *("task.evaluation=[]", "optim.lr=-1", "optim.lr=nan", "optim.lr=inf"),
            *("optim.epochs=0", "optim.steps=0", "optim.batch_size=0", "optim.warmup_ratio=1.5"),
            *("optim.warmup_ratio=nan", "optim.warmup_steps=-1", "optim.weight_decay=-1"),
            *("optim.weight_decay=nan", "optim.max_grad_norm=0", "optim.max_grad_norm=nan"),
            *("optim.max_length=7", "trainer.accelerator=abacus", "trainer.devices=2"),
            *("trainer.precision=16-true", "trainer.threads=0", "logger.kind=nosuch"),
            *("logger.mode=nosuch", "method.preset=nosuch", "method.num_searches=-1"),
            *("method.inner_fraction=0", "method.inner_fraction=1", "method.inner_fraction=nan"),
            *("method.search_epochs=0", "method.finetune_epochs=0", "method.num_finetunes=0"),
            *("method.average=nosuch", "method.alpha_lr=-1", "method.alpha_lr=nan"),
            *("method.alpha_weight_decay=-1", "method.num_finetunes=-1"),
            *("method.alpha_weight_decay=inf", "method.alpha_every=0", "method.fd_radius=0"),
            *("method.fd_radius=nan", "method.hypergradient=nosuch", "method.order=nosuch"),
            *("method.fd_center=nosuch", "method.fd_scale=nosuch", "method.precondition=nosuch"),
            *("method.rank=0", "method.rank=half", "method.mix_form=nosuch"),
            *("method.alpha_init_std=-1", "method.alpha_init_std=nan", "method.alpha_init_mean=2"),
            *("method.alpha_init_mean=nan", "method._target_=os.system"),
            *(
                "method._target_=agwm.errors.UserError",
                "method._target_=agwm.methods.nosuch.Nosuch",
            ),
        )
    ],
    ("method.rank=true", "method.rank=True"),
    ("task.columns=[a,b,c]", "task.columns=['a', 'b', 'c']"),
    ("task.labels=[a]", "task.labels=['a']"),
    ("task.labels=[a,a]", "task.labels=['a', 'a']"),
    ("task.metrics=[nosuch]", "task.metrics=['nosuch']"),
    ("task=stsb task.metrics=[accuracy]", "task.metrics=['accuracy']"),
    ("task=mnli task.metrics=[f1]", "task.metrics=['f1']"),
    ("model=tiny model.config=null", "model.name_or_path"),
    ("optim.steps=5", "optim.steps=5"),
    ("optim.epochs=null", "optim.epochs=None"),
    ("method=joint method.alpha_lr=-1", "method.alpha_lr=-1"),
    ("method=joint method.alpha_weight_decay=nan", "method.alpha_weight_decay=nan"),
    ("method=random_alpha method.rank=0", "method.rank=0"),
]


@pytest.mark.parametrize(("overrides", "named"), BROKEN, ids=[case[0] for case in BROKEN])
def test_a_broken_override_is_told_in_one_line_with_exit_code_two(command_line, overrides, named):
    code, _, stderr = command_line(*overrides.split())
    assert code == 2, stderr
    assert stderr.startswith("error: ") and stderr.count("\n") == 1
    assert named in stderr


def test_a_strangers_module_is_not_even_imported(command_line, monkeypatch, tmp_path):
    code = "from agwm.method import Method\nclass Stranger(Method): pass\n"
    (tmp_path / "stranger.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    assert command_line("method=vanilla", "method._target_=stranger.Stranger")[0] == 2
    assert "stranger" not in sys.modules


@pytest.mark.parametrize("override", ["seed=abc", "optim.lr=abc"])
def test_a_wrong_type_is_told_with_the_right_one(command_line, override):
    _, _, stderr = command_line(override)
    assert "Integer" in stderr or "Float" in stderr


def test_a_mistyped_key_is_answered_with_the_right_one(command_line):
    assert "did you mean optim.lr?" in command_line("optim.lrr=1")[2]


def test_a_configuration_error_leaves_the_working_directory_as_it_was(command_line, tmp_path):
    command_line("seed=-1")
    assert not list(tmp_path.iterdir())


def in_process(*argv):
    """Run `agwm.train` in its own interpreter; it prints which heavy modules were imported."""
    code = (
        "import sys; from agwm import train\n"
        "try: train.main()\n"
        "except SystemExit as stop: code = stop.code\n"
        "heavy = {'torch', 'transformers', 'lightning', 'datasets', 'wandb'} & set(sys.modules)\n"
        "print('imported', sorted(heavy), 'code', code or 0)"
    )
    command = [sys.executable, "-c", code, *argv]
    path = str(Path(agwm.__file__).parents[1])
    return subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": path})


@pytest.mark.parametrize(("argument", "code"), [("optim.lr=-1", 2), ("--help", 0)])
def test_what_needs_no_run_imports_nothing_heavy(argument, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert in_process(argument).stdout.splitlines()[-1] == f"imported [] code {code}"


def test_a_configuration_error_takes_less_than_five_seconds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    started = time.perf_counter()
    assert "error: " in in_process("method.rank=0").stderr
    seconds = time.perf_counter() - started
    print(f"{seconds:.2f} s")
    assert seconds < 5
