"""What a forward pass keeps: counted alike on a model with numbers and on a sketch of it, which has none."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from tiny_run import DEMO_DIMENSIONS

from rewardkit.data.datamodule import PreferenceData
from rewardkit.engine.activations import activation_bytes, sketch
from rewardkit.engine.plan import size_of
from rewardkit.models.clip import build_clip_reward
from rewardkit.modules.optimisation import Optimisation
from rewardkit.modules.pairwise_clip_reward import PairwiseCLIPReward
from rewardkit.objectives.pairwise import PairwiseObjective
from rewardkit.objectives.weighted import WeightedObjective


def counted(tower: Path, folder: Path, *, sketched: bool, precision: str, recomputed: bool) -> tuple[int, object]:
    """Bytes of a micro-batch of two groups, and the rest of the model's size."""
    within = sketch() if sketched else None
    with within or nullcontext():
        model = build_clip_reward(
            architecture=tower, dimensions=DEMO_DIMENSIONS, unlocked_image_groups=2, gradient_checkpointing=recomputed
        )
        objective = WeightedObjective({"bradley_terry": PairwiseObjective(model.dimensions)})
        module = PairwiseCLIPReward(model, objective, Optimisation(total_steps=2, lr=1e-3), coefficients={}, seed=0)
    data = PreferenceData(
        train=[folder], val=[], transform=model.transform, tokenizer=model.tokenizer, dimensions=DEMO_DIMENSIONS,
        batch_groups=4, micro_groups=2,
    )  # fmt: skip
    batch = next(iter(data.train_dataloader()))
    return activation_bytes(module, batch, precision=precision, within=within), size_of(module, 0)


@pytest.mark.parametrize(("precision", "recomputed"), [("32", False), ("bf16", False), ("32", True)])
def test_a_sketch_keeps_what_the_model_keeps(
    tiny_tower: Path, demo_folders: tuple[Path, Path], precision: str, recomputed: bool
) -> None:
    (whole, size), (sketched, other) = (
        counted(tiny_tower, demo_folders[0], sketched=kind, precision=precision, recomputed=recomputed)
        for kind in (False, True)
    )
    assert size == other
    # Each of the four blocks that is computed again may keep the state of the CPU's generator, which no sketch has.
    apart = 6_000 + (4 * torch.get_rng_state().nbytes if recomputed else 0)
    assert whole - apart < sketched <= whole and sketched > 50_000, "but for what the objective keeps"


def test_a_sketch_takes_no_memory() -> None:
    with sketch():
        layer = torch.nn.Linear(100_000, 1_000_000)  # 400 GB
        assert layer(torch.zeros(2, 100_000)).shape == (2, 1_000_000)
