"""Statistics estimated from images, and written into a bundle that had none."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from two_rewards import PROMPTS

import rewardkit
from rewardkit.errors import DataError, UserError
from rewardkit.models.load import LoadedReward
from rewardkit.rewards.statistics import estimate_statistics, record_statistics


def test_estimated_statistics_make_scores_standard(clip: LoadedReward, images: Tensor) -> None:
    clip.calibration = {}
    clip.calibration = estimate_statistics(clip, images, PROMPTS)
    assert clip.calibration["overall"]["candidates"] == 4
    scores = clip.score(images, PROMPTS, normalised=True)
    torch.testing.assert_close(scores.mean(0), torch.zeros(2), rtol=0, atol=1e-4)
    torch.testing.assert_close(scores.std(0, correction=0), torch.ones(2))
    plain = clip.score(images, PROMPTS)[:, 1].numpy()
    assert clip.calibration["aesthetic"]["quantiles"]["0.5"] == pytest.approx(float(np.median(plain)), abs=1e-6)
    with pytest.raises(DataError, match="spread of overall cannot be told from 2 scored images, which all"):
        estimate_statistics(clip, images[:1].expand(2, -1, -1, -1), "a cat")
    with pytest.raises(DataError, match="from 1 scored images; give more"):
        estimate_statistics(clip, images[:1], "a cat")


def test_statistics_go_into_a_bundle(clip_bundle: Path, clip: LoadedReward, images: Tensor, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(clip_bundle, tmp_path / "mine"))
    statistics = estimate_statistics(clip, images, PROMPTS)
    record_statistics(folder, statistics)
    again = rewardkit.load(folder)
    assert again.calibration == statistics
    assert f"{statistics['overall']['mean']:.3g}"[:4] in (folder / "README.md").read_text()
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in clip_bundle.iterdir())
    with pytest.raises(UserError, match="the statistics are of overall, but"):
        record_statistics(folder, {"overall": statistics["overall"]})
    with pytest.raises(UserError, match="is no bundle"):
        record_statistics(tmp_path / "nothing", statistics)
