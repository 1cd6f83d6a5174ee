"""How many tokens a model has positions for."""

from transformers import PretrainedConfig

# Their first position id is that of the padding token plus one.
_COUNT_FROM_PADDING = ("roberta", "xlm-roberta", "camembert")


def positions(config: PretrainedConfig) -> int | None:
    """Longest input in tokens; None where positions are relative alone."""
    found = getattr(config, "max_position_embeddings", None)
    if found is None or found < 0:
        return None
    if config.model_type in _COUNT_FROM_PADDING:
        return found - config.pad_token_id - 1
    return found
