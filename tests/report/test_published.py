import pytest

from agwm.report.cells import Cell
from agwm.report.published import (
    Figure,
    audit_averages,
    audit_repeats,
    published_figures,
    published_tables,
)
from agwm.report.records import CellKey
from agwm.report.statistics import welch_from_summary


@pytest.fixture(scope="module")
def paper():
    return {table.name: table for table in published_tables()}


# As printed in table 1; its other four averages end in a digit that rounding can move.
TABLE_1 = [
    (300, "vanilla", "62.54 ± 6.57"),
    (300, "dps_dense", "61.69 ± 5.62"),
    (300, "child_tuning_d", "62.47 ± 5.50"),
    (300, "agwm", "68.97 ± 3.09"),
    (500, "dps_dense", "68.99 ± 2.92"),
    (500, "agwm", "72.42 ± 2.14"),
    (1000, "dps_dense", "75.00 ± 1.61"),
    (1000, "agwm", "76.68 ± 1.58"),
]


@pytest.mark.parametrize(("n_train", "method", "printed"), TABLE_1)
def test_the_papers_first_table_is_the_average_of_its_eighth(paper, n_train, method, printed):
    table = paper["paper-table-8"]
    assert table.columns[-1].name == "average" and len(table.columns) == 3 + 8 + 1
    (row,) = [row for row in table.texts() if row[1:3] == [str(n_train), method]]
    assert row[-1] == printed


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        # A row each, as the paper prints it.
        ("paper-table-2", "64.11 ± 1.33, 90.80 ± 1.77, 70.69 ± 2.83, 89.92 ± 0.61, 78.88 ± 1.64"),
        ("paper-table-2", "61.66 ± 1.95, 92.19 ± 0.38, 83.54 ± 1.44, 92.12 ± 0.08, 82.38 ± 0.96"),
        ("paper-table-3", "64.42 ± 1.51, 91.31 ± 1.08, 72.05 ± 1.67, 90.39 ± 0.57, 79.54 ± 1.21"),
        ("paper-table-11", "64.03 ± 1.96, 91.37 ± 0.66, 72.20 ± 0.97, 89.85 ± 0.54, 79.36 ± 1.03"),
        ("paper-table-9", "13.41 ± 9.95, 56.28 ± 2.16, 58.38 ± 16.52, 81.85 ± 0.30, 52.48 ± 7.23"),
    ],
)
def test_the_papers_rows_come_out_of_the_same_table_code(paper, name, printed):
    assert printed in [", ".join(row[3:]) for row in paper[name].texts()]


def test_nothing_in_the_paper_is_bold_for_it_prints_no_pairs(paper):
    assert not any(table.bold for table in paper.values())


def test_one_printed_average_is_not_that_of_its_figures(paper):
    table = paper["paper-averages"]
    (row,) = table.rows
    assert row[:6] == ["1", "bert_large", 1000, "child_tuning_d", "std", 2.75]
    # Mean of 2.81, 5.15, 0.79, 2.95, 1.81, 2.60, 1.18, 4.99.
    assert row[6] == pytest.approx(22.28 / 8) and row[7] == pytest.approx(2.75 - 22.28 / 8)
    assert table.note.startswith("94 averages")
    assert paper["paper-repeats"].rows == []


def figure(table, task, mean, std=1.0):
    return Figure(table, Cell(CellKey("m", 300, "vanilla", task), mean, std, 10))


@pytest.mark.parametrize(("printed", "rows"), [(15.01, 0), (14.99, 0), (15.02, 1), (14.98, 1)])
def test_an_average_may_be_off_by_rounding_alone(printed, rows):
    cells = [figure("9", "cola", 10.0), figure("9", "rte", 20.0)]
    assert len(audit_averages([*cells, figure("9", "average", printed)]).rows) == rows


def test_a_cell_printed_twice_is_compared():
    figures = [figure("2", "cola", 10.0), figure("3", "cola", 10.0), figure("11", "cola", 10.5)]
    table = audit_repeats(figures)
    (row,) = table.rows
    assert row[4:] == ["2", (10.0, 1.0), "11", (10.5, 1.0)]
    assert table.note.startswith("2 repetitions")


def test_the_data_has_every_row_with_a_number_of_examples():
    assert (
        len(published_figures()) == 320 - 9 - 3
    )  # without the times of table 5 and Bi-Drop's own averages


def test_our_cell_stands_beside_the_papers(write_run, report, rows):
    cell = {"model": "bert_large", "n_train": None, "task": "cola"}
    for seed, value in enumerate((64.0, 66.0, 71.0)):
        write_run(value, seed=seed, **cell)
        write_run(value, seed=seed, method="agwm", variant=["num_searches=2"], **cell)
        write_run(value, seed=seed, method="random_alpha", **cell)
    write_run(method="lora", **cell)
    k2, alpha, vanilla = rows(report(published=True)[0]["published"])
    assert vanilla["ours"] == pytest.approx((67, 13**0.5)) and vanilla["runs"] == 3
    assert vanilla["paper"] == (64.11, 1.33) and vanilla["paper's table"] == "2, 3, 11"
    assert vanilla["difference"] == pytest.approx(67 - 64.11)
    assert vanilla["p Welch"] == welch_from_summary(67.0, 13**0.5, 3, 64.11, 1.33, 10)
    assert k2["paper"] == (65.10, None) and k2["p Welch"] is None
    assert alpha["paper"] == (64.03, 1.96)


def test_a_cell_that_the_paper_has_not_is_not_beside_it(write_run, report):
    write_run(task="acceptability")
    table = report(published=True)[0]["published"]
    assert table.rows == [] and "No cell" in table.note
