import json

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
                lines = [{"id": i, "label": 1, "prediction": int(h)} for i, h in enumerate(hits)]
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


def test_the_interval_of_one_seed_is_the_paired_bootstrap_over_texts(runs):
    rng = np.random.default_rng(0)
    ours, theirs = rng.random(200) < 0.8, rng.random(200) < 0.7
    low, high = interval(judge(runs(vanilla=[theirs], agwm=[ours]), "vanilla", BINARY).text)
    difference = 100 * (ours.astype(float) - theirs)
    found = stats.bootstrap((difference,), np.mean, method="percentile", rng=1).confidence_interval
    assert (low, high) == pytest.approx((found.low, found.high), abs=1)


def test_seeds_widen_the_interval(runs):
    half = [1, 0] * 50
    same = judge(runs(vanilla=[half] * 4, agwm=[half] * 4), "vanilla", BINARY)
    assert interval(same.text) == (0, 0)
    # From seed to seed 20 points up or down: the mean of four of them has a deviation of 10.
    moved = [[1] * 70 + [0] * 30, [1] * 30 + [0] * 70]
    found = judge(runs(vanilla=[half] * 4, agwm=moved * 2), "vanilla", BINARY)
    low, high = interval(found.text)
    assert high - low > 2 * 1.96 * 10
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
    found = runs(vanilla=[[0] * 20], agwm=[[0] * 20])
    for run, sign in zip(found, (-1, 1), strict=True):
        rows = [{"id": i, "label": i / 2, "prediction": sign * i} for i in range(20)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (run.folder / "predictions.jsonl").write_text(text)
    verdict = judge(found, "vanilla", NUMBER)
    assert verdict.method == "agwm" and interval(verdict.text) == (200, 200)


def test_without_a_common_seed_there_is_no_verdict(runs):
    with pytest.raises(RunError, match="no verdict: vanilla and another method"):
        judge(runs(agwm=[[1]]), "vanilla", BINARY)
