"""The centering term: keeps scores near zero, which comparisons alone leave free."""

from __future__ import annotations

from torch import Tensor, nn

from rewardkit.objectives.compared import Compared, Counts


class Centering(nn.Module):
    """``(s_first + s_second)^2`` of every comparison: a law of differences does not see what both scores share.

    Eisenstein et al. 2023 (arXiv 2312.09244, section 2), TRL's ``center_rewards_coefficient``. Not negative, 0 for
    scores that are each other's opposite. Scores are logits: of a CLIP with a logit scale of 100 they are about 20 to
    30, so that the term is near 2500 at first and its coefficient has to be small (TRL: 0.01).
    """

    counts: Counts = "all"
    indifferent: float | None = None

    def forward(self, compared: Compared) -> Tensor:
        """Loss of each comparison, ``[P]``."""
        return compared.total.square()
