"""README.md and docs/*.md are held to their word: commands run, links and files exist."""

import json
import re
import shlex
import shutil
import sys
from dataclasses import dataclass, replace
from importlib import import_module, metadata
from importlib.util import find_spec
from inspect import signature
from itertools import pairwise
from types import ModuleType

import pytest
from hydra.core.global_hydra import GlobalHydra
from scipy import optimize, stats
from trained_folder import save_trained

from agwm.bilevel import PRESETS
from agwm.compose import compose_config
from agwm.identity import config_hash, run_dir
from agwm.method import build_method
from agwm.paths import root
from agwm.report.statistics import paired_power

PAGES = {
    str(path.relative_to(root())): path.read_text(encoding="utf-8")
    for path in [root() / "README.md", *sorted((root() / "docs").glob("*.md"))]
}
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


# --- what pages refer to, and figures that can be computed


@pytest.mark.parametrize("page", PAGES)
def test_links_and_files_exist(page):
    text, here = PAGES[page], (root() / page).parent
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = here / name if name else root() / page
        assert file.is_file(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
            assert anchor in slugs, target
    shown = re.findall(r"# ((?:agwm|conf)/\S+)", text)  # the example of a new method
    for name in re.findall(r"[` ]((?:agwm|tests|benchmarks|conf|sweeps)/[\w/]+\.\w+)", text):
        if name not in shown and "NAME" not in name:
            assert (root() / name).is_file(), name


def test_the_example_of_a_new_method_runs(tiny_run, monkeypatch):
    text = PAGES["docs/adding_a_method.md"]
    code = re.search(r"```python\n# (agwm/methods/\w+)\.py\n(.*?)```", text, flags=re.DOTALL)
    target = re.search(r"_target_: (agwm\.methods\.(\w+)\.\w+)", text)
    name = code.group(1).replace("/", ".")
    assert name == f"agwm.methods.{target.group(2)}"
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec(code.group(2), module.__dict__)
    method = build_method({"_target_": target.group(1), "name": target.group(2)})
    monkeypatch.setattr("agwm.methods.vanilla.Vanilla.prepare", type(method).prepare)
    record, _ = tiny_run("method=vanilla")
    assert record.status == "ok"


def rows(page, first):
    """Cells of the table of `page` whose head begins with `first`."""
    lines = PAGES[page][PAGES[page].index(f"| {first} |") :].split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [cells[0], *cells[2:]]


def test_the_hooks_are_those_of_the_class():
    from agwm.method import Method

    _, *found = rows("docs/adding_a_method.md", "hook")
    names = [re.match(r"`(\w+)\(", name).group(1) for name, *_ in found]
    assert sorted(names) == sorted(
        n for n in vars(Method) if callable(getattr(Method, n)) and n[0] != "_"
    )


def test_the_presets_of_the_method_page_are_those_of_the_code():
    (_, *names), *switches = rows("docs/method.md", "switch")
    found = {
        preset.strip("`"): {key.strip("`"): values[place] for key, *values in switches}
        for place, preset in enumerate(names)
    }
    assert found == {
        preset: {key: str(value) for key, value in values.items()}
        for preset, values in PRESETS.items()
    }


def test_the_passes_of_the_method_page_are_those_of_the_code(compose):
    config = compose("method=agwm").method
    _, *found = rows("docs/method.md", "value")
    assert {name.strip("`") for name, *_ in found} >= {"none", "unrolled"} and len(found) == 7
    for name, _, said in found:
        for steps in (1, 4):
            changed = {"hypergradient": name.strip("`"), "hypergradient_steps": steps}
            method = build_method({**config, **changed})
            terms = [term.split() for term in said.split("+")]
            values = [[steps if factor == "T" else int(factor) for factor in t] for t in terms]
            expected = sum(v[0] * (v[1] if len(v) > 1 else 1) for v in values)
            assert method.settings().passes == expected, name


def test_the_seeds_of_the_report_page_are_computed_right():
    _, *found = rows("docs/report.md", "seeds")
    assert [int(row[0]) for row in found] == [3, 5, 10, 20]
    for count, flip, significant, powerful, _ in found:
        n = int(count)
        assert float(flip) == pytest.approx(2 ** (1 - n), abs=5.1e-4)
        assert float(significant[:-2]) == pytest.approx(
            stats.t.isf(0.025, n - 1) / n**0.5, abs=0.006
        )
        effect = optimize.brentq(lambda e, n=n: paired_power(e, n) - 0.8, 0.1, 10)
        assert float(powerful[:-2]) == pytest.approx(effect, abs=0.006)


def test_every_tick_of_the_peers_page_names_a_test():
    head, *found = rows("docs/peers.md", "feature")
    ours, test = head.index("agwm"), head.index("test")
    assert len(found) > 20
    for row in found:
        files = re.findall(r"`(tests/[\w/]+\.py)`", row[test])
        assert len(row) == len(head) and bool(row[ours]) == bool(files), row[0]
        assert all((root() / file).is_file() for file in files), row[0]
