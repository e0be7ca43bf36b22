"""``Reward``: one differentiable number for each image, of one reward model or of several that need share nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rewardkit.errors import DataError, UserError
from rewardkit.models.normalised import normalised_scores
from rewardkit.models.pictures import Picture, as_list
from rewardkit.rewards.scorer import Scorer, as_bytes_for, check_pixels, is_differentiable, named_weights


@dataclass(frozen=True, slots=True)
class Judged:
    """What a reward says of N images; M members.

    Attributes:
        total: ``[N]``, the reward: mean - disagreement · spread.
        mean: ``[N]``, over the members.
        spread: ``[N]``, standard deviation over the members (ddof 0), 0 for one.
        members: ``[M, N]``, each member's weighed mean of its normalised scores.
        dimensions: Each member's normalised scores by dimension, ``[N]`` each; those with a weight.
    """

    total: Tensor
    mean: Tensor
    spread: Tensor
    members: Tensor
    dimensions: tuple[Mapping[str, Tensor], ...]


class Reward:
    """A reward for tuning generators.

    Each member's scores are normalised by its own statistics and weighed: Σ w·z / Σ|w| over its dimensions, so that
    members are on one scale whatever they are made of. The reward is the members' mean, less ``disagreement`` times
    their standard deviation: where they disagree, one of them is being fooled. (Coste et al. 2023, arXiv 2310.02743,
    take the variance off; a standard deviation has the unit of the mean.)

    Args:
        models: One model or several, as ``rewardkit.load`` gives them.
        weights: Dimension to weight, for every member, or one such mapping for each; negative ones count against.
            None: ``overall``, or the one dimension that there is.
        disagreement: Factor λ of the penalty, at least 0; above 0 needs two members.
        batch_size: Images in one forward pass of a member.

    Raises:
        UserError: No member, a dimension or statistics that a member lacks, a λ that means nothing.
    """

    dimensions = ("reward",)

    def __init__(
        self,
        models: Scorer | Sequence[Scorer],
        weights: Mapping[str, float] | Sequence[Mapping[str, float] | None] | None = None,
        *,
        disagreement: float = 0.0,
        batch_size: int = 32,
    ) -> None:
        self.members: list[Scorer] = list(models) if isinstance(models, Sequence) else [models]
        if not self.members:
            raise UserError("a reward needs at least one model")
        each = [weights] * len(self.members) if weights is None or isinstance(weights, Mapping) else list(weights)
        if len(each) != len(self.members):
            raise UserError(
                f"{len(self.members)} models but {len(each)} mappings of weights; give one, or one for each"
            )
        if not (math.isfinite(disagreement) and disagreement >= 0):
            raise UserError(f"disagreement={disagreement}: the penalty's factor is a number of at least 0")
        if disagreement > 0 and len(self.members) < 2:
            raise UserError("disagreement above 0 needs at least two models that could disagree")
        self.weights = [named_weights(model, mapping) for model, mapping in zip(self.members, each, strict=True)]
        self.disagreement = float(disagreement)
        self.batch_size = batch_size
        for model in self.members:  # now, not in the middle of a training
            normalised_scores(torch.zeros(0, len(model.dimensions)), model.dimensions, model.calibration)

    @property
    def differentiable(self) -> bool:
        """Whether the reward has a gradient in the images."""
        return all(is_differentiable(model) for model in self.members)

    def __call__(
        self,
        images: Tensor | Picture | Sequence[Picture],
        prompts: str | Sequence[str],
        *,
        gradient: bool = True,
    ) -> Tensor:
        """The reward of each image under its prompt.

        Args:
            images: As ``LoadedReward.score`` takes them; float tensors in [0, 1], of any floating type.
            prompts: One for all images, or one for each.
            gradient: False computes none, even of images that require one.

        Returns:
            float32 ``[N]``, about 0 for a usual image and 1 for one that is a standard deviation better; on the images'
            device, or, for images that are no tensor, on the first member's.

        Raises:
            UserError: Pixels outside [0, 1]; a gradient is wanted of a model that has none; see ``score``.
            DataError: An image of NaN, or one that a member has no score for.
        """
        return self.judge(images, prompts, gradient=gradient).total

    def judge(
        self,
        images: Tensor | Picture | Sequence[Picture],
        prompts: str | Sequence[str],
        *,
        gradient: bool = True,
    ) -> Judged:
        """The reward with all that it is made of; arguments and errors as those of a call."""
        listed = as_list(images)
        check_pixels(listed)
        with torch.set_grad_enabled(gradient and torch.is_grad_enabled()):
            self._check_gradient(listed)
            device = images.device if isinstance(images, Tensor) else None
            numbers, dimensions = [], []
            for place, (model, weights) in enumerate(zip(self.members, self.weights, strict=True)):
                given = as_bytes_for(model, listed)
                scores = model.score(given, prompts, batch_size=self.batch_size, normalised=True).float()
                scores = scores.to(device if device is not None else scores.device)
                device = scores.device
                named = {name: scores[:, model.dimensions.index(name)] for name in weights}
                self._check_scores(named, place)
                total = sum(abs(weight) for weight in weights.values())
                numbers.append(sum((weights[name] / total) * column for name, column in named.items()))
                dimensions.append(named)
            members = torch.stack(numbers)  # type: ignore[arg-type]  # [M, N]
            mean, spread = members.mean(dim=0), spread_of(members)
            return Judged(mean - self.disagreement * spread, mean, spread, members, tuple(dimensions))

    def _check_gradient(self, images: Tensor | Sequence[Picture]) -> None:
        wanted = torch.is_grad_enabled() and any(isinstance(one, Tensor) and one.requires_grad for one in images)
        if wanted and not self.differentiable:
            raise UserError(
                "the images require a gradient, but a member of this reward has none (an evaluator reads whole grey "
                "levels); leave that member out, or ask without: gradient=False"
            )

    def _check_scores(self, named: Mapping[str, Tensor], place: int) -> None:
        for name, column in named.items():
            bad = torch.nonzero(~torch.isfinite(column.detach()))
            if len(bad):
                raise DataError(
                    f"image {int(bad[0])} has no finite score of {name} by model {place}: a question that was not "
                    "asked of it, or weights or pixels that are not finite"
                )


def spread_of(members: Tensor) -> Tensor:
    """Standard deviation (ddof 0) over the first axis, ``[M, N]`` to ``[N]``; its gradient is 0 where all agree.

    The plain square root has an infinite slope at 0, which makes the gradient NaN.
    """
    variance = members.var(dim=0, correction=0)
    agree = variance == 0
    return torch.where(agree, variance, torch.where(agree, torch.ones_like(variance), variance).sqrt())
