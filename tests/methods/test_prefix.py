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
from transformers import (
    DynamicCache,
    EncoderDecoderCache,
)


@pytest.fixture
def prefix(compose):
    return method_of(compose, "method=prefix")


@pytest.mark.parametrize(
    ("labels", "trained", "all_of_them"),
    [(2, 985_090, 334_566_404), (1, 984_065, None), (3, 986_115, None)],
)
def test_bert_large_trains_as_many_parameters_as_the_paper_says(
    prefix, labels, trained, all_of_them
):
    found = counts(large(prefix, "bert", labels))
    assert found[0] == trained
    assert all_of_them in (None, found[1])


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_each_layer_attends_to_its_own_pairs_in_front_of_the_text(prefix, family):
    plain, model, batch = adapted(prefix, family)
    disturb(model)
    (learned,) = [p for n, p in model.named_parameters() if "prompt_encoder" in n]
    assert learned.shape == (20, 2 * 2 * 16)
    copy_heads(model, plain)
    # (tokens, layer, key or value, head, width)
    parts = learned.detach().reshape(20, 2, 2, 2, 8).permute(1, 2, 3, 0, 4)
    pairs = [tuple(p.expand(2, *p.shape) for p in layer) for layer in parts]
    ones = torch.ones(2, 20, dtype=torch.long)
    given = {**batch, "attention_mask": torch.cat([ones, batch["attention_mask"]], 1)}
    cache = EncoderDecoderCache(DynamicCache(pairs), DynamicCache())
    with torch.no_grad():
        expected = plain.eval()(**given, past_key_values=cache).logits
    torch.testing.assert_close(logits(model, batch), expected, rtol=0, atol=1e-6)
