"""SetFit: contrastive training of the encoder on pairs of texts, then a logistic regression.

It is no dependency: pip install setfit. Without --iterations every pair is seen once, SetFit's
default.

python benchmarks/peers/contrastive.py docs/messages.csv docs/later.csv MODEL [--seed 0]
"""

import argparse
import tempfile

from datasets import load_dataset
from setfit import SetFitModel, Trainer, TrainingArguments

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("train")
parser.add_argument("test")
parser.add_argument("model")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--iterations", type=int, help="positive and negative pairs of each text")
given = parser.parse_args()

data = load_dataset("csv", data_files={"train": given.train, "test": given.test})
names = sorted(set(data["train"]["kind"]))
model = SetFitModel.from_pretrained(given.model, labels=names)
with tempfile.TemporaryDirectory() as folder:
    trainer = Trainer(
        model,
        TrainingArguments(
            folder,
            seed=given.seed,
            num_iterations=given.iterations,
            save_strategy="no",
            report_to="none",
        ),
        train_dataset=data["train"],
        column_mapping={"message": "text", "kind": "label"},
    )
    trainer.train()
predicted = model.predict(data["test"]["message"])
right = [ours == theirs for ours, theirs in zip(predicted, data["test"]["kind"], strict=True)]
print("accuracy", 100 * sum(right) / len(right))
