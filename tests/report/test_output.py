import csv
import re
from io import StringIO

import pytest
from html_page import HOSTILE, Page
from rich.console import Console

from agwm.report.__main__ import main
from agwm.report.table import Column, Table
from agwm.report.terminal import print_table


@pytest.fixture
def written(tmp_path, write_run, capsys):
    """`written(*arguments)`: exit code 0 is checked; the folder of the report."""

    def run(*arguments):
        out = tmp_path / "out"
        assert main([str(tmp_path / "runs"), "--out", str(out), *arguments]) == 0
        return out

    return run


def test_a_report_is_written_in_all_formats(write_run, written, capsys):
    for seed in range(3):
        for n_train in (100, 300):
            write_run(40.0 + seed, seed=seed, n_train=n_train)
            write_run(50.0 + 2 * seed, seed=seed, n_train=n_train, method="agwm")
    out = written()
    assert sorted(path.name for path in out.iterdir()) == [
        "report.html",
        "report.md",
        "report.tex",
        "tables",
    ]
    names = {"cells", "comparisons", "cost", "runs", "scores", "stability"}
    assert {path.stem for path in (out / "tables").iterdir()} == names
    assert "| tiny | 100 | agwm | **52.00 ± 2.00** |" in (out / "report.md").read_text()
    assert r"tiny & 100 & agwm & \textbf{52.00 $\pm$ 2.00} \\" in (out / "report.tex").read_text()
    with (out / "tables/scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[1] == {
        "model": "tiny",
        "n": "100",
        "method": "agwm",
        "cola mean": "52.0",
        "cola std": "2.0",
    }
    with (out / "tables/runs.csv").open() as file:
        assert sorted(float(row["value"]) for row in csv.DictReader(file))[-1] == 54.0
    page = (out / "report.html").read_text()
    assert "<b>52.00 ± 2.00</b>" in page
    for title in ("Runs, tiny, n = 100", "Number of examples, tiny", "Cost against quality"):
        assert f"<h2>{title}</h2>" in page
    assert page.count("<svg") == 4
    assert ">agwm</text>" in page  # letters, not their outlines
    printed = capsys.readouterr().out
    assert "52.00 ± 2.00" in printed and str(out / "report.html") in printed


def test_the_page_loads_nothing_and_escapes_what_came_from_data(write_run, written):
    write_run(method="agwm", sweep=HOSTILE.replace("/", ""), variant=[HOSTILE], seed=0)
    write_run(seed=1, status="failed", error=HOSTILE, task="x</svg>")
    write_run(method="agwm", variant=[r"$\nonsense$"])  # no formula for a plot to set
    text = (written() / "report.html").read_text()
    page = Page(text)
    assert "script" not in page.tags and "img" not in page.tags and "link" not in page.tags
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"url\((?!#)|@import", text)
    assert f"agwm+{HOSTILE}" in page.cells and HOSTILE in page.cells


def test_hostile_names_stay_text_in_the_other_formats(write_run, written):
    write_run(seed=1, status="failed", error=HOSTILE)
    write_run(seed=2, status="failed", error="=1+1")
    write_run(-5.0, seed=0)
    out = written()
    assert r"&lt;script&gt;alert(1)&lt;/script&gt;&amp;" in (out / "report.md").read_text()
    assert r"\textless{}script\textgreater{}alert" in (out / "report.tex").read_text()
    assert r"\$\{x\}\_\%\#" in (out / "report.tex").read_text()
    with (out / "tables/failed.csv").open() as file:
        assert {row["error"] for row in csv.DictReader(file)} == {HOSTILE, "'=1+1"}
    with (out / "tables/runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["value"] == "-5.0" and rows[2]["error"] == "'=1+1"


def test_the_same_records_give_the_same_bytes(tmp_path, write_run, written):
    for seed in range(3):
        write_run(40.0 + seed, seed=seed)
        write_run(50.0 - seed, seed=seed, method="agwm")
    first = {p: p.read_bytes() for p in written().rglob("*") if p.is_file()}
    second = {p: p.read_bytes() for p in written().rglob("*") if p.is_file()}
    assert first == second and len(first) == 9


def test_mistakes_end_in_one_line_and_two(tmp_path, write_run, capsys):
    (tmp_path / "file").touch()
    write_run()
    runs = str(tmp_path / "runs")
    for arguments in (
        [],
        [str(tmp_path / "nowhere")],
        [runs, "--out", str(tmp_path / "file")],
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1


@pytest.mark.parametrize("width", [60, 80, 140])
def test_a_wide_table_goes_on_below_with_its_keys(width):
    columns = [Column("method"), *(Column(f"task {i}", "spread") for i in range(12))]
    rows = [[f"method{row}", *((10 * row + i, 1.0) for i in range(12))] for row in range(2)]
    console = Console(width=width, record=True, file=StringIO())
    print_table(Table("t", "Title", columns, rows, "A note."), console)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    for row in range(2):
        mine = [line for line in lines if f"method{row}" in line]
        found = re.findall(r"(\d+\.\d\d) ± 1\.00", " ".join(mine))
        assert [float(value) for value in found] == [10 * row + i for i in range(12)]
        assert len(mine) == {60: 4, 80: 3, 140: 2}[width]


def test_what_all_rows_share_is_said_once():
    columns = [Column("model"), Column("method"), Column("gap"), Column("value", "percent")]
    rows = [["tiny", name, None, 1.0] for name in ("a", "b")]
    console = Console(width=80, record=True, file=StringIO())
    print_table(Table("t", "Title", columns, rows, keys=2), console)
    text = console.export_text()
    assert text.count("tiny") == 1 and "Title, model tiny" in text and "gap" not in text
