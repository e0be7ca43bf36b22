"""Best of n: of the n images that a generator made for each prompt, the one that a reward likes most.

What that is worth by people's judgement is ``rewardkit.metrics.best_of_n``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rewardkit.errors import DataError, UserError
from rewardkit.models.pictures import Picture


@dataclass(frozen=True, slots=True)
class BestOf:
    """The chosen images.

    Attributes:
        images: The best one of each prompt, P; a tensor where a tensor was given, else a list.
        index: int64 ``[P]``, their places among all that were given.
        scores: ``[P, n]``, every image's reward.
    """

    images: Tensor | list[Picture]
    index: Tensor
    scores: Tensor


def best_of(
    reward: Callable[..., Tensor],
    images: Tensor | Sequence[Picture],
    prompts: Sequence[str],
    n: int,
    *,
    seed: int = 0,
) -> BestOf:
    """Chooses one image for each prompt.

    Args:
        reward: A ``Reward``, or any function of images, prompts and ``gradient=False`` that gives ``[N]``.
        images: P · n of them: the n of the first prompt, then those of the second, and so on.
        prompts: P texts, one for each n images.
        n: Images for each prompt.
        seed: Equal rewards are decided by a draw of this seed, not by their order.

    Raises:
        UserError: The numbers do not match.
        DataError: A reward that is NaN.
    """
    if n < 1:
        raise UserError(f"n={n}: at least one image for each prompt")
    if isinstance(prompts, str):
        raise UserError("prompts is a list, one text for each n images; for one prompt give [prompt]")
    if len(images) != n * len(prompts):
        raise UserError(
            f"{len(images)} images, but {len(prompts)} prompts with n={n} make {n * len(prompts)}; give the n images "
            "of each prompt one after the other"
        )
    texts = [prompt for prompt in prompts for _ in range(n)]
    scores = reward(images, texts, gradient=False).detach().reshape(len(prompts), n)
    if torch.isnan(scores).any():
        raise DataError(f"image {int(torch.nonzero(torch.isnan(scores.flatten()))[0])} has no reward, so none is best")
    tickets = torch.rand(scores.shape, generator=torch.Generator().manual_seed(seed)).to(scores.device)
    highest = scores == scores.amax(dim=1, keepdim=True)
    place = torch.where(highest, tickets, -1.0).argmax(dim=1)  # [P]
    index = (torch.arange(len(prompts), device=place.device) * n + place).cpu()
    chosen: Any = images[index.to(images.device)] if isinstance(images, Tensor) else [images[i] for i in index.tolist()]
    return BestOf(chosen, index, scores)
