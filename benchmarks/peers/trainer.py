"""Hugging Face Trainer; unless told otherwise, the settings that run_glue's README runs with.

python benchmarks/peers/trainer.py docs/messages.csv docs/later.csv MODEL [--seed 0]
"""

import argparse
import tempfile

from datasets import load_dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Trainer,
    TrainingArguments,
    set_seed,
)

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("train")
parser.add_argument("test")
parser.add_argument("model")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--lr", type=float, default=2e-5)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--batch-size", type=int, default=32)
given = parser.parse_args()

set_seed(given.seed)  # before the head is drawn
data = load_dataset("csv", data_files={"train": given.train, "test": given.test})
names = sorted(set(data["train"]["kind"]))
tokenizer = AutoTokenizer.from_pretrained(given.model)
data = data.map(lambda row: {**tokenizer(row["message"]), "label": names.index(row["kind"])})
model = AutoModelForSequenceClassification.from_pretrained(
    given.model,
    num_labels=len(names),
    id2label=dict(enumerate(names)),
    label2id={name: code for code, name in enumerate(names)},
)
with tempfile.TemporaryDirectory() as folder:
    settings = TrainingArguments(
        folder,
        learning_rate=given.lr,
        num_train_epochs=given.epochs,
        per_device_train_batch_size=given.batch_size,
        seed=given.seed,
        save_strategy="no",
        report_to="none",
    )
    trainer = Trainer(model, settings, train_dataset=data["train"], processing_class=tokenizer)
    trainer.train()
    found = trainer.predict(data["test"])
print("accuracy", 100 * (found.predictions.argmax(1) == found.label_ids).mean())
