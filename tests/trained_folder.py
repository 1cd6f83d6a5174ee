"""A tiny model, far enough from its start to tell texts apart, as a run leaves it in `model/`."""

import json

import torch

from agwm.config import Model, Task
from agwm.models.export import save_model
from agwm.models.pretrained import load_pretrained

BERT = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 2, "vocab_size": 128}
BERT |= {"num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 64}
LABELS = ["bad", "so-so", "good"]
WORDS = "The time is now and they will go where most people look for a good day".split()
# Of many lengths, so that batches are padded and sorted.
TEXTS = [" ".join(WORDS[start % 7 :][: 1 + start % 11]) + " ." * (start % 3) for start in range(60)]


def save_trained(folder, labels=LABELS, **own):
    """Write the model to `folder`, with `own` in its agwm.json; gives `folder`."""
    metrics = ["accuracy" if labels else "spearman"]
    task = Task("file", ["text"], labels, metrics, ["validation"])
    loaded = load_pretrained(Model("tiny", config=BERT), task, head_seed=0)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    # So that no label takes all.
    batch = loaded.tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = loaded.model.eval()(**batch).logits
        loaded.model.classifier.bias -= logits.mean(0)
    save_model(loaded.model, loaded.tokenizer, folder)
    if own:
        (folder / "agwm.json").write_text(json.dumps(own))
    return folder
