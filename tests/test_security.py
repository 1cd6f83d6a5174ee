"""What a file, a folder, a record or a configuration of a stranger must not do."""

import ast
import csv
import io
import json
import pickle
import subprocess
from pathlib import Path

import pytest
import yaml
from html_page import Page

import agwm
from agwm import evaluate, export, predict
from agwm.identity import run_dir
from agwm.report.__main__ import main as report
from agwm.results.record import git_state

TINY = ("task=acceptability", "model=tiny", "method=vanilla", "n_train=40", "logger=none")
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style><b>bold</b>",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "[red]x[/red] [link=http://x]y[/link]",
    "`` ``` ~~~ [a](http://x) | --- # {{ 7 * 7 }}",
]


class Marker:
    """Unpickled, it leaves a file."""

    def __reduce__(self):
        return Path("run").touch, ()


@pytest.fixture
def commands(cli, monkeypatch, capsys, tmp_path):
    """`commands[name](folder)`: exit code and stderr of what reads a model's folder."""
    (tmp_path / "in.csv").write_text("text,label\na day,good\nno time,bad\nthe look,so-so\n")

    def small(main, *argv):
        def called(folder):
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
            code = main([str(folder), *argv])
            return code, capsys.readouterr().err

        return called

    def train(folder):
        code, _, err = cli(*TINY, f"model.name_or_path={folder}", "trainer.progress=false")
        return code, err

    return {
        "train": train,
        "predict": small(predict.main, "in.csv"),
        "evaluate": small(evaluate.main, "in.csv"),
        "export": small(export.main, "out.onnx"),
    }


# What is never to stand in the source; each is looked for below.
_PICKLES = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
_NO_WEIGHTS = {"AutoTokenizer", "AutoConfig", "auto_class"}


def unsafe(node):
    """Whether a node of a syntax tree may run what is in a file."""
    if isinstance(node, ast.Import):
        return any(name.name.split(".")[0] in _PICKLES for name in node.names)
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] in _PICKLES
    if not isinstance(node, ast.Call):
        return False
    given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
    name = ast.unparse(node.func)
    owner, _, called = name.rpartition(".")
    if name in ("eval", "exec", "__import__", "os.system", "yaml.load", "torch.jit.load"):
        return True
    if name == "torch.load":
        return given.get("weights_only") is not True
    if called == "from_pretrained" and owner != "PeftModel":
        safe = owner in _NO_WEIGHTS or given.get("use_safetensors") is True
        return not safe or given.get("trust_remote_code") is not False
    if called == "_load_from" or name == "_load_from":
        tokens = ast.unparse(node.args[0]) in _NO_WEIGHTS
        return not tokens and given.get("use_safetensors") is not True
    return bool(given.get("allow_pickle") or given.get("shell") or given.get("trust_remote_code"))


def test_nothing_in_the_source_runs_what_is_in_a_file():
    found = [
        f"{path.name}:{node.lineno}"
        for path in Path(agwm.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if unsafe(node)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(folder, trust_remote_code=False)",
        "AutoModel.from_pretrained(folder, use_safetensors=True)",
        "AutoTokenizer.from_pretrained(folder)",
        "_load_from(AutoModel, source)",
        "subprocess.run(line, shell=True)",
        "eval(text)",
    ],
)
def test_what_the_source_is_searched_for_is_found(line):
    assert any(map(unsafe, ast.walk(ast.parse(line))))


@pytest.mark.parametrize("command", ["train", "predict", "evaluate", "export"])
def test_no_pickle_is_read(commands, folder, command):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Marker()))
    code, err = commands[command](folder)
    assert code == 2 and err.count("\n") == 1 and "holds no .safetensors" in err
    assert not Path("run").exists()


@pytest.mark.parametrize("command", ["train", "predict", "evaluate", "export"])
@pytest.mark.parametrize("model_type", ["own", "bert"])
def test_no_code_of_a_models_folder_is_run(commands, folder, command, model_type):
    if command == "export":
        pytest.importorskip("onnxscript")
    (folder / "own.py").write_text("open('run', 'w')\nclass C: pass\n")
    names = ("AutoConfig", "AutoModel", "AutoModelForSequenceClassification", "AutoTokenizer")
    for name in ("config.json", "tokenizer_config.json"):
        config = json.loads((folder / name).read_text())
        config |= {"auto_map": dict.fromkeys(names, "own.C")}
        if name == "config.json":
            config["model_type"] = model_type
        else:
            config["auto_map"]["AutoTokenizer"] = ["own.C", None]
        (folder / name).write_text(json.dumps(config))
    code, err = commands[command](folder)
    assert not Path("run").exists()
    if model_type == "own":
        assert code == 2 and err.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    "overrides",
    [
        ("method=stranger",),
        ("method=vanilla_matched", "method@method.matched=stranger"),
        ("method=vanilla_matched", "method.matched._target_=os.system"),
        ("method._target_=agwm.methods..run",),
        ("method._target_=agwm.methods.vanilla.Vanilla.__init__",),
        ("method._target_=agwm.methods.",),
    ],
)
def test_a_configuration_names_no_code_but_our_methods(cli, tmp_path, overrides):
    (tmp_path / "conf" / "method").mkdir(parents=True)
    target = "_target_: pathlib.Path.touch\nself: run\n"
    (tmp_path / "conf" / "method" / "stranger.yaml").write_text(target)
    code, _, err = cli("--config-dir=conf", *TINY, *overrides, "dry_run=true")
    assert code == 2 and "_target_" in err and "method class" in err and err.count("\n") == 1
    assert not Path("run").exists()


@pytest.mark.parametrize(
    "override",
    [
        *("sweep=../../x", "sweep=a/../../x", "sweep=/x", "sweep=..", "sweep='a\x1b[31m'"),
        *("task.name=..", "task.name=a/b", "task.name=/x", "task.name='a\nb'"),
        *("model.name=../../x", "model.name=.", "method.name=../x", "method.name=" + 256 * "x"),
    ],
)
def test_no_name_leads_out_of_the_runs_folder(cli, tmp_path, override):
    code, out, err = cli(*TINY, override, "dry_run=true")
    assert (code, out) == (2, "") and "must be a folder's name" in err
    assert err.count("\n") == 1 and "\x1b" not in err


@pytest.mark.parametrize(
    "override", ["task.labels=[../../a,/etc/b]", "method._target_=agwm.methods.vanilla.Vanilla"]
)
def test_a_runs_folder_is_seven_deep_whatever_was_changed(compose, override):
    config = compose(*TINY, override, "optim.lr=1e-3", "runs_dir=runs")
    assert len(run_dir(config).parts) == 7 and ".." not in run_dir(config).parts


def test_nothing_is_written_through_a_link(cli, tmp_path):
    folder = Path(cli(*TINY, "dry_run=true")[1].split()[-1])
    outside = tmp_path / "outside"
    outside.mkdir()
    folder.mkdir(parents=True)
    (folder / "plots").symlink_to(outside)
    code, _, err = cli(*TINY)
    assert code == 2 and "plots: is a link" in err
    assert not any(outside.iterdir()) and not (folder / "record.json").exists()


def test_a_record_leads_the_report_nowhere(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"task": "../../etc/x", "model": "/etc/x", "method": "../../x", "sweep": "../../x"}
    for seed in range(2):
        folder = tmp_path / "runs" / str(seed)
        folder.mkdir(parents=True)
        record = {"schema_version": 1, "status": "ok", "n_train": 40, "seed": seed, **names}
        record |= {"headline": {"name": "../y", "value": 50.0}, "variant": ["/../../z"]}
        (folder / "record.json").write_text(json.dumps(record))
    before = {path for path in tmp_path.parent.rglob("*")}
    assert report(["runs", "--out", "out"]) == 0
    written = {path for path in tmp_path.parent.rglob("*")} - before
    assert written and all(path.is_relative_to(tmp_path / "out") for path in written)


@pytest.fixture
def hostile(cli, tmp_path):
    """Folder of a finished run on texts and labels of a stranger, and all that it printed."""
    with (tmp_path / "reviews.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [(f"{HOSTILE[i % 6]} {i}", HOSTILE[i % 6]) for i in range(120)]
        csv.writer(file).writerows([("text", "label"), *rows])
    run = ("task=file", "task.train=reviews.csv", "model=tiny", "method=vanilla", "logger=none")
    code, out, err = cli(*run, "optim.epochs=1")
    assert code == 0, err
    (record,) = (tmp_path / "runs").rglob("record.json")
    return record.parent, out + err


def test_a_page_and_a_card_hold_data_as_text(hostile, capsys):
    folder, printed = hostile
    pages = [folder / "page.html"]
    assert report(["runs", "--out", "out"]) == 0
    printed += capsys.readouterr().out
    for path in (*pages, Path("out/report.html")):
        page = Page(path.read_text(encoding="utf-8"))
        assert not {"script", "iframe", "object", "form"} & set(page.tags)
        assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
        assert not any(name.startswith("on") for name in page.attributes)
        assert page.tags.count("style") == 1 or path.name == "report.html"
    assert HOSTILE[0] in Page(pages[0].read_text(encoding="utf-8")).cells
    _, header, body = (folder / "model/README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert set(yaml.safe_load(header)) <= {"library_name", "pipeline_tag", "tags", "metrics"}
    assert Page(body).tags == [] and "&lt;script&gt;alert(1)" in body
    # The one block of code that holds data ends where it has to.
    assert body.count("\n```") % 2 == 0

    assert evaluate.main([str(folder), "reviews.csv"]) == 0
    printed += "".join(capsys.readouterr())
    assert "\x1b" not in printed and "\x07" not in printed
    assert "\\x1b[31mred" in printed and "[red]x[/red] [link=http://x]y[/link]" in printed


def test_a_report_shows_names_as_they_are(tmp_path, write_report_run, capsys):
    write_report_run("\x1b]0;owned\x07", "[link=http://x]y[/link]")
    assert report([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and "[link=http://x]y[/link]" in printed.replace("\n", "")
    assert report([str(tmp_path / "none\x1b[31m")]) == 2
    assert "\x1b" not in capsys.readouterr().err


@pytest.fixture
def write_report_run(tmp_path):
    def write(task, method):
        folder = tmp_path / "runs" / "0"
        folder.mkdir(parents=True)
        record = {"schema_version": 1, "status": "ok", "n_train": 40, "seed": 0, "model": "tiny"}
        record |= {"headline": {"name": "accuracy", "value": 50.0}, "task": task, "method": method}
        (folder / "record.json").write_text(json.dumps(record))

    return write


SECRETS = {
    "HF_TOKEN": "hf_canaryCanaryCanaryCanaryCanary",
    "WANDB_API_KEY": "ca" + 38 * "9",
    "AWS_SECRET_ACCESS_KEY": "aws+canary+canary+canary",
    "ANYTHING_ELSE": "canary of the environment",
}


def files_with(secrets, folder):
    """Files below `folder` that hold one of the secrets, in whatever format."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and any(secret.encode() in path.read_bytes() for secret in secrets)
    ]


def test_no_secret_of_the_environment_is_written_or_printed(cli, tmp_path, monkeypatch):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    one = tuple("logger=wandb" if part == "logger=none" else part for part in TINY)
    one += (f"runs_dir={tmp_path / 'runs'}",)  # W&B's service has the directory of its first run
    code, out, err = cli(*one, "seed=1")
    assert code == 0, err
    # A run that fails writes its traceback.
    code, out2, err2 = cli(*one, "seed=2", "data_dir=nowhere", "task=cola")
    assert code == 2 and len(list(tmp_path.rglob("*.wandb"))) >= 1
    assert list(tmp_path.rglob("page.html")) and list(tmp_path.rglob("error.txt"))
    assert files_with(SECRETS.values(), tmp_path) == []
    assert not any(secret in out + err + out2 + err2 for secret in SECRETS.values())
    (tmp_path / "planted.bin").write_bytes(b"\0" + SECRETS["HF_TOKEN"].encode())
    assert [path.name for path in files_with(SECRETS.values(), tmp_path)] == ["planted.bin"]


@pytest.mark.parametrize(
    "key", ["data_dir", "model.name_or_path", "runs_dir", "task.hub", "logger.project"]
)
def test_an_address_with_a_password_is_refused_and_not_repeated(cli, tmp_path, key):
    code, out, err = cli(*TINY, f"'{key}=https://me:pass-canary@host/x'".strip("'"))
    assert code == 2 and f"{key}=https://***@host/x" in err and err.count("\n") == 1
    assert "canary" not in out + err and files_with(["canary"], tmp_path) == []


def test_a_record_knows_the_commit_and_not_where_it_was_cloned_from(tmp_path):
    def git(*arguments):
        name = ("-c", "user.name=x", "-c", "user.email=x@x")
        subprocess.run(["git", "-C", str(tmp_path), *name, *arguments], check=True)

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "x")
    git("remote", "add", "origin", "https://me:pass-canary@host/x.git")
    state = git_state(tmp_path)
    assert set(state) == {"commit", "dirty"} and "canary" not in json.dumps(state)
