"""A frozen encoder, mean-pooled, under a linear head."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import SequenceClassifierOutput

from agwm.models.export import write_checked
from agwm.models.folder import HEAD


class MeanPooled(nn.Module):
    """Outputs are the mean of the encoder's last hidden states over the text's tokens.

    With a head they go through it: `head.weight` (labels, hidden), `head.bias` (labels,).
    """

    base_model_prefix = "encoder"  # as a classifier of transformers tells its body

    def __init__(self, encoder: PreTrainedModel, head: nn.Linear | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Identity() if head is None else head

    def forward(self, attention_mask: Tensor, **inputs: Tensor) -> SequenceClassifierOutput:
        """`logits` (batch, labels), or (batch, hidden) without a head."""
        states = self.encoder(attention_mask=attention_mask, **inputs).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(states.dtype)
        pooled = (states * mask).sum(1) / mask.sum(1)
        return SequenceClassifierOutput(logits=self.head(pooled))


def save_probe(model: MeanPooled, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write encoder and tokenizer as an ordinary folder, and the head beside them in `HEAD`."""

    def write(temporary: Path) -> None:
        model.encoder.save_pretrained(temporary)
        save_file(model.head.state_dict(), temporary / HEAD)

    write_checked(model, tokenizer, folder, write, read_probe)


def read_probe(folder: Path) -> MeanPooled:
    """The encoder and head that `save_probe` wrote."""
    weights = load_file(folder / HEAD)
    head = nn.Linear(*reversed(weights["weight"].shape))
    head.load_state_dict(weights)
    encoder = AutoModel.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    return MeanPooled(encoder, head)
