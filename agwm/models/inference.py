"""Logits of a fine-tuned model that lies in a folder."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BatchEncoding,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from agwm.errors import RunError, UserError
from agwm.models.folder import ADAPTER, HEAD, ModelFolder
from agwm.models.positions import positions

_LONGEST = 512  # tokens, where neither tokenizer nor model says


class Classifier:
    """A model in float32 on `device`, in evaluation mode, with its tokenizer.

    Args:
        module: gives `.logits` (batch, labels) for what the tokenizer makes.
        tokenizer: of the model.
        max_length: tokens; longer texts are cut.
        device: of torch.
    """

    def __init__(
        self,
        module: nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        device: torch.device,
    ) -> None:
        self.module = module.to(device).eval()
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.device = device

    @torch.inference_mode()
    def logits(
        self,
        texts: Sequence[tuple[str, ...]],
        batch_size: int,
        advance: Callable[[int], None] = lambda rows: None,
    ) -> tuple[Tensor, int]:
        """Batches are of texts of like length; the result is in the order of `texts`.

        Args:
            texts: one or two strings each.
            batch_size: texts at once.
            advance: called after each batch with its size.

        Returns:
            Logits (texts, labels), float32, and how many of the texts were cut.

        Raises:
            UserError: a text without tokens, batches where the tokenizer has no padding, or a
                tokenizer of another model.
            RunError: logits that are not finite.
        """
        rows, cut = self._encode(texts)
        if batch_size > 1 and self.tokenizer.pad_token is None:
            raise UserError(
                f"--batch-size={batch_size}: the model's tokenizer has no padding token; "
                "--batch-size 1 does without"
            )
        order = sorted(range(len(rows)), key=lambda index: -len(rows[index]["input_ids"]))
        found: list[Tensor] = []
        for first in range(0, len(order), batch_size):
            batch = [rows[index] for index in order[first : first + batch_size]]
            found.append(self._outputs(batch))
            advance(len(batch))
        logits = torch.cat(found)
        if not logits.isfinite().all():
            raise RunError("the model's logits are not finite; its weights are damaged")
        return logits[torch.tensor(order).argsort()], cut

    def _outputs(self, batch: list[dict[str, list[int]]]) -> Tensor:
        try:
            return self.module(**self._padded(batch)).logits.float().cpu()
        except IndexError as error:
            raise UserError(
                f"the tokenizer ({len(self.tokenizer)} tokens) gives codes that the model does not "
                "know; give the folder the model's own tokenizer"
            ) from error

    def _padded(self, batch: list[dict[str, list[int]]]) -> BatchEncoding:
        if len(batch) > 1:
            return self.tokenizer.pad(batch, return_tensors="pt").to(self.device)
        # Without a padding token `pad` refuses this too.
        single = {name: [values] for name, values in batch[0].items()}
        return BatchEncoding(single, tensor_type="pt").to(self.device)

    def _encode(self, texts: Sequence[tuple[str, ...]]) -> tuple[list[dict[str, list[int]]], int]:
        def encode(chosen: Sequence[tuple[str, ...]], **truncation: object) -> dict[str, list]:
            columns = [list(column) for column in zip(*chosen, strict=True)]
            return self.tokenizer(*columns, verbose=False, **truncation)

        encoded = encode(texts, truncation=True, max_length=self.max_length)
        rows = [
            {name: values[index] for name, values in encoded.items()} for index in range(len(texts))
        ]
        if any(not row["input_ids"] for row in rows):
            raise UserError("a text is empty, and the model's tokenizer makes no token of it")
        # Whether one that fills the limit was longer is seen only without the limit.
        full = [
            text
            for text, row in zip(texts, rows, strict=True)
            if len(row["input_ids"]) == self.max_length
        ]
        whole = encode(full, truncation=False)["input_ids"] if full else []
        return rows, sum(len(ids) > self.max_length for ids in whole)


def load_classifier(folder: ModelFolder, device: str | None) -> Classifier:
    """Read the model; nothing is unpickled and no code of the folder is run.

    Args:
        folder: of `read_folder`.
        device: of torch; None takes a GPU where there is one.

    Raises:
        UserError: no such device, or no whole classifier in the folder.
    """
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    where = _device(device)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder.path, trust_remote_code=False)
        module = _read(folder)
    except (UserError, MemoryError):
        raise
    # The tokenizers library raises plain exceptions, and a wrong configuration any other.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"MODEL={folder.path}: cannot be read as a sequence classifier with its tokenizer "
            f"({reason})"
        ) from error
    size = (getattr(module, "config", None) or module.encoder.config).vocab_size
    if len(tokenizer) < size / 2:
        raise UserError(
            f"MODEL={folder.path}: its tokenizer knows {len(tokenizer)} of the model's {size} "
            "tokens; are the tokenizer's files in the folder?"
        )
    return Classifier(module, tokenizer, _max_length(folder, tokenizer, module), where)


def _read(folder: ModelFolder) -> nn.Module:
    if (folder.path / ADAPTER).is_dir():
        # PEFT takes a second to import.
        from agwm.models.adapters import read_adapter

        return read_adapter(folder.path)
    if (folder.path / HEAD).is_file():
        from agwm.models.probe import read_probe

        return read_probe(folder.path)
    model, report = AutoModelForSequenceClassification.from_pretrained(
        folder.path,
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # to be told in our words
    )
    if report["mismatched_keys"]:
        name, *shapes = min(report["mismatched_keys"])
        found, wanted = (" x ".join(map(str, shape)) for shape in shapes)
        raise UserError(
            f"MODEL={folder.path}: {name} is {found} in its weights "
            f"and {wanted} by its config.json, which are not of one model"
        )
    if report["missing_keys"]:
        name = min(report["missing_keys"])
        raise UserError(
            f"MODEL={folder.path}: holds no trained classifier: {name} is missing and would be "
            "random; fine-tune it first (python -m agwm.train)"
        )
    return model


def _device(name: str | None) -> torch.device:
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        # Some devices are known by name and not there.
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device={name}: not on this machine; --device cpu is") from error


def _max_length(folder: ModelFolder, tokenizer: PreTrainedTokenizerBase, module: nn.Module) -> int:
    """What the model was trained on, where it says so, within what it can take."""
    trained = folder.max_length
    if trained is None and tokenizer.is_fast:
        trained = (tokenizer.backend_tokenizer.truncation or {}).get("max_length")
    config = getattr(module, "config", None) or module.encoder.config
    limits = [trained, tokenizer.model_max_length, positions(config)]
    # A tokenizer that knows no limit says 1e30.
    return min((limit for limit in limits if limit is not None and limit < 1e9), default=_LONGEST)
