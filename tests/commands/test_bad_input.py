"""Bad input to ``fit``: odd but legal groups train, bad images are named, the rest gets one clear message."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rewardkit import cli
from rewardkit.config.layout import RunLayout
from rewardkit.data.group import Candidate, Comparison, Group
from rewardkit.data.index_build import build_index
from rewardkit.data.shard_writer import ShardWriter


def picture(seed: int, *, size: tuple[int, int] = (40, 30), mode: str = "RGB", kind: str = "JPEG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, format=kind)
    return buffer.getvalue()


def group(name: str, *, prompt: str = "a fox", k: int = 2, votes: tuple[float, float, float] = (3, 0, 1)) -> Group:
    comparisons = tuple(Comparison("overall", i, j, votes) for i in range(k) for j in range(i + 1, k))
    return Group(name, prompt, tuple(Candidate(f"{n}.jpg") for n in range(k)), comparisons)


def write(folder: Path, groups: list[tuple[Group, list[bytes]]]) -> Path:
    with ShardWriter(folder, "s") as writer:
        for record, images in groups:
            writer.write(record, images)
    build_index(folder)
    return folder


def ordinary(prefix: str, count: int, *, start: int = 0) -> list[tuple[Group, list[bytes]]]:
    return [
        (group(f"{prefix}{n}", prompt=f"{prefix} {n}"), [picture(start + 2 * n), picture(start + 2 * n + 1)])
        for n in range(count)
    ]


FitOn = Callable[..., int]


@pytest.fixture
def fit_on(tiny_fit: list[str]) -> FitOn:
    """Runs ``fit`` on two folders; ``more`` replaces what is given otherwise."""

    def run(train: Path, val: Path, *more: str) -> int:
        given = [*tiny_fit, f"data.train={train}", f"data.val={val}", "model.dimensions=overall", "run.name=a", *more]
        return cli.run(["fit", *{a.partition("=")[0]: a for a in given}.values()])

    return run


def test_odd_groups_train(fit_on: FitOn, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = [
        (group("empty", prompt=""), [picture(900), picture(901)]),
        (group("long", prompt="very " * 500 + "long"), [picture(902), picture(903)]),
        (group("script", prompt="雪の中の狐 🦊 Füchsin"), [picture(904), picture(905)]),
        (group("one", k=1), [picture(906)]),
        (group("ties", votes=(0, 5, 0)), [picture(907), picture(908)]),
        (group("even", votes=(5, 0, 5)), [picture(909), picture(910)]),
        (group("thin"), [picture(911, size=(1, 50)), picture(912, size=(50, 1), kind="PNG")]),
        (group("modes"), [picture(913, mode="CMYK"), picture(914, mode="P", kind="PNG")]),
        (
            Group("unlabelled", "p", group("x", k=3).candidates),
            [picture(n) for n in range(915, 918)],
        ),
    ]
    train = write(tmp_path / "train", ordinary("t", 8) + odd)
    val = write(tmp_path / "val", ordinary("v", 3, start=500))
    assert fit_on(train, val) == 0
    assert "5.9% of the prompts are longer than 32 tokens" in capsys.readouterr().out


def test_bad_images_are_named_and_the_run_goes_on(fit_on: FitOn, tmp_path: Path) -> None:
    bad = [(group(f"bad{n}", prompt=f"bad {n}"), [picture(700 + n), data]) for n, data in enumerate(broken())]
    train = write(tmp_path / "train", ordinary("t", 8) + bad)
    val = write(tmp_path / "val", [*ordinary("v", 3, start=500), (group("badval"), [picture(800), broken(601)[0]])])
    assert fit_on(train, val) == 0
    run = RunLayout(tmp_path / "runs" / "hpsv2" / "a")
    lines = [json.loads(line) for line in run.data_errors.read_text(encoding="utf-8").splitlines()]
    assert {line["key"] for line in lines} == {"bad0", "bad1", "badval"}
    assert all(line["shard"] == "s-000000.tar" and line["reason"] for line in lines)
    summary = run.read_summary()
    assert summary["accuracies"]["overall"]["n_groups"] == 3


def broken(seed: int = 600) -> list[bytes]:
    """A JPEG that ends early, and one whose data are noise behind a good header."""
    whole = picture(seed, size=(64, 64))
    return [whole[: len(whole) // 2], whole[:200] + bytes(range(256)) * 4]


def test_too_many_bad_images_stop_the_run(fit_on: FitOn, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = [(group(f"bad{n}", prompt=f"bad {n}"), [picture(700 + n), broken()[0]]) for n in range(14)]
    train = write(tmp_path / "train", ordinary("t", 4) + bad)
    val = write(tmp_path / "val", ordinary("v", 3, start=500))
    assert fit_on(train, val) == 1
    error = capsys.readouterr().err
    assert "cannot be used" in error and "bad" in error and "Traceback" not in error


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["data.train=none"], 2, "no such folder"),
        (["data.batch_groups=64", "data.micro_groups=64"], 2, "fewer than one step"),
        (["data.batch_groups=5", "data.micro_groups=2"], 2, "cannot be cut"),
        (["model.dimensions=overall,beauty"], 2, "'beauty' has no label"),
        (["model.dimensions=quality"], 2, "'overall'"),
        (["data.dimension_map={overal: overall}"], 2, "did you mean 'overall'"),
        (["model.architecture=ViT-B-23"], 2, "ViT-B-32"),
        (["model.architecture=none.json"], 2, "none.json"),
        (["model.pretrained=laion3b"], 2, "laion3b"),
        (["trainer.devices=two"], 2, "whole number"),
        (["trainer.precision=16"], 2, "bf16"),
        (["plugins=none.py"], 2, "no file"),
        (["resume=nowhere"], 2, "neither a run's folder"),
    ],
)
def test_one_clear_message(
    fit_on: FitOn, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], code: int, words: str
) -> None:
    train = write(tmp_path / "train", ordinary("t", 8))
    val = write(tmp_path / "val", ordinary("v", 3, start=500))
    assert fit_on(train, val, *more) == code
    error = capsys.readouterr().err
    assert words in error and "Traceback" not in error, error


def test_train_and_val_that_share_prompts_are_a_warning(
    fit_on: FitOn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = write(tmp_path / "train", ordinary("t", 8))
    val = write(tmp_path / "val", ordinary("t", 3, start=500))
    assert fit_on(train, val, "dry_run=true") == 0
    error = capsys.readouterr().err
    assert error.startswith("warning: ") and "share 3 prompts (in 3 groups, such as 't0' \"t 0\"" in error, error
    assert "by=prompt" in error
    assert fit_on(train, write(tmp_path / "other", ordinary("v", 3, start=500)), "dry_run=true") == 0
    assert "warning" not in capsys.readouterr().err


def test_train_and_val_that_share_images_are_refused(
    fit_on: FitOn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = write(tmp_path / "train", ordinary("t", 8))
    val = write(tmp_path / "val", ordinary("t", 3))
    assert fit_on(train, val) == 2
    assert "data.allow_overlap=true" in capsys.readouterr().err
    assert fit_on(train, val, "data.allow_overlap=true") == 0


def test_a_checkpoint_of_another_architecture(
    fit_on: FitOn, tmp_path: Path, tiny_tower: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    from rewardkit.models.clip import build_clip_reward

    config = json.loads(tiny_tower.read_text(encoding="utf-8"))
    config["vision_cfg"]["layers"] = 3
    other = build_clip_reward(architecture=_save(tmp_path / "other.json", config), dimensions=["overall"])
    torch.save({"state_dict": other.clip.state_dict()}, tmp_path / "other.pt")
    train = write(tmp_path / "train", ordinary("t", 8))
    val = write(tmp_path / "val", ordinary("v", 3, start=500))
    assert fit_on(train, val, f"model.pretrained={tmp_path / 'other.pt'}") == 1
    error = capsys.readouterr().err
    assert "visual.transformer.resblocks.2" in error and "Traceback" not in error


def _save(path: Path, record: object) -> Path:
    path.write_text(json.dumps(record), encoding="utf-8")
    return path
