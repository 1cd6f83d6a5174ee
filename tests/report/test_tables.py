from math import sqrt

import pytest
from scipy import stats

from agwm.report.table import format_value


def write_cells(write_run, values, **fields):
    """One run for each value, at seeds 0, 1, ..."""
    for seed, value in enumerate(values):
        write_run(value, seed=seed, **fields)


def test_scores_are_mean_and_deviation_with_the_papers_average(write_run, report):
    write_cells(write_run, (10, 20, 30), task="cola")  # 20 ± 10
    write_cells(write_run, (70, 70, 73), task="rte")  # 71 ± sqrt(3)
    write_cells(write_run, (40, 50), task="cola", method="mixout")  # no rte: no average
    scores = report()[0]["scores"]
    assert [column.name for column in scores.columns][3:] == ["cola", "rte", "average"]
    vanilla, mixout = scores.rows
    assert vanilla[:3] == ["tiny", 300, "vanilla"]
    assert vanilla[3] == pytest.approx((20, 10)) and vanilla[4] == pytest.approx((71, sqrt(3)))
    assert vanilla[5] == pytest.approx((45.5, (10 + sqrt(3)) / 2))
    assert mixout[3] == pytest.approx((45, sqrt(50))) and mixout[4:] == [None, None]
    assert scores.texts()[0][3:] == ["20.00 ± 10.00", "71.00 ± 1.73", "45.50 ± 5.87"]


def test_an_average_is_over_all_tasks_of_the_report(write_run, report, rows):
    for method in ("vanilla", "agwm"):
        for n_train, task in ((40, "cola"), (40, "rte"), (40, "mrpc"), (80, "cola"), (80, "rte")):
            write_cells(write_run, (10, 20), task=task, n_train=n_train, method=method)
    tables, _ = report()
    averages = [(row[1], row[-1]) for row in tables["scores"].rows]
    assert averages == [(40, pytest.approx((15, sqrt(50))))] * 2 + [(80, None)] * 2
    for name in ("comparisons", "cost"):
        assert {row["n"] for row in rows(tables[name]) if row["task"] == "average"} == {40}


def test_only_a_gain_whose_interval_excludes_zero_is_bold(write_run, report):
    write_cells(write_run, (10, 20, 30, 40))
    write_cells(write_run, (15, 24, 36, 45), method="better")
    write_cells(write_run, (5, 14, 26, 35), method="worse")
    write_cells(write_run, (60, 10, 60, 10), method="wild")  # a larger mean, no more
    scores = report()[0]["scores"]
    assert {(scores.rows[row][2], column) for row, column in scores.bold} == {("better", 3)}


def test_nothing_is_bold_without_pairs(write_run, report):
    write_cells(write_run, (10, 20, 30))
    for seed in (3, 4, 5):
        write_run(90, seed=seed, method="better")
    tables, _ = report()
    assert not tables["scores"].bold
    (row,) = tables["comparisons"].rows
    assert row[4] == 0 and row[5:9] == [None] * 4


def test_the_baseline_is_compared_on_each_task_and_on_the_average(write_run, report, rows):
    write_cells(write_run, (10, 20, 30, 40), task="cola")
    write_cells(write_run, (50, 52, 54), task="rte")
    write_cells(write_run, (13, 22, 36, 41), task="cola", method="mixout")  # +3 +2 +6 +1
    write_cells(write_run, (51, 51, 57), task="rte", method="mixout")  # +1 -1 +3
    tables, _ = report()
    cola, rte, average = rows(tables["comparisons"])
    assert (cola["pairs"], rte["pairs"], average["pairs"]) == (4, 3, 3)
    assert (cola["difference"], rte["difference"]) == (pytest.approx(3), pytest.approx(1))
    # Per seed: (3 + 1) / 2, (2 - 1) / 2, (6 + 3) / 2; seed 3 has no rte.
    assert average["difference"] == pytest.approx((2 + 0.5 + 4.5) / 3)
    p_cola = stats.ttest_1samp([3, 2, 6, 1], 0).pvalue
    p_rte = stats.ttest_1samp([1, -1, 3], 0).pvalue
    assert cola["p paired t"] == pytest.approx(p_cola) and p_cola < p_rte
    # The average is no further task.
    assert cola["p Holm"] == pytest.approx(2 * p_cola)
    assert rte["p Holm"] == pytest.approx(max(p_rte, 2 * p_cola))
    assert average["p Holm"] is None
    sides = (13, 22, 36, 41), (10, 20, 30, 40)
    assert cola["p Welch"] == pytest.approx(stats.ttest_ind(*sides, equal_var=False).pvalue)
    assert cola["p spread"] == pytest.approx(stats.levene(*sides, center="median").pvalue)
    assert cola["p sign flip"] == 2 / 16


def test_another_baseline_can_be_named_and_a_missing_one_is_told(write_run, report):
    write_cells(write_run, (10, 20))
    write_cells(write_run, (11, 22), method="mixout")
    assert [row[2] for row in report("mixout")[0]["comparisons"].rows] == ["vanilla"]
    tables, found = report("lora")
    assert "comparisons" not in tables
    assert any("lora" in line and "mixout, vanilla" in line for line in found.warnings)


def test_a_cell_names_its_missing_seeds_failures_and_degenerate_runs(write_run, report, rows):
    write_cells(write_run, (1, 2, 3, 4, 100))
    write_run(7, seed=0, method="agwm", degenerate=True)
    write_run(seed=3, method="agwm", status="failed", error="boom")
    write_run(seed=8, method="agwm", status="failed", error="boom")
    write_run(9, seed=7, method="agwm")
    tables, found = report()
    agwm, vanilla = rows(tables["cells"])
    assert agwm["runs"] == 2 and agwm["failed"] == 2 and agwm["degenerate"] == 1
    assert agwm["missing seeds"] == "1, 2, 3, 4, 8"
    assert vanilla["missing seeds"] == "7, 8" and vanilla["degenerate"] == 0
    assert vanilla["min"] == 1 and vanilla["mean"] == 22
    assert vanilla["IQM"] == pytest.approx(3)  # of 2, 3, 4
    low, high = vanilla["95 % interval"]
    assert 1 < low < 22 < high < 100
    assert any("2 of 2 cells lack seeds" in line for line in found.warnings)


def test_a_cell_counts_the_runs_whose_alpha_collapsed(write_run, report, rows):
    for seed, mixture in enumerate(["mixed", "W", "W0"]):
        write_run(seed=seed, method="agwm", mixture=mixture)
        write_run(seed=seed, method="joint", mixture="mixed")
        # Nothing is mixed, or a record that knows nothing of it.
        write_run(seed=seed, method="vanilla", mixture=None)
        write_run(seed=seed, method="random_alpha", **({"mixture": "W"} if seed else {}))
    tables, found = report()
    collapsed = {row["method"]: row["collapsed"] for row in rows(tables["cells"])}
    assert collapsed == {"agwm": 2, "joint": 0, "vanilla": None, "random_alpha": None}
    header, *runs = found.runs
    mixtures = [row[header.index("mixture")] for row in runs if row[2] == "agwm"]
    assert mixtures == ["mixed", "W", "W0"]


def test_a_cell_of_failures_only_is_listed_and_in_no_score(write_run, report, rows):
    write_run(10)
    write_run(method="agwm", status="failed", error="RunError: loss is nan\nat step 3")
    tables, _ = report()
    assert [row[2] for row in tables["scores"].rows] == ["vanilla"]
    agwm, _vanilla = rows(tables["cells"])
    assert agwm["runs"] == 0 and agwm["failed"] == 1 and agwm["mean"] is agwm["IQM"] is None
    (failed,) = rows(tables["failed"])
    assert failed["error"] == "RunError: loss is nan at step 3"
    assert failed["folder"].endswith("agwm/n300/seed0")


def test_the_table_order_is_numbers_then_all_the_data(write_run, report):
    for n_train in (None, 1000, 300):
        write_run(n_train=n_train)
        write_run(n_train=n_train, method="agwm")
    blocks = [tuple(row[1:3]) for row in report()[0]["scores"].rows]
    assert blocks == [(n, m) for n in (300, 1000, "full") for m in ("vanilla", "agwm")]


def test_a_task_that_a_method_was_not_run_on_is_told(write_run, report):
    for task in ("cola", "rte", "mrpc"):
        write_run(task=task)
        write_run(task=task, n_train=None)  # of vanilla alone
    write_run(task="cola", method="agwm")
    write_run(task="rte", method="agwm", status="failed")
    for method in ("lora", "mixout", "r3f"):
        write_run(task="mrpc", method=method)
    told = [line for line in report()[1].warnings if line.startswith("no runs")]
    assert told == [
        "no runs of agwm on mrpc (tiny, n = 300)",
        "no runs of lora on cola (tiny, n = 300)",
        "no runs of lora on rte (tiny, n = 300)",
        "no runs in 4 more such cells",
    ]


@pytest.mark.parametrize(("seeds", "told"), [(9, True), (10, False)])
def test_intervals_of_few_seeds_are_warned_of(write_run, report, seeds, told):
    write_cells(write_run, range(seeds))
    write_cells(write_run, range(seeds), method="agwm")
    assert any("as few as 9 seeds" in line for line in report()[1].warnings) == told


def test_different_examples_at_one_seed_are_told(write_run, report):
    write_run(subsample_hash="a")
    write_run(subsample_hash="b", method="agwm")
    assert any("different training examples" in line for line in report()[1].warnings)


def classes(predicted):
    """Rows of predictions.jsonl of a model that is certain of each class, 0 or 1."""
    return [
        {"id": i, "label": 0, "prediction": p, "scores": [1 - p, p]}
        for i, p in enumerate(predicted)
    ]


def test_stability_counts_runs_no_better_than_a_constant(write_run, report, rows):
    for seed, value in enumerate((0.0, -3.0, 5.0, 60.0)):
        write_run(value, seed=seed, baseline=0.0, degenerate=seed == 0)
    everything, others = rows(report()[0]["stability"])
    assert everything["no better"] == 0.5 and everything["range"] == 63
    assert everything["degenerate"] == 1 and others["degenerate"] == 0
    assert others["over"] == "not degenerate" and others["runs"] == 3
    assert others["no better"] == pytest.approx(1 / 3)
    assert others["mean"] == pytest.approx(62 / 3)


def test_disagreement_is_over_pairs_of_runs(write_run, report, rows):
    for seed, predicted in enumerate(([0, 1, 1, 0], [0, 1, 0, 0], [0, 1, 1, 1])):
        write_run(seed=seed, predictions=classes(predicted))
    (row,) = rows(report()[0]["stability"])
    # The pairs differ on 1, 1 and 2 of 4 texts; with certain runs the divergence is the same.
    assert row["disagreement"] == pytest.approx(4 / 12)
    assert row["divergence"] == pytest.approx(4 / 12)
    # Fleiss: per text 1, 1, 1/3, 1/3 agree; class 1 has 6 of 12 votes.
    assert row["kappa"] == pytest.approx((8 / 12 - 0.5) / (1 - 0.5))
    assert row["distance"] is None


def test_regression_has_a_distance_instead(write_run, report, rows):
    for seed, predicted in enumerate(([1.0, 2.0], [1.5, 4.0])):
        predictions = [
            {"id": i, "label": 0.0, "prediction": p, "scores": [p]} for i, p in enumerate(predicted)
        ]
        write_run(seed=seed, task="stsb", predictions=predictions)
    (row,) = rows(report()[0]["stability"])
    assert row["distance"] == pytest.approx((0.5 + 2) / 2)
    assert row["disagreement"] is row["kappa"] is row["divergence"] is None


@pytest.mark.parametrize("ids", [[0, 1], [0, 2, 1]])
def test_predictions_of_other_texts_are_not_compared(write_run, report, rows, ids):
    write_run(seed=0, predictions=classes([0, 1, 0]))
    other = [row | {"id": id_} for row, id_ in zip(classes([0, 1, 0]), ids, strict=False)]
    write_run(seed=1, predictions=other)
    (row,) = rows(report()[0]["stability"])
    assert row["disagreement"] is None and row["runs"] == 2


def cost(seconds, passes):
    return {
        "forward_passes": passes,
        "backward_passes": 30,
        "optimizer_steps": passes,
        "train_seconds": seconds,
    }


def test_cost_is_the_median_and_its_ratio_to_the_baseline(write_run, report, rows):
    for seed, seconds in enumerate((1.0, 2.0, 30.0)):
        write_run(seed=seed, cost=cost(seconds, 10))
        memory = 2**20 * (1 + seed)
        write_run(seed=seed, cost=cost(3 * seconds, 50), method="agwm", peak_memory_bytes=memory)
    write_run(task="rte", cost=cost(4.0, 10))
    write_run(task="rte", cost=cost(20.0, 130), method="agwm")
    _, _, _, cola, rte, average = rows(report()[0]["cost"])
    assert (cola["seconds"], cola["x time"], cola["x passes"]) == (6.0, 3.0, 2.0)
    assert (rte["x time"], rte["x passes"]) == (5.0, 4.0)
    assert (average["x time"], average["x passes"]) == (4.0, 3.0)
    assert cola["peak MiB"] == 3 and cola["steps"] == 50 and cola["device"] == "cpu"


@pytest.mark.parametrize("unknown", ["train_seconds", "forward_passes"])
def test_a_ratio_is_averaged_only_where_all_tasks_have_it(write_run, report, rows, unknown):
    write_run(task="cola", cost=cost(2.0, 10))
    write_run(task="cola", cost=cost(6.0, 50), method="agwm")
    write_run(task="rte", cost=cost(2.0, 10) | {unknown: None})
    write_run(task="rte", cost=cost(10.0, 130), method="agwm")
    *_, average = rows(report()[0]["cost"])
    known = {"train_seconds": (None, 3.0), "forward_passes": (4.0, None)}[unknown]
    assert (average["task"], average["x time"], average["x passes"]) == ("average", *known)


def test_times_of_different_devices_are_warned_of(write_run, report):
    write_run(device="cpu, 2 threads")
    write_run(device="H100", method="agwm")
    assert any("cpu, 2 threads" in w and "H100" in w for w in report()[1].warnings)


def test_a_foreign_record_without_optional_fields_gives_gaps(write_run, report, rows):
    write_run(cost=None, baseline=None, peak_memory_bytes=None, device=None, degenerate=None)
    tables, _ = report()
    (row,) = rows(tables["cost"])
    assert [row[name] for name in ("seconds", "x time", "peak MiB", "device")] == [None] * 4
    (row,) = rows(tables["stability"])
    assert row["no better"] is row["degenerate"] is None


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("spread", (62.535, 6.565), "62.54 ± 6.56"),  # half to even, in decimal
        ("spread", (50.0, None), "50.00"),
        ("percent", 5.814999999999999, "5.82"),  # a mean of figures that is 5.815
        ("exact", -0.03500000000000014, "-0.035"),
        ("difference", 1.5, "+1.50"),
        ("interval", (-1.0, 2.345), "[-1.00, 2.34]"),
        ("p", 0.0004, "<0.001"),
        ("p", 0.0306, "0.031"),
        ("share", 0.5, "50 %"),
        ("count", None, "\N{EN DASH}"),
    ],
)
def test_values_are_written_by_the_kind_of_their_column(kind, value, text):
    assert format_value(kind, value) == text
