"""What every reward model promises: a batch in, scores for each candidate and dimension out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from rewardkit.data.batch import Batch


@dataclass  # without slots: DeepSpeed looks for tensors in an output's __dict__
class RewardOutput:
    """What a reward model says of a batch. N candidates, G prompts, C captions, D dimensions, E embedding width.

    Attributes:
        scores: float32 ``[N, D]``, the logits that objectives see (HPS v2: exp(logit_scale) times the cosine).
        image_features: ``[N, E]``, the shared tower's output before any normalisation or head, where there is one.
        text_features: ``[G, E]``, likewise.
        caption_features: ``[C, E]``, the text tower's output for the batch's captions, where asked for.
        logit_scale: ``[]``, the factor itself (not its logarithm), where the model has one.
        log_sigma: ``[N, D]``, log standard deviation of each score, where the model has one.
        option_logits: ``[A, O + 1]``, for evaluators with option heads.
        answer_logits: for evaluators that generate answers.
    """

    scores: Tensor
    image_features: Tensor | None = None
    text_features: Tensor | None = None
    caption_features: Tensor | None = None
    logit_scale: Tensor | None = None
    log_sigma: Tensor | None = None
    option_logits: Tensor | None = None
    answer_logits: Tensor | None = None


@runtime_checkable
class RewardModel(Protocol):
    """A torch module that scores candidates on named dimensions."""

    dimensions: tuple[str, ...]

    def forward(self, batch: Batch) -> RewardOutput:
        """Scores every candidate of a batch; batch-mates never change a score."""
        ...

    def score(self, images: Tensor, prompts: list[str], group: Tensor) -> Tensor:
        """Scores images ``[N, 3, H, W]`` under ``prompts[group[n]]``; returns ``[N, D]``.

        Images are uint8, or float in [0, 1] and then differentiable.
        """
        ...
