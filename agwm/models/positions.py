"""How many tokens a model has positions for."""

from transformers import PretrainedConfig

from agwm.errors import UserError

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


def require_positions(config: PretrainedConfig, max_length: int) -> None:
    """Refuse texts of more tokens than the model has positions for.

    Raises:
        UserError: naming how many it has.
    """
    available = positions(config)
    if available is not None and max_length > available:
        raise UserError(
            f"optim.max_length={max_length}: the model has positions for {available} tokens alone; "
            f"optim.max_length={available} cuts the texts there"
        )
