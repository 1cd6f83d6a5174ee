"""Broken model folders, given to `predict`, to `evaluate` and to `train` to begin from."""

import json
from pathlib import Path

import pytest
import torch
from one_line import assert_told
from safetensors.torch import load_file, save_file

from agwm import evaluate, predict
from agwm.config import Model, Task
from agwm.errors import UserError
from agwm.models.pretrained import load_pretrained


@pytest.fixture
def folder(folder, tmp_path, monkeypatch):
    """A copy to be broken, in the working directory."""
    monkeypatch.chdir(tmp_path)
    return folder


def changed(file, **values):
    """Change values of a JSON file in the folder; None takes one away."""

    def change(folder):
        found = json.loads((folder / file).read_text()) if (folder / file).is_file() else {}
        found = {key: value for key, value in (found | values).items() if value is not None}
        (folder / file).write_text(json.dumps(found))

    return change


def replaced(file, content):
    return lambda folder: (folder / file).write_bytes(content)


def removed(*files):
    return lambda folder: [(folder / file).unlink() for file in files]


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def pickled(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def reshaped(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.weight"] = tensors["classifier.weight"][:, :-1].contiguous()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def emptied(folder):
    save_file({}, folder / "model.safetensors", {"format": "pt"})


def as_file(folder):
    for path in sorted(folder.iterdir()):
        path.unlink()
    folder.rmdir()
    folder.write_text("no folder")


TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
# What is done to the folder, and what `predict` and `evaluate` say.
FOLDERS = {
    "a file": (as_file, "MODEL=model: no such folder; one on the Hub is to be fetched first: hf"),
    "no config.json": (removed("config.json"), "MODEL=model: holds no model"),
    "config.json empty": (
        replaced("config.json", b""),
        "model/config.json: cannot be read as JSON",
    ),
    "config.json cut": (
        replaced("config.json", b'{"model_type": "be'),
        "model/config.json: cannot be read as JSON",
    ),
    "config.json a list": (replaced("config.json", b"[]"), "model/config.json: not a JSON object"),
    "config.json not UTF-8": (
        replaced("config.json", b'{"a": "\xff"}'),
        "model/config.json: cannot be read as JSON",
    ),
    "config.json too deep": (
        replaced("config.json", b"[" * 100_000),
        "model/config.json: cannot be read as JSON",
    ),
    "no model_type": (
        changed("config.json", model_type=None),
        "MODEL=model: cannot be read as a sequence classifier with its tokenizer",
    ),
    "unknown model_type": (
        changed("config.json", model_type="berd"),
        "MODEL=model: cannot be read as a sequence classifier with its tokenizer",
    ),
    "another model_type": (
        changed("config.json", model_type="xlnet"),
        "MODEL=model: cannot be read as a sequence classifier with its tokenizer",
    ),
    "hidden_size a text": (
        changed("config.json", hidden_size="wide"),
        "MODEL=model: cannot be read as a sequence classifier with its tokenizer",
    ),
    "hidden_size zero": (
        changed("config.json", hidden_size=0),
        "MODEL=model: cannot be read as a sequence classifier with its tokenizer",
    ),
    "heads do not divide": (
        changed("config.json", num_attention_heads=3),
        "MODEL=model: cannot be read as a sequence classifier with its tokenizer",
    ),
    "labels a list": (
        changed("config.json", id2label=["a", "b"]),
        "model/config.json: id2label=['a', 'b']: must be an object of names by code",
    ),
    "two labels for three": (
        changed("config.json", id2label={"0": "a", "1": "b"}),
        "MODEL=model: classifier.bias is 3 in its weights and 2 by its config.json,",
    ),
    "labels alike": (
        changed("config.json", id2label={"0": "a", "1": "a", "2": "b"}),
        "model/config.json: id2label={'0': 'a', '1': 'a', '2': 'b'}: must name two",
    ),
    "a code missing": (
        changed("config.json", id2label={"0": "a", "2": "b"}),
        "model/config.json: id2label={'0': 'a', '2': 'b'}: its codes are not 0 to 1",
    ),
    "several labels a text": (
        changed("config.json", problem_type="multi_label_classification"),
        "model/config.json: problem_type=multi_label_classification: each text must",
    ),
    "no weights": (
        removed("model.safetensors"),
        "MODEL=model: holds no .safetensors; weights in other files can run code",
    ),
    "a pickle": (
        pickled,
        "MODEL=model: holds no .safetensors; weights in other files can run code",
    ),
    "weights empty": (
        replaced("model.safetensors", b""),
        "MODEL=model: cannot be read as a sequence classifier with its tokenizer",
    ),
    "weights cut": (cut, "MODEL=model: cannot be read as a sequence classifier with its tokenizer"),
    "weights of nothing": (
        emptied,
        "MODEL=model: holds no trained classifier: bert.embeddings.LayerNorm.bias",
    ),
    "weights of another shape": (
        reshaped,
        "MODEL=model: classifier.weight is 3 x 15 in its weights and 3 x 16 by its",
    ),
    "weights a text": (
        replaced("model.safetensors", b"version https://git-lfs" * 9),
        "MODEL=model: cannot be read as a sequence classifier with its tokenizer",
    ),
    "no tokenizer": (
        removed(*TOKENIZER),
        "MODEL=model: its tokenizer knows 5 of the model's 128 tokens; are the",
    ),
    "tokenizer cut": (
        replaced("tokenizer.json", b'{"version": "1.'),
        "MODEL=model: cannot be read as a sequence classifier with its tokenizer",
    ),
    "tokenizer of nothing": (
        replaced("tokenizer.json", b"{}"),
        "MODEL=model: cannot be read as a sequence classifier with its tokenizer",
    ),
    "agwm.json a list": (replaced("agwm.json", b"[]"), "model/agwm.json: not a JSON object"),
    "agwm.json cut": (replaced("agwm.json", b"{"), "model/agwm.json: cannot be read as JSON"),
    "agwm.json, columns a text": (
        changed("agwm.json", columns="text"),
        "model/agwm.json: columns='text' makes no sense; mend it or remove the file",
    ),
    "agwm.json, three columns": (
        changed("agwm.json", columns=["a", "b", "c"]),
        "model/agwm.json: columns=['a', 'b', 'c'] makes no sense; mend it or remove",
    ),
    "agwm.json, length a text": (
        changed("agwm.json", max_length="8"),
        "model/agwm.json: max_length='8' makes no sense; mend it or remove the file",
    ),
    "agwm.json, no such column": (
        changed("agwm.json", columns=["body"]),
        "in.csv: no column 'body' among 'text', 'label'; --text names the right one",
    ),
}


def test_a_sound_folder_is_none_of_them(folder, capsys):
    Path("in.csv").write_text("text,label\na day,good\n")
    assert predict.main(["model", "in.csv"]) == 0
    assert evaluate.main(["model", "in.csv"]) == 0


@pytest.mark.parametrize("command", [predict, evaluate], ids=["predict", "evaluate"])
@pytest.mark.parametrize(("change", "message"), FOLDERS.values(), ids=FOLDERS)
def test_a_broken_model_is_told_in_one_line(folder, capsys, change, message, command):
    Path("in.csv").write_text("text,label\na day,0\n")
    change(folder)
    code = command.main(["model", "in.csv"])
    out, err = capsys.readouterr()
    last = err.splitlines(keepends=True)[-1]  # before it may stand which column was taken
    assert_told(code, last, message)
    assert out == "" and "Traceback" not in err


EVALUATED = {
    "metrics of nothing": (
        changed("agwm.json", metrics=["nosuch"]),
        "metrics=nosuch: must be one of accuracy, macro_f1, matthews_corrcoef",
    ),
    "metrics of another kind": (
        changed("agwm.json", metrics=["spearman"]),
        "metrics=spearman: must be one of accuracy, macro_f1, matthews_corrcoef",
    ),
    "no such label column": (
        changed("agwm.json", label="kind"),
        "in.csv, row 1 (line 2): no column 'kind' among 'text', 'label'; --label",
    ),
    "labels that a file cannot tell apart": (
        changed("config.json", id2label={"0": "1", "1": "1.0", "2": "2"}),
        "the model's labels 1, 1.0, 2 are not told apart in a file; rename one",
    ),
    "a label that the model has not": (
        changed("config.json", id2label={"0": "a", "1": "b", "2": "c"}),
        "in.csv, row 1 (line 2): label is 'good'; the model's labels are a, b, c",
    ),
}


@pytest.mark.parametrize(("change", "message"), EVALUATED.values(), ids=EVALUATED)
def test_what_the_labels_do_not_fit_is_told_in_one_line(folder, capsys, change, message):
    Path("in.csv").write_text("text,label\na day,good\n")
    change(folder)
    code = evaluate.main(["model", "in.csv"])
    assert_told(code, capsys.readouterr().err.splitlines(keepends=True)[-1], message)


def other_tokenizer(folder):
    """One with more tokens than the model has embeddings."""
    path = folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["vocab"]["zebra"] = 100_000
    path.write_text(json.dumps(tokenizer))


def test_a_tokenizer_of_another_model_is_told_in_one_line(folder, capsys):
    Path("in.csv").write_text("text\nzebra\n")
    other_tokenizer(folder)
    code = predict.main(["model", "in.csv", "--text", "text"])
    assert_told(code, capsys.readouterr().err, "the tokenizer")


ARGUMENTS = {
    "predict model": (
        predict,
        "the following arguments are required: INPUT; --help lists what there is",
    ),
    "predict model in.csv --nosuch": (
        predict,
        "unrecognized arguments: --nosuch; --help lists what there is",
    ),
    "predict model in.csv --batch-size many": (
        predict,
        "argument --batch-size: invalid int value: 'many'; --help lists what there",
    ),
    "predict model in.csv --format xlsx": (predict, "argument --format: invalid choice: 'xlsx'"),
    "evaluate": (
        evaluate,
        "the following arguments are required: MODEL, FILE; --help lists what there",
    ),
}


@pytest.mark.parametrize(("given", "told"), ARGUMENTS.items(), ids=ARGUMENTS)
def test_broken_arguments_are_told_in_one_line(capsys, given, told):
    command, message = told
    with pytest.raises(SystemExit) as left:
        command.main(given.split()[1:])
    assert_told(left.value.code, capsys.readouterr().err, message)


# What a run begins from: the folder needs no head, its name is model.name_or_path.
BEGINNINGS = (
    *("a file", "no config.json", "config.json cut", "unknown model_type", "hidden_size a text"),
    *("no weights", "weights cut", "weights of nothing", "weights a text", "no tokenizer"),
    *("tokenizer cut", "heads do not divide", "another model_type"),
)


@pytest.mark.parametrize("name", BEGINNINGS)
def test_a_run_does_not_begin_from_a_broken_model(folder, name):
    FOLDERS[name][0](folder)
    task = Task("file", ["text"], ["a", "b"], ["accuracy"], ["validation"])
    with pytest.raises(UserError, match=r"^model.name_or_path=model: .*\S") as error:
        load_pretrained(Model("own", name_or_path="model"), task, head_seed=0)
    assert "\n" not in str(error.value)


def test_what_a_run_says_of_a_broken_model_is_one_line(cli, folder):
    cut(folder)
    code, _, err = cli("model.name_or_path=model", "n_train=40", "logger=none", "method=vanilla")
    assert_told(code, err, "model.name_or_path=model: this folder is no Hugging Face sequence")
