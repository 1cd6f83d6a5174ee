"""Adapters by the PEFT library: a frozen model, few new parameters, and the head."""

import inspect
from collections.abc import Collection
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from agwm.errors import UserError
from agwm.models.export import write_checked
from agwm.models.folder import ADAPTER, BASE
from agwm.models.layers import last_linear
from agwm.models.positions import positions
from agwm.models.pretrained import Pretrained


def heads(model: PreTrainedModel, fresh: Collection[str]) -> list[str]:
    """Outermost modules that hold fresh parameters, or the head's, which PEFT trains whole.

    Below the body the module itself: a pooler that the checkpoint lacks. The head may be the
    checkpoint's; of some names PEFT would train it anyway, and of others not.
    """
    body = f"{model.base_model_prefix}."
    return sorted(
        {
            name.rpartition(".")[0] if name.startswith(body) else name.partition(".")[0]
            for name in (*fresh, last_linear(model)[0])
        }
    )


def adapt(model: PreTrainedModel, config: PeftConfig, head: list[str]) -> PeftModel:
    """`model` with adapters of `config`, drawn from torch's generator; `head` is trained too."""
    config.task_type = "SEQ_CLS"
    config.modules_to_save = head
    return get_peft_model(model, config)


def require_inputs(model: PreTrainedModel, method: str, argument: str) -> None:
    """Refuse a model into which `method` cannot put its virtual tokens.

    Raises:
        UserError: an encoder-decoder, or a body that does not take `argument`.
    """
    kind = model.config.model_type
    if model.config.is_encoder_decoder:
        raise UserError(
            f"method={method}: {kind} is an encoder-decoder, whose classifier takes no virtual "
            "tokens; method=lora works"
        )
    if argument not in inspect.signature(model.base_model.forward).parameters:
        raise UserError(f"method={method}: {kind} does not take {argument}; method=lora works")


def require_room(model: PreTrainedModel, tokens: int, max_length: int) -> None:
    """Refuse more virtual tokens than the model has positions for, beside the longest text.

    Raises:
        UserError: naming how many there is room for.
    """
    available = positions(model.config)
    if available is not None and tokens + max_length > available:
        raise UserError(
            f"method.tokens={tokens}: with texts of optim.max_length={max_length} the model has "
            f"room for {available - max_length} more positions; lower one of the two"
        )


def save_adapter(model: PeftModel, loaded: Pretrained, folder: Path) -> None:
    """Write `folder`/base, the pretrained classifier, `folder`/adapter and the tokenizer.

    Read by PeftModel.from_pretrained(AutoModelForSequenceClassification.from_pretrained(base),
    adapter). The folder itself is no model: without the adapter its predictions mean nothing.
    """

    def write(temporary: Path) -> None:
        loaded.model.save_pretrained(temporary / BASE)
        # What PEFT would say of the base, here and in a model card, can be a path of this machine.
        model.peft_config["default"].base_model_name_or_path = BASE
        model.save_pretrained(temporary / ADAPTER)
        (temporary / ADAPTER / "README.md").unlink()

    write_checked(model, loaded.tokenizer, folder, write, read_adapter)


def read_adapter(folder: Path) -> PeftModel:
    """The classifier that `save_adapter` wrote."""
    base = AutoModelForSequenceClassification.from_pretrained(
        folder / BASE, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    return PeftModel.from_pretrained(base, folder / ADAPTER)
