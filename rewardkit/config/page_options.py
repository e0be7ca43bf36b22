"""What the page of a benchmark holds: an option of ``benchmark`` and of ``report``."""

from __future__ import annotations

from dataclasses import dataclass

from rewardkit.config.options import option


@dataclass
class LeaderboardOptions:
    """How much the leaderboard shows of single images."""

    images: int = option(3, at_least=0, at_most=50)
    """Images of each kind (best, around the median, worst) that a number of the leaderboard opens."""
    megabytes: float = option(12.0, at_least=0)
    """Pictures in leaderboard.html come to no more than this, in millions of characters; every number gives up some."""
