import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from agwm.config import Task
from agwm.errors import RunError
from agwm.report.records import CellKey, Run
from agwm.report.verdict import judge

BINARY = Task("t", ["text"], ["no", "yes"], ["accuracy"], ["validation"])
NUMBER = Task("t", ["text"], None, ["spearman"], ["validation"])


@pytest.fixture
def runs(tmp_path):
    """`runs(method=[hits of seed 0, ...])`: hits are 1 where a text was classified rightly."""

    def made(seconds=None, **methods):
        found = []
        for method, by_seed in methods.items():
            for seed, hits in enumerate(by_seed):
                folder = tmp_path / f"{method}{seed}{len(list(tmp_path.iterdir()))}"
                folder.mkdir()
                lines = [
                    {"id": i, "label": 1, "prediction": int(h), "scores": [1 - int(h), int(h)]}
                    for i, h in enumerate(hits)
                ]
                text = "".join(json.dumps(line) + "\n" for line in lines)
                (folder / "predictions.jsonl").write_text(text)
                record = {
                    "method": method,
                    "cost": {"train_seconds": (seconds or {}).get(method, 1)},
                }
                cell = CellKey("m", None, method, "t")
                found.append(Run(folder, cell, seed, 100 * float(np.mean(hits)), record))
        return found

    return made


def interval(text):
    low, high = text.split("interval ")[1].split(",")[0].split(" to ")
    return float(low), float(high)


def test_a_method_that_is_right_everywhere_wins_over_one_that_never_is(runs):
    found = judge(runs(vanilla=[[0] * 50] * 3, agwm=[[1] * 50] * 3), "vanilla", BINARY)
    assert found.method == "agwm"
    assert found.text.startswith("Use agwm: agwm's accuracy is 100.0 points above vanilla's")
    assert interval(found.text) == (100, 100)


def test_a_baseline_that_is_ahead_is_used(runs):
    found = judge(runs(vanilla=[[1] * 50] * 3, agwm=[[0] * 50] * 3), "vanilla", BINARY)
    assert found.method == "vanilla"
    assert "Use vanilla: agwm's accuracy is 100.0 points below" in found.text


def test_the_interval_of_one_seed_is_students_over_texts(runs):
    rng = np.random.default_rng(0)
    ours, theirs = rng.random(40) < 0.8, rng.random(40) < 0.7
    low, high = interval(judge(runs(vanilla=[theirs], agwm=[ours]), "vanilla", BINARY).text)
    expected = stats.ttest_rel(100.0 * ours, 100.0 * theirs).confidence_interval(0.95)
    assert (low, high) == pytest.approx(tuple(expected), abs=0.05)


def test_many_texts_are_left_out_in_groups(runs):
    rng = np.random.default_rng(0)
    ours, theirs = rng.random(2000) < 0.8, rng.random(2000) < 0.7
    low, high = interval(judge(runs(vanilla=[theirs], agwm=[ours]), "vanilla", BINARY).text)
    difference = 100 * (ours.astype(float) - theirs)
    # Forty groups know the deviation to 11 %.
    half = 1.96 * difference.std() / 2000**0.5
    assert (high - low) / 2 == pytest.approx(half, rel=0.25)
    assert (low + high) / 2 == pytest.approx(difference.mean(), abs=0.1)


def test_one_text_tells_nothing(runs):
    found = judge(runs(vanilla=[[0]] * 3, agwm=[[1]] * 3), "vanilla", BINARY)
    assert interval(found.text) == (-100, 100)
    assert "The data cannot tell" in found.text and "more texts" in found.text


def test_one_seed_decides_nothing(runs):
    found = judge(runs(vanilla=[[0] * 50], agwm=[[1] * 50], seconds={"agwm": 9}), "vanilla", BINARY)
    assert found.method == "vanilla"
    assert "One seed cannot tell agwm from vanilla" in found.text
    assert "for other texts; one seed, 50 texts" in found.text and "more seeds" in found.text


def test_the_interval_of_texts_that_are_alike_is_students_over_seeds(runs):
    # Right or wrong on all texts at once, so that other texts change nothing.
    ours, theirs = [1, 1, 1, 1, 1, 0], [0, 0, 1, 0, 0, 0]
    sides = {"vanilla": theirs, "agwm": ours}
    found = judge(
        runs(**{name: [[hit] * 30 for hit in hits] for name, hits in sides.items()}),
        "vanilla",
        BINARY,
    )
    expected = stats.ttest_rel(np.multiply(100, ours), np.multiply(100, theirs))
    low, high = expected.confidence_interval(0.95)
    assert high > 100  # more than two accuracies can differ by
    assert interval(found.text) == pytest.approx((low, 100), abs=0.05)
    assert found.method == "agwm"


def test_seeds_and_texts_widen_the_interval(runs):
    half = [1, 0] * 50
    same = judge(runs(vanilla=[half] * 4, agwm=[half] * 4), "vanilla", BINARY)
    assert interval(same.text) == (0, 0)
    # From seed to seed 20 points up or down: the mean of four of them has a deviation of 11.5.
    moved = [[1] * 70 + [0] * 30, [1] * 30 + [0] * 70]
    found = judge(runs(vanilla=[half] * 4, agwm=moved * 2), "vanilla", BINARY)
    low, high = interval(found.text)
    assert high - low > 2 * stats.t.isf(0.025, 4) * 11.5
    assert "From seed to seed agwm varies by 23.1 points, vanilla by 0.0" in found.text


def test_what_cannot_be_told_apart_is_settled_by_the_price(runs):
    sides = {"vanilla": [[1, 0] * 30] * 2, "agwm": [[1, 0] * 30] * 2}
    found = judge(runs(**sides, seconds={"agwm": 9}), "vanilla", BINARY)
    assert found.method == "vanilla"
    assert "The data cannot tell agwm from vanilla" in found.text
    assert "Use vanilla, the cheaper of the two" in found.text
    assert judge(runs(**sides, seconds={"vanilla": 9}), "vanilla", BINARY).method == "agwm"


@pytest.mark.parametrize(("count", "advice"), [(20, "texts"), (2000, "seeds")])
def test_the_advice_names_the_larger_part_of_the_doubt(runs, count, advice):
    rng = np.random.default_rng(0)

    def drawn(rate):
        return rng.permutation(count) < rate * count

    ours = [drawn(rate) for rate in (0.7, 0.75, 0.65)]
    theirs = [drawn(rate) for rate in (0.7, 0.65, 0.75)]
    assert f"more {advice}" in judge(runs(vanilla=theirs, agwm=ours), "vanilla", BINARY).text


def test_the_best_of_many_needs_more(runs):
    rng = np.random.default_rng(3)
    theirs, ours = rng.random(300) < 0.7, rng.random(300) < 0.76
    alone = interval(judge(runs(vanilla=[theirs], a=[ours]), "vanilla", BINARY).text)
    others = {name: [[0] * 300] for name in "bcdefg"}
    many = interval(judge(runs(vanilla=[theirs], a=[ours], **others), "vanilla", BINARY).text)
    assert many[0] < alone[0] and many[1] > alone[1]


def test_numbers_are_compared_by_their_ranks(tmp_path, runs):
    found = runs(vanilla=[[0] * 20] * 2, agwm=[[0] * 20] * 2)
    signs = (-1, -1, 1, 1)
    found = [replace(run, value=100.0 * sign) for run, sign in zip(found, signs, strict=True)]
    for run, sign in zip(found, signs, strict=True):
        rows = [
            {"id": i, "label": i / 2, "prediction": sign * i, "scores": [sign * i]}
            for i in range(20)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (run.folder / "predictions.jsonl").write_text(text)
    verdict = judge(found, "vanilla", NUMBER)
    assert verdict.method == "agwm" and interval(verdict.text) == (200, 200)


def test_without_a_common_seed_there_is_no_verdict(runs):
    with pytest.raises(RunError, match="no verdict: vanilla and another method"):
        judge(runs(agwm=[[1]]), "vanilla", BINARY)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "agwm.* has no sound predictions"),
        ('{"id": 0, "label": 0, "prediction": 1, "scores": [0, 1]}\n', "evaluated on other texts"),
    ],
)
def test_predictions_that_cannot_be_compared_give_no_verdict(runs, content, message):
    found = runs(vanilla=[[1]] * 2, agwm=[[1]] * 2)
    (found[-1].folder / "predictions.jsonl").write_text(content)
    with pytest.raises(RunError, match=message):
        judge(found, "vanilla", BINARY)
