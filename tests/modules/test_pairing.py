"""Grouped batches and single comparisons give the same gradient for the same comparisons."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_run import DEMO_DIMENSIONS

from rewardkit.data.datamodule import PreferenceData
from rewardkit.models.clip import CLIPReward, build_clip_reward
from rewardkit.objectives.pairwise import PairwiseObjective


def gradients(model: CLIPReward, folder: Path, *, pairing: str, units: int, micro: int) -> dict[str, torch.Tensor]:
    """Gradient of one optimiser step that holds everything, in micro-batches."""
    data = PreferenceData(
        train=[folder],
        val=[],
        transform=model.transform,
        tokenizer=model.tokenizer,
        dimensions=model.dimensions,
        batch_groups=units,
        micro_groups=micro,
        pairing=pairing,
    )
    objective = PairwiseObjective(model.dimensions)
    model.zero_grad()
    total = 0.0
    for batch in data.train_dataloader():
        loss = objective(model(batch), batch, batch.denominators)
        loss.total.backward()
        total += loss.total.item()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return {**found, "loss": torch.tensor(total)}


@pytest.mark.slow
def test_grouped_equals_pairs(tiny_tower: Path, demo_folders: tuple[Path, Path]) -> None:
    torch.manual_seed(0)
    model = build_clip_reward(architecture=tiny_tower, dimensions=DEMO_DIMENSIONS)
    folder = demo_folders[1]  # 7 groups of 6 comparisons on 5 dimensions
    grouped = gradients(model, folder, pairing="grouped", units=7, micro=7)
    assert float(grouped["loss"]) > 0.1 and grouped["clip.visual.conv1.weight"].abs().max() > 1e-4
    for pairing, units, micro in (("pairs", 210, 42), ("grouped", 7, 1)):
        other = gradients(model, folder, pairing=pairing, units=units, micro=micro)
        assert other.keys() == grouped.keys()
        for name, tensor in grouped.items():
            torch.testing.assert_close(other[name], tensor, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
