"""What the data looks like, and what of it is suspicious."""

import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
from rich.table import Table
from transformers import PreTrainedTokenizerBase

from agwm.config import Task
from agwm.console import PlainConsole
from agwm.data.datamodule import GlueDataModule
from agwm.data.examples import Examples

_SHOWN = 5  # rows named in a remark
_FEW_EVALUATED = 100
_FEW_OF_A_CLASS = 10


@dataclass(frozen=True)
class DataSummary:
    """Content of `data.json`; counts are of texts, or of pairs."""

    columns: list[str]
    label: str
    metric: str
    train: int
    evaluation: int
    held_out: bool  # whether the evaluation's are a part of the training file
    classes: dict[str, list[int]] | None  # label: its count in train, in evaluation
    numbers: dict[str, float] | None  # for regression: min, mean, max, std of the training labels
    standardized: bool  # whether those are learned in units of that std, from that mean
    tokens: dict[str, int]  # of the training texts: median, 95 %, longest, limit
    truncated: int  # training texts above the limit
    remarks: list[str]


def summarize(data: GlueDataModule) -> DataSummary:
    """Summary of what a run trains and is evaluated on; the tokenizer is set."""
    task, train, evaluation = data.task, data.train, data.evaluation[data.task.evaluation[0]]
    lengths = _lengths(train, data.tokenizer)
    limit = data.optim.max_length
    truncated = int((lengths > limit).sum())
    median, high = np.percentile(lengths, [50, 95], method="nearest").tolist()
    return DataSummary(
        columns=task.columns,
        label=task.label or "label",
        metric=task.metrics[0],
        train=len(train),
        evaluation=len(evaluation),
        held_out=task.train is not None and task.validation is None,
        classes=_classes(task, train, evaluation),
        numbers=_numbers(train) if task.labels is None else None,
        standardized=bool(task.standardize),
        tokens={"median": median, "95 %": high, "longest": int(lengths.max()), "limit": limit},
        truncated=truncated,
        remarks=[
            *_class_remarks(task, train, evaluation),
            *_text_remarks(train, evaluation),
            *_length_remarks(truncated, len(train), limit),
        ],
    )


def _lengths(examples: Examples, tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    columns = [list(column) for column in zip(*examples.texts, strict=True)]
    # verbose=False: it would warn of a text that is longer than its model takes.
    return np.array([len(ids) for ids in tokenizer(*columns, verbose=False)["input_ids"]])


def _classes(task: Task, train: Examples, evaluation: Examples) -> dict[str, list[int]] | None:
    if task.labels is None:
        return None
    counts = [Counter(examples.labels) for examples in (train, evaluation)]
    return {name: [count[code] for count in counts] for code, name in enumerate(task.labels)}


def _numbers(train: Examples) -> dict[str, float]:
    labels = np.array(train.labels)
    return {name: float(getattr(labels, name)()) for name in ("min", "mean", "max", "std")}


def _class_remarks(task: Task, train: Examples, evaluation: Examples) -> list[str]:
    remarks = []
    classes = _classes(task, train, evaluation) or {}
    few = [f"{name} ({known})" for name, (known, _) in classes.items() if known < _FEW_OF_A_CLASS]
    if few:
        remarks.append(f"labels with too few training texts to be learned: {', '.join(few)}")
    untested = [name for name, (_, tested) in classes.items() if tested == 0]
    if untested:
        remarks.append(f"labels without a text to evaluate them on: {', '.join(untested)}")
    alike = defaultdict(list)
    for name in classes:
        alike["".join(unicodedata.normalize("NFKC", name).casefold().split())].append(name)
    for names in alike.values():
        if len(names) > 1:
            remarks.append(f"labels that differ by case or spaces alone: {', '.join(names)}")
    if len(evaluation) < _FEW_EVALUATED:
        worth = f": one is worth {100 / len(evaluation):.1f} points of accuracy" if classes else ""
        remarks.append(
            f"{len(evaluation)} texts to evaluate on{worth}; small differences mean nothing"
        )
    return remarks


def _text_remarks(train: Examples, evaluation: Examples) -> list[str]:
    remarks = []
    rows = defaultdict(list)
    for index, texts in enumerate(train.texts):
        rows[texts].append(index)
    repeated = [found for found in rows.values() if len(found) > 1]
    agree = [found for found in repeated if len({train.labels[i] for i in found}) == 1]
    differ = [found for found in repeated if found not in agree]
    if agree:
        where = _named(train, [found[1] for found in agree])
        count = sum(len(found) - 1 for found in agree)
        remarks.append(f"training texts that repeat an earlier one: {count}, {where}")
    if differ:
        where = _named(train, [found[1] for found in differ])
        remarks.append(f"training texts with more than one label: {len(differ)}, {where}")
    both = [index for index, texts in enumerate(evaluation.texts) if texts in rows]
    if both:
        where = _named(evaluation, both)
        remarks.append(
            f"texts to evaluate on that were trained on, which flatters: {len(both)}, {where}"
        )
    for examples, where in ((train, "training"), (evaluation, "evaluation")):
        empty = [i for i, texts in enumerate(examples.texts) if not "".join(texts).strip()]
        if empty:
            remarks.append(f"empty {where} texts: {len(empty)}, {_named(examples, empty)}")
    return remarks


def _length_remarks(truncated: int, count: int, limit: int) -> list[str]:
    if not truncated:
        return []
    return [
        f"{truncated} of {count} training texts are longer than {limit} tokens and are cut "
        "there: optim.max_length keeps more, at a price in time"
    ]


def _named(examples: Examples, indices: list[int]) -> str:
    shown = ", ".join(str(examples.ids[index]) for index in indices[:_SHOWN])
    more = f" and {len(indices) - _SHOWN} more" if len(indices) > _SHOWN else ""
    return f"row{'s' if len(indices) > 1 else ''} {shown}{more}"


def print_data(summary: DataSummary, path: str) -> None:
    """What was found in a user's own file, and what is suspicious in it."""
    table = Table()
    for name in (" ", "train", "held out" if summary.held_out else "validation"):
        table.add_column(name, justify="left" if name == " " else "right")
    table.add_row("texts" if len(summary.columns) == 1 else "pairs", *_counts(summary))
    for name, counts in (summary.classes or {}).items():
        table.add_row(f"  {name}", *map(str, counts))
    console = PlainConsole()
    console.print(path, soft_wrap=True)
    console.print(table)
    if summary.numbers is not None:
        values = ", ".join(f"{name} {value:.4g}" for name, value in summary.numbers.items())
        unit = "as (label - mean) / std" if summary.standardized else "as they are"
        console.print(f"labels are numbers, learned {unit}: {values}")
    lengths = ", ".join(f"{name} {count}" for name, count in summary.tokens.items())
    metric = summary.metric
    if metric == "f1":  # of the second label, which an alphabet has chosen
        metric += f" of {list(summary.classes)[1]!r} (task.labels= orders them)"
    facts = [
        f"text: {', '.join(summary.columns)}; label: {summary.label}; metric: {metric} "
        "(task.text=, task.label=, task.kind= and task.metrics= change that)",
        f"tokens: {lengths}; {summary.truncated} cut",
    ]
    for line in facts:
        console.print(line)
    for remark in summary.remarks:
        console.print(f"note: {remark}", style="yellow")


def _counts(summary: DataSummary) -> tuple[str, str]:
    return str(summary.train), str(summary.evaluation)
