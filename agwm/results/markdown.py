"""Text from data in Markdown."""

import re


def escaped(text: str) -> str:
    """`text` with what Markdown or HTML would act on made harmless, on one line."""
    harmless = re.sub(r"([\\`*_\[\]|#~])", r"\\\1", " ".join(text.split()))
    return harmless.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
