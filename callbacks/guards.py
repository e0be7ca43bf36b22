"""Notices a training that goes nowhere: a loss stuck where equal scores are, scores that collapse, run away or drift.

Each pairwise term of the objective is compared with what it would cost if all scores were equal, on the same labels:
ln 2 for Bradley-Terry, another number for a loss with ties. That is worked out from the step's own labels, so sparse
dimensions, soft labels, sums and several ranks need no special case.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from rewardkit.callbacks.causes import causes_of_equal_scores
from rich.console import Console
from torch import Tensor, nn

from rewardkit.data.batch import Batch
from rewardkit.engine.logged_media import alert
from rewardkit.errors import RewardkitError
from rewardkit.models.reward import RewardOutput
from rewardkit.modules.step_figures import figures_of
from rewardkit.objectives.on_scores import OnScores

LN2 = math.log(2.0)
"""What Bradley-Terry costs for a model that scores all candidates alike."""

FLAT = 1e-6
"""A loss this close to that of equal scores, relatively, step after step, is no slow start: scores have underflowed."""


class TrainingStuck(RewardkitError):
    """Training was stopped by a guard."""


class Guards(Callback):
    """Warns or stops with a message that says what to look at.

    Args:
        action: ``warn`` once per symptom, or ``stop``; both alert through the loggers that can. A loss that is not
            finite always stops.
        patience: Steps that a symptom must last; a quarter of them where every step's loss is flat (``FLAT``).
        stuck_tolerance: A pairwise loss is stuck while its mean over ``patience`` steps is within this of the loss of
            equal scores; in units in which that loss is ln 2.
        min_spread: Scores have collapsed while their spread within groups stays below this.
        max_margin: Scores run away while the preferred is ahead by more than this on average, in logits.
        max_drift: Scores drift while their mean is further than this many spreads from where it began.
        console: Where warnings go.
    """

    def __init__(
        self,
        *,
        action: str,
        patience: int,
        stuck_tolerance: float,
        min_spread: float,
        max_margin: float = 30.0,
        max_drift: float = 100.0,
        console: Console | None = None,
    ) -> None:
        self.action = action
        self.patience = patience
        self.stuck_tolerance = stuck_tolerance
        self.min_spread = min_spread
        self.max_margin = max_margin
        self.max_drift = max_drift
        self.console = console or Console(stderr=True)
        self.windows: dict[str, list[float]] = {}
        self.began_at: float | None = None
        self.said: list[str] = []
        self._loggers: Sequence[Logger] = ()

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Finds out whom to alert beside the console."""
        self._loggers = trainer.loggers

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        """Looks at the figures of each optimiser step."""
        if (index + 1) % trainer.accumulate_grad_batches:
            return
        equal = equal_score_losses(module.objective, module.step.batches)
        figures = _over_ranks(trainer, module, equal)
        if not math.isfinite(figures["loss"]):
            groups = ", ".join(key for b in module.step.batches for key in b.keys[:4])
            message = (
                f"the loss is {figures['loss']} at step {trainer.global_step}. Look at: the learning rate (optim.lr, "
                "optim.warmup_steps), trainer.precision=16 (try bf16 or 32), optim.gradient_clip. The last checkpoint "
                f"is from before; the groups of this step were {groups}, …"
            )
            alert(self._loggers, "Training stopped: the loss is not finite", message)
            raise TrainingStuck(message)
        for name, value in figures.items():
            self.windows[name] = [*self.windows.get(name, []), value][-self.patience :]
        for term in equal:
            self._look_for_plateau(trainer, module, term)
        if any(len(batch.valid) > len(batch.keys) for batch in module.step.batches):  # else nothing is told apart
            self._look_at_scores()

    def state_dict(self) -> dict[str, Any]:
        """The figures of the last steps, so that a resumed run warns where an uninterrupted one would."""
        return {"windows": self.windows, "began_at": self.began_at, "said": self.said}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes them back."""
        self.windows = {name: list(values) for name, values in state_dict.get("windows", {}).items()}
        self.began_at = state_dict.get("began_at")
        self.said = list(state_dict.get("said", []))

    def _look_for_plateau(self, trainer: pl.Trainer, module: Any, term: str) -> None:
        losses, equal = self.windows[f"loss/{term}"], self.windows[f"equal/{term}"]
        flat_steps = max(1, self.patience // 4)
        recent = list(zip(losses, equal, strict=True))[-flat_steps:]
        flat = len(recent) == flat_steps and all(abs(loss - at) <= FLAT * abs(at) for loss, at in recent)
        mean, mean_equal = _mean(losses), _mean(equal)
        tolerance = self.stuck_tolerance * abs(mean_equal) / LN2
        stuck = len(losses) == self.patience and abs(mean - mean_equal) < tolerance
        if (flat or stuck) and mean_equal != 0:
            steps = flat_steps if flat else self.patience
            cost = "ln 2 = 0.693147" if math.isclose(mean_equal, LN2, rel_tol=1e-3) else f"{mean_equal:.6g}"
            causes = causes_of_equal_scores(trainer, module, spread=self.windows["score_spread"][-1])
            self._say(
                f"stuck/{term}",
                f"the pairwise loss {term} has stayed at {cost}, which is what equal scores cost, for {steps} steps "
                f"(mean {mean:.6f}): the model does not tell candidates apart. {causes}",
            )

    def _look_at_scores(self) -> None:
        spreads = self.windows.get("score_spread", [])
        if self.began_at is None and len(spreads) >= max(1, self.patience // 4):
            self.began_at = _mean(self.windows["score_mean"])
        if len(spreads) < self.patience or self.began_at is None:
            return
        if max(spreads) < self.min_spread:
            if any(symptom.startswith("stuck/") for symptom in self.said):
                return  # the same from another side, and told with its causes
            self._say(
                "collapsed",
                f"scores within a group have differed by less than {self.min_spread:g} for {self.patience} steps. Look "
                "at: the logit scale (model.max_logit_scale), the same image stored for every candidate "
                "(`data verify`), a head that underflows.",
            )
            return
        margins = self.windows.get("margin", [])
        if len(margins) == self.patience and _mean(margins) > self.max_margin:
            self._say(
                "margin",
                f"the preferred candidate has been ahead by {_mean(margins):.3g} logits on average for {self.patience} "
                f"steps (callbacks.guards.max_margin={self.max_margin:g}): the model is certain of nearly every "
                "training comparison, and its gradients vanish. Look at: held-out accuracy (it learns by heart?), "
                "labels without noise, objective.name=cdpo or centering, optim.weight_decay, optim.lr.",
            )
        drift = _mean(self.windows["score_mean"]) - self.began_at
        if abs(drift) > self.max_drift * _mean(spreads):
            self._say(
                "drift",
                f"the mean of all scores has moved by {drift:.3g}, {abs(drift) / _mean(spreads):.0f} times their "
                "spread within groups: comparisons do not fix where scores lie. Look at: objective.name=…,centering, "
                "optim.weight_decay, optim.lr.",
            )

    def _say(self, symptom: str, message: str) -> None:
        if self.action == "stop":
            alert(self._loggers, f"Training stopped: {symptom}", message)
            raise TrainingStuck(f"{message} (callbacks.guards.action=warn goes on)")
        if symptom not in self.said:
            self.said.append(symptom)
            alert(self._loggers, f"Training goes nowhere: {symptom}", message)
            self.console.print("[yellow]warning:[/]", end=" ")
            self.console.print(message, markup=False, highlight=False)


@torch.no_grad()
def equal_score_losses(objective: nn.Module, batches: list[Batch]) -> dict[str, float]:
    """What each pairwise term of an objective would cost on these labels if all scores were equal.

    Args:
        objective: ``WeightedObjective``; its pairwise terms are those with an attribute ``indifferent``.
        batches: This rank's micro-batches of one optimiser step.

    Returns:
        Name of the term to its share of the step's loss.
    """
    found = {}
    for name, term in getattr(objective, "terms", {}).items():
        inner = term.objective if isinstance(term, OnScores) else term
        if hasattr(inner, "indifferent"):
            found[name] = sum(float(inner(_equal_scores(batch), batch, batch.denominators).total) for batch in batches)
    return found


def _equal_scores(batch: Batch) -> RewardOutput:
    zeros = torch.zeros_like(batch.ratings)  # [N, D]
    return RewardOutput(scores=zeros, log_sigma=zeros)


def _over_ranks(trainer: pl.Trainer, module: Any, equal: dict[str, float]) -> dict[str, float]:
    """The step's figures over all ranks, the same on every one."""
    metrics = module.step.metrics
    sums = {"loss": float(metrics["loss"])}
    for term, value in equal.items():
        sums |= {f"loss/{term}": float(metrics[f"loss/{term}"]), f"equal/{term}": value}
    scores = {name: metrics[name] for name in ("score_spread", "score_mean", "margin") if name in metrics}
    if trainer.world_size > 1:
        losses = torch.tensor([*sums.values()], dtype=torch.float64, device=module.device)
        mine = torch.cat([losses, module.step.sums.double()])
        total: Tensor = trainer.strategy.reduce(mine, reduce_op="sum")  # type: ignore[assignment]
        sums, scores = dict(zip(sums, total.tolist(), strict=False)), figures_of(total[len(sums) :])
    return {**sums, "margin": 0.0, **{name: float(value) for name, value in scores.items()}}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
