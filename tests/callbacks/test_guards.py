"""The guards notice a stuck loss, scores that collapse, run away or drift, and a loss that is not finite."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from rewardkit.callbacks.causes import head_layers
from rewardkit.callbacks.guards import Guards, TrainingStuck, equal_score_losses
from rich.console import Console
from small_batches import small_batch
from torch import nn

from rewardkit.data.batch import Batch
from rewardkit.models.blip_head import BlipHead
from rewardkit.models.reward import RewardOutput
from rewardkit.modules.optimisation import Optimisation
from rewardkit.modules.pairwise_clip_reward import PairwiseCLIPReward
from rewardkit.objectives.bradley_terry import BradleyTerry
from rewardkit.objectives.pairwise import PairwiseObjective
from rewardkit.objectives.weighted import WeightedObjective

LN2 = math.log(2)


def guards(action: str = "warn", **changes: Any) -> tuple[Guards, io.StringIO]:
    said = io.StringIO()
    options = {"patience": 4, "stuck_tolerance": 0.01, "min_spread": 1e-3, **changes}
    return Guards(action=action, console=Console(file=said, width=4000), **options), said


def step(
    guard: Guards,
    *,
    loss: float = 0.5,
    pairwise: float | None = None,
    spread: float = 1.0,
    mean: float = 0.0,
    margin: float = 0.5,
    batch: Batch | None = None,
    lr: float = 1.0,
    gradient: float = 1.0,
    reduction: Any = "mean",
) -> None:
    batch = batch or small_batch()
    rates = [{"lr": lr, "initial_lr": 1.0}]
    trainer: Any = SimpleNamespace(
        accumulate_grad_batches=1, global_step=7, world_size=1, optimizers=[SimpleNamespace(param_groups=rates)]
    )
    metrics = {
        "loss": loss,
        "loss/bradley_terry": loss if pairwise is None else pairwise,
        "score_spread": spread,
        "score_mean": mean,
        "margin": margin,
        "gradient_norm": gradient,
    }
    objective = WeightedObjective({"bradley_terry": PairwiseObjective(("overall",), reduction=reduction)})
    module = SimpleNamespace(
        step=SimpleNamespace(metrics=metrics, batches=[batch]),
        objective=objective,
        model=nn.Sequential(nn.Linear(2, 1)),
    )
    guard.on_train_batch_end(trainer, module, None, None, 0)


def test_a_stuck_loss_is_said_once_and_only_after_patience() -> None:
    guard, said = guards()
    for n in range(8):
        step(guard, loss=5.0, pairwise=LN2 + 0.001 * (-1) ** n)
        assert ("ln 2" in said.getvalue()) == (n >= 3)
    assert said.getvalue().count("ln 2") == 1 and "optim.lr" in said.getvalue()


def test_a_flat_loss_is_said_after_a_quarter_of_patience() -> None:
    guard, said = guards(patience=12)
    step(guard, loss=LN2), step(guard, loss=LN2)
    assert said.getvalue() == ""
    step(guard, loss=LN2)
    assert "for 3 steps" in said.getvalue()


def test_a_loss_that_moves_is_no_symptom() -> None:
    guard, said = guards()
    for n in range(9):
        step(guard, loss=0.6 - 0.02 * n)
    assert said.getvalue() == ""


def test_a_sum_is_compared_with_the_sum_that_equal_scores_cost() -> None:
    pairs = len(small_batch().first)
    for loss, stuck in ((LN2 * pairs, True), (LN2, False)):
        guard, said = guards()
        for _ in range(4):
            step(guard, loss=loss, reduction="sum")
        assert (f"{LN2 * pairs:.6g}" in said.getvalue()) == stuck


def test_what_equal_scores_cost_follows_the_labels() -> None:
    batch = small_batch()
    target = batch.target.clone()
    target[0] = torch.tensor([0.0, 1.0, 0.0])
    tied = replace(batch, target=target)
    tied.denominators.decided = tied.denominators.comparisons - 1
    objective = WeightedObjective(
        {f"ties_{ties}": PairwiseObjective(("overall",), BradleyTerry(ties=ties)) for ties in ("half", "drop")}  # type: ignore[arg-type]
    )
    assert equal_score_losses(objective, [tied]) == {"ties_half": pytest.approx(LN2), "ties_drop": pytest.approx(LN2)}
    halves = [replace(tied, denominators=tied.denominators) for _ in range(2)]
    assert equal_score_losses(objective, halves)["ties_half"] == pytest.approx(2 * LN2), (
        "shares of micro-batches add up"
    )


def test_causes_that_can_be_seen_are_named() -> None:
    batch = small_batch()
    for changes, words in (
        ({"gradient": 0.0}, "the gradient is 0 in all of the 2 tensors"),
        ({"lr": 0.01}, "the learning rate is 0.01 of a peak of 1"),
        ({"spread": 1e-9}, "the same picture"),
        ({"batch": replace(batch, target=torch.tensor([[0.5, 0, 0.5]] * len(batch.first)))}, "prefers one of its two"),
    ):
        guard, said = guards()
        for _ in range(4):
            step(guard, loss=LN2, **changes)  # type: ignore[arg-type]
        assert words in said.getvalue(), said.getvalue()


def test_collapsed_scores() -> None:
    guard, said = guards()
    for spread in (1e-5, 1e-5, 1e-5, 1.0, 1e-5, 1e-5, 1e-5):
        step(guard, spread=spread)
    assert said.getvalue() == ""
    step(guard, spread=1e-5)
    assert "differed by less than 0.001" in said.getvalue()


def test_scores_that_run_away() -> None:
    guard, said = guards(max_margin=5.0)
    for margin in (4, 4, 4, 4, 5, 5):
        step(guard, margin=margin)
    assert said.getvalue() == ""
    for _ in range(3):
        step(guard, margin=9)
    assert "ahead by 5.75 logits" in said.getvalue() and "centering" in said.getvalue()


def test_scores_that_drift() -> None:
    guard, said = guards(max_drift=10.0)
    for mean in (2.0, 2.0, 4.0, 6.0, 8.0, 10.0):
        step(guard, mean=mean)
    assert said.getvalue() == ""
    for _ in range(3):
        step(guard, mean=-20.0)
    assert "mean of all scores has moved by -14.5" in said.getvalue()


def test_a_resumed_guard_goes_on_counting() -> None:
    guard, _ = guards()
    for _ in range(3):
        step(guard, loss=LN2 + 0.001)
    resumed, said = guards()
    resumed.load_state_dict(guard.state_dict())
    step(resumed, loss=LN2 + 0.001)
    assert "ln 2" in said.getvalue()


def test_stop_stops() -> None:
    guard, _ = guards("stop", patience=8)
    step(guard, loss=LN2)
    with pytest.raises(TrainingStuck, match="ln 2"):
        step(guard, loss=LN2)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_always_stops_and_names_groups(loss: float) -> None:
    guard, _ = guards("warn")
    with pytest.raises(TrainingStuck, match=r"step 7.*group-0"):
        step(guard, loss=loss)


class HeadOnFeatures(nn.Module):
    """The head of a cross-encoder on states that are given."""

    dimensions = ("overall",)

    def __init__(self, init: Any) -> None:
        super().__init__()
        self.head = BlipHead("mlp", 768, 1, init=init)

    def forward(self, batch: Batch) -> RewardOutput:
        assert batch.image_features is not None
        return RewardOutput(scores=self.head(batch.image_features))


@pytest.mark.slow
@pytest.mark.parametrize("init", ["published", "scaled"])
def test_the_plateau_of_a_head_that_underflows_is_told_with_its_cause(init: str) -> None:
    """ImageReward's head as its code initialises it: five affine layers, every weight normal with std 1/769."""
    torch.manual_seed(0)
    steps = 60
    model = HeadOnFeatures(init)
    module = PairwiseCLIPReward(
        model,
        WeightedObjective({"bradley_terry": PairwiseObjective(("overall",))}),
        Optimisation(total_steps=200, lr=1e-4, head_lr=1e-4, warmup_steps=0, weight_decay=0.0, schedule="constant"),
        coefficients={},
        seed=0,
    )
    guard, said = guards(patience=200, stuck_tolerance=0.003, min_spread=1e-4)
    trainer = pl.Trainer(
        max_steps=steps, logger=False, callbacks=[guard], accelerator="cpu", enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    batches = [small_batch(groups=4, width=768, seed=n) for n in range(steps)]
    trainer.fit(module, train_dataloaders=torch.utils.data.DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    if init == "scaled":
        assert said.getvalue() == ""
        return
    assert float(module.step.metrics["loss"]) == pytest.approx(0.693147, abs=1e-6)
    message = said.getvalue()
    assert message.count("warning") == 1 and "for 50 steps" in message
    assert len(head_layers(model)) == 5 and all(f"head.layers.{n} " in message for n in (0, 2, 4, 6, 7))
    for words in ("0.693147", "768->1024 (weights' std 1.30e-03, gradient", "1/sqrt(inputs)", "underflows"):
        assert words in message, message
