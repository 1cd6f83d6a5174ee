import json
import pickle
import subprocess
import sys
from pathlib import Path
from shutil import copytree

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

MISTAKES = [
    ("", [], "in.csv: holds no rows"),
    ("text\n", [], "in.csv: holds no rows"),
    ("text,text\na,b\n", [], "its header has 'text' twice"),
    ("review,comment\na,b\n", [], "which of 'review', 'comment' is the text? --text names it"),
    ("I loved this old film!\nNot me.\n", [], "'I loved this old film!' looks like a text"),
    ("text\na\n", ["--text", "review"], "no column 'review' among 'text'; --text"),
    ("text\na\n", ["--text", "a,b,c"], "--text=a,b,c: must be one column, or two"),
    ("text,n\na,1\nb\n", [], "in.csv, line 3: not 2 cells"),
    ("text\na\n", ["-o", "out.xls"], "-o out.xls: must end in one of .csv, .tsv"),
    ("text\na\n", ["-o", "no/out.csv"], "-o no/out.csv: no folder no"),
    ("text\na\n", ["-o", "in.csv", "--force"], "-o in.csv: is the input"),
    ("text\na\n", ["--batch-size", "0"], "--batch-size=0: must be >= 1"),
    ("text\na\n", ["--device", "abacus"], "--device=abacus: not on this machine"),
    ("text\na\n", ["--format", "parquet"], "in.csv: not Parquet"),
    ('{"text": "a"}\n{"text": null}', ["--format", "jsonl"], "in.csv, row 2: text is missing"),
    ('{"text": "a"}\n{"t": "b"}', ["--format", "jsonl"], "in.csv, row 2: text is missing"),
    ('{"text": "a"}\n{"text": 7}', ["--format", "jsonl"], "row 2: text is 7, not a text"),
    ('{"text": "a\\ud800"}', ["--format", "jsonl"], "line 1: not JSON (half a character"),
    (
        '{"text": "a"}\n{"text": "a", "p_bad": 7}',
        ["--format", "jsonl"],
        "row 2: has a column 'p_bad' already",
    ),
    ('{"text": "a"}\n{"text": "a", "n": 7}', ["--format", "jsonl"], "row 2: has 'n', which"),
    (
        '{"text": "a", "n": 1}\n{"text": "a", "n": "b"}',
        ["--format", "jsonl", "-o", "out.parquet"],
        "-o out.parquet: a column's values are not all of one type",
    ),
]


@pytest.mark.parametrize(("content", "options", "message"), MISTAKES)
def test_mistakes_with_the_input_are_told_in_one_line(model, command, content, options, message):
    Path("in.csv").write_text(content)
    code, _, err = command(model, "in.csv", *options)
    last = err.splitlines()[-1]
    assert code == 2 and last.startswith("error: ") and message in last
    assert [path.name for path in Path().iterdir()] == ["in.csv"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"problem_type": "multi_label_classification"}, "exactly one label"),
        ({"id2label": {"0": "a", "1": "a", "2": "b"}}, "two or more different labels"),
        ({"id2label": {"0": "a", "2": "b"}}, "its codes are not 0 to 1"),
        (
            {"id2label": {"0": "a", "1": "b"}},
            "classifier.bias is 3 in its weights and 2 by its config",
        ),
    ],
)
def test_mistakes_with_the_configuration(folder, command, change, message):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change))
    code, _, err = command(folder, "-", stdin=b"a day")
    assert code == 2 and message in err.splitlines()[-1]


@pytest.mark.parametrize(
    "own", ["[]", "{", '{"columns": "text"}', '{"max_length": "8"}', '{"metrics": 1}']
)
def test_mistakes_with_our_own_file(folder, command, own):
    (folder / "agwm.json").write_text(own)
    code, _, err = command(folder, "-", stdin=b"a day")
    assert code == 2 and "agwm.json" in err.splitlines()[-1]


def test_lines_are_no_pairs(folder, command):
    (folder / "agwm.json").write_text('{"columns": ["a", "b"]}')
    code, _, err = command(folder, "-", stdin=b"a day")
    assert code == 2 and "a and b are wanted" in err


class Marker:
    """Unpickled, it leaves a file."""

    def __reduce__(self):
        return Path("unpickled").touch, ()


@pytest.mark.parametrize("layout", ["model", "adapter"])
def test_no_pickle_is_read(folder, command, layout):
    if layout == "model":
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Marker()))
    else:
        copytree(folder, folder / "base")
        (folder / "adapter").mkdir()
        (folder / "adapter" / "adapter_model.bin").write_bytes(pickle.dumps(Marker()))
    code, _, err = command(folder, "-", stdin=b"a day")
    assert code == 2 and "holds no .safetensors" in err
    assert not Path("unpickled").exists()


def test_no_code_of_the_folder_is_run(folder, command):
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.C"}}
    config["auto_map"]["AutoModelForSequenceClassification"] = "own.M"
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text("open('run', 'w')\nclass C: pass\nclass M: pass\n")
    code, _, err = command(folder, "-", stdin=b"a day")
    assert code == 2 and err.splitlines()[-1].startswith("error: MODEL=")
    assert not Path("run").exists()


def test_a_model_without_a_trained_head_is_refused(folder, command):
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    config = AutoConfig.from_pretrained(folder)
    model.base_model.save_pretrained(folder)
    config.save_pretrained(folder)
    code, _, err = command(folder, "-", stdin=b"a day")
    assert code == 2 and "classifier.bias is missing and would be random" in err


def test_batches_need_a_padding_token(folder, command):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    code, _, err = command(folder, "-", stdin=b"a day\nday")
    assert code == 2 and "--batch-size 1 does without" in err
    assert command(folder, "-", "--batch-size", "1", stdin=b"a day\nday")[0] == 0


def test_damaged_weights_give_no_prediction(folder, command):
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    model.classifier.bias.data[0] = torch.nan
    model.save_pretrained(folder)
    code, out, err = command(folder, "-", stdin=b"a day")
    assert code == 1 and out == "" and "not finite" in err


def test_a_mistake_costs_no_import_of_torch(model, tmp_path):
    (tmp_path / "in.csv").write_text("review,comment\na,b\n")
    code = (
        "import sys; from agwm import predict; code = predict.main(sys.argv[1:])\n"
        "print(code, sorted({'torch', 'transformers', 'scipy', 'hydra'} & {*sys.modules}))"
    )
    command = [sys.executable, "-c", code, str(model), str(tmp_path / "in.csv")]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.stdout == "2 []\n" and "which of" in found.stderr
