"""The CLIP reward: two open_clip towers, a head, and all that is needed to feed them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import torch
from open_clip.modified_resnet import ModifiedResNet
from torch import Tensor, nn

from rewardkit.data.batch import Batch
from rewardkit.data.images import ImageTransform, normalise, transform_tensor
from rewardkit.errors import UserError
from rewardkit.models.architecture import (
    Architecture,
    build_towers,
    dtype_of,
    find_pretrained,
    image_transform,
)
from rewardkit.models.checkpoints import load_clip
from rewardkit.models.freezing import freeze
from rewardkit.models.heads import make_head
from rewardkit.models.pretrained_folder import find_architecture, find_folder, load_folder
from rewardkit.models.reward import RewardOutput
from rewardkit.models.text import encode_text
from rewardkit.models.tokenizers import TextTokenizer, cut_padding, read_tokenizer
from rewardkit.models.uncertainty import UncertaintyHead

Output = Literal["cosine", "cosine100", "logit"]
"""What ``score`` returns: the cosine, 100 times it, or the logit (scale times cosine)."""


class CLIPReward(nn.Module):
    """A reward model (``rewardkit.models.reward.RewardModel``) on a CLIP.

    The score of an image is the head's cosine with its prompt, times ``exp(logit_scale)``. With one dimension that is
    HPS v2 (arXiv 2306.09341) exactly. Similarities are always taken in float32, whatever the towers compute in.

    Args:
        towers: From ``build_towers``.
        head: From ``make_head``.
        architecture: What the towers were built from.
        dimensions: Names of the dimensions, in the order of the head's scores.
        transform: What images must go through.
        tokenizer: What prompts must go through.
        output: What ``score`` returns.
        uncertainty: Gives log sigma of each logit; None where the model has no spread.
    """

    outputs = get_args(Output)

    def __init__(
        self,
        towers: nn.Module,
        head: nn.Module,
        *,
        architecture: Architecture,
        dimensions: Sequence[str],
        transform: ImageTransform,
        tokenizer: TextTokenizer,
        output: Output = "cosine",
        uncertainty: UncertaintyHead | None = None,
    ) -> None:
        super().__init__()
        if output not in self.outputs:
            raise UserError(f"output={output!r} is not one of {', '.join(self.outputs)}")
        if transform.size != architecture.image_size:
            raise UserError(
                f"the transform makes images of {transform.size} px, but the towers take {architecture.image_size} px"
            )
        self.clip = towers
        self.head = head
        self.uncertainty = uncertainty
        self.architecture = architecture
        self.dimensions = tuple(dimensions)
        self.transform = transform
        self.tokenizer = tokenizer
        self.output: Output = output

    def forward(self, batch: Batch) -> RewardOutput:
        """Scores every candidate of a batch.

        Args:
            batch: Pixels uint8 ``[N, 3, S, S]`` at the transform's size, tokens ``[G, L]``, group ``[N]``, and
                captions ``[C, L']`` where the data module was asked for them. Features that the batch carries are
                taken as they are, and what they were made from is not encoded.

        Returns:
            Logits float32 ``[N, D]``, features of both towers before normalisation, the scale, and log sigma of each
            logit where the model has an uncertainty.
        """
        image, text = batch.image_features, batch.text_features  # [N, E], [G, E] where they were computed beforehand
        if image is None:
            image = self.encode_pixels(normalise(batch.pixels, self.transform.mean, self.transform.std))
        if text is None:
            text = self.encode_tokens(batch.tokens)
        caption = self.encode_tokens(batch.caption_tokens) if len(batch.caption_tokens) else None  # [C, E]
        scale = self.scale()
        return RewardOutput(
            scores=scale * self.cosines(image, text, batch.group),
            image_features=image,
            text_features=text,
            caption_features=caption,
            logit_scale=scale,
            log_sigma=self.log_sigma(image, text, batch.group),
        )

    def score(self, images: Tensor, prompts: list[str], group: Tensor) -> Tensor:
        """Scores images under ``prompts[group[n]]``.

        Args:
            images: ``[N, 3, H, W]`` of any size, uint8, or float in [0, 1] and then differentiable.
            prompts: G texts.
            group: int64 ``[N]``.

        Returns:
            float32 ``[N, D]`` on the scale that ``output`` names.
        """
        device = self.device
        image = self.encode_pixels(transform_tensor(images.to(device), self.transform))  # [N, E]
        return self.scaled(self.cosines(image, self.encode_prompts(prompts), group.to(device)))

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Normalised images float ``[N, 3, S, S]`` to features ``[N, E]``, not normalised."""
        features: Tensor = self.clip.encode_image(pixels.to(dtype_of(self.clip.visual)))  # type: ignore[operator, arg-type]
        return features

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Token rows int64 ``[G, L]`` to features ``[G, E]``, not normalised."""
        return encode_text(self.clip, tokens, pad_id=self.tokenizer.pad_id)

    def encode_prompts(self, prompts: list[str]) -> Tensor:
        """Texts to features ``[G, E]``, not normalised."""
        return self.encode_tokens(cut_padding(self.tokenizer(prompts), self.tokenizer.pad_id).to(self.device))

    def prepare_prompts(self, prompts: list[str]) -> Tensor:
        """Texts to what ``score_pixels`` takes: their features ``[G, E]``."""
        return self.encode_prompts(prompts)

    def score_pixels(self, pixels: Tensor, prepared: Tensor, group: Tensor, output: Output | None = None) -> Tensor:
        """Normalised pixels float ``[N, 3, S, S]`` under ``prepared[group[n]]``, on the scale that ``output`` names."""
        return self.scaled(self.cosines(self.encode_pixels(pixels), prepared, group), output)

    def score_pixels_with_sigma(
        self, pixels: Tensor, prepared: Tensor, group: Tensor, output: Output | None = None
    ) -> tuple[Tensor, Tensor]:
        """``score_pixels``, and beside it the standard deviation of each score ``[N, D]`` on the same scale.

        Raises:
            UserError: The model has no uncertainty.
        """
        image = self.encode_pixels(pixels)
        log_sigma = self.log_sigma(image, prepared, group)
        if log_sigma is None:
            raise UserError("this model has no uncertainty; train one with model.uncertainty=true")
        # Sigma belongs to the logit, which is the scale times the cosine.
        sigma = self.scaled(log_sigma.exp() / self.scale(), output)
        return self.scaled(self.cosines(image, prepared, group), output), sigma

    def of_logits(self) -> dict[str, tuple[float, float]]:
        """Dimension to factor and shift that take a logit to the scale of ``output``: factor · logit + shift."""
        scale = float(self.scale())
        factor = {"logit": 1.0, "cosine": 1.0 / scale, "cosine100": 100.0 / scale}[self.output]
        return dict.fromkeys(self.dimensions, (factor, 0.0))

    def cosines(self, image_features: Tensor, text_features: Tensor, group: Tensor) -> Tensor:
        """The head in float32, autocast or not: features ``[N, E]`` and ``[G, E]`` to cosines ``[N, D]``."""
        with torch.autocast(device_type=image_features.device.type, enabled=False):
            cosines: Tensor = self.head(image_features, text_features, group)
        return cosines

    def log_sigma(self, image_features: Tensor, text_features: Tensor, group: Tensor) -> Tensor | None:
        """Log standard deviation of each logit, float32 ``[N, D]``; None for a model without uncertainty."""
        if self.uncertainty is None:
            return None
        with torch.autocast(device_type=image_features.device.type, enabled=False):
            log_sigma: Tensor = self.uncertainty(image_features, text_features, group)
        return log_sigma

    def scaled(self, cosines: Tensor, output: Output | None = None) -> Tensor:
        """Cosines on the scale that ``output`` names (default: the model's)."""
        output = output or self.output
        if output == "logit":
            return self.scale() * cosines
        return 100.0 * cosines if output == "cosine100" else cosines

    @property
    def logit_scale(self) -> nn.Parameter:
        """``[1]``, the learned logarithm of the scale."""
        return self.clip.logit_scale  # type: ignore[return-value]

    def scale(self) -> Tensor:
        """``[]``, the factor itself, at least float32."""
        logarithm: Tensor = self.logit_scale
        return (logarithm.float() if logarithm.dtype.itemsize < 4 else logarithm).exp().reshape(())

    def to_low_precision(self, dtype: torch.dtype) -> CLIPReward:
        """Casts the towers (not the head, not the scale) to bfloat16 or float16, for inference."""
        for name, parameter in self.clip.named_parameters():
            if name not in ("logit_scale", "logit_bias"):
                parameter.data = parameter.data.to(dtype)
        for _, buffer in self.clip.named_buffers():
            if buffer.is_floating_point():
                buffer.data = buffer.data.to(dtype)
        return self

    def train(self, mode: bool = True) -> CLIPReward:
        """Train mode for all but batch norms whose weights are frozen: their statistics stay as they are."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and _is_frozen(module):
                module.eval()
        return self

    @property
    def towers(self) -> nn.Module:
        """The towers, under the name that all rewards give them."""
        return self.clip

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.logit_scale.device


def build_clip_reward(
    *,
    architecture: str | Path | Architecture,
    pretrained: str | None = None,
    tower_weights: bool = True,
    dimensions: Sequence[str] = ("overall",),
    head: str = "auto",
    overall: str = "learned",
    overall_gradient: str = "all",
    gate_width: int = 128,
    uncertainty: bool = False,
    transform: ImageTransform | None = None,
    output: Output = "cosine",
    unlocked_image_groups: int | None = None,
    unlocked_text_layers: int | None = None,
    gradient_checkpointing: bool = False,
    patch_dropout: float | None = None,
    drop_path: float | None = None,
) -> CLIPReward:
    """Builds a CLIP reward and loads the weights that are named.

    Args:
        architecture: open_clip name, path of a JSON configuration, ``auto``, or what ``find_architecture`` gave.
        pretrained: open_clip tag, local ``.pt``/``.safetensors`` file, or a folder in transformers' or open_clip's
            layout (local, or ``hf-hub:OWNER/NAME``); None starts from random weights (or from those that the
            configuration names for a tower).
        tower_weights: Whether those that the configuration names for a tower are read where ``pretrained`` is None.
        dimensions: What is judged; one or many.
        head: See ``make_head``.
        overall: See ``make_head``.
        overall_gradient: See ``make_head``.
        gate_width: See ``make_head``.
        uncertainty: Give each score a standard deviation (``UncertaintyHead``).
        transform: Default: ``image_transform`` of the architecture and the tag.
        output: What ``score`` returns.
        unlocked_image_groups: See ``freeze``.
        unlocked_text_layers: See ``freeze``.
        gradient_checkpointing: Recompute activations in the backward pass.
        patch_dropout: See ``build_towers``.
        drop_path: See ``build_towers``.

    Raises:
        UserError: A name that does not exist, or options that contradict each other.
        CheckpointError: Weights that do not fit.
    """
    if not dimensions or len(set(dimensions)) != len(dimensions):
        raise UserError(f"model.dimensions needs one or more different names, not {list(dimensions)}")
    if not isinstance(architecture, Architecture):
        architecture = find_architecture(architecture, pretrained)
    towers = build_towers(
        architecture,
        tower_weights=tower_weights and pretrained is None,
        patch_dropout=patch_dropout,
        drop_path=drop_path,
    )
    if pretrained is not None:
        folder = find_folder(pretrained)
        if folder is not None:
            load_folder(towers, folder)
        else:
            load_clip(towers, find_pretrained(architecture, pretrained))
    freeze(towers, image_groups=unlocked_image_groups, text_layers=unlocked_text_layers)
    if gradient_checkpointing:
        _checkpoint_gradients(towers)
    width = int(architecture.config["embed_dim"])
    return CLIPReward(
        towers,
        make_head(head, dimensions, width, overall=overall, overall_gradient=overall_gradient, gate_width=gate_width),
        architecture=architecture,
        dimensions=dimensions,
        transform=transform or image_transform(architecture, pretrained),
        tokenizer=read_tokenizer(architecture),
        output=output,
        uncertainty=UncertaintyHead(len(dimensions), width) if uncertainty else None,
    )


def _checkpoint_gradients(towers: nn.Module) -> None:
    if isinstance(towers.visual, ModifiedResNet):
        raise UserError("a ResNet tower has no gradient checkpointing; set model.gradient_checkpointing=false")
    towers.set_grad_checkpointing(True)  # type: ignore[operator]


def _is_frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters(recurse=False))
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)
