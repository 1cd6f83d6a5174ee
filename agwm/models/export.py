"""Write a fine-tuned model as an ordinary Hugging Face folder, and see that it reads back."""

from pathlib import Path
from shutil import rmtree

import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from agwm.errors import RunError

_SENTENCE = "A short text, to compare by."


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write `model`, merged, and its tokenizer to `folder`, whole or not at all.

    Raises:
        RunError: what is read back gives other logits (difference above 1e-5).
    """
    temporary = folder.with_name(f".{folder.name}.partial")
    rmtree(temporary, ignore_errors=True)
    try:
        model = model.cpu().eval()
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        read_back = AutoModelForSequenceClassification.from_pretrained(
            temporary, dtype=torch.float32
        )
        batch = AutoTokenizer.from_pretrained(temporary)(_SENTENCE, return_tensors="pt")
        with torch.inference_mode():
            difference = (
                (model(**batch).logits - read_back.eval()(**batch).logits).abs().max().item()
            )
        if not difference < 1e-5:
            raise RunError(f"{folder}: the model read back differs by {difference} in its logits")
        rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        rmtree(temporary, ignore_errors=True)
