"""Stable fine-tuning of pretrained language models on few labelled texts."""

__version__ = "0.1.0"
