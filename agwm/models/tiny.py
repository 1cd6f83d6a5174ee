"""The word-level tokenizer of `model=tiny`: a hundred common words, everything else unknown."""

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertTokenizerFast, PreTrainedTokenizerFast

_WORDS = """
the of and a to in is was it for on are as with his they at be this from i have or by one had not
but what all were when we there can an your which their said if do will each about how up out them
then she many some so these would other into has more her two like him see time could no make than
been its who now people my made over did down only way find use may long little very after words
just where most know get through back much before go good new write our me man too any day same
right look think also around three . , ?
""".split()
_SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}


def tiny_tokenizer(padding_side: str = "right") -> PreTrainedTokenizerFast:
    """Tokenizer with one id for each common word."""
    vocabulary = {token: index for index, token in enumerate([*_SPECIAL.values(), *_WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **_SPECIAL,
        padding_side=padding_side,
        model_input_names=BertTokenizerFast.model_input_names,
    )
