"""Figures of scores that show how a training goes: their spread, their mean, and how far the preferred is ahead.

They are kept as sums, which add up over micro-batches and ranks, so that a step's figures do not depend on either.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rewardkit.data.batch import Batch
from rewardkit.objectives.loss import Loss


class StepFigures:
    """What the micro-batches of the optimiser step under way add up to; callbacks read it when the step is done.

    Attributes:
        metrics: Losses, which are this rank's shares and add up over ranks to those of the step, and the figures of
            its scores (``figures_of``), which are this rank's too.
        batches: Its micro-batches.
        sums: What the figures are made of, ``[5]``; add up over ranks.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Begins a new optimiser step."""
        self.metrics: dict[str, Tensor] = {}
        self.batches: list[Batch] = []
        self.sums = torch.zeros(5)

    def add(self, batch: Batch, scores: Tensor | None, loss: Loss) -> None:
        """Adds one micro-batch.

        Args:
            batch: Its groups and comparisons.
            scores: ``[N, D]``; None where the model gives none while it trains, which then have no figures.
            loss: Its share of the step's loss.
        """
        for name, value in {"loss": loss.total, **{f"loss/{k}": v for k, v in loss.parts.items()}}.items():
            self.metrics[name] = self.metrics.get(name, torch.zeros(())) + value.detach().float().cpu()
        self.batches.append(batch)
        if scores is None:
            return
        scores = scores.detach()
        self.sums = self.sums.to(scores.device) + score_sums(scores, batch)
        self.metrics |= figures_of(self.sums)

    def note_norm(self, norm: Tensor | None) -> None:
        """Keeps the norm of the step's gradient, ``[]``; None says nothing."""
        if norm is not None:
            self.metrics["gradient_norm"] = norm


def score_sums(scores: Tensor, batch: Batch) -> Tensor:
    """What the figures of a micro-batch are made of; candidates that stand for a bad sample are left out.

    Args:
        scores: ``[N, D]``.
        batch: Its groups and comparisons.

    Returns:
        float ``[5]``: squared distances of scores from the mean of their group, scores, number of scores, leads of the
        preferred candidate over the other, number of comparisons that prefer one; all summed.
    """
    distance = distances_within_groups(scores, batch.group)[batch.valid]
    kept = scores[batch.valid]
    lead = batch.target[:, 0] - batch.target[:, 2]  # [P], above 0 where first is preferred
    delta = scores[batch.first, batch.dimension] - scores[batch.second, batch.dimension]  # [P]
    return torch.stack(
        [
            distance.pow(2).sum(),
            kept.sum(),
            torch.tensor(float(kept.numel()), device=scores.device),
            (delta * lead.sign()).sum(),
            (lead != 0).sum(),
        ]
    ).float()


def distances_within_groups(scores: Tensor, group: Tensor) -> Tensor:
    """Scores ``[N, D]`` minus the mean of their group (``group`` int64 ``[N]``); ``[N, D]``."""
    groups = int(group.max()) + 1
    sums = scores.new_zeros(groups, scores.shape[1]).index_add_(0, group, scores)
    counts = torch.bincount(group, minlength=groups).clamp(min=1).unsqueeze(1)
    return scores - (sums / counts)[group]


def figures_of(sums: Tensor) -> dict[str, Tensor]:
    """The figures that ``score_sums``, added up, give.

    Returns:
        ``score_spread``, the root mean square distance of scores from the mean of their group; ``score_mean``; and
        ``margin``, by how much the preferred candidate of a comparison is ahead, on average over comparisons that
        prefer one (negative where most are ordered wrongly), left out where none does. Each ``[]``, in scores' units;
        nothing where nothing was scored.
    """
    squares, total, number, leads, decided = sums.unbind()
    if number == 0:
        return {}
    found = {"score_spread": (squares / number.clamp(min=1)).sqrt(), "score_mean": total / number.clamp(min=1)}
    return {**found, "margin": leads / decided} if decided > 0 else found
