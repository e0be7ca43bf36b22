"""The caption contrast: an image should find its own caption among all captions of the batch.

A reward that starts from random towers learns from votes how an image looks, but hardly what a prompt asks for: votes
say which of two images fits better, never what is to be seen in them. Captions say it. The term is the image-to-text
half of CLIP's loss (Radford et al. 2021, arXiv 2103.00020, section 2.3) over the distinct captions of a batch, so that
two images with one caption are not each other's negatives::

    loss_n = -log softmax_c(scale * cos(v_n, t_c))[caption of n]

A group's candidates that show different things bring hard negatives by themselves: captions that differ in few words.

An evaluator has no two towers. There ``v`` is the mean of an image's tokens as its language model reads them, ``t``
that of a caption's input embeddings (``rewardkit/models/mllm/alignment.py``); the scale is the objective's own.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rewardkit.data.batch import Batch, Denominators
from rewardkit.models.reward import RewardOutput
from rewardkit.objectives.loss import Loss, full_precision

FIRST_SCALE = 1 / 0.07
"""CLIP's (section 2.5), as is the bound of 100."""
LARGEST_SCALE = 100.0


def caption_contrast(image_features: Tensor, caption_features: Tensor, caption: Tensor, scale: Tensor) -> Tensor:
    """Cross entropy of each image over the captions. See the module's docstring.

    Args:
        image_features: ``[N, E]``, of any length.
        caption_features: ``[C, E]``, of any length; distinct captions.
        caption: int64 ``[N]``, each image's row of ``caption_features``, -1 where it has none.
        scale: ``[]`` or ``[1]``, inverse temperature of the softmax.

    Returns:
        ``[N]``, not negative; 0 for images without a caption, which are no image's negatives either.
    """
    image, text = F.normalize(image_features, dim=-1), F.normalize(caption_features, dim=-1)
    with torch.autocast(image.device.type, enabled=False):  # a product of matrices would be taken in half precision
        logits = scale * image @ text.T  # [N, C]
    return F.cross_entropy(logits, caption, ignore_index=-1, reduction="none")


class CaptionContrastObjective(nn.Module):
    """``caption_contrast`` on the towers' shared embedding, averaged over the candidates that have a caption.

    The average is over the whole optimiser step; the negatives are those of the micro-batch. The temperature is the
    model's logit scale.

    Args:
        own_scale: Whether the inverse temperature is learned here, for models that have none.

    Attributes:
        log_scale: Its logarithm, ``[1]``, since strategies that shard take no scalar; None where it is the model's.
    """

    def __init__(self, *, own_scale: bool = False) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor([math.log(FIRST_SCALE)])) if own_scale else None

    def forward(self, output: RewardOutput, labels: Batch, denominators: Denominators) -> Loss:
        """This micro-batch's share of the step's loss.

        Args:
            output: Image features ``[N, E]``, caption features ``[C, E]`` and the logit scale.
            labels: ``caption`` int64 ``[N]``.
            denominators: ``captions`` of the whole optimiser step.

        Returns:
            The total, and ``accuracy``: this micro-batch's share of candidates that find their own caption.
        """
        image, captions, scale = output.image_features, output.caption_features, output.logit_scale
        if self.log_scale is not None:
            scale = self.log_scale.exp().clamp(max=LARGEST_SCALE)
        if captions is None or not len(captions):
            # Nothing to tell apart; the zero still hangs on the scores, so every parameter gets a gradient.
            return Loss(total=0.0 * output.scores.sum(), parts={"accuracy": output.scores.new_zeros(())})
        assert image is not None and scale is not None, "the caption contrast needs a model of two towers"
        image, captions, scale = full_precision(image), full_precision(captions), full_precision(scale)
        losses = caption_contrast(image, captions, labels.caption, scale)  # [N]
        count = denominators.captions.to(losses).clamp(min=1)
        found = _nearest(image, captions) == labels.caption  # [N]; -1 is never nearest
        return Loss(total=losses.sum() / count, parts={"accuracy": found.to(losses).sum() / count})


def _nearest(image: Tensor, captions: Tensor) -> Tensor:
    """For each image the row of the caption with the highest cosine: int64 ``[N]``."""
    with torch.autocast(image.device.type, enabled=False):
        return (image.detach() @ F.normalize(captions.detach(), dim=-1).T).argmax(dim=-1)
