import csv
import json
from collections import Counter

import pyarrow
import pytest
from pyarrow import parquet

from agwm.data.examples import label_name
from agwm.data.own import load_own, settled
from agwm.errors import UserError
from agwm.identity import config_hash, run_dir


def write(path, rows, header=("text", "label")):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def own(compose, tmp_path):
    """`own(rows, *overrides, header=...)`: settled configuration of a CSV file of these rows."""

    def made(rows, *overrides, header=("text", "label"), name="reviews.csv"):
        path = write(tmp_path / name, rows, header)
        return settled(compose("task=file", f"task.train='{path}'", *overrides))

    return made


def classes(**counts):
    return [(f"{name} {number}", name) for name, count in counts.items() for number in range(count)]


HEADERS = {
    "plain": (["text", "label"], ["text"], "label"),
    "other names": (["id", "Review", "Sentiment"], ["Review"], "Sentiment"),
    "pair": (["sentence1", "sentence2", "label"], ["sentence1", "sentence2"], "label"),
    "pair in any order": (["label", "hypothesis", "premise"], ["premise", "hypothesis"], "label"),
    "two columns": (["Kundenstimme", "Note"], None, None),
    "label first": (["y", "what was said"], ["what was said"], "y"),
}


@pytest.mark.parametrize(("header", "columns", "label"), HEADERS.values(), ids=HEADERS)
def test_columns_are_found_by_their_names(own, header, columns, label):
    rows = [[f"{column} {row}" for column in header] for row in range(8)]
    for number, row in enumerate(rows):
        row[header.index(label) if label else -1] = "ab"[number % 2]
    if columns is None:
        with pytest.raises(UserError, match=r"task.text=COLUMN, of Kundenstimme, Note"):
            own(rows, header=header)
        task = own(rows, "task.text=Kundenstimme", header=header).task
        assert (task.columns, task.label) == (["Kundenstimme"], "Note")
        return
    task = own(rows, header=header).task
    assert (task.columns, task.label) == (columns, label)


def test_two_columns_that_may_hold_the_text_are_asked_about(own):
    rows = [[f"a {row}", f"b {row}", "ab"[row % 2]] for row in range(8)]
    with pytest.raises(UserError, match=r"task\.text=COLUMN, of review, comment, label"):
        own(rows, header=["review", "comment", "label"])


def test_columns_that_are_named_win(own):
    rows = [[f"a{i}", f"b{i}", f"c{i}", "xy"[i % 2]] for i in range(8)]
    task = own(rows, "task.text=[c,a]", "task.label=stars", header=["a", "text", "c", "stars"]).task
    assert (task.columns, task.label) == (["c", "a"], "stars")


KINDS = {
    "names": (["good", "bad"], "classification", ["bad", "good"]),
    "codes": (["1", "0"], "classification", ["0", "1"]),
    "codes in the order of numbers": (["10", "9", "2"], "classification", ["2", "9", "10"]),
    "fractions": (["0.5", "1", "2"], "regression", None),
    "many numbers": ([str(number) for number in range(21)], "regression", None),
    "a name among numbers": (["1", "2", "none"], "classification", ["1", "2", "none"]),
}


@pytest.mark.parametrize(("values", "kind", "labels"), KINDS.values(), ids=KINDS)
def test_the_kind_follows_from_the_labels(own, values, kind, labels):
    task = own([(f"text {i}", values[i % len(values)]) for i in range(6 * len(values))]).task
    assert (task.kind, task.labels) == (kind, labels)


def test_a_kind_and_an_order_of_labels_that_are_given_hold(own):
    rows = [(f"text {i}", "123"[i % 3]) for i in range(12)]
    numbers = own(rows, "task.kind=regression").task
    assert (numbers.metrics, numbers.standardize) == (["spearman", "pearson"], True)
    assert own(rows).task.standardize is None
    assert own(rows, "task.labels=[3,1,2]").task.labels == ["3", "1", "2"]


def test_matthews_correlation_leads_where_classes_are_unequal(own):
    assert own(classes(a=30, b=10)).task.metrics[0] == "accuracy"
    assert own(classes(a=31, b=10)).task.metrics[0] == "matthews_corrcoef"
    assert own(classes(a=31, b=10), "task.metrics=[macro_f1]").task.metrics == ["macro_f1"]


@pytest.mark.parametrize(
    ("given", "name"),
    [(1, "1"), (1.0, "1"), ("1", "1"), (" good ", "good"), (True, "true"), (None, ""),
     (float("nan"), ""), (0.5, "0.5"), ("NA", "NA")],
)  # fmt: skip
def test_a_label_is_one_name_however_it_is_written(given, name):
    assert label_name(given) == name


def split(config):
    return load_own(config.task, "train"), load_own(config.task, "validation")


@pytest.mark.parametrize(
    "counts", [{"a": 40, "b": 60}, {"a": 2, "b": 98}, {"a": 7, "b": 5, "c": 9}]
)
def test_the_same_share_of_each_class_is_held_out(own, counts):
    config = own(classes(**counts))
    train, held_out = split(config)
    assert sorted(train.ids + held_out.ids) == list(range(1, sum(counts.values()) + 1))
    found = Counter(held_out.labels)
    for code, name in enumerate(config.task.labels):
        assert 1 <= found[code] < counts[name]
        assert abs(found[code] - 0.2 * counts[name]) <= max(0.5, 1 - 0.2 * counts[name])


def test_the_held_out_rows_are_the_same_for_every_seed(own):
    rows = classes(a=20, b=30)
    assert split(own(rows, "seed=0")) == split(own(rows, "seed=1"))


def test_equal_texts_stay_on_one_side(own):
    rows = [(f"text {number // 3}", "ab"[number // 3 % 2]) for number in range(90)]
    train, held_out = split(own(rows))
    assert not {*train.texts} & {*held_out.texts}
    assert len(held_out) == pytest.approx(18, abs=3)


def test_numbers_are_held_out_from_every_fifth_of_them(own):
    rows = [(f"text {number}", number / 7) for number in range(100)]
    config = own(rows)
    _, held_out = split(config)
    assert Counter(int(label * 7 // 20) for label in held_out.labels) == dict.fromkeys(range(5), 4)


def test_a_file_of_its_own_is_evaluated_on_whole(own, tmp_path):
    other = write(tmp_path / "dev.csv", [("NA", "b"), ("", "a")])
    train, validation = split(own(classes(a=5, b=5), f"task.validation={other}"))
    assert len(train) == 10
    assert validation.texts == [("NA",), ("",)] and validation.labels == [1, 0]
    assert validation.ids == [1, 2]


def test_other_formats_and_scripts_are_read(compose, tmp_path):
    texts = ["これは良い", "とても好き", "悪いです", "壊れている"]
    rows = [{"text": text, "label": number // 2} for number, text in enumerate(texts)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "b.parquet")
    found = [
        load_own(settled(compose("task=file", f"task.train={tmp_path / name}")).task, "train")
        for name in ("a.jsonl", "b.parquet")
    ]
    assert found[0] == found[1]
    assert len(found[0]) == 2 and set(found[0].texts) < {(text,) for text in texts}


TWENTY = classes(a=10, b=10)
NUMBERS = [(f"t{number}", number / 2) for number in range(30)]
REFUSED = {
    "unknown column": (TWENTY, ["task.text=body"], "text=body: must be a column of .*: text, l"),
    "unknown label column": (TWENTY, ["task.label=y"], "task.label=y: must be a column"),
    "label column as the text": (TWENTY, ["task.text=label", "task.label=label"], "another col"),
    "no column": (TWENTY, ["task.text=5"], "task.text=5: must be a column of"),
    "three texts": (TWENTY, ["task.text=[text,text,text]"], "a column or .a,b., a pair's"),
    "one label": (classes(a=5), [], "one label alone: 'a'"),
    "no labels": ([("a", ""), ("b", " ")], [], "column 'label' holds no labels; two are needed"),
    "one number": ([(f"t{i}", 0.5) for i in range(30)], [], "reviews.csv: holds one number alone"),
    "few texts of numbers": (
        [(f"t{i // 6}", i / 4) for i in range(30)],
        [],
        "too few different texts to hold some out",
    ),
    "too many": ([(f"t{i}", f"l{i}") for i in range(9)], [], "9 different labels in 9 rows"),
    "empty label": (
        [*TWENTY, ("x", " ")],
        [],
        r"row 21 \(line 22\): label is ' ', not one of a, b",
    ),
    "rare label": (
        [*TWENTY, ("x", "c")],
        [],
        r"row 21 \(line 22\): 'c' stands beside one text alone",
    ),
    "no number": (
        [*NUMBERS, ("x", "many")],
        ["task.kind=regression"],
        r"row 31 \(line 32\): label is 'many', not a",
    ),
    "share": (TWENTY, ["task.held_out=0.6"], r"task.held_out=0.6: must be in \(0, 0.5\]"),
    "kind": (TWENTY, ["task.kind=ranking"], "task.kind=ranking: must be classification or"),
    "unit of classes": (TWENTY, ["task.standardize=true"], "task.standardize=True: must be false"),
    "metric of the other kind": (TWENTY, ["task.metrics=[spearman]"], "task.metrics="),
}


@pytest.mark.parametrize(("rows", "overrides", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_impossible_is_refused_with_its_row(own, rows, overrides, message):
    with pytest.raises(UserError, match=message) as error:
        split(own(rows, *overrides))
    assert "\n" not in str(error.value)


def test_one_number_to_evaluate_on_is_refused_before_training(own, tmp_path):
    other = write(tmp_path / "dev.csv", [("x", 0.5), ("y", 0.5)])
    with pytest.raises(UserError, match=r"dev.csv: holds one number alone, 0.5"):
        split(own(NUMBERS, f"task.validation={other}"))


def test_the_column_of_the_label_is_no_text_though_it_has_the_name_of_one(own):
    rows = [(f"said {i}", "ab"[i % 2]) for i in range(8)]
    task = own(rows, "task.label=text", header=("body", "text")).task
    assert (task.columns, task.label) == (["body"], "text")


def test_several_labels_of_one_text_are_refused_with_their_row(compose, tmp_path):
    rows = [{"text": f"t{number}", "label": [number % 2]} for number in range(8)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = settled(compose("task=file", f"task.train={tmp_path / 'a.jsonl'}"))
    with pytest.raises(UserError, match=r"row 1: label is \[0\], not a name or a number"):
        load_own(config.task, "train")


def test_labels_that_are_true_or_false_can_be_ordered(compose, tmp_path):
    rows = [{"text": f"t{number}", "label": number % 2 == 0} for number in range(8)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = f"task.train={tmp_path / 'a.jsonl'}"
    config = settled(compose("task=file", file, "task.labels=[true,false]"))
    assert config.task.labels == ["true", "false"]
    assert Counter(load_own(config.task, "train").labels) == {0: 3, 1: 3}


def test_a_text_that_is_none_is_refused_with_its_row(compose, tmp_path):
    rows = [{"text": "a", "label": 0}, {"text": None, "label": 1}] * 3
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = settled(compose("task=file", f"task.train={tmp_path / 'a.jsonl'}"))
    with pytest.raises(UserError, match="row 2: text is None, not a text"):
        load_own(config.task, "train")


def test_a_label_of_the_evaluation_alone_is_refused_with_its_row(own, tmp_path):
    other = write(tmp_path / "dev.csv", [("x", "a"), ("y", "c")])
    with pytest.raises(
        UserError, match=r"dev.csv, row 2 \(line 3\): label is 'c', not one of a, b"
    ):
        split(own(TWENTY, f"task.validation={other}"))


def test_the_content_makes_the_hash_and_not_the_place(own, tmp_path):
    first, moved = own(TWENTY), own(TWENTY, "task.name=reviews", name="moved.csv")
    assert config_hash(first) == config_hash(moved)
    assert config_hash(own([*TWENTY, ("more", "a")])) != config_hash(first)
    assert config_hash(own(TWENTY, "task.held_out=0.3")) != config_hash(first)


def test_a_run_lies_where_its_file_says(own):
    config = own(TWENTY, "model=tiny", name="my reviews, 2.csv")
    assert str(run_dir(config)) == "runs/single/my_reviews_2/tiny/agwm/nfull/seed0"
    assert run_dir(own(TWENTY, "task.name=kettles", "model=tiny")).parts[2] == "kettles"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ([], "task.train=None: must be a file of labelled texts: task=file task.train=reviews.csv"),
        (["task.train=none.csv"], "none.csv: cannot be read"),
        (["task.train=table.xlsx"], "table.xlsx: not one of .jsonl"),
        (["task.train=a.csv", "task.name=../up"], "task.name=../up: must be a folder's name"),
    ],
)
def test_a_mistake_is_told_before_anything_is_loaded(cli, override, message):
    code, _, err = cli("task=file", *override)
    assert code == 2
    assert err.startswith("error: ") and message in err and err.count("\n") == 1


def test_a_name_that_looks_like_an_interpolation_is_one(own):
    config = own(classes(**{"${x}": 5, "=1+1": 5}), "model=tiny")
    assert config.task.labels == ["${x}", "=1+1"]
    assert run_dir(config).parts[2] == "reviews"


def test_a_file_may_have_a_name_in_any_script(cli, tmp_path):
    write(tmp_path / "отзывы.csv", TWENTY)
    code, out, _ = cli("task=file", "task.train=отзывы.csv", "model=tiny", "--dry-run")
    assert code == 0 and out.strip() == "to do: runs/single/отзывы/tiny/agwm/nfull/seed0"
