"""A tiny configuration of every family of models, for random weights and the word-level tokenizer.

DeBERTa-v3 is a v2 whose positions are in buckets, share the keys' projection and are not added to
the embeddings. ALBERT's three layers are one. Dropout is BERT's also where the default is none.
"""

_BERT = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "vocab_size": 128, "max_position_embeddings": 256, "pad_token_id": 0,
}  # fmt: skip
_RELATIVE = _BERT | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
FAMILIES = {
    "bert": _BERT,
    "roberta": _BERT,
    "bart": {
        "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
        "vocab_size": 128, "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": 2,
        "eos_token_id": 3, "decoder_start_token_id": 3, "forced_eos_token_id": 3,
    },
    "deberta": _RELATIVE | {"max_relative_positions": 16},
    "xlnet": {
        "d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32, "vocab_size": 128,
        "pad_token_id": 0,
    },
    "deberta-v2": _RELATIVE | {"max_relative_positions": 16, "conv_kernel_size": 3},
    "deberta-v3": _RELATIVE | {
        "model_type": "deberta-v2", "position_buckets": 8, "norm_rel_ebd": "layer_norm",
        "share_att_key": True, "position_biased_input": False, "type_vocab_size": 0,
    },
    "electra": _BERT | {"embedding_size": 8},
    "modernbert": _BERT | {
        "embedding_dropout": 0.1, "mlp_dropout": 0.1, "attention_dropout": 0.1,
        "global_attn_every_n_layers": 2, "local_attention": 8, "bos_token_id": 2,
        "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3,
    },
    "distilbert": {
        "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "vocab_size": 128,
        "max_position_embeddings": 256, "pad_token_id": 0,
    },
    "albert": _BERT | {
        "embedding_size": 8, "num_hidden_layers": 3, "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
    },
    "xlm-roberta": _BERT,
}  # fmt: skip
FAMILIES = {family: {"model_type": family} | config for family, config in FAMILIES.items()}
