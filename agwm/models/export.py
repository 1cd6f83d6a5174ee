"""Write a fine-tuned model as an ordinary Hugging Face folder, and see that it reads back."""

from collections.abc import Callable
from pathlib import Path
from shutil import rmtree

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from agwm.atomic import flush
from agwm.errors import RunError

_SENTENCE = "A short text, to compare by."


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write `model`, merged, and its tokenizer to `folder`, whole or not at all.

    Raises:
        RunError: what is read back gives other logits (difference above 1e-5).
    """

    def read(temporary: Path) -> PreTrainedModel:
        return AutoModelForSequenceClassification.from_pretrained(
            temporary, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )

    write_checked(model, tokenizer, folder, model.save_pretrained, read)


def write_checked(
    model: nn.Module,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    write: Callable[[Path], None],
    read: Callable[[Path], nn.Module],
) -> None:
    """Let `write` fill a folder, compare what `read` finds there with `model`, and put it in place.

    Raises:
        RunError: what is read back gives other logits (difference above 1e-5).
    """
    temporary = folder.with_name(f".{folder.name}.partial")
    rmtree(temporary, ignore_errors=True)
    try:
        model.cpu().eval()
        write(temporary)
        tokenizer.save_pretrained(temporary)
        read_tokenizer = AutoTokenizer.from_pretrained(temporary, trust_remote_code=False)
        batch = read_tokenizer(_SENTENCE, return_tensors="pt")
        read_back = read(temporary).eval()
        with torch.inference_mode():
            off = difference(read_back(**batch).logits, model(**batch).logits)
        if not off < 1e-5:
            raise RunError(f"{folder}: the model read back differs by {off} in its logits")
        for path in temporary.rglob("*"):
            if path.is_file():
                flush(path)
        rmtree(folder, ignore_errors=True)
        temporary.rename(folder)
    finally:
        rmtree(temporary, ignore_errors=True)


def difference(found: Tensor, expected: Tensor) -> float:
    """Largest difference of logits; relative to the largest of `expected` where that is above 1.

    Those of a regression are in the labels' unit, and float32 has seven digits of it.
    """
    largest = max(1.0, expected.abs().max().item())
    return (found - expected).abs().max().item() / largest
