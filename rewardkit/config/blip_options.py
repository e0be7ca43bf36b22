"""The options that only a BLIP reward has: the section ``model.blip`` of ``fit``."""

from __future__ import annotations

from dataclasses import dataclass

from rewardkit.config.options import option


@dataclass
class BlipOptions:
    """For model.kind=blip: how a prompt is read, the head, and the scale of scores."""

    text_length: int = option(35, at_least=3)
    """Tokens that are read of a prompt, [CLS] and [SEP] included; what is longer is cut (ImageReward: 35)."""
    tokenizer: str | None = option(None)
    """A folder with a BERT tokenizer's files (vocab.txt), its name on the hub, or open_clip, which needs no files.
    Default: the architecture's (blip-base, blip-large: bert-base-uncased)."""
    head: str = option("mlp", choices=("mlp", "linear"))
    """mlp: ImageReward's five layers 1024-128-64-16-dimensions with dropout and without activations. linear: one
    layer."""
    head_init: str = option("scaled", choices=("scaled", "published"))
    """scaled: scores start with a standard deviation of about 1. published: ImageReward's own, with which scores start
    at 1e-9 and the loss stays at ln 2 for hundreds of steps; to see what the guard says of it."""
    head_dropout: list[float] = option([0.2, 0.2, 0.1])
    """Dropout behind the first three layers of the mlp."""
    drop_path: float = option(0.0, at_least=0, at_most=0.9)
    """Stochastic depth of the image tower, rising linearly to this share in the last block (ImageReward: 0.1)."""
    reward_mean: float = option(0.0)
    """With model.output=normalised: what is subtracted from the head's number (ImageReward.pt: 0.16717362830052426)."""
    reward_std: float = option(1.0, above=0)
    """With model.output=normalised: what the difference is divided by (ImageReward.pt: 1.0333394966054072)."""
