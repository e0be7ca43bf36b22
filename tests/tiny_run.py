"""The tiny tower and the dimensions of the embedded dataset, as tests use them."""

from __future__ import annotations

TINY_TOWER = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}
"""An open_clip configuration of two narrow layers a tower: 0.8 M parameters, nearly all token embeddings."""

TINY_BLIP = {
    "vision_config": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    },
    "text_config": {
        "vocab_size": 49408,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 80,
    },
    "tokenizer": "open_clip",
}
"""A BLIP likewise."""

DEMO_DIMENSIONS = ("overall", "prompt_following", "aesthetic", "fidelity", "harmlessness")
