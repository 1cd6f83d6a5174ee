import json
from dataclasses import replace

import pytest
import torch

from agwm.config import Optim, Task
from agwm.data.datamodule import GlueDataModule
from agwm.models.tiny import tiny_tokenizer

SINGLE = Task("sst2", ["sentence"], ["negative", "positive"], ["accuracy"], ["validation"])
PAIR = Task("rte", ["sentence1", "sentence2"], ["yes", "no"], ["accuracy"], ["validation"])
NUMBER = Task("stsb", ["sentence1", "sentence2"], None, ["spearman"], ["validation"])
MATCHED = ["validation_matched", "validation_mismatched"]
MNLI = Task("mnli", ["premise", "hypothesis"], ["e", "n", "c"], ["accuracy"], MATCHED)
OPTIM = Optim(lr=1e-3, epochs=1, batch_size=4, warmup_ratio=0.1, weight_decay=0.0, max_length=12)
SIZES = {"train": 22, "validation": 70, "validation_matched": 5, "validation_mismatched": 9}


def words(count):
    return " ".join(["the"] * count)


def write(folder, task):
    (folder / task.name).mkdir()
    for split in ("train", *task.evaluation):
        rows = [
            dict.fromkeys(task.columns, words(1 + index * 7 % 9))
            | {"label": index / 8 if task.labels is None else index % len(task.labels)}
            | {"idx": f"{split}-{index}"}
            for index in range(SIZES[split])
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / task.name / f"{split}.jsonl").write_text(lines)


@pytest.fixture
def module(tmp_path):
    def made(task, seed=0, n_train=None):
        if not (tmp_path / task.name).exists():
            write(tmp_path, task)
        found = GlueDataModule(task, OPTIM, seed, n_train, str(tmp_path))
        found.tokenize_with(tiny_tokenizer())
        return found

    return made


def epoch(loader, number=0):
    loader.sampler.set_epoch(number)
    return list(loader)


def lengths(batch):
    return batch["attention_mask"].sum(1).tolist()


@pytest.mark.parametrize(
    ("task", "dtype"), [(SINGLE, torch.int64), (PAIR, torch.int64), (NUMBER, torch.float32)]
)
def test_labels_have_the_type_that_the_loss_needs(module, task, dtype):
    for batch in epoch(module(task).train_dataloader()):
        assert (
            batch["labels"].dtype == dtype and batch["labels"].shape == batch["input_ids"].shape[:1]
        )
        assert batch["input_ids"].dtype == torch.int64


@pytest.mark.parametrize("task", [SINGLE, PAIR, NUMBER])
def test_an_epoch_of_training_gives_every_label_once(module, task):
    data = module(task)
    batches = epoch(data.train_dataloader())
    assert [len(batch["labels"]) for batch in batches] == [4, 4, 4, 4, 4, 2]
    found = torch.cat([batch["labels"] for batch in batches]).tolist()
    assert sorted(found) == sorted(data.train.labels)
    assert found != data.train.labels


@pytest.mark.parametrize("task", [SINGLE, PAIR])
def test_a_batch_is_padded_to_its_own_longest_text_and_no_further(module, task):
    batches = epoch(module(task).train_dataloader())
    for batch in batches:
        assert batch["input_ids"].shape[1] == max(lengths(batch))
    assert len({batch["input_ids"].shape[1] for batch in batches}) > 1


def test_grouped_by_length_the_same_texts_take_fewer_tokens(module):
    def padded(grouped):
        found = module(SINGLE)
        found.optim = replace(OPTIM, group_by_length=grouped)
        batches = list(found.train_dataloader())
        labels = torch.cat([batch["labels"] for batch in batches])
        return sum(batch["input_ids"].numel() for batch in batches), sorted(labels.tolist())

    (many, labels), (few, same) = padded(False), padded(True)
    assert few < 0.8 * many
    assert same == labels


def test_a_text_is_cut_at_the_longest_length(module):
    assert max(max(lengths(batch)) for batch in epoch(module(PAIR).train_dataloader())) == 12


def test_both_texts_of_a_pair_are_told_apart_by_their_type(module):
    batch = epoch(module(PAIR).train_dataloader())[0]
    for ids, types in zip(batch["input_ids"], batch["token_type_ids"], strict=True):
        separators = (ids == tiny_tokenizer().sep_token_id).nonzero().flatten()
        assert len(separators) == 2
        assert types[: separators[0] + 1].sum() == 0
        assert types[separators[0] + 1 : separators[1] + 1].min() == 1


@pytest.mark.parametrize("task", [SINGLE, NUMBER])
def test_the_order_of_evaluation_leads_back_to_the_order_of_the_file(module, task):
    data = module(task)
    loader, order = data.evaluation_dataloader("validation")
    batches = list(loader)
    assert [len(batch["labels"]) for batch in batches] == [64, 6]
    given = torch.cat([batch["labels"] for batch in batches])
    restored = torch.empty_like(given)
    restored[order] = given
    assert restored.tolist() == data.evaluation["validation"].labels
    assert given.tolist() != restored.tolist()
    found = [length for batch in batches for length in lengths(batch)]
    assert found == sorted(found, reverse=True)


def test_mnli_is_evaluated_on_two_splits(module):
    data = module(MNLI)
    assert {name: len(found) for name, found in data.evaluation.items()} == {
        "validation_matched": 5,
        "validation_mismatched": 9,
    }
    for split in MATCHED:
        batches = list(data.evaluation_dataloader(split)[0])
        assert sum(len(batch["labels"]) for batch in batches) == SIZES[split]


def test_the_training_texts_are_tokenised_once(module, monkeypatch):
    data = module(SINGLE)
    calls = []
    original = type(data.tokenizer).__call__

    def counted(self, *texts, **options):
        calls.append(len(texts[0]))
        return original(self, *texts, **options)

    monkeypatch.setattr(type(data.tokenizer), "__call__", counted)
    for number in range(2):
        epoch(data.train_dataloader(), number)
        list(data.search_dataloader(number, 0.8))
    assert calls == [22]


def test_the_subsample_is_drawn_by_the_seed_and_nested(module):
    few, more = module(SINGLE, n_train=10), module(SINGLE, n_train=20)
    assert len(few.train) == 10 and few.train.ids == more.train.ids[:10]
    assert set(module(SINGLE, seed=1, n_train=10).train.ids) != set(few.train.ids)


def test_a_search_trains_on_the_inner_part_and_tests_on_the_outer_part(module):
    data = module(NUMBER)
    inner, outer = data.split(2, 0.8)
    assert (len(inner), len(outer)) == (17, 5)
    batches = [batch for batch, *_ in data.search_dataloader(2, 0.8)]
    assert len(batches) == 5

    def labels(part):
        return [value for batch in batches for value in batch[part]["labels"].tolist()]

    assert sorted(labels("inner")) == sorted(data.train.labels[index] for index in inner)
    assert set(labels("outer")) == {data.train.labels[index] for index in outer}


def test_what_a_constant_prediction_would_be_comes_from_the_subsample(module):
    assert module(NUMBER).constant_prediction() == sum(range(22)) / 22 / 8
    assert module(MNLI).constant_prediction() == 0
    data = module(SINGLE, n_train=7)
    ones = sum(data.train.labels)
    assert data.constant_prediction() == int(ones > 3)


def test_one_seed_gives_the_same_batches_again(module):
    first, again = (epoch(module(SINGLE).train_dataloader(), 1) for _ in range(2))
    other = epoch(module(SINGLE, seed=1).train_dataloader(), 1)
    assert all(
        torch.equal(a["input_ids"], b["input_ids"]) for a, b in zip(first, again, strict=True)
    )
    assert [a["labels"].tolist() for a in first] != [b["labels"].tolist() for b in other]
