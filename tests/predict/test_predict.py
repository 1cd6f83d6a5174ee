import csv
import io
import json
from pathlib import Path

import pyarrow
import pytest
import torch
from pyarrow import parquet
from trained_folder import LABELS, TEXTS, save_trained
from transformers import pipeline

from agwm import scoring
from agwm.data.files import read_rows
from agwm.models.inference import Classifier


def write_csv(path, columns):
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def answers(model, inputs):
    """What transformers' own pipeline says: `{label: probability}` for each input."""
    classify = pipeline("text-classification", str(model), top_k=None, device="cpu")
    return [{a["label"]: a["score"] for a in classify([given])[0]} for given in inputs]


def assert_as_the_pipeline(rows, expected):
    for row, shares in zip(rows, expected, strict=True):
        assert row["prediction"] == max(shares, key=shares.get)
        for label, share in shares.items():
            assert float(row[f"p_{label}"]) == pytest.approx(share, abs=1e-6)


def test_predictions_are_those_of_the_pipeline_in_the_order_of_the_input(model, command):
    write_csv("in.csv", {"id": range(60), "text": TEXTS})
    assert command("model", "in.csv")[0] == 2
    code, out, err = command(model, "in.csv", "-o", "out.csv")
    assert (code, out) == (0, "") and "60 rows: out.csv" in err
    rows = read_rows(Path("out.csv"))
    assert list(rows[0]) == ["id", "text", "prediction", *(f"p_{label}" for label in LABELS)]
    assert [row["text"] for row in rows] == TEXTS
    assert_as_the_pipeline(rows, answers(model, TEXTS))
    assert len({row["prediction"] for row in rows}) > 1


def test_pairs(model, command):
    pairs = {"premise": TEXTS, "hypothesis": TEXTS[::-1]}
    write_csv("in.csv", pairs)
    assert command(model, "in.csv", "-o", "out.jsonl")[0] == 0
    inputs = [{"text": a, "text_pair": b} for a, b in zip(*pairs.values(), strict=True)]
    rows = read_rows(Path("out.jsonl"))
    assert_as_the_pipeline(rows, answers(model, inputs))
    assert command(model, "in.csv", "--text", "hypothesis,premise", "-o", "b.jsonl")[0] == 0
    assert read_rows(Path("b.jsonl"))[0]["p_good"] != rows[0]["p_good"]


def test_a_regression_gives_its_number(tmp_path, command):
    model = save_trained(tmp_path / "regression", labels=None)
    write_csv("in.csv", {"text": TEXTS})
    assert command(model, "in.csv", "-o", "out.jsonl")[0] == 0
    rows = read_rows(Path("out.jsonl"))
    assert list(rows[0]) == ["text", "prediction"]
    classify = pipeline("text-classification", str(model), device="cpu", function_to_apply="none")
    expected = [answer["score"] for answer in classify(TEXTS)]
    assert [row["prediction"] for row in rows] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("method", ["vanilla", "linear_probe", "prefix"])
def test_a_runs_own_predictions(tiny_run, tmp_path, command, method):
    overrides = ["method.epochs=1"] if method == "prefix" else ["optim.epochs=1"]
    _, run = tiny_run(f"method={method}", *overrides)
    from agwm.data.acceptability import generate

    texts = [row["sentence"] for row in generate()["validation"]]
    write_csv("in.csv", {"sentence": texts})
    assert command(run, "in.csv", "-o", "out.jsonl")[0] == 0
    expected = read_rows(run / "predictions.jsonl")
    names = ["unacceptable", "acceptable"]
    for row, own in zip(read_rows(Path("out.jsonl")), expected, strict=True):
        assert row["prediction"] == names[own["prediction"]]
        assert [row[f"p_{name}"] for name in names] == pytest.approx(own["scores"], abs=1e-6)


def test_parts_and_batches_change_nothing_and_no_more_than_a_part_is_held(
    model, command, monkeypatch
):
    write_csv("in.csv", {"text": TEXTS})
    seen = []
    logits = Classifier.logits
    monkeypatch.setattr(
        Classifier,
        "logits",
        lambda self, texts, *rest: seen.append(len(texts)) or logits(self, texts, *rest),
    )
    found = []
    for chunk, size in ((2000, 32), (7, 32), (2000, 1)):
        monkeypatch.setattr(scoring, "CHUNK", chunk)
        code, out, _ = command(model, "in.csv", "--batch-size", size)
        assert code == 0
        found.append([float(row["p_good"]) for row in csv.DictReader(io.StringIO(out))])
    assert found[1] == pytest.approx(found[0], abs=1e-6)
    assert found[2] == pytest.approx(found[0], abs=1e-6)
    assert seen == [60, *[7] * 8, 4, 60]


TROUBLE = {
    "text": ['He said "no".', "a\r\nb", "c\rd", "NA", "=1+1", "Zoë 走る, a\tb"],
    "n": ["1", "", "-3", "+4.5", "@x", "NA"],
}


def read_back(path):
    return read_rows(path) if path.suffix != ".parquet" else parquet.read_table(path).to_pylist()


@pytest.mark.parametrize("given", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("wanted", ["csv", "tsv", "jsonl", "parquet"])
def test_every_cell_comes_through_every_kind_of_file(model, command, given, wanted):
    path, out = Path(f"in.{given}"), Path(f"out.{wanted}")
    rows = [
        dict(zip(TROUBLE, values, strict=True)) for values in zip(*TROUBLE.values(), strict=True)
    ]
    if given == "parquet":
        parquet.write_table(pyarrow.table(TROUBLE), path)
    elif given == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            dialect = "excel" if given == "csv" else "excel-tab"
            writer = csv.DictWriter(file, list(TROUBLE), dialect=dialect)
            writer.writeheader()
            writer.writerows(rows)
    code, _, err = command(model, path, "-o", out)
    assert code == 0
    found = read_back(out)
    assert [{name: row[name] for name in TROUBLE} for row in found] == rows
    assert {type(row["p_bad"]) for row in found} == {str if wanted in ("csv", "tsv") else float}
    # "=1+1" and "@x"; -3 and +4.5 are numbers.
    assert ("= + - or @: 2;" in err) == (wanted in ("csv", "tsv"))


@pytest.mark.parametrize("name", [None, "out.csv", "out.tsv"])
def test_for_a_spreadsheet_no_cell_can_be_a_formula(model, command, name):
    formulas = ["=1+1", "+A1", "-A1", "@x", "\t=1", "\r=1"]
    write_csv("in.csv", {"text": formulas, "=n": ["-3", "+4.5", "a=b", "", "1e5", "-"]})
    chosen = ("--for-spreadsheet", *(() if name is None else ("-o", name)))
    code, out, err = command(model, "in.csv", *chosen)
    assert code == 0 and "formulas" not in err
    text = out if name is None else Path(name).read_bytes().decode()
    dialect = "excel-tab" if name == "out.tsv" else "excel"
    found = list(csv.DictReader(io.StringIO(text, newline=""), dialect=dialect))
    assert [row["text"] for row in found] == [f"'{cell}" for cell in formulas]
    # Numbers stay numbers.
    assert [row["'=n"] for row in found] == ["-3", "+4.5", "a=b", "", "1e5", "'-"]


def test_values_that_are_no_text_keep_their_type_where_the_file_has_types(model, command):
    rows = [{"text": "a day", "n": 3, "tags": ["x"]}, {"text": "a time", "n": None, "tags": []}]
    Path("in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("out.jsonl", "out.parquet"):
        assert command(model, "in.jsonl", "-o", name)[0] == 0
        assert [{k: row[k] for k in rows[0]} for row in read_back(Path(name))] == rows
    _, out, _ = command(model, "in.jsonl")
    assert [row["tags"] for row in csv.DictReader(io.StringIO(out))] == ['["x"]', "[]"]


def test_standard_input_is_a_text_a_line_or_what_is_said(model, command):
    expected = answers(model, TEXTS)
    lines = "\n".join(TEXTS).encode()
    code, out, _ = command(model, "-", stdin=lines)
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["text"] for row in rows] == TEXTS
    assert_as_the_pipeline(rows, expected)
    given = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS).encode()
    assert command(model, "-", "--format", "jsonl", stdin=given)[1] == out
    Path("in.txt").write_bytes(lines)
    assert command(model, "in.txt")[1] == out


def test_what_was_cut_or_empty_is_counted(folder, command):
    (folder / "agwm.json").write_text('{"max_length": 8, "columns": ["review"]}')
    # [CLS] and [SEP] leave room for six words.
    texts = ["day " * 6, "day " * 7, "day " * 6 + "time " * 9, "", " "]
    write_csv("in.csv", {"text": ["other"] * 5, "review": texts})
    code, out, err = command(folder, "in.csv")
    assert code == 0
    assert "warning: 2 of 5 texts are longer than 8 tokens and cut there" in err
    assert "warning: 2 of 5 texts are empty and classified all the same" in err
    rows = list(csv.DictReader(io.StringIO(out)))
    assert rows[0]["p_good"] == rows[1]["p_good"] == rows[2]["p_good"] != rows[3]["p_good"]


def test_names_that_are_taken_can_be_avoided(model, command):
    write_csv("in.csv", {"text": TEXTS[:2], "p_good": [1, 2]})
    code, _, err = command(model, "in.csv")
    assert code == 2 and "row 1: has a column 'p_good' already" in err and "--prefix" in err
    code, out, _ = command(model, "in.csv", "--prefix", "new_")
    assert code == 0
    assert out.splitlines()[0] == "text,p_good,new_prediction,new_p_bad,new_p_so-so,new_p_good"


def test_a_failure_leaves_the_output_as_it_was(model, command, monkeypatch):
    write_csv("in.csv", {"text": TEXTS})
    Path("out.csv").write_text("precious")
    assert command(model, "in.csv", "-o", "out.csv")[0] == 2
    monkeypatch.setattr(scoring, "CHUNK", 20)
    parts = iter([torch.zeros(20, 3)])
    monkeypatch.setattr(Classifier, "logits", lambda *_: (next(parts), 0))
    code, _, err = command(model, "in.csv", "-o", "out.csv", "--force")
    assert code == 1 and err.splitlines()[-1].startswith("error: ")
    assert Path("out.csv").read_text() == "precious"
    assert sorted(path.name for path in Path().iterdir()) == ["in.csv", "out.csv"]
