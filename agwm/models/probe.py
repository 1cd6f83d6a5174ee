"""A frozen encoder, mean-pooled, under a linear head."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import SequenceClassifierOutput

from agwm.models.export import write_checked

HEAD = "head.safetensors"


class MeanPooled(nn.Module):
    """Outputs are the mean of the encoder's last hidden states over the text's tokens.

    With a head they go through it: `head.weight` (labels, hidden), `head.bias` (labels,).
    """

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

    def read(temporary: Path) -> nn.Module:
        weights = load_file(temporary / HEAD)
        head = nn.Linear(*reversed(weights["weight"].shape))
        head.load_state_dict(weights)
        return MeanPooled(AutoModel.from_pretrained(temporary, dtype=torch.float32), head)

    write_checked(model, tokenizer, folder, write, read)
