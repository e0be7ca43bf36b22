"""Stops trials early by W&B's rule, as a pruner of Optuna.

W&B's hyperband is one bracket: at each band b, a number of logged values counted from 0, the runs that got so far are
ordered by the value they had there. A run goes on while its best value so far is no worse than that of place
int(n / eta) among n, so that about the best 1/eta remain. (``hyperband_stopping.py`` of W&B's repository `sweeps`.)
Optuna's own pruner has other brackets, and draws at random which of them a trial is in.
"""

from __future__ import annotations

from collections.abc import Sequence

from optuna import Study
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState


class Bands(BasePruner):
    """Prunes a trial whose best value is worse than the best 1/eta had at its last band.

    Args:
        bands: Numbers of values, counted from 0, ascending.
        eta: At each band, about the best 1/eta go on.
    """

    def __init__(self, bands: Sequence[int], eta: float) -> None:
        self.bands = tuple(bands)
        self.eta = eta

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial is to be stopped, by what it and the others have reported so far."""
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        mine = _history(trial, sign)
        reached = [band for band in self.bands if band < len(mine)]
        if not reached:
            return False
        band = reached[-1]
        others = study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED))
        there = sorted(
            history[band]
            for history in [mine, *(_history(other, sign) for other in others if other.number != trial.number)]
            if len(history) > band
        )
        return min(mine) > there[int(len(there) / self.eta)]


def _history(trial: FrozenTrial, sign: float) -> list[float]:
    """What a trial has reported, in the order of its steps; smaller is better."""
    return [sign * value for _, value in sorted(trial.intermediate_values.items())]
