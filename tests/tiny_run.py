"""The tiny tower, the dimensions of the embedded dataset and the options of a tiny run, as tests use them."""

from __future__ import annotations

from pathlib import Path

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


def tiny_arguments(tower: Path, folders: tuple[Path, Path], runs: Path) -> list[str]:
    """Arguments of ``fit`` for a run of 8 steps of 4 groups that takes a second.

    Args:
        tower: As an open_clip JSON file.
        folders: Shards of the embedded dataset, to train and to validate on.
        runs: Where runs go.
    """
    return [
        "recipe=hpsv2",
        f"data.train={folders[0]}",
        f"data.val={folders[1]}",
        f"model.architecture={tower}",
        f"model.dimensions={','.join(DEMO_DIMENSIONS)}",
        "transform.size=null",
        "data.batch_groups=4",
        "data.micro_groups=2",
        "data.workers=0",
        "optim.lr=1e-3",
        "optim.warmup_steps=2",
        "trainer.max_steps=8",
        "trainer.validate_every=4",
        "trainer.checkpoint_every=2",
        "trainer.log_every=1",
        "trainer.precision=32",
        "trainer.threads=1",
        "evaluation.bootstrap=100",
        f"run.dir={runs}",
    ]


def replaced(arguments: list[str], *others: str) -> list[str]:
    """Arguments with others in place of those of the same keys."""
    keys = {other.partition("=")[0] for other in others}
    return [*(a for a in arguments if a.partition("=")[0] not in keys), *others]
