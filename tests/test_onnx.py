import json

import pytest
import torch
from trained_folder import LABELS, TEXTS, save_trained
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from agwm import export


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folder of a classifier of single texts."""
    return save_trained(tmp_path_factory.mktemp("trained") / "model", max_length=40)


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """`command(*argv)`: exit code, stdout and stderr, in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def called(*argv):
        return export.main([str(argument) for argument in argv]), *capsys.readouterr()

    return called


@pytest.fixture
def onnx():
    """Skips where the extra is not installed."""
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    return pytest.importorskip("onnx")


def test_the_exported_model_gives_the_same_logits(onnx, model, command, tmp_path):
    import onnxruntime

    code, out, err = command(model, "out.onnx")
    assert (code, err) == (0, "") and out.startswith("out.onnx: ")
    assert [path.name for path in tmp_path.iterdir()] == ["out.onnx"]
    session = onnxruntime.InferenceSession("out.onnx")
    classifier = AutoModelForSequenceClassification.from_pretrained(model).eval()
    tokenizer = AutoTokenizer.from_pretrained(model)
    for texts in (TEXTS[:1], TEXTS, TEXTS[10:13]):
        inputs = tokenizer(texts, padding=True, return_tensors="pt")
        with torch.inference_mode():
            expected = classifier(**inputs).logits
        given = {name: tensor.numpy() for name, tensor in inputs.items()}
        (found,) = session.run(["logits"], given)
        assert torch.from_numpy(found).sub(expected).abs().max() < 1e-5
    told = {p.key: p.value for p in onnx.load("out.onnx").metadata_props}
    assert json.loads(told["id2label"]) == {str(c): name for c, name in enumerate(LABELS)}
    assert told["max_length"] == "40"


def test_a_model_that_differs_is_not_put_in_place(onnx, model, command, monkeypatch, tmp_path):
    graph = onnx.helper.make_model(onnx.helper.make_graph([], "nothing", [], []))
    monkeypatch.setattr("torch.onnx.export", lambda _, __, path, **___: onnx.save(graph, path))
    monkeypatch.setattr("agwm.models.onnx._compare", lambda *_: 1e-4)
    code, _, err = command(model, "out.onnx")
    assert code == 1 and "its logits differ by 1.0e-04" in err
    assert list(tmp_path.iterdir()) == []


def test_what_the_exporter_cannot_follow_is_one_line(onnx, model, command, monkeypatch, tmp_path):
    def failing(*_, **__):
        raise RuntimeError("\x1b[96mno\x1b[0m\nway")

    monkeypatch.setattr("torch.onnx.export", failing)
    code, _, err = command(model, "out.onnx")
    expected = "error: BertForSequenceClassification: torch cannot export it to ONNX (no way)\n"
    assert (code, err) == (2, expected) and list(tmp_path.iterdir()) == []


def test_without_the_extra_it_says_what_to_install(model, command, monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxscript" else name)
    code, _, err = command(model, "out.onnx")
    assert (code, err) == (2, "error: onnxscript: not installed; pip install 'agwm[onnx]'\n")


def test_mistakes_are_told_in_one_line(model, command, tmp_path):
    (tmp_path / "there.onnx").touch()
    for argv, message in (
        ((model, "out.pt"), "OUT=out.pt: must end in .onnx"),
        ((model, "there.onnx"), "OUT there.onnx: is there already; --force"),
        (("nowhere", "out.onnx"), "MODEL=nowhere: no such folder"),
        ((tmp_path, "out.onnx"), "holds no model (no config.json)"),
    ):
        code, _, err = command(*argv)
        assert code == 2 and err.startswith("error: ") and message in err, err
