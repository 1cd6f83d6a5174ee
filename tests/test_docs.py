"""README.md and docs/*.md are held to their word: their commands run."""

import json
import re
import shlex
import shutil
from dataclasses import dataclass, replace
from importlib import import_module, metadata
from importlib.util import find_spec
from inspect import signature
from itertools import pairwise

import pytest
from hydra.core.global_hydra import GlobalHydra
from pages import PAGES
from trained_folder import save_trained

from agwm.compose import compose_config
from agwm.identity import config_hash, run_dir
from agwm.method import build_method
from agwm.paths import root

PLACEHOLDERS = {"+sweeps=NAME": "+sweeps=glue_minilm", "method=NAME": "method=vanilla"}


@dataclass(frozen=True)
class Command:
    """One `python -m agwm...` of a page."""

    page: str
    module: str
    arguments: tuple[str, ...]
    printed: str | None = None  # below a line that begins with $: what it prints


def commands():
    """Each command once: lines of code blocks, and what stands in backquotes in the text."""
    found = {}
    for page, text in PAGES.items():
        blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
        spans = re.findall(r"`(python -m agwm[^`]+)`", text)
        for block in [*blocks, *spans]:
            joined = re.sub(r"\\\n\s*", "", block)
            for line, printed in re.findall(r"^(.*)\n?((?:(?!\$ |python ).*\n)*)", joined, re.M):
                told = re.match(r"(\$ )?python -m (agwm[\w.]*)(.*)", line)
                if told is None:
                    continue
                arguments = _arguments(told.group(3))
                shown = printed.strip() if told.group(1) else None
                found.setdefault((told.group(2), arguments), (page, shown))
    return [Command(page, *key, shown) for key, (page, shown) in found.items()]


def _arguments(text):
    """Arguments without comment and placeholders; a train command is only composed anyway."""
    words = [PLACEHOLDERS.get(word, word) for word in shlex.split(text, comments=True)]
    return tuple(word for word in words if word != "--dry-run")


COMMANDS = commands()


def test_the_commands_are_found():
    # A page that is written otherwise would leave them unseen.
    found = {(command.module, command.arguments) for command in COMMANDS}
    for text in PAGES.values():
        for line in text.replace("\\\n", "").splitlines():
            if "python -m agwm" in line:
                told = re.search(r"python -m (agwm[\w.]*)([^`#]*)", line)
                assert (told.group(1), _arguments(told.group(2))) in found
    assert len(COMMANDS) >= 20


# --- what a command needs, and what it has to come to


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Run directories of the tiny model: vanilla and agwm, two seeds."""
    from agwm.run import run

    folder = tmp_path_factory.mktemp("finished")
    # As they are, for the report to call them by the names that pages use.
    small = ["model=tiny", "n_train=40", "logger=none", "trainer.progress=false"]
    for method in ("vanilla", "agwm"):
        for seed in (0, 1):
            config = compose_config(
                f"method={method}", f"seed={seed}", f"runs_dir={folder}", "save_model=false", *small
            )
            run(config, build_method(config.method), run_dir(config), config_hash(config))
    return folder


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """An empty working directory; no program of a cluster is asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    return tmp_path


@pytest.fixture
def runs(scratch, finished):
    """The run directories that pages speak of, all with the same few runs."""
    for sweep in ("single", "glue_minilm", "table3", "cheaper"):
        shutil.copytree(finished, scratch / "runs" / sweep)


@pytest.fixture
def data(scratch):
    """A copy of a task's data in `glue`."""
    (scratch / "glue" / "sst2").mkdir(parents=True)
    for split in ("train", "validation"):
        rows = [json.dumps({"sentence": f"text {n}", "label": n % 2}) for n in range(4)]
        (scratch / "glue" / "sst2" / f"{split}.jsonl").write_text("\n".join(rows))


def put_texts(folder):
    """The files of labelled and new texts that pages speak of."""
    shutil.copytree(root() / "docs", folder / "docs", ignore=shutil.ignore_patterns("*.md"))
    for name in ("reviews.csv", "new.csv", "test.csv"):
        shutil.copy(folder / "docs" / "later.csv", folder / name)


@pytest.fixture
def own(scratch):
    """The working directory, with texts."""
    put_texts(scratch)
    return scratch


@pytest.fixture
def model(scratch):
    """The model folders that pages speak of, all with the same tiny model."""
    labels = ["complaint", "praise", "question"]
    save_trained(scratch / "RUN" / "model", labels, columns=["message"], label="kind")
    for method in ("vanilla", "agwm"):
        run = scratch / "runs" / "compare" / "messages" / "minilm" / method / "nfull" / "seed0"
        shutil.copytree(scratch / "RUN" / "model", run / "model")


def run_main(command, capsys):
    """Exit code and output of a module with `main(arguments)`."""
    module = command.module
    if find_spec(module).submodule_search_locations is not None:  # a package
        module += ".__main__"
    code = import_module(module).main(list(command.arguments))
    return code, capsys.readouterr()


def train(command, cli, tmp_path):
    """Composed and checked as for a run, which is not started."""
    put_texts(tmp_path)
    code, out, err = cli(*command.arguments, "--dry-run")
    if command.printed is not None:
        assert (out + err).strip() == command.printed
        return
    launcher = re.search(r"hydra/launcher=agwm_(\w+)", " ".join(command.arguments))
    packages = {"slurm": "hydra-submitit-launcher", "ray": "hydra-ray-launcher"}
    if launcher and not [*metadata.distributions(name=packages[launcher.group(1)])]:
        assert code == 2 and f"pip install 'agwm[{launcher.group(1)}]'" in err
        return
    assert code == 0, err
    if "--help" in command.arguments:
        assert "usage: python -m agwm.train" in out
    else:
        last = out.splitlines()[-1]
        assert last.startswith("to do: runs/") or last.endswith("to do, 0 finished already")


def report(command, capsys, runs, scratch):
    """For real, on the tiny runs."""
    (scratch / "names.yaml").write_text("agwm: ours")
    code, said = run_main(command, capsys)
    assert code == 0, said.err
    shown = "Differences from" if any(a.startswith("runs/") for a in command.arguments) else "Paper"
    assert shown in said.out
    assert (scratch / "report" / "report.html").is_file()


def doctor(command, capsys, data):
    """For real; this machine may lack something."""
    code, said = run_main(command, capsys)
    assert code in (0, 1), said.err
    assert said.out.splitlines()[-1].startswith(("no problem found", "problems: "))


def compare(command, capsys, own):
    """Planned, and not run; tests/test_compare.py runs it."""
    if not command.arguments or "--help" in command.arguments:
        return
    GlobalHydra.instance().clear()
    planned = replace(command, arguments=(*command.arguments, "--dry-run"))
    code, said = run_main(planned, capsys)
    assert code == 0, said.err
    assert re.search(r"\d+ of \d+ runs to do", said.out)


def predict(command, capsys, own, model):
    """For real, with a tiny model."""
    code, said = run_main(command, capsys)
    assert code == 0, said.err
    output = dict(pairwise(command.arguments)).get("-o")
    printed = (own / output).read_text() if output else said.out
    assert printed.splitlines()[0].endswith("prediction,p_complaint,p_praise,p_question")


def evaluate(command, capsys, own, model):
    """For real, with a tiny model."""
    code, said = run_main(command, capsys)
    assert code == 0, said.err
    assert "confusion matrix" in said.out


def rerun(command, capsys, scratch, finished):
    """For real, on one of the tiny runs."""
    shutil.copytree(next(finished.rglob("vanilla/*/seed0")), scratch / "RUN")
    code, said = run_main(command, capsys)
    assert code == 0, said.err
    assert said.out.count(" equal ") == 3


def export(command, capsys, own, model, monkeypatch):
    """Up to the extra, which may be missing; the export itself takes half a minute."""
    monkeypatch.setattr("agwm.export.find_spec", lambda name: None)
    code, said = run_main(command, capsys)
    assert code == 2 and "agwm[onnx]" in said.err


# One function for each module that a page names; its parameters are fixtures, which prepare what
# the commands read.
RULES = {
    "agwm.train": train,
    "agwm.compare": compare,
    "agwm.report": report,
    "agwm.predict": predict,
    "agwm.evaluate": evaluate,
    "agwm.rerun": rerun,
    "agwm.export": export,
    "agwm.doctor": doctor,
}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: shlex.join([c.module, *c.arguments]))
def test_every_command_runs(command, request):
    assert command.module in RULES, f"{command.page}: no rule says how {command.module} is tried"
    rule = RULES[command.module]
    fixtures = [name for name in signature(rule).parameters if name != "command"]
    rule(command, **{name: request.getfixturevalue(name) for name in fixtures})
