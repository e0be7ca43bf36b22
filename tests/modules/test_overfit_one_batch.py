"""A reward learns one batch of hard labels by heart, by each family of objectives; what is frozen stays bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_batches import small_batch
from torch import nn

from rewardkit.callbacks.ema import EMA  # isort: skip
from rewardkit.data.batch import Batch
from rewardkit.engine.hardware import Hardware
from rewardkit.engine.train import make_trainer
from rewardkit.models.blip import build_blip_reward
from rewardkit.models.clip import build_clip_reward
from rewardkit.modules.optimisation import Optimisation
from rewardkit.modules.pairwise_clip_reward import PairwiseCLIPReward
from rewardkit.objectives.listwise import RankingObjective
from rewardkit.objectives.pairwise import PairwiseObjective
from rewardkit.objectives.plackett_luce import PlackettLuce
from rewardkit.objectives.pointwise import RatingObjective
from rewardkit.objectives.ties import RaoKupper
from rewardkit.objectives.weighted import WeightedObjective

STEPS, GROUPS, CANDIDATES = 150, 3, 3
DIMENSIONS = ("overall",)


def a_batch(model: Any) -> Batch:
    """Noise pictures under three prompts, each group in an order that its comparisons, ranking and ratings agree on."""
    labelled = small_batch(groups=GROUPS, candidates=CANDIDATES)
    assert labelled.image_features is not None
    worth = labelled.image_features.sum(dim=-1).reshape(GROUPS, CANDIDATES)
    ranks = 1.0 + worth.argsort(dim=1, descending=True).argsort(dim=1)
    torch.manual_seed(1)
    side = model.transform.size
    labelled.denominators.rankings = torch.tensor([float(GROUPS)])
    labelled.denominators.ratings = torch.tensor([float(GROUPS * CANDIDATES)])
    prompts = ["a cat", "two dogs on a boat", "a red house"]
    return replace(
        labelled,
        pixels=torch.randint(0, 256, (GROUPS * CANDIDATES, 3, side, side), dtype=torch.uint8),
        tokens=model.tokenizer(prompts),
        prompts=prompts,
        image_features=None,
        ranking_dimension=torch.zeros(GROUPS, dtype=torch.int64),
        ranking_candidate=torch.arange(GROUPS * CANDIDATES).reshape(GROUPS, CANDIDATES),
        ranking_rank=ranks,
        ratings=(5.0 - ranks).reshape(-1, 1),
    )


def objectives() -> dict[str, nn.Module]:
    return {
        "bradley_terry": PairwiseObjective(DIMENSIONS),
        "rao_kupper": PairwiseObjective(DIMENSIONS, RaoKupper(DIMENSIONS, theta=2.0, learned=True)),
        "plackett_luce": RankingObjective(DIMENSIONS, PlackettLuce()),
        "huber": RatingObjective(DIMENSIONS, "huber", middle={"overall": 3.0}),
    }


def a_model(kind: str, clip: Path, blip: Path) -> Any:
    torch.manual_seed(0)
    frozen = {"unlocked_image_groups": 2, "unlocked_text_layers": 1}
    if kind == "clip":
        return build_clip_reward(architecture=clip, **frozen)
    return build_blip_reward(architecture=blip, head_dropout=(0.0, 0.0, 0.0), **frozen)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "term"),
    # Objectives see scores alone: of a BLIP one is enough.
    [
        ("clip", "bradley_terry"),
        ("clip", "rao_kupper"),
        ("clip", "plackett_luce"),
        ("clip", "huber"),
        ("blip", "huber"),
    ],
)
def test_one_batch_is_learned_by_heart(kind: str, term: str, tiny_tower: Path, tiny_blip: Path) -> None:
    model = a_model(kind, tiny_tower, tiny_blip)
    batch, ema = a_batch(model), EMA(decay=0.9)
    objective = WeightedObjective({term: objectives()[term]})
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    assert len(frozen) > 10

    def loss() -> float:
        with torch.no_grad():
            return float(objective(model(batch), batch, batch.denominators).total)

    first, rate = loss(), 1e-2 if kind == "clip" else 3e-3  # at 1e-2 the five layers of a BLIP's head can collapse
    module = PairwiseCLIPReward(
        model,
        objective,
        Optimisation(total_steps=STEPS, lr=rate, head_lr=rate, weight_decay=0.1, warmup_steps=10),
        coefficients={},
        seed=0,
    )
    trainer = make_trainer(
        hardware=Hardware(), max_steps=STEPS, accumulation=1, validate_every=STEPS, gradient_clip=1.0, loggers=[],
        callbacks=[ema],
    )  # fmt: skip
    batches = torch.utils.data.DataLoader([batch] * STEPS, batch_size=None)  # type: ignore[arg-type]
    trainer.fit(module, train_dataloaders=batches)
    model.eval()
    last = loss()
    with torch.no_grad():
        scores = model(batch).scores[:, 0]
    won = (scores[batch.first] > scores[batch.second]) == (batch.target[:, 0] > 0.5)
    assert first > 0.3 and last < 0.05, (first, last)
    assert bool(won.all()), "every comparison is ordered as its label has it"
    for name, parameter in model.named_parameters():
        assert (name in frozen) == (not parameter.requires_grad)
        if name in frozen:
            assert torch.equal(parameter, frozen[name]) and name not in ema.average, name
    assert all(p.dtype == torch.float32 for p in module.parameters())


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_parameters_stay_float32_in_every_precision(precision: str, tiny_tower: Path, tiny_blip: Path) -> None:
    model = a_model("clip", tiny_tower, tiny_blip)
    objective = WeightedObjective({"rao_kupper": objectives()["rao_kupper"]})
    module = PairwiseCLIPReward(
        model, objective, Optimisation(total_steps=3, lr=1e-2, head_lr=1e-2, warmup_steps=0), coefficients={}, seed=0
    )
    trainer = make_trainer(
        hardware=Hardware(precision=precision), max_steps=3, accumulation=1, validate_every=3, gradient_clip=1.0,
        loggers=[], callbacks=[],
    )  # fmt: skip
    theta: Any = objective.terms["rao_kupper"].rule.raw_theta  # type: ignore[union-attr]
    before = theta.detach().clone()
    batches = torch.utils.data.DataLoader([a_batch(model)] * 3, batch_size=None)  # type: ignore[arg-type]
    trainer.fit(module, train_dataloaders=batches)
    assert theta.dtype == torch.float32 and not torch.equal(theta, before)
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    state = trainer.optimizers[0].state[theta]
    assert state["exp_avg"].dtype == torch.float32
