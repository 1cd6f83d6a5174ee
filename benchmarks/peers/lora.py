"""LoRA by PEFT and the Trainer; unless told otherwise, the settings of PEFT's own example.

The example is examples/sequence_classification/LoRA.ipynb of huggingface/peft.

python benchmarks/peers/lora.py docs/messages.csv docs/later.csv MODEL [--seed 0]
"""

import argparse
import tempfile

from datasets import load_dataset
from peft import LoraConfig, get_peft_model
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
parser.add_argument("--lr", type=float, default=3e-4)
given = parser.parse_args()

set_seed(given.seed)  # before head and adapters are drawn
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
model = get_peft_model(model, LoraConfig("SEQ_CLS", r=8, lora_alpha=16, lora_dropout=0.1))
with tempfile.TemporaryDirectory() as folder:
    settings = TrainingArguments(
        folder,
        learning_rate=given.lr,
        num_train_epochs=20,
        per_device_train_batch_size=32,
        warmup_steps=0.06,  # a share of all steps
        label_names=["labels"],
        seed=given.seed,
        save_strategy="no",
        report_to="none",
    )
    trainer = Trainer(model, settings, train_dataset=data["train"], processing_class=tokenizer)
    trainer.train()
    found = trainer.predict(data["test"])
print("accuracy", 100 * (found.predictions.argmax(1) == found.label_ids).mean())
