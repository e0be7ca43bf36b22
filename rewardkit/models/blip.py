"""The BLIP reward: a cross-encoder that reads the prompt while it looks at the image (ImageReward and kin)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from rewardkit.data.batch import Batch
from rewardkit.data.images import ImageTransform, normalise, transform_tensor
from rewardkit.errors import UserError
from rewardkit.models.blip_architecture import (
    BlipArchitecture,
    BlipTowers,
    build_blip_towers,
    read_blip_architecture,
)
from rewardkit.models.blip_checkpoint import load_blip
from rewardkit.models.blip_head import MLP_DROPOUT, BlipHead, BlipOverallHead, Init, Kind, make_blip_head
from rewardkit.models.blip_tokenizers import WordPieceTokenizer, read_blip_tokenizer, used_tokens
from rewardkit.models.freezing import freeze
from rewardkit.models.reward import RewardOutput
from rewardkit.models.tokenizers import TextTokenizer, cut_padding

BlipOutput = Literal["logit", "normalised"]
"""What ``score`` returns: the head's number, or (number - mean) / std with the model's constants."""

IMAGEREWARD_MEAN = 0.16717362830052426
IMAGEREWARD_STD = 1.0333394966054072
"""ImageReward's constants: mean and standard deviation of the raw rewards of its test set (ImageReward.py, issue 7)."""

TEXT_LENGTH = 35
"""Tokens that ImageReward reads of a prompt."""


class BLIPReward(nn.Module):
    """A reward model (``rewardkit.models.reward.RewardModel``) on a BLIP.

    Every candidate goes through the image tower once; its group's prompt is read once for each candidate, with
    cross-attention to that candidate's image tokens; the state of the prompt's first token goes through the head.
    Prompts are cut to the longest of the batch and padding is masked, so batch-mates never change a score.

    Args:
        towers: From ``build_blip_towers``.
        head: Gives D numbers.
        architecture: What the towers were built from.
        dimensions: Names of the dimensions, in the order of the head's numbers.
        transform: What images must go through.
        tokenizer: What prompts must go through; its context length is the longest prompt.
        output: What ``score`` returns.
        mean: What ``normalised`` subtracts, one number for each dimension.
        std: What it divides by, above 0.
    """

    outputs = get_args(BlipOutput)

    def __init__(
        self,
        towers: BlipTowers,
        head: BlipHead | BlipOverallHead,
        *,
        architecture: BlipArchitecture,
        dimensions: Sequence[str],
        transform: ImageTransform,
        tokenizer: TextTokenizer,
        output: BlipOutput = "logit",
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        if output not in self.outputs:
            raise UserError(f"output={output!r} is not one of {', '.join(self.outputs)}")
        if transform.size != architecture.image_size:
            raise UserError(
                f"the transform makes images of {transform.size} px, but the towers take {architecture.image_size} px"
            )
        self.blip = towers
        self.head = head
        self.architecture = architecture
        self.dimensions = tuple(dimensions)
        self.transform = transform
        self.tokenizer = tokenizer
        self.output: BlipOutput = output
        self.mean = tuple(mean) if mean is not None else (0.0,) * len(self.dimensions)
        self.std = tuple(std) if std is not None else (1.0,) * len(self.dimensions)
        if len(self.mean) != len(self.dimensions) or len(self.std) != len(self.dimensions):
            raise UserError("the normalisation needs one mean and one std for each dimension")
        if not all(value > 0 for value in self.std):
            raise UserError(f"the normalisation's std has to be above 0, not {list(self.std)}")

    def forward(self, batch: Batch) -> RewardOutput:
        """Scores every candidate of a batch.

        Args:
            batch: Pixels uint8 ``[N, 3, S, S]`` at the transform's size, tokens ``[G, L]`` and group ``[N]``.

        Returns:
            The head's numbers float32 ``[N, D]``; a cross-encoder has no features of image or prompt alone.

        Raises:
            UserError: The batch carries features instead of pixels.
        """
        if batch.image_features is not None:
            raise UserError("a BLIP reads the prompt with the image, so it cannot score features of the image alone")
        pixels = normalise(batch.pixels, self.transform.mean, self.transform.std)
        return RewardOutput(scores=self.logits(pixels, batch.tokens, batch.group))

    def logits(self, pixels: Tensor, tokens: Tensor, group: Tensor) -> Tensor:
        """Scores as objectives see them.

        Args:
            pixels: Normalised images float ``[N, 3, S, S]``.
            tokens: int64 ``[G, L]``, padded behind each text; columns that no text reaches may be cut off or not.
            group: int64 ``[N]``, each image's row of ``tokens``.

        Returns:
            float32 ``[N, D]``.
        """
        image = self.blip.encode_image(pixels)  # [N, T, V]
        used = used_tokens(tokens, self.tokenizer.pad_id)  # [G, L]
        scores: Tensor = self.head(self.blip.read(tokens[group], used[group], image))
        return scores

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
        pixels = transform_tensor(images.to(device), self.transform)
        return self.score_pixels(pixels, self.prepare_prompts(prompts), group.to(device))

    def prepare_prompts(self, prompts: list[str]) -> Tensor:
        """Texts to what ``score_pixels`` takes: token rows int64 ``[G, L]`` of one length, on the model's device."""
        return self.tokenizer(prompts).to(self.device)

    def score_pixels(self, pixels: Tensor, prepared: Tensor, group: Tensor, output: BlipOutput | None = None) -> Tensor:
        """Normalised pixels float ``[N, 3, S, S]`` under ``prepared[group[n]]``, on the scale that ``output`` names."""
        rows, group = torch.unique(group, return_inverse=True)
        return self.scaled(self.logits(pixels, cut_padding(prepared[rows], self.tokenizer.pad_id), group), output)

    def scaled(self, logits: Tensor, output: BlipOutput | None = None) -> Tensor:
        """The head's numbers ``[N, D]`` on the scale that ``output`` names (default: the model's)."""
        if (output or self.output) == "logit":
            return logits
        return (logits - logits.new_tensor(self.mean)) / logits.new_tensor(self.std)

    def of_logits(self) -> dict[str, tuple[float, float]]:
        """Dimension to factor and shift that take a logit to the scale of ``output``: factor · logit + shift."""
        if self.output == "logit":
            return dict.fromkeys(self.dimensions, (1.0, 0.0))
        return {
            name: (1.0 / std, -mean / std) for name, mean, std in zip(self.dimensions, self.mean, self.std, strict=True)
        }

    @property
    def towers(self) -> BlipTowers:
        """The towers, under the name that all rewards give them."""
        return self.blip

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next(self.parameters()).device

    def to_low_precision(self, dtype: torch.dtype) -> BLIPReward:
        """Casts the towers (not the head) to bfloat16 or float16, for inference."""
        self.blip.to(dtype)
        return self


def build_blip_reward(
    *,
    architecture: str | Path | BlipArchitecture,
    pretrained: str | None = None,
    dimensions: Sequence[str] = ("overall",),
    text_length: int = TEXT_LENGTH,
    tokenizer: str | None = None,
    head: Kind = "mlp",
    head_init: Init = "scaled",
    head_dropout: Sequence[float] = MLP_DROPOUT,
    overall: str = "learned",
    overall_gradient: str = "all",
    drop_path: float = 0.0,
    transform: ImageTransform | None = None,
    output: BlipOutput = "logit",
    mean: float = 0.0,
    std: float = 1.0,
    unlocked_image_groups: int | None = None,
    unlocked_text_layers: int | None = None,
    gradient_checkpointing: bool = False,
) -> BLIPReward:
    """Builds a BLIP reward and loads the weights that are named.

    Args:
        architecture: ``blip-base``, ``blip-large``, path of a JSON configuration, or a read one.
        pretrained: Local file in the layout of ImageReward.pt (its head is taken too) or of BLIP; None starts from
            random weights.
        dimensions: What is judged; one or many.
        text_length: Tokens that are read of a prompt, [CLS] and [SEP] included.
        tokenizer: See ``read_blip_tokenizer``. Default: the architecture's.
        head: See ``BlipHead``.
        head_init: See ``BlipHead``.
        head_dropout: See ``BlipHead``.
        overall: See ``make_blip_head``.
        overall_gradient: See there.
        drop_path: See ``BlipTowers``.
        transform: Default: ImageReward's (shortest side to the tower's size, bicubic, middle; CLIP's mean and std).
        output: What ``score`` returns.
        mean: What ``normalised`` subtracts, of every dimension.
        std: What it divides by.
        unlocked_image_groups: See ``rewardkit.models.freezing``.
        unlocked_text_layers: See there.
        gradient_checkpointing: Recompute activations in the backward pass.

    Raises:
        UserError: A name that does not exist, or options that contradict each other.
        CheckpointError: Weights that do not fit.
    """
    if not dimensions or len(set(dimensions)) != len(dimensions):
        raise UserError(f"model.dimensions needs one or more different names, not {list(dimensions)}")
    if not isinstance(architecture, BlipArchitecture):
        architecture = read_blip_architecture(architecture)
    reader = read_blip_tokenizer(tokenizer or architecture.tokenizer, context_length=text_length)
    check_vocabulary(architecture, reader)
    towers = build_blip_towers(architecture, drop_path=drop_path)
    model = BLIPReward(
        towers,
        make_blip_head(
            head,
            towers.width,
            dimensions,
            init=head_init,
            dropout=head_dropout,
            overall=overall,
            overall_gradient=overall_gradient,
        ),
        architecture=architecture,
        dimensions=dimensions,
        transform=transform or ImageTransform(size=architecture.image_size, resize="crop"),
        tokenizer=reader,
        output=output,
        mean=[mean] * len(dimensions),
        std=[std] * len(dimensions),
    )
    if pretrained is not None:
        load_blip(model.blip, model.head, pretrained)
    freeze(towers, image_groups=unlocked_image_groups, text_layers=unlocked_text_layers)
    if gradient_checkpointing:
        towers.checkpoint_gradients()
    return model


def check_vocabulary(architecture: BlipArchitecture, tokenizer: TextTokenizer) -> None:
    """A text tower must know every token of its tokenizer and have a place for every token of a prompt.

    Raises:
        UserError: It does not.
    """
    known, places = int(architecture.text["vocab_size"]), int(architecture.text["max_position_embeddings"])
    words = tokenizer.vocabulary if isinstance(tokenizer, WordPieceTokenizer) else 49408
    if words > known:
        raise UserError(
            f"the tokenizer has {words} tokens, but the text tower of {architecture.name} knows {known} "
            "(text_config.vocab_size); give the tokenizer that the tower was made for as model.blip.tokenizer"
        )
    if tokenizer.context_length > places:
        raise UserError(
            f"model.blip.text_length={tokenizer.context_length}, but the text tower of {architecture.name} has "
            f"{places} positions (text_config.max_position_embeddings)"
        )
