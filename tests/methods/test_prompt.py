import pytest
import torch
from adapter_harness import (
    adapted,
    copy_heads,
    counts,
    disturb,
    large,
    logits,
    method_of,
)
from families import FAMILIES

from agwm.errors import UserError


@pytest.fixture
def prompt(compose):
    return method_of(compose, "method=prompt")


@pytest.mark.parametrize(
    ("labels", "trained", "all_of_them"),
    [(2, 22_530, 333_603_844), (1, 21_505, None), (3, 23_555, None)],
)
def test_bert_large_trains_as_many_parameters_as_the_paper_says(
    prompt, labels, trained, all_of_them
):
    found = counts(large(prompt, "bert", labels))
    assert found[0] == trained
    assert all_of_them in (None, found[1])


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"bart"}))
def test_the_learned_embeddings_stand_in_front_of_those_of_the_text(prompt, family):
    plain, model, batch = adapted(prompt, family)
    disturb(model)
    (learned,) = [p for n, p in model.named_parameters() if "prompt_encoder" in n]
    # Their embeddings are narrower than their layers.
    assert learned.shape == (20, 8 if family in ("albert", "electra") else 16)
    copy_heads(model, plain)
    text = plain.get_input_embeddings()(batch["input_ids"])
    ones = torch.ones(2, 20, dtype=torch.long)
    given = {
        "inputs_embeds": torch.cat([learned.expand(2, -1, -1), text], 1),
        "attention_mask": torch.cat([ones, batch["attention_mask"]], 1),
    }
    torch.testing.assert_close(logits(model, batch), logits(plain, given), rtol=0, atol=1e-6)


def test_more_tokens_than_the_model_has_positions_for_are_refused(tiny_run):
    with pytest.raises(UserError, match=r"^method.tokens=33: .*room for 32 more positions"):
        tiny_run("method=prompt", "method.tokens=33")
