"""Every method on the five families of the paper, as tiny models with random weights."""

import json

import pytest

from agwm.errors import UserError
from agwm.paths import root
from agwm.results.record import read_record

METHODS = sorted(path.stem for path in (root() / "conf" / "method").glob("*.yaml"))
SHORT = {
    "agwm": ["method.num_searches=1", "method.search_epochs=1"],
    "vanilla_matched": ["method.matched.num_searches=1", "method.matched.search_epochs=1"],
    "model_soup": ["method.members=2"],
    "paint": ["method.candidates=2"],
    "top_k_layers": ["method.layers=1"],
    "lora": ["method.epochs=1"],
    "prefix": ["method.epochs=1"],
    "prompt": ["method.epochs=1"],
    "vanilla_long": ["method.epochs=2"],
}
BERT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 128,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
FAMILIES = {
    "roberta": BERT,
    "deberta": BERT | {
        "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "max_relative_positions": 16,
    },
    "bart": {
        "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
        "vocab_size": 128, "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 2,
        "eos_token_id": 3, "decoder_start_token_id": 3, "forced_eos_token_id": 3,
    },
    "xlnet": {
        "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32, "vocab_size": 128,
        "pad_token_id": 0,
    },
}  # fmt: skip
REFUSED = {
    ("prefix", "bart"): "bart is an encoder-decoder",
    ("prefix", "deberta"): "deberta does not take past_key_values",
    ("prefix", "xlnet"): "xlnet does not take past_key_values",
    ("prompt", "bart"): "bart is an encoder-decoder",
    ("linear_probe", "bart"): "bart is an encoder-decoder",
}


untrained = {}  # scores of each family before training


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", METHODS)
def test_runs_or_says_in_one_line_why_not(tiny_run, tmp_path, name, family):
    def finished(*overrides):
        return tiny_run(*overrides, architecture={"model_type": family, **FAMILIES[family]})

    overrides = [f"method={name}", "n_train=20", *SHORT.get(name, [])]
    if (name, family) in REFUSED:
        with pytest.raises(UserError, match=REFUSED[name, family]) as caught:
            finished(*overrides)
        assert "\n" not in str(caught.value)
        return
    record, folder = finished(*overrides)
    assert read_record(folder)["status"] == record.status == "ok"
    if family not in untrained:
        still = finished("method=vanilla", "n_train=20", "optim.lr=0", "save_model=false")[1]
        untrained[family] = scores(still)
    assert scores(folder) != untrained[family]


def scores(folder):
    lines = (folder / "predictions.jsonl").read_text().splitlines()
    return [json.loads(line)["scores"] for line in lines]
