"""The options of the model and of its images: the sections ``model`` and ``transform`` of ``fit``."""

from __future__ import annotations

from dataclasses import dataclass

from rewardkit.config.blip_options import BlipOptions
from rewardkit.config.mllm_options import MllmOptions
from rewardkit.config.options import option
from rewardkit.config.overall import OVERALL_GRADIENTS, OVERALLS


@dataclass
class ModelOptions:
    """The reward: an image tower and a text tower, and a head for each dimension."""

    kind: str = option("clip", choices=("clip", "blip", "mllm"))
    """clip: open_clip's two towers, a cosine (HPS v2). blip: a cross-encoder whose text tower looks at the image
    (ImageReward); docs/blip.md. mllm: a multimodal language model that is asked questions (EvalAlign);
    docs/mllm.md."""
    architecture: str = option("ViT-H-14")
    """An open_clip architecture (`ViT-H-14`), or the path of an open_clip JSON config; recipes may name a file that
    ships beside them (`towers/NAME.json`). auto: what the folder that pretrained names says. With kind=blip:
    `blip-base`, `blip-large`, or the path of a JSON file with vision_config and text_config. With kind=mllm: auto, or
    small, which is made from nothing (model.mllm.small)."""
    pretrained: str | None = option(None)
    """open_clip tag of pretrained weights, a local .pt/.safetensors file, or (with architecture=auto) a run, a
    bundle, or a folder in the layout of transformers' CLIPModel, as PickScore is published, or of open_clip: local, or
    `hf-hub:OWNER/NAME`; null starts from random weights. With kind=blip: a local file in the layout of BLIP
    or of ImageReward.pt. With kind=mllm: the folder of an image-text-to-text model as transformers saves it, or
    `hf-hub:OWNER/NAME`."""
    dimensions: list[str] = option(["overall"])
    """Names of what is judged; one or many. Default with kind=mllm: the dimensions of its questions."""
    questions: str | None = option(None)
    """With kind=mllm: the questions that are asked, as the name of a set that ships with rewardkit (evalalign,
    visionprefer, visionreward, embedded) or the path of a YAML file (docs/mllm.md)."""
    head: str = option("auto", choices=("auto", "cosine", "projection", "text_query"))
    """cosine: one dimension, plain CLIP. projection: a learned projection of image and prompt for each dimension.
    text_query: a learned vector for each dimension, added to the prompt's embedding. auto: cosine for one dimension,
    projection for many. An overall that follows from the others does not count."""
    overall: str = option("learned", choices=OVERALLS)
    """How the dimension named overall is made where it is one of several. learned: a dimension like the others.
    mean: the mean of the others. combination: their weighted sum; the weights are learned, not negative, sum to 1 and
    start equal. gate: the same with weights that a small network reads off the prompt (ArmoRM)."""
    overall_gradient: str = option("all", choices=OVERALL_GRADIENTS)
    """What labels of an overall that follows from the others teach. all: the weights, the other dimensions and the
    towers. weights: the weights of combination or gate alone, so that the other dimensions stay what their own labels
    say."""
    gate_width: int = option(128, at_least=1)
    """Hidden units of the gate."""
    uncertainty: bool = option(False)
    """Give each score of a CLIP a standard deviation of its own, from image and prompt; it starts at 1 and is what
    objectives of uncertain scores learn from."""
    unlocked_image_groups: int | None = option(None, at_least=0)
    """Train only the last n parameter groups of the image tower (HPS v2: 20); null trains all."""
    unlocked_text_layers: int | None = option(None, at_least=0)
    """Train only the last n layers of the text tower (HPS v2: 11); null trains all."""
    gradient_checkpointing: bool = option(False)
    """Recompute activations in the backward pass: less memory, more time."""
    patch_dropout: float | None = option(None, at_least=0, at_most=0.95)
    """Share of the patches that the image tower of a CLIP leaves out of each picture in training: less time, a noisier
    score. Only vision transformers can. Null: what the architecture says, most often 0."""
    drop_path: float | None = option(None, at_least=0, at_most=0.9)
    """Stochastic depth in training, rising linearly to this share in the last block. Of CLIP towers only timm's have it
    (with kind=blip: blip.drop_path). Null: what the architecture says, most often 0."""
    output: str | None = option(None, choices=("cosine", "cosine100", "logit", "normalised"))
    """What users of the exported model get. A CLIP: the cosine (default), 100 times it, or the logit (scale times
    cosine). A BLIP: the logit, which is the head's number (default), or normalised (blip.reward_mean, reward_std)."""
    max_logit_scale: float = option(100.0, above=0)
    """The logit scale of a CLIP is clamped to [1, this] after each step (CLIP and HPS v2: 100)."""
    blip: BlipOptions = option(BlipOptions())
    mllm: MllmOptions = option(MllmOptions())


@dataclass
class TransformOptions:
    """How an image becomes the model's input; recorded in the bundle."""

    size: int | None = option(None, at_least=8)
    """Side of the square input, pixels. Default: the architecture's."""
    resize: str | None = option(None, choices=("pad", "crop", "squash"))
    """pad: the longest side fits, black borders (HPS v2). crop: the shortest side fits, centre crop. squash: both
    fit. Default: what the pretrained model or the architecture says of itself, most often crop."""
    interpolation: str | None = option(None, choices=("bicubic", "bilinear"))
    """Interpolation of the resize. Default: likewise, most often bicubic."""
    antialias: bool = option(True)
    """Low-pass before shrinking; the published HPS v2 transform depends on the torchvision version here."""
    decode: str = option("exact", choices=("exact", "scaled"))
    """scaled lets the JPEG decoder shrink large images while it decodes: faster, pixels differ slightly."""
