import pytest
import torch

from agwm.config import Task
from agwm.data.examples import Examples
from agwm.errors import RunError
from agwm.training.metrics import baseline, evaluate, predictions, score, scores

BINARY = Task("t", ["text"], ["no", "yes"], ["matthews_corrcoef", "accuracy", "f1"], ["validation"])
THREE = Task("t", ["text"], ["a", "b", "c"], ["accuracy", "matthews_corrcoef"], ["validation"])
NUMBER = Task("t", ["text"], None, ["spearman", "pearson"], ["validation"])
LABELS = [1, 1, 1, 1, 0, 0, 0, 1]
GUESSES = [1, 1, 1, 0, 0, 0, 1, 1]  # 4 true positives, 2 true negatives, 1 of each error


def examples(labels, groups=None):
    return Examples(list(range(len(labels))), [("x",)] * len(labels), labels, groups)


def test_binary_metrics_by_hand():
    found = evaluate(GUESSES, examples(LABELS), BINARY)
    assert found["accuracy"] == pytest.approx(6 / 8)
    assert found["f1"] == pytest.approx(2 * 4 / (2 * 4 + 1 + 1))
    assert found["matthews_corrcoef"] == pytest.approx((4 * 2 - 1 * 1) / (5 * 5 * 3 * 3) ** 0.5)


def test_three_classes_and_accuracy_within_groups():
    labels, guesses = [0, 1, 2, 2], [0, 2, 2, 2]
    found = evaluate(guesses, examples(labels, ["p", "p", "q", "q"]), THREE)
    assert found["accuracy"] == pytest.approx(3 / 4)
    assert found["accuracy/p"] == 0.5 and found["accuracy/q"] == 1.0


def test_a_constant_prediction_has_no_matthews_correlation_whatever_the_shares():
    assert score("matthews_corrcoef", GUESSES, [1] * 8, BINARY) == 0
    for constant in (0, 1):
        assert score("matthews_corrcoef", [constant] * 8, LABELS, BINARY) == 0
        assert baseline("matthews_corrcoef", constant, examples(LABELS), BINARY) == 0
    assert baseline("accuracy", 1, examples(LABELS), BINARY) == pytest.approx(5 / 8)
    assert baseline("f1", 1, examples(LABELS), BINARY) == pytest.approx(10 / 13)


def test_correlations_by_hand_with_ties():
    labels, guesses = [0.0, 1.0, 2.0, 5.0], [1.0, 3.0, 3.0, 4.0]
    found = evaluate(guesses, examples(labels), NUMBER)
    # Ranks 1, 2, 3, 4 against 1, 2.5, 2.5, 4.
    assert found["spearman"] == pytest.approx(4.5 / (5 * 4.5) ** 0.5, abs=1e-6)
    assert found["pearson"] == pytest.approx(7 / (14 * 4.75) ** 0.5, abs=1e-6)


def test_a_constant_prediction_ranks_nothing_and_is_no_number():
    with pytest.raises(RunError, match=r"spearman is undefined: all predictions are 2.5"):
        score("spearman", [2.5] * 4, [0.0, 1.0, 2.0, 5.0], NUMBER)
    with pytest.raises(RunError, match=r"pearson is nan"):
        score("pearson", [1.0, 2.0, float("nan"), 3.0], [0.0, 1.0, 2.0, 5.0], NUMBER)
    assert baseline("spearman", 2.0, examples([0.0, 1.0]), NUMBER) == 0


def test_scores_are_probabilities_or_the_number_itself():
    logits = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    assert predictions(logits, BINARY) == [0, 0]
    assert scores(logits, BINARY)[0] == [0.5, 0.5]
    assert sum(scores(logits, BINARY)[1]) == pytest.approx(1)
    numbers = torch.tensor([[1.5], [-2.0]])
    assert predictions(numbers, NUMBER) == [1.5, -2.0]
    assert scores(numbers, NUMBER) == [[1.5], [-2.0]]
