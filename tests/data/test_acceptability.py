import hashlib
import re
from collections import Counter, defaultdict

import pytest

from agwm.data import acceptability
from agwm.data.acceptability import FUNCTION_WORDS, PHENOMENA, generate

SHA256 = "ef942b5fbb046c82918ba4c86a1b1c29fb226e0018f9f54c8b1b6518783359e1"


@pytest.fixture(scope="module")
def splits():
    return generate()


@pytest.fixture(scope="module")
def every_row(splits):
    return [row for rows in splits.values() for row in rows]


def tokens(sentence):
    return re.findall(r"[a-z']+", sentence.lower())


def content_words(rows):
    return {token for row in rows for token in tokens(row["sentence"])} - FUNCTION_WORDS


def digest(splits):
    lines = (f"{split} {sorted(row.items())}" for split, rows in splits.items() for row in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def matthews(labels, guesses):
    counts = Counter(zip(labels, guesses, strict=True))
    tp, tn, fp, fn = (counts[key] for key in ((1, 1), (0, 0), (0, 1), (1, 0)))
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / product**0.5 if product else 0.0


def vote_by_words(train, rows):
    """Let each word of a sentence vote for the label it is more frequent under in `train`."""
    balance = Counter()
    for row in train:
        for token in tokens(row["sentence"]):
            balance[token] += 1 if row["label"] else -1
    votes = [
        sum((balance[token] > 0) - (balance[token] < 0) for token in tokens(row["sentence"]))
        for row in rows
    ]
    return matthews([row["label"] for row in rows], [int(vote > 0) for vote in votes])


def test_the_splits_have_the_promised_size_and_fields(splits):
    assert {split: len(rows) for split, rows in splits.items()} == {
        "train": 3216,
        "validation": 1008,
    }
    for rows in splits.values():
        assert [row["idx"] for row in rows] == list(range(len(rows)))
        for row in rows:
            assert set(row) == {"sentence", "label", "idx", "phenomenon", "pair"}


def test_labels_are_balanced_in_every_phenomenon_and_phenomena_are_equally_frequent(splits):
    assert len(PHENOMENA) >= 12
    for rows in splits.values():
        each = len(rows) // len(PHENOMENA) // 2
        counts = Counter((row["phenomenon"], row["label"]) for row in rows)
        assert counts == {(name, label): each for name in PHENOMENA for label in (0, 1)}


def test_a_pair_is_one_good_and_one_bad_sentence_of_one_split(splits):
    for rows in splits.values():
        pairs = defaultdict(list)
        for row in rows:
            pairs[row["pair"]].append(row)
        assert sorted(pairs) == list(range(len(rows) // 2))
        for members in pairs.values():
            assert sorted(row["label"] for row in members) == [0, 1]
            assert len({row["phenomenon"] for row in members}) == 1
            bags = [Counter(tokens(row["sentence"])) for row in members]
            shared = (bags[0] & bags[1]).total()
            assert shared >= max(bag.total() for bag in bags) - 2, members


def test_labels_are_the_right_way_round(every_row):
    for row in every_row:
        words = tokens(row["sentence"])
        if row["phenomenon"] == "polarity_echo":
            assert row["label"] == (("not" in words) == ("neither" in words)), row
        if row["phenomenon"] == "determiner_noun":
            plural = bool({"these", "those"} & set(words))
            assert row["label"] == (plural == words[-1].endswith("s")), row


def test_sentences_are_distinct_whatever_their_case(every_row):
    assert len({row["sentence"].lower() for row in every_row}) == len(every_row)


def test_sentences_are_written_as_sentences(every_row):
    for row in every_row:
        assert re.fullmatch(r"[A-Z][A-Za-z']*(,? [A-Za-z']+)+[.?]", row["sentence"]), row


def test_the_splits_share_only_function_words(splits):
    train, validation = (content_words(splits[split]) for split in ("train", "validation"))
    assert len(train) > 120 and len(validation) > 100
    assert sorted(train & validation) == []


def test_every_form_of_a_lexeme_stays_in_its_split(splits):
    forms = {}
    for split, table, _ in acceptability._SPLITS:
        words = [entry for line in table.split("\n") for entry in line.partition(": ")[2].split()]
        forms[split] = {form for word in words for form in re.split("[/_]", word.lower())}
        assert content_words(splits[split]) <= forms[split]
    assert forms["train"] & forms["validation"] <= FUNCTION_WORDS


def test_function_words_lists_no_word_in_vain(every_row):
    used = {token for row in every_row for token in tokens(row["sentence"])}
    assert sorted(FUNCTION_WORDS - used) == []


def test_the_first_rows_show_every_phenomenon_and_both_labels(splits):
    for rows in splits.values():
        assert {row["phenomenon"] for row in rows[:300]} == set(PHENOMENA)
        assert 120 < sum(row["label"] for row in rows[:300]) < 180


def test_two_calls_give_the_same_data_and_the_data_have_not_changed(splits):
    assert digest(generate()) == digest(splits)
    assert digest(splits) == SHA256


def test_single_words_do_not_tell_the_label(splits):
    assert abs(vote_by_words(splits["train"], splits["validation"])) < 0.25


def test_single_words_do_not_tell_the_label_within_most_phenomena(splits):
    scores = {}
    for name in PHENOMENA:
        train, validation = (
            [row for row in splits[split] if row["phenomenon"] == name]
            for split in ("train", "validation")
        )
        scores[name] = vote_by_words(train, validation)
    told = [name for name, score in scores.items() if abs(score) >= 0.25]
    assert len(told) <= len(PHENOMENA) // 4, scores


def test_length_does_not_tell_the_label(splits):
    def scores(rows):
        labels = [row["label"] for row in rows]
        lengths = [len(tokens(row["sentence"])) for row in rows]
        return {
            threshold: matthews(labels, [int(length > threshold) for length in lengths])
            for threshold in range(2, 15)
        }

    train = scores(splits["train"])
    best = max(train, key=lambda threshold: abs(train[threshold]))
    assert abs(train[best]) < 0.25
    assert abs(scores(splits["validation"])[best]) < 0.25
