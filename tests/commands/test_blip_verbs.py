"""A BLIP through the verbs: fit, score, validate and export; ImageReward.pt by itself; options of the other kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from blip_published import published_state
from PIL import Image

import rewardkit
from rewardkit import cli
from rewardkit.commands.check_kind import kind_problems
from rewardkit.commands.open_model import open_model
from rewardkit.config.compose import Layer, compose
from rewardkit.config.schema import FitOptions
from rewardkit.errors import CheckpointError


@pytest.fixture
def blip_fit(tiny_fit: list[str], tiny_blip: Path) -> list[str]:
    """Arguments of ``fit`` for a run of 8 steps of a tiny BLIP."""
    replaced = ("model.architecture=", "recipe=")
    kept = [argument for argument in tiny_fit if not argument.startswith(replaced)]
    return ["recipe=imagereward", f"model.architecture={tiny_blip}", *kept]


@pytest.mark.slow
def test_fit_score_validate_export(
    blip_fit: list[str], tmp_path: Path, demo_folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["fit", *blip_fit, "run.name=one"]) == 0
    assert "a small BLIP from scratch" not in capsys.readouterr().out  # its data are not the embedded source
    run = tmp_path / "runs" / "imagereward" / "one"
    loaded = rewardkit.load(run)
    assert loaded.record["model"]["kind"] == "blip" and loaded.output == "logit"
    assert loaded.calibration["overall"]["std"] > 0
    image = tmp_path / "a.png"
    Image.new("RGB", (40, 30), (200, 30, 30)).save(image)
    assert cli.run(["score", f"model={run}", "prompt=a red fox", f"images={image}"]) == 0
    assert cli.run(["validate", f"model={run}", f"data.val={demo_folders[1]}", "bootstrap=100"]) == 0
    assert cli.run(["export", f"model={run}/checkpoints/last.ckpt", f"out={tmp_path / 'again'}"]) == 0
    again = rewardkit.load(tmp_path / "again")
    assert again.score([str(image)], "a red fox").shape == (1, 5)
    assert cli.run(["export", f"model={run}", f"out={tmp_path / 'oc'}", "to=open_clip"]) == 2
    assert "open_clip has no class" in capsys.readouterr().err


@pytest.mark.slow
def test_resumed_run_is_the_uninterrupted_one(blip_fit: list[str], tmp_path: Path) -> None:
    # Dropout and stochastic depth are drawn from the step, so they are drawn alike.
    depth = "model.blip.drop_path=0.3"
    assert cli.run(["fit", *blip_fit, depth, "run.name=whole"]) == 0
    cli.run(["fit", *blip_fit, depth, "run.name=parts", "trainer.stop_after=4"])
    assert cli.run(["fit", *blip_fit, depth, "run.name=parts", "resume=auto"]) == 0
    weights = [
        torch.load(tmp_path / "runs/imagereward" / name / "checkpoints/last.ckpt", weights_only=False)["state_dict"]
        for name in ("whole", "parts")
    ]
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name]), name


@pytest.fixture
def imagereward_pt(tmp_path: Path) -> Path:
    """A small ImageReward.pt whose heads are as wide as shapes imply, with a vocabulary beside it."""
    folder = tmp_path / "hub"
    folder.mkdir()
    state = published_state(image_width=64, text_width=64, image_blocks=1, text_layers=1, positions=40)
    torch.save(state, folder / "ImageReward.pt")
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "fox"]))
    return folder / "ImageReward.pt"


def test_imagereward_pt_is_a_model_by_itself(
    imagereward_pt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "a.png"
    Image.new("RGB", (40, 30), (200, 30, 30)).save(image)
    assert cli.run(["score", f"model={imagereward_pt}", "prompt=a red fox", f"images={image}"]) == 0
    assert "normalised" in capsys.readouterr().out
    assert cli.run(["export", f"model={imagereward_pt}", f"out={tmp_path / 'bundle'}"]) == 0
    record = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    assert record["output"] == "normalised"
    assert record["model"]["normalisation"]["mean"] == [0.16717362830052426]
    assert record["preprocessing"]["resize"] == "crop"


def test_another_weight_file_says_where_it_belongs(tmp_path: Path) -> None:
    torch.save({"visual.conv1.weight": torch.zeros(2)}, tmp_path / "HPS_v2.pt")
    with pytest.raises(CheckpointError, match=r"model.pretrained of a recipe"):
        open_model(str(tmp_path / "HPS_v2.pt"))


def options(**values: Any) -> FitOptions:
    return compose(FitOptions, [Layer("test", values)]).options


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model.kind": "blip", "model.head": "projection"}, "model.head: model.kind is blip"),
        ({"model.kind": "blip", "model.max_logit_scale": 50.0}, "no logit scale"),
        ({"model.kind": "blip", "model.uncertainty": True}, "model.uncertainty"),
        ({"model.kind": "blip", "model.overall": "gate"}, "mean or combination"),
        ({"model.kind": "blip", "model.output": "cosine"}, "logit or normalised"),
        ({"model.kind": "blip", "model.output": "normalised"}, "model.blip.reward_mean"),
        ({"model.kind": "blip", "model.blip.head_dropout": [0.1]}, "three numbers"),
        ({"model.kind": "blip", "objective.name": ["caption_contrast"]}, "caption_contrast"),
        ({"model.kind": "blip", "data.features": True}, "data.features"),
        ({"model.blip.text_length": 128}, "model.blip.text_length: only model.kind=blip"),
        ({"model.output": "normalised"}, "a clip gives"),
    ],
)
def test_options_of_the_other_kind_are_refused(values: dict[str, Any], said: str) -> None:
    assert any(said in problem for problem in kind_problems(options(**values)))


def test_plain_options_are_fine() -> None:
    assert kind_problems(options()) == []
    assert kind_problems(options(**{"model.kind": "blip", "model.blip.text_length": 128})) == []


def test_fit_tells_them_with_all_else(blip_fit: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["fit", *blip_fit, "model.head=cosine", "model.output=cosine"]) == 2
    said = capsys.readouterr().err
    assert "model.head: model.kind is blip" in said and "model.output: a blip gives" in said
