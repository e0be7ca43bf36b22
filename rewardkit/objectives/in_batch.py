"""PickScore with in-batch negatives: the other prompts' images and texts of the whole batch, over all ranks.

For a comparison of two images of one prompt, with the two-sided label (y0, y1) and logits ``scale * cosine``::

    text  = y0 CE(first | text) + y1 CE(second | text) - [y0 == y1] ln 2      over all images of the batch
    image = y0 CE(text | first) + y1 CE(text | second)                        over all texts of the batch
    loss  = (text + image) / 2

Repository yuvalkirstain/PickScore, ``trainer/criterions/clip_criterion.py``, option ``in_batch_negatives``. A perfect
tie costs -ln(2) / 2 at least, as published: the offset belongs to the text term alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rewardkit.data.batch import Batch, Denominators
from rewardkit.errors import UserError
from rewardkit.models.reward import RewardOutput
from rewardkit.objectives.bradley_terry import tie_offset
from rewardkit.objectives.compared import two_sided
from rewardkit.objectives.gather import gather_rows
from rewardkit.objectives.listwise import masked_logsumexp
from rewardkit.objectives.loss import Loss, full_precision
from rewardkit.objectives.pairwise import ComparisonReduction, Reduction


@dataclass(slots=True)
class Negatives:
    """Logits of this rank's texts and images against those of all ranks, and who is no negative of whom.

    G texts and N images of this rank, G' and N' of all.

    Attributes:
        of_texts: ``[G, N']``, this rank's texts against all images.
        of_images: ``[N, G']``, this rank's images against all texts.
        images_count: bool ``[G, N']``, False where an image is no negative of the text.
        texts_count: bool ``[N, G']``, likewise.
        own_image: Where this rank's images start among all.
        own_text: Where this rank's texts start among all.
    """

    of_texts: Tensor
    of_images: Tensor
    images_count: Tensor
    texts_count: Tensor
    own_image: int = 0
    own_text: int = 0


def in_batch_pickscore(negatives: Negatives, first: Tensor, second: Tensor, text: Tensor, target: Tensor) -> Tensor:
    """See the module's docstring. A comparison's own two images and own text count in any case.

    Args:
        negatives: Logits and masks.
        first: int64 ``[P]``, index into this rank's images.
        second: int64 ``[P]``.
        text: int64 ``[P]``, index into this rank's texts.
        target: ``[P, 3]``, shares of first, tie and second.

    Returns:
        ``[P]``, at least 0, or -ln(2) / 2 for a tie.
    """
    y0, y1 = two_sided(target)
    pair = torch.stack([first, second], dim=-1)  # [P, 2]
    chosen = negatives.of_texts[text.unsqueeze(-1), pair + negatives.own_image]  # [P, 2]
    # The pair itself is taken out of the sum over others, so that it is there once whether or not the mask has it.
    others = negatives.images_count[text]
    others = others.scatter(1, pair + negatives.own_image, False)  # [P, N']
    rest = masked_logsumexp(negatives.of_texts[text], others)
    over_images = torch.logsumexp(torch.cat([chosen, rest.unsqueeze(-1)], dim=-1), dim=-1)
    of_text = y0 * (over_images - chosen[:, 0]) + y1 * (over_images - chosen[:, 1])
    over_texts = masked_logsumexp(negatives.of_images, negatives.texts_count)[pair]  # [P, 2]
    own = negatives.of_images[pair, text.unsqueeze(-1) + negatives.own_text]  # [P, 2]
    of_image = y0 * (over_texts - own)[:, 0] + y1 * (over_texts - own)[:, 1]
    return (of_text - tie_offset(target).to(of_text) + of_image) / 2


class InBatchPickScore(nn.Module):
    """``in_batch_pickscore`` on the towers' shared embedding, for a reward of one dimension.

    Scores have to be the logit scale times the cosine of the two features (``model.head=cosine``), because a prompt's
    logits for the images of others are made of the same features. Negatives are those of a micro-batch on all ranks, so
    accumulation changes them; ranks do not. Every rank has to call the objective once for each micro-batch.

    Args:
        dimensions: The model's dimensions: one.
        reduction: ``mean`` (with the comparisons' weights, as published), ``sum`` or ``mean_per_group``.
        factors: As for ``PairwiseObjective``.
        mask_duplicate_prompts: Whether equal prompts, and their images but for the comparison's two, are no
            negatives. The published trainer does not do so, and pushes down images that people like as much.

    Raises:
        UserError: More than one dimension, or an unknown reduction.
    """

    def __init__(
        self,
        dimensions: Sequence[str],
        *,
        reduction: Reduction = "mean",
        factors: Mapping[str, float] | None = None,
        mask_duplicate_prompts: bool = True,
    ) -> None:
        super().__init__()
        if len(dimensions) != 1:
            raise UserError(
                f"pickscore with in_batch_negatives needs a model of one dimension, not {', '.join(dimensions)}: its "
                "negatives are scored by the cosine of the towers' shared features; set "
                "objective.pickscore.in_batch_negatives=false, or name one dimension in model.dimensions"
            )
        self.reduce = ComparisonReduction(dimensions, reduction=reduction, factors=factors)
        self.mask_duplicate_prompts = mask_duplicate_prompts

    def forward(self, output: RewardOutput, labels: Batch, denominators: Denominators) -> Loss:
        """This micro-batch's share of the step's loss.

        Args:
            output: Image features ``[N, E]``, text features ``[G, E]`` and the logit scale.
            labels: The batch's comparisons, its candidates' group and validity, its prompts.
            denominators: Of the whole optimiser step.

        Returns:
            The total, and the dimension's term by name.

        Raises:
            UserError: A model without two towers and a logit scale.
        """
        if output.image_features is None or output.text_features is None or output.logit_scale is None:
            raise UserError("pickscore with in_batch_negatives needs a model of two towers; this one has no features")
        negatives = self._negatives(output, labels)
        target = labels.target.to(negatives.of_texts.dtype)
        text = labels.group[labels.first]
        losses = in_batch_pickscore(negatives, labels.first, labels.second, text, target)
        # The scores hang on the loss as well, so every parameter gets a gradient.
        losses = losses + 0.0 * full_precision(output.scores).sum()
        loss: Loss = self.reduce(losses, labels, denominators, "all")
        return loss

    def _negatives(self, output: RewardOutput, labels: Batch) -> Negatives:
        """Features of all ranks, compared in full precision."""
        assert output.image_features is not None and output.text_features is not None
        assert output.logit_scale is not None
        image = F.normalize(full_precision(output.image_features), dim=-1)
        text = F.normalize(full_precision(output.text_features), dim=-1)
        all_images, own_image = gather_rows(image)
        all_texts, own_text = gather_rows(text)
        prompt = prompt_keys(labels.prompts, image.device)  # [G]
        all_prompts, _ = gather_rows(prompt)
        image_prompt, _ = gather_rows(prompt[labels.group])
        image_valid, _ = gather_rows(labels.valid.to(torch.uint8))
        has_image = torch.zeros(len(text), dtype=torch.long, device=image.device)
        has_image = has_image.index_add(0, labels.group, labels.valid.long()) > 0
        text_valid, _ = gather_rows(has_image.to(torch.uint8))
        images_count, texts_count = image_valid.bool().expand(len(text), -1), text_valid.bool().expand(len(image), -1)
        if self.mask_duplicate_prompts:
            images_count = images_count & (prompt.unsqueeze(-1) != image_prompt)
            texts_count = texts_count & (prompt[labels.group].unsqueeze(-1) != all_prompts)
        own = torch.zeros_like(texts_count).scatter(1, labels.group.unsqueeze(-1) + own_text, True)
        with torch.autocast(image.device.type, enabled=False):
            scale = full_precision(output.logit_scale)
            of_texts, of_images = scale * text @ all_images.T, scale * image @ all_texts.T
        return Negatives(of_texts, of_images, images_count, texts_count | own, own_image, own_text)


def prompt_keys(prompts: Sequence[str], device: torch.device) -> Tensor:
    """A number for each prompt, int64 ``[G]``, the same on every rank for the same text."""
    keys = [int.from_bytes(hashlib.blake2b(p.encode(), digest_size=8).digest(), signed=True) for p in prompts]
    return torch.tensor(keys, dtype=torch.long, device=device)
