import base64
import json
import re
from io import BytesIO

import numpy as np
import pytest
from html_page import HOSTILE, Page
from matplotlib.image import imread
from safetensors.numpy import save_file
from sklearn.metrics import confusion_matrix as reference

from agwm.errors import UserError
from agwm.report.curves import alpha_course, learning_curves, read_curves, running_mean
from agwm.report.mistakes import confusion_matrix, mistake_tables, scatter
from agwm.report.predictions import Predictions, read_predictions
from agwm.report.run_page import duration, write_run_page
from agwm.report.table import MISSING

SEARCH = "alpha_at_bounds,alpha_lr,alpha_max,alpha_mean,alpha_min,cosine,direct_norm,"
SEARCH += "implicit_norm,inner_loss,k,loss,lr,outer_loss,phase,step"


def classified(labels, chances):
    """Rows of predictions.jsonl: two classes, `chances` of class 1."""
    return [
        {"id": f"e{i}", "label": y, "prediction": int(p > 0.5), "scores": [1 - p, p]}
        for i, (y, p) in enumerate(zip(labels, chances, strict=True))
    ]


def write_metrics(folder, searches=2, steps=30, outer_every=1):
    """metrics.csv of searches and a fit; the losses fall by 1 a step, whichever fit it is."""
    rows = [SEARCH]
    for k in range(searches):
        for i in range(steps):
            outer = f"{2 * steps - i}" if i % outer_every == 0 else ""
            low = 0.9 - 0.01 * i - 0.1 * k
            row = [0.5, 0.002, 1, low + 0.05, low, -0.5, 1, 0, steps - i, k + 1, "", 0.0002, outer]
            rows.append(",".join(map(str, [*row, "search", k * steps + i + 1])))
    for i in range(2 * steps):
        rows.append(f",,,,,,,,,,{2 * steps - i},0.0001,,finetune,{i + 1}")
    (folder / "metrics.csv").write_bytes(("\r\n".join(rows) + "\r\n").encode())


@pytest.fixture
def finished(write_run):
    """A folder that holds all that a run leaves."""
    folder = write_run(
        75.0,
        method="agwm",
        predictions=classified([0, 0, 1, 1], [0.2, 0.9, 0.6, 0.4]),
        baseline=50.0,
        metrics={"matthews_corrcoef": 0.75, "accuracy/agreement": 0.5},
        phases=[
            {"name": "search 1/1", "steps": 4, "epochs": 1, "seconds": 10.0},
            {"name": "outputs", "steps": 0, "epochs": 1, "seconds": 0.5},
        ],
        versions={"torch": "2.13.0"},
    )
    write_metrics(folder)
    (folder / "config.yaml").write_text("task:\n  labels: [bad, good]\nseed: 0\n")
    alpha = {"bert.encoder.layer.0.output.dense.alpha": np.full((2, 2), 0.5, np.float32)}
    save_file(alpha, folder / "alpha.safetensors")
    (folder / "data.json").write_text(
        json.dumps({"rows": 40, "classes": {"bad": 30, "good": 10}, "empty": [], "at": [1, 2]})
    )
    return folder


def sections(page):
    return set(re.findall(r'<(?:section|details) id="(\w+)"', page))


def embedded(page):
    return [
        base64.b64decode(found) for found in re.findall(r"data:image/png;base64,([\w+/=]+)", page)
    ]


def test_the_page_has_every_part_and_loads_nothing(finished):
    path = write_run_page(finished)
    assert path == finished / "page.html"
    text = path.read_text()
    assert sections(text) == {
        *("metrics", "confusion", "mistakes", "data", "phases", "cost", "learning_curves"),
        *("alpha_course", "alpha", "config", "versions"),
    }
    assert "<b>75.00</b> matthews_corrcoef" in text and "50.00 by predicting the same" in text
    page = Page(text)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert not re.search(r"url\(|@import|https?:", text)
    for row in (
        ["matthews_corrcoef", "75.00"],
        ["bad", "1", "1", "50 %"],
        ["e1", "bad", "good", "90.00", "10.00"],
        ["classes: good", "10"],
        ["at", "1, 2"],
        ["search 1/1", "4", "1", "10.00", "2.5"],
        ["outputs", "0", "1", "0.50", MISSING],
        ["training", "2.0 s"],
        ["torch", "2.13.0"],
    ):
        assert "\n".join(row) in "\n".join(page.cells), row
    # The pictures in the page are those beside it.
    files = {file.name: file.read_bytes() for file in (finished / "plots").iterdir()}
    assert set(files) == {"alpha.png", "alpha_course.png", "learning_curves.png"}
    assert sorted(embedded(text)) == sorted(files.values())
    for picture in files.values():
        assert imread(BytesIO(picture)).std() > 0.05


@pytest.mark.parametrize("content", [None, b"\xff{[half"])
def test_a_part_without_a_sound_file_is_left_out(finished, content):
    for file in finished.iterdir():
        if file.name != "record.json":
            file.unlink()
            if content:
                file.write_bytes(content)
    text = write_run_page(finished).read_text()
    assert sections(text) == {"metrics", "phases", "cost", "versions"}


@pytest.mark.parametrize(
    "text", ["", "phase,step\r\na,b\r\n", "step\r\n1\r\n", "phase\r\na,1\r\n", "\0", '"phase']
)
def test_curves_that_cannot_be_are_none(tmp_path, text):
    (tmp_path / "metrics.csv").write_text(text)
    curves = read_curves(tmp_path)
    assert learning_curves(curves) is alpha_course(curves) is None


def test_a_failed_run_has_its_error_and_no_result(finished):
    record = json.loads((finished / "record.json").read_text())
    record |= {"status": "failed", "error": "RunError: search 1, step 3: the inner loss is nan"}
    (finished / "record.json").write_text(json.dumps(record))
    text = write_run_page(finished).read_text()
    assert "the inner loss is nan" in text
    assert sections(text) == {"learning_curves", "alpha_course", "config", "versions"}
    assert not Page(text[: text.index('<details id="versions"')]).cells
    assert "75" not in text[: text.index("<img")].partition("</style>")[2]


def test_a_run_without_a_sound_record_has_no_page(tmp_path, write_run):
    with pytest.raises(UserError, match=r"no record\.json|no such file"):
        write_run_page(tmp_path)
    folder = write_run()
    (folder / "record.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        write_run_page(folder)


def test_what_came_from_data_is_escaped(write_run):
    name = HOSTILE.replace("/", "")
    folder = write_run(
        predictions=[
            {"id": name, "label": 1, "prediction": 0, "scores": [0.9, 0.1]},
            {"id": "a", "label": 1, "prediction": 1, "scores": [0.1, 0.9]},
        ],
        variant=[name],
        device=name,
        metrics={name: 0.5},
        phases=[{"name": name, "steps": 1, "epochs": 1, "seconds": 1.0}],
        versions={name: name},
        error=name,
        folder=None,
    )
    (folder / "config.yaml").write_text(json.dumps({"task": {"name": name, "labels": [name, "b"]}}))
    (folder / "data.json").write_text(json.dumps({name: {name: [name]}}))
    tensors = {f"{name}.layer.0.{name}.alpha": np.ones((2, 2), np.float32)}
    save_file(tensors, folder / "alpha.safetensors")
    text = write_run_page(folder).read_text()
    page = Page(text)
    assert "script" not in page.tags and "red" not in page.tags
    assert "<script" not in text
    # In metrics, confusion matrix, mistakes (id, prediction), data (both), phases, versions (both).
    assert sum(cell == name for cell in page.cells) == 8
    assert f"{name}: {name}" in page.cells
    record = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps(record | {"status": "failed"}))
    assert "<script" not in write_run_page(folder).read_text()


def test_the_page_is_replaced_whole_and_the_same_again(finished):
    first = write_run_page(finished).read_bytes()
    assert write_run_page(finished).read_bytes() == first
    left = {path.name for path in [*finished.iterdir(), *(finished / "plots").iterdir()]}
    assert not [name for name in left if name.startswith(".")]


@pytest.mark.parametrize("classes", [2, 5])
def test_the_confusion_matrix_is_scikit_learns(classes):
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(classes, size=(2, 200))
    labels[labels == classes - 1] = 0  # a class that no example has
    found = confusion_matrix(labels.astype(float), predicted, classes)
    assert (found == reference(labels, predicted, labels=range(classes))).all()


def test_the_surest_mistakes_come_first(write_run):
    rng = np.random.default_rng(0)
    labels, chances = rng.integers(2, size=50).tolist(), rng.random(50).tolist()
    found = read_predictions(write_run(predictions=classified(labels, chances)))
    confusion, mistakes = mistake_tables(found, None)
    wrong = [
        (-max(p, 1 - p), f"e{i}", str(y), str(1 - y))
        for i, (y, p) in enumerate(zip(labels, chances, strict=True))
        if (p > 0.5) != y
    ]
    assert [tuple(row[:3]) for row in mistakes.rows] == [row[1:] for row in sorted(wrong)[:10]]
    assert [row[3] for row in mistakes.rows] == [
        pytest.approx(-100 * s) for s, *_ in sorted(wrong)[:10]
    ]
    assert all(row[3] + row[4] == pytest.approx(100) for row in mistakes.rows)
    assert mistakes.note.startswith(f"The surest of {len(wrong)} among 50 ")
    assert sum(row[i + 1] for i, row in enumerate(confusion.rows)) == 50 - len(wrong)


def test_a_label_without_examples_has_no_share():
    found = Predictions(["a"], np.array([[1]]), np.array([[[0.0, 1.0]]]), np.array([0]))
    confusion, _ = mistake_tables(found, ["no", "yes"])
    assert confusion.rows == [["no", 0, 1, 0.0], ["yes", 0, 0, None]]


def test_numbers_are_a_scatter_and_their_largest_differences(write_run):
    values = [(1.0, 1.5), (4.0, 1.0), (2.0, 2.25)]
    rows = [
        {"id": i, "label": y, "prediction": p, "scores": [p]} for i, (y, p) in enumerate(values)
    ]
    folder = write_run(predictions=rows, task="stsb")
    found = read_predictions(folder)
    (table,) = mistake_tables(found, None)
    assert table.rows == [[1, 4.0, 1.0, -3.0], [0, 1.0, 1.5, 0.5], [2, 2.0, 2.25, 0.25]]
    assert "difference 1.25." in table.note
    (ax,) = scatter(found).figure.axes
    diagonal, dots = ax.lines
    assert dots.get_xydata().tolist() == [list(pair) for pair in values]
    assert diagonal.get_xydata().tolist() == [[1, 1], [4, 4]]
    assert {"predictions", "mistakes"} <= sections(write_run_page(folder).read_text())


@pytest.mark.parametrize("label", ["1", None, float("nan"), 2, 0.5, True])
def test_labels_that_cannot_be_are_left_out(write_run, label):
    rows = [row | {"label": label} for row in classified([0, 1], [0.1, 0.9])]
    found = read_predictions(write_run(predictions=rows))
    assert found.predicted.tolist() == [[0, 1]] and found.labels is None


def test_numbers_need_a_label_each_and_a_run_that_did_not_fail(write_run):
    rows = [
        {"id": i, "label": y, "prediction": 1.0, "scores": [1.0]} for i, y in enumerate((1.0, 2.0))
    ]
    folder = write_run(predictions=rows, task="stsb", status="failed")
    assert "predictions" not in sections(write_run_page(folder).read_text())
    rows[1]["label"] = None
    assert read_predictions(write_run(predictions=rows, task="stsb", seed=1)).labels is None


def lines(ax):
    return [line.get_xydata() for line in ax.lines if line.get_linestyle() == "-"]


def test_curves_are_those_of_the_file_and_no_mean_is_over_two_searches(tmp_path):
    write_metrics(tmp_path, searches=2, steps=30, outer_every=3)
    plot = learning_curves(read_curves(tmp_path))
    axes = {ax.get_title(loc="left"): ax for ax in plot.figure.axes}
    assert list(axes) == [
        "search: loss",
        "search: learning rates",
        "search: hypergradient",
        "search: cosine of its terms",
        "fine-tuning: loss",
        "fine-tuning: learning rate",
    ]
    # Means over 3 of a line are on the line: from step 2 on, in each search anew.
    first, second, *outer = lines(axes["search: loss"])
    steps = np.arange(2, 30)
    assert np.allclose(first, np.column_stack([steps, 31 - steps]))
    assert np.allclose(second, np.column_stack([30 + steps, 31 - steps]))
    # Alpha is stepped every third time; what is not logged is no gap.
    assert np.allclose(outer[0], [[i + 1, 60 - i] for i in range(0, 30, 3)])
    (fit,) = lines(axes["fine-tuning: loss"])
    assert np.allclose(fit.sum(1), 61) and len(fit) == 60 - 5
    # The implicit term is zero throughout: it was left out.
    assert len(lines(axes["search: hypergradient"])) == 2
    assert "means over 3 or 6 " in plot.note and "searches follow each other" in plot.note


def test_a_running_mean_is_the_mean_of_its_window():
    values = np.random.default_rng(0).random(47)
    at, means, window = running_mean(np.arange(1, 48), values)
    assert window == 4
    assert np.allclose(means, [values[i : i + 4].mean() for i in range(44)])
    assert np.allclose(at, np.arange(1, 45) + 1.5)


def test_alphas_course_has_its_range_and_its_share_at_the_bounds(tmp_path):
    write_metrics(tmp_path, searches=2, steps=30)
    values, bounds = alpha_course(read_curves(tmp_path)).figure.axes
    first, second = lines(values)
    assert np.allclose(first[0], [1, 0.95]) and np.allclose(second[-1], [60, 0.56])
    band = values.collections[1].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(0.51) and band[:, 1].max() == 1
    assert set(lines(bounds)[0][:, 1]) == {50}
    (border,) = [line for line in bounds.lines if line.get_linestyle() == ":"]
    assert border.get_xdata()[0] == 30.5
    assert alpha_course({"finetune": {"step": np.arange(3)}}) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, None),
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (90000, "25 h 00 min"),
    ],
)
def test_a_duration_is_as_people_say_it(seconds, text):
    assert duration(seconds) == text
