"""The tool that probes a reward: its table, its JSON, and one message for each mistake."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from two_rewards import PROMPTS, write_blip, write_clip

TOOL = Path(__file__).resolve().parents[2] / "tools" / "reward_probes.py"


@pytest.fixture(scope="module")
def probe() -> Callable[[list[str]], int]:
    """The tool's ``main``."""
    spec = importlib.util.spec_from_file_location("reward_probes", TOOL)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two bundles, and a table of four images."""
    folder = tmp_path_factory.mktemp("probed")
    write_clip(folder / "clip")
    write_blip(folder / "blip")
    pixels = torch.randint(0, 255, (4, 20, 24, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for place, image in enumerate(pixels):
        Image.fromarray(image.numpy()).save(folder / f"{place}.png")
    rows = [{"image": f"{place}.png", "prompt": prompt} for place, prompt in enumerate(PROMPTS)]
    (folder / "images.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_a_model_is_probed(probe: Callable, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "new" / "probes.json"
    table = str(folder / "images.jsonl")
    assert probe([str(folder / "clip"), table, "--probes", "mirror,adversarial", "--out", str(out)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "aesthetic: change in standard deviations of its validation set's scores" in printed
    assert "pays" in printed and "4 images of 3 prompts" in printed
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["images"] == table
    rows = [(row["probe"], row["dimension"]) for row in found["probes"]]
    assert rows == [(name, what) for name in ("mirror", "adversarial") for what in ("overall", "aesthetic")]
    assert all(row["pays"] and row["rises"] == 1 for row in found["probes"][2:])


def test_an_ensemble_is_probed_on_its_one_number(
    probe: Callable, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = f"{folder / 'clip'},{folder / 'blip'}"
    options = ["--probes", "noise", "--disagreement", "0.5", "--most", "3"]
    assert probe([both, str(folder / "images.jsonl"), *options]) == 0
    assert "3 images of 2 prompts" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "images", "options", "words"),
    [
        ("nowhere", "images.jsonl", [], "nowhere"),
        ("clip", "missing.jsonl", [], "there is no such file or folder"),
        ("clip", "images.txt", [], "images.txt"),
        ("clip", "", [], "holds no shards"),
        ("clip", "images.jsonl", ["--probes", "nois"], "no probe 'nois'. Did you mean 'noise'"),
        ("clip", "images.jsonl", ["--most", "1"], "a probe needs at least two"),
        ("clip", "images.jsonl", ["--disagreement", "1"], "--disagreement needs several models"),
        ("clip", "images.jsonl", ["--epsilon", "-1"], "epsilon"),
        ("clip", "bare.jsonl", [], "row 1: no prompt; both columns are needed"),
    ],
)
def test_mistakes(
    probe: Callable,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    model: str,
    images: str,
    options: list[str],
    words: str,
) -> None:
    (folder / "bare.jsonl").write_text('{"image": "0.png"}\n', encoding="utf-8")
    assert probe([str(folder / model), str(folder / images), *options]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and words in told and told.count("\n") == 1
