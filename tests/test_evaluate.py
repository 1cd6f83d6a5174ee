import csv
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics
from trained_folder import LABELS, TEXTS, save_trained

from agwm import evaluate
from agwm.data.files import read_rows
from agwm.data.targets import Targets
from agwm.errors import UserError
from agwm.models.folder import read_folder
from agwm.models.inference import load_classifier
from agwm.training.quality import measure, metric_names

# Of the 60 texts; no model would have it all right.
TARGET = [LABELS[code] for code in np.random.default_rng(3).integers(0, 3, 60)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folder of a classifier of single texts."""
    folder = tmp_path_factory.mktemp("trained") / "model"
    return save_trained(folder, metrics=["matthews_corrcoef"], label="kind")


@pytest.fixture(scope="module")
def shares(model):
    """Its probabilities for the 60 texts, (60, 3)."""
    found, _ = load_classifier(read_folder(model), "cpu").logits([(t,) for t in TEXTS], 1)
    return found.softmax(-1).numpy()


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """`command(*argv)`: exit code, stdout and stderr, in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def called(*argv):
        return evaluate.main([str(argument) for argument in argv]), *capsys.readouterr()

    return called


def write_csv(labels, texts=TEXTS, name="kind"):
    with Path("in.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", name])
        writer.writerows(zip(texts, labels, strict=True))


def test_the_measures_are_those_of_scikit_learn(model, shares, command):
    write_csv(TARGET)
    code, out, _ = command(model, "in.csv", "-o", "out.json")
    assert code == 0
    found = json.loads(Path("out.json").read_text())
    predicted = [LABELS[code] for code in shares.argmax(1)]
    assert 2 <= len(set(predicted)) and predicted != TARGET
    assert found["headline"] == next(iter(found["metrics"])) == "matthews_corrcoef"
    expected = {
        "matthews_corrcoef": metrics.matthews_corrcoef(TARGET, predicted),
        "accuracy": metrics.accuracy_score(TARGET, predicted),
    }
    for name, value in expected.items():
        assert found["metrics"][name] == pytest.approx(value, abs=1e-6)
        assert f"{100 * value:.2f}" in out
    assert found["confusion"] == metrics.confusion_matrix(TARGET, predicted, labels=LABELS).tolist()
    columns = metrics.precision_recall_fscore_support(
        TARGET, predicted, labels=LABELS, zero_division=0
    )
    for label, *values in zip(LABELS, *columns, strict=True):
        own = found["per_class"][label]
        names = ("precision", "recall", "f1", "examples")
        assert [own[name] for name in names] == pytest.approx(values)
        assert own["predicted"] == predicted.count(label)
    assert found["rows"] == 60 and found["interval"][0] < expected["matthews_corrcoef"]


def test_the_interval_of_an_accuracy_is_that_of_the_binomial():
    target = [0] * 200
    predicted = [0] * 150 + [1] * 50
    found = measure(predicted, target, ["a", "b"], ["accuracy"])
    exact = stats.binom(200, 0.75).ppf([0.025, 0.975]) / 200
    assert found.interval == pytest.approx(tuple(exact), abs=0.01)


def test_an_interval_pairs_predictions_with_their_labels():
    codes = [0, 1] * 50
    found = measure(codes, codes, ["a", "b"], ["accuracy"])
    assert found.interval == (1.0, 1.0)


def test_names_and_codes_are_the_same_labels(model, command):
    write_csv(TARGET)
    assert command(model, "in.csv", "-o", "names.json")[0] == 0
    write_csv([LABELS.index(label) for label in TARGET])
    code, out, _ = command(model, "in.csv", "-o", "codes.json")
    assert code == 0 and "labels are codes: 0 bad, 1 so-so, 2 good" in out
    assert Path("names.json").read_text() == Path("codes.json").read_text()


def seen(*labels):
    targets = Targets(["1", "2", "3"], "label", "in.csv")
    for number, label in enumerate(labels, start=1):
        targets.check({"label": label}, number)
    return targets


def test_labels_that_may_be_names_or_codes_are_names_until_one_can_only_be_a_code():
    names = seen("1", 2, 2.0)
    assert names.values(["1", 2, 2.0]) == [0, 1, 1] and not names.are_codes
    codes = seen("1", 2, 0)
    assert codes.values(["1", 2, 0]) == [1, 2, 0] and codes.are_codes
    with pytest.raises(UserError, match="row 3: label is 0 while those before are names"):
        seen(3, 1, 0)
    with pytest.raises(UserError, match="row 3: label is 3 while those before are codes"):
        seen(0, 1, 3)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            ["good", "fine"],
            "in.csv, row 2 (line 3): kind is 'fine'; the model's labels are bad, so-so, good",
        ),
        (["good", "1"], "row 2 (line 3): kind is '1' while those before are names"),
        (["0", "3"], "row 2 (line 3): kind is '3'"),
        (["good", ""], "row 2 (line 3): kind is ''"),
    ],
)
def test_a_label_that_is_none_is_told_with_its_row(model, command, labels, message):
    write_csv(labels, TEXTS[:2])
    code, _, err = command(model, "in.csv")
    last = err.splitlines()[-1]
    assert code == 2 and last.startswith("error: ") and message in last


def test_the_label_column_can_be_named(model, command):
    write_csv(TARGET, name="stars")
    code, _, err = command(model, "in.csv")
    assert code == 2 and "row 1 (line 2): no column 'kind' among 'text', 'stars'; --label" in err
    assert command(model, "in.csv", "--label", "stars")[0] == 0


def test_mistakes_are_the_misclassified_rows_the_most_confident_first(model, shares, command):
    write_csv(TARGET)
    code, _, err = command(model, "in.csv", "--mistakes", "out.csv")
    assert code == 0
    wrong = [i for i, p in enumerate(shares) if LABELS[p.argmax()] != TARGET[i]]
    wrong.sort(key=lambda i: -shares[i].max())
    rows = read_rows(Path("out.csv"))
    assert f"{len(wrong)} mistakes: out.csv" in err
    assert [(row["text"], row["kind"]) for row in rows] == [(TEXTS[i], TARGET[i]) for i in wrong]
    for row, i in zip(rows, wrong, strict=True):
        assert row["prediction"] == LABELS[shares[i].argmax()]
        found = [float(row[f"p_{label}"]) for label in LABELS]
        assert found == pytest.approx(shares[i].tolist(), abs=1e-6)
    code, _, err = command(model, "in.csv", "--mistakes", "out.csv")
    assert code == 2 and "--mistakes out.csv: is there already; --force" in err


def test_a_regression_is_compared_with_its_numbers(tmp_path, command):
    model = save_trained(tmp_path / "model", labels=None, metrics=["pearson"])
    numbers = np.random.default_rng(4).normal(size=60).round(1)
    write_csv(numbers, name="label")
    code, out, _ = command(model, "in.csv", "-o", "out.json")
    assert code == 0 and "mean absolute error" in out
    found = json.loads(Path("out.json").read_text())
    logits, _ = load_classifier(read_folder(model), "cpu").logits([(t,) for t in TEXTS], 1)
    predicted = logits[:, 0].numpy()
    assert found["headline"] == "pearson"
    assert found["metrics"] == pytest.approx(
        {
            "pearson": stats.pearsonr(predicted, numbers).statistic,
            "spearman": stats.spearmanr(predicted, numbers).statistic,
        },
        abs=1e-5,
    )
    residuals = predicted - numbers
    assert found["errors"] == pytest.approx(
        {
            "mean absolute error": np.abs(residuals).mean(),
            "root mean squared error": np.sqrt((residuals**2).mean()),
            "R squared": 1 - (residuals**2).sum() / ((numbers - numbers.mean()) ** 2).sum(),
        },
        abs=1e-5,
    )
    low, high = found["interval"]
    assert low < found["metrics"]["pearson"] < high
    write_csv(["1.5", "nan"], TEXTS[:2], name="label")
    code, _, err = command(model, "in.csv")
    assert code == 2 and "row 2 (line 3): label is 'nan', not a number" in err
    code, _, err = command(model, "in.csv", "--mistakes", "m.csv")
    assert code == 2 and "--mistakes: a regression" in err


def test_what_is_undefined_is_no_number():
    constant = measure([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], None)
    assert constant.metrics == {"spearman": None, "pearson": None} and constant.interval is None
    assert constant.errors["mean absolute error"] == 1.0
    single = measure([1], [1], ["a", "b"])
    assert single.interval is None and single.metrics["accuracy"] == 1.0
    assert measure([1.0, 2.0], [3.0, 3.0], None).errors["R squared"] is None


def test_metrics_fit_the_labels():
    assert metric_names(["f1"], ["a", "b"])[0] == "f1"
    assert "f1" not in metric_names([], LABELS)
    with pytest.raises(UserError, match="metrics=f1: must be one of accuracy"):
        metric_names(["f1"], LABELS)
    with pytest.raises(UserError, match="metrics=accuracy: must be one of pearson, spearman"):
        metric_names(["accuracy"], None)
