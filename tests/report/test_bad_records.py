"""Broken records: the report goes on without them and names each, or ends in one line."""

import json
import os

import pytest
from one_line import assert_told

from agwm.report.__main__ import main


def without(*names):
    return lambda record: {key: value for key, value in record.items() if key not in names}


def having(**values):
    return lambda record: record | values


# What becomes of a record's content, and the reason that is printed beside its name.
RECORDS = {
    "empty": (lambda record: b"", "Expecting value: line 1 column 1 (char 0)"),
    "cut": (
        lambda record: json.dumps(record).encode()[:-20],
        "JSONDecodeError: ",
    ),
    "a list": (lambda record: [record], "not a JSON object"),
    "a text": (lambda record: "record", "not a JSON object"),
    "null": (lambda record: None, "not a JSON object"),
    "not UTF-8": (
        lambda record: b'{"task": "\xe9"}',
        "'utf-8' codec can't decode byte 0xe9 in position 10:",
    ),
    "NUL bytes": (lambda record: b"\0" * 4096, "Expecting value: line 1 column 1 (char 0)"),
    "two records": (
        lambda record: json.dumps(record).encode() * 2,
        "JSONDecodeError: Extra data",
    ),
    "too deep": (
        lambda record: b"[" * 100_000,
        "maximum recursion depth exceeded while decoding a JSON",
    ),
    "deep in a field": (
        lambda record: b'{"phases": ' + b'{"a":' * 100_000,
        "maximum recursion depth exceeded while decoding a JSON",
    ),
    "a number too long": (
        lambda record: b'{"seed": ' + b"9" * 5000 + b"}",
        "Exceeds the limit (4300 digits) for integer string",
    ),
    "nothing in it": (lambda record: {}, "no field 'schema_version'"),
    "no task": (without("task"), "no field 'task'"),
    "no schema_version": (without("schema_version"), "no field 'schema_version'"),
    "no headline": (without("headline"), "headline.value is missing"),
    "headline NaN": (
        having(headline={"name": "f1", "value": float("nan")}),
        "headline.value cannot be nan",
    ),
    "headline infinite": (
        having(headline={"name": "f1", "value": float("inf")}),
        "headline.value cannot be inf",
    ),
    "headline a text": (
        having(headline={"name": "f1", "value": "50"}),
        "headline.value cannot be '50'",
    ),
    "headline of 5000 percent": (
        having(headline={"name": "f1", "value": 5000}),
        "headline.value cannot be 5000",
    ),
    "headline true": (
        having(headline={"name": "f1", "value": True}),
        "headline.value cannot be True",
    ),
    "headline a list": (having(headline=[50.0]), "headline cannot be [50.0]"),
    "future schema_version": (
        having(schema_version=99),
        "schema_version 99 is not 1; use the agwm that wrote it",
    ),
    "schema_version a text": (having(schema_version="1"), "schema_version cannot be '1'"),
    "seed a text": (having(seed="one"), "seed cannot be 'one'"),
    "seed below zero": (having(seed=-1), "seed cannot be -1"),
    "seed huge": (having(seed=10**30), "seed cannot be 1000000000000000000000000000000"),
    "n_train huge": (
        having(n_train=10**400),
        "n_train cannot be 100000000000000000...0000000000000000000",
    ),
    "status unknown": (having(status="running"), "status cannot be 'running'"),
    "method a list": (having(method=["agwm"]), "method cannot be ['agwm']"),
    "half a character": (having(task="\ud83d"), "task cannot be '\\ud83d'"),
    "seconds below zero": (
        having(cost={"train_seconds": -1.0}),
        "cost.train_seconds cannot be -1.0",
    ),
    "variant a text": (having(variant="rank=2"), "variant cannot be 'rank=2'"),
}


@pytest.mark.parametrize(("change", "reason"), RECORDS.values(), ids=RECORDS)
def test_the_report_goes_on_without_a_broken_record_and_names_it(
    write_run, tmp_path, report, change, reason
):
    for seed, method in enumerate(["vanilla", "agwm"] * 2):
        write_run(50.0 + seed, seed=seed // 2, method=method)
    broken = write_run(99.0, seed=2, folder=tmp_path / "runs" / "broken") / "record.json"
    content = change(json.loads(broken.read_text()))
    broken.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    tables, whole = report()
    ((file, why),) = tables["unreadable"].rows
    assert file == str(broken) and reason in why and "\n" not in why
    assert f"unreadable, counted nowhere: {broken}" in whole.warnings
    assert whole.facts[0] == "4 runs, 0 failed, 1 unreadable"
    assert [row[-1][0] for row in tables["scores"].rows] == [51.0, 52.0]


def test_of_nothing_but_broken_records_there_is_no_report(write_run, tmp_path, capsys):
    for seed in range(3):
        (write_run(seed=seed) / "record.json").write_text("{")
    code = main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
    assert_told(code, capsys.readouterr().err, "record.json: no record that can be read")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["record.json", "elsewhere"])
def test_a_folder_in_the_place_of_a_record_is_none(tmp_path, capsys, name):
    (tmp_path / "runs" / name).mkdir(parents=True)
    assert_told(main([str(tmp_path / "runs")]), capsys.readouterr().err, "no record.json at or")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_record_that_may_not_be_read_is_named(write_run, tmp_path, capsys):
    write_run(seed=0)
    file = write_run(seed=1) / "record.json"
    file.chmod(0)
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    assert f"unreadable, counted nowhere: {file}" in capsys.readouterr().out.replace("\n", "")


def test_a_baseline_that_was_asked_for_and_is_not_there_is_told(write_run, tmp_path, capsys):
    write_run(method="agwm")
    given = [str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    assert_told(
        main([*given, "--baseline", "vanila"]),
        capsys.readouterr().err,
        "--baseline=vanila: no run of it; one of agwm",
    )
    # Where none was asked for, the report says that there are no comparisons.
    assert main(given) == 0 and "no comparisons: vanilla has no finished run" in " ".join(
        capsys.readouterr().out.split()
    )


def test_broken_arguments_are_told_in_one_line(capsys):
    with pytest.raises(SystemExit) as left:
        main(["runs", "--wandb", "always"])
    assert_told(
        left.value.code, capsys.readouterr().err, "argument --wandb: invalid choice: 'always'"
    )
