"""``fit data.features=true`` end to end: equal to images, resumed bit for bit, encoded once."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_fit import assert_same_training

from rewardkit import cli
from rewardkit.config.layout import RunLayout
from rewardkit.data.predictions import read_predictions


@pytest.fixture
def arguments(tiny_fit: list[str], tmp_path: Path) -> list[str]:
    """A tiny run on features."""
    kept = [a for a in tiny_fit if not a.startswith(("recipe=", "optim.lr"))]
    return ["recipe=features", *kept, f"cache.dir={tmp_path / 'cache'}", "optim.head_lr=1e-2"]


def fit(arguments: list[str], *more: str) -> int:
    return cli.run(["fit", *arguments, *more])


def layout(tmp_path: Path, name: str) -> RunLayout:
    return RunLayout(tmp_path / "runs" / "features" / name)


def test_scores_on_features_are_the_bundles_on_images(
    arguments: list[str], demo_folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(arguments, "run.name=a") == 0
    assert "96 images encoded" in capsys.readouterr().out
    run = layout(tmp_path, "a")
    step = run.read_summary()["step"]
    trained = read_predictions(run.predictions / f"{step:08d}-val.parquet").scores
    out = tmp_path / "scores"
    assert cli.run(["validate", f"model={run.root}", f"data.val={demo_folders[1]}", f"out={out}"]) == 0
    (table,) = (path for path in out.rglob("*.parquet") if "labels" not in path.name)
    on_images = read_predictions(table).scores
    assert trained["key"].tolist() == on_images["key"].tolist()
    scale = float(torch.load(run.last_checkpoint, weights_only=True)["state_dict"]["model.clip.logit_scale"].exp())
    spread = np.abs(trained["score"].to_numpy()).max()
    assert spread > 0.1
    np.testing.assert_allclose(trained["score"] / scale, on_images["score"] / scale, atol=1e-5, rtol=0)


def test_a_resumed_run_is_the_uninterrupted_one_and_encodes_nothing(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(arguments, "run.name=whole") == 0
    capsys.readouterr()
    for more in (["trainer.stop_after=3"], ["resume=auto"]):
        assert fit(arguments, "run.name=parts", *more) == 0
        told = capsys.readouterr().out
        assert told.count("nothing is encoded") == 2 and "images encoded" not in told
    assert_same_training(layout(tmp_path, "whole"), layout(tmp_path, "parts"))


def test_pairs_train_on_features_too(arguments: list[str], tmp_path: Path) -> None:
    assert fit(arguments, "run.name=pairs", "data.pairing=pairs") == 0
    assert layout(tmp_path, "pairs").is_finished


def test_encoding_that_was_stopped_goes_on(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rewardkit.models import feature_encoding

    written: list[int] = []
    plain = feature_encoding.write_shard

    def write(folder: Path, shard: int, **arrays: Any) -> None:
        plain(folder, shard, **arrays)
        written.append(shard)
        if len(written) == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(feature_encoding, "write_shard", write)
    assert fit(arguments, "run.name=cut") == 130
    assert "continue with" in capsys.readouterr().out
    assert fit(arguments, "run.name=cut", "resume=auto") == 0
    assert written == [0, 1, 2, 3, 4, 0, 1], "five shards to train on and two to validate on, none twice"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["model.unlocked_image_groups=1"], ["model.unlocked_image_groups", "=0"]),
        (["model.unlocked_text_layers=null"], ["model.unlocked_text_layers", "null"]),
        (["objective.name=bradley_terry,caption_contrast"], ["caption_contrast"]),
        (["cache.max_gb=1e-9"], ["cache.max_gb", "float16"]),
    ],
)
def test_what_cannot_be_is_refused(
    arguments: list[str], more: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(arguments, *more) == 2
    told = capsys.readouterr().err
    assert all(word in told for word in words), told
