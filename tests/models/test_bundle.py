"""Bundles: round trip bit for bit, strictness, and scoring of every kind of image."""

from __future__ import annotations

import io
import json
import shutil
import socket
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import rewardkit
from rewardkit.errors import CheckpointError, DataError, UserError
from rewardkit.models.bundle import save_bundle
from rewardkit.models.bundle_record import RECORD, WEIGHTS, sha256_of
from rewardkit.models.clip import CLIPReward, build_clip_reward
from rewardkit.models.load import load

Build = Callable[..., CLIPReward]


def pictures(n: int = 3) -> list[Image.Image]:
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (20 + 9 * i, 50, 3), dtype=np.uint8)) for i in range(n)]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("dimensions", [("overall",), ("overall", "aesthetic")])
@pytest.mark.parametrize("output", ["cosine", "cosine100", "logit"])
def test_scores_are_bit_equal_after_a_reload(tiny: Build, tmp_path: Path, dimensions: tuple, output: str) -> None:
    # Frozen as a loaded model is: torch's linear layers sum in another order for weights that want a gradient.
    model = tiny(dimensions=dimensions, output=output).requires_grad_(False)
    pixels = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    group = torch.tensor([0, 1, 1, 0, 0])
    with torch.no_grad():
        wanted = model.score(pixels, ["a cat", "a dog"], group)
    reloaded = rewardkit.load(save_bundle(tmp_path / "bundle", model))
    found = reloaded.score(pixels, ["a cat", "a dog", "a dog", "a cat", "a cat"])
    assert torch.equal(found, wanted)
    assert reloaded.dimensions == dimensions and reloaded.output == output


@pytest.mark.usefixtures("offline")
def test_a_bundle_of_foreign_towers_needs_nothing_outside_it(foreign_towers: Path, tmp_path: Path) -> None:
    model = (
        build_clip_reward(architecture=foreign_towers, dimensions=("appeal", "quality")).eval().requires_grad_(False)
    )
    pixels = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        wanted = model.score(pixels, ["a cat"], torch.zeros(2, dtype=torch.long))
    save_bundle(tmp_path / "first", model)
    shutil.move(tmp_path / "first", tmp_path / "elsewhere")
    shutil.rmtree(foreign_towers.parent)
    found = load(tmp_path / "elsewhere").score(pixels, "a cat")
    assert torch.equal(found, wanted)
    again = load(save_bundle(tmp_path / "again", load(tmp_path / "elsewhere").model))
    assert torch.equal(again.score(pixels, "a cat"), wanted)
    assert str(tmp_path) not in (tmp_path / "again" / RECORD).read_text()


def test_weights_of_one_dimension_are_an_open_clip_checkpoint(tiny: Build, tmp_path: Path) -> None:
    model = tiny().requires_grad_(False)
    folder = save_bundle(tmp_path / "b", model)
    config = {**json.loads((folder / RECORD).read_text())["model"]["architecture"]["config"]}
    towers = open_clip.CLIP(**config)
    open_clip.load_checkpoint(towers, str(folder / WEIGHTS), strict=True)
    tokens = model.tokenizer(["a cat"])
    with torch.no_grad():
        assert torch.equal(towers.eval().requires_grad_(False).encode_text(tokens), model.clip.encode_text(tokens))


def test_what_the_record_and_the_card_say(tiny: Build, tmp_path: Path) -> None:
    calibration = {"overall": {"candidates": 4, "mean": 0.25, "std": 0.5, "quantiles": {"0.5": 0.125}}}
    rows = [{"dimension": "overall", "protocol": "strict_micro", "value": 0.75, "low": 0.7, "high": 0.8}]
    folder = save_bundle(
        tmp_path / "b", tiny(), calibration=calibration, evaluation=rows, recipe={"optim": {"lr": 1e-5}, "seed": 3}
    )
    loaded = load(folder)
    assert loaded.calibration == calibration and loaded.record["evaluation"] == rows
    assert loaded.record["recipe"]["optim"]["lr"] == 1e-5
    assert loaded.record["weights"]["sha256"] == sha256_of(folder / WEIGHTS)
    assert loaded.record["preprocessing"]["antialias"] is True
    assert loaded.record["model"]["architecture"]["config"]["quick_gelu"] is False
    card = (folder / "README.md").read_text()
    for said in (
        "| overall | strict_micro | 0.7500 | 0.700 to 0.800 |",
        "| overall | 4 | 0.2500",
        "`optim.lr = 1e-05`",
        "Higher is better",
    ):
        assert said in card


def test_every_kind_of_image_scores_the_same(tiny: Build, tmp_path: Path) -> None:
    reward = load(save_bundle(tmp_path / "b", tiny(dimensions=("a", "b"))))
    (image,) = pictures(1)
    image.save(tmp_path / "x.png")
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    kinds = [image, str(tmp_path / "x.png"), tmp_path / "x.png", buffer.getvalue(), pixels]
    scores = reward.score(kinds, "a cat")
    assert scores.shape == (5, 2) and scores.dtype == torch.float32
    torch.testing.assert_close(scores, scores[:1].expand(5, 2), rtol=0, atol=1e-6)
    for kind in kinds:
        torch.testing.assert_close(reward.score(kind, "a cat"), scores[:1], rtol=0, atol=1e-6)
    floats = reward.score(pixels.float().unsqueeze(0) / 255, "a cat")
    torch.testing.assert_close(floats, scores[:1], rtol=0, atol=0.02)
    turned = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    opened = Image.open(tmp_path / "turned.png")
    torch.testing.assert_close(reward.score([opened, tmp_path / "turned.png"], "a cat"), scores[:2], rtol=0, atol=1e-6)
    for mode in ("L", "P", "CMYK", "RGBA", "1", "LA", "HSV"):
        assert torch.isfinite(
            reward.score(image.convert("RGBA" if mode == "LA" else "RGB").convert(mode), "a cat")
        ).all()


def test_any_mix_of_prompts_in_any_batch_size(tiny: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reward = load(save_bundle(tmp_path / "b", tiny()))
    images, prompts = pictures(5), ["a cat", "a dog", "a cat", "two boats at sea", "a dog"]
    encoded: list[str] = []
    encode = reward.model.encode_prompts
    monkeypatch.setattr(reward.model, "encode_prompts", lambda texts: encoded.extend(texts) or encode(texts))
    one = reward.score(images, prompts, batch_size=1)
    assert encoded == ["a cat", "a dog", "two boats at sea"], "every prompt once"
    torch.testing.assert_close(reward.score(images, prompts, batch_size=32), one, rtol=0, atol=1e-6)
    torch.testing.assert_close(reward.score(images, prompts, output="cosine100"), 100 * one, rtol=0, atol=1e-4)
    assert reward.score([], "a cat").shape == (0, 1)


def test_gradients_flow_to_the_callers_images(tiny: Build, tmp_path: Path) -> None:
    reward = load(save_bundle(tmp_path / "b", tiny()))
    images = torch.rand(2, 3, 40, 50, requires_grad=True)
    reward.score(images, "a cat").sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0
    assert not reward.score(images.detach(), "a cat").requires_grad
    assert not any(p.requires_grad for p in reward.model.parameters())


def test_mistakes_of_a_caller(tiny: Build, tmp_path: Path) -> None:
    reward = load(save_bundle(tmp_path / "b", tiny()))
    with pytest.raises(UserError, match="3 images but 2 prompts"):
        reward.score(pictures(3), ["a", "b"])
    with pytest.raises(UserError, match=r"image 1 .*none.jpg.* cannot be read"):
        reward.score([pictures(1)[0], tmp_path / "none.jpg"], "a cat")
    with pytest.raises(DataError, match=r"image 1: .*0 bytes"):
        reward.score([pictures(1)[0], b""], "a cat")
    with pytest.raises(UserError, match="'percent' is not one of"):
        reward.score(pictures(1), "a cat", output="percent")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"not \[32, 32\]"):
        reward.score(torch.zeros(32, 32), "a cat")


def test_a_run_folder_will_do_and_others_are_told(tiny: Build, tmp_path: Path) -> None:
    save_bundle(tmp_path / "run" / "bundle", tiny())
    assert load(tmp_path / "run").dimensions == ("overall",)
    with pytest.raises(UserError, match=r"is no bundle: it has no bundle\.json"):
        load(tmp_path)
    (tmp_path / RECORD).write_text('{"format": "other"}')
    with pytest.raises(UserError, match="not the record of a rewardkit bundle"):
        load(tmp_path)
    (tmp_path / RECORD).write_text("{")
    with pytest.raises(CheckpointError, match="is damaged"):
        load(tmp_path)


def change_record(folder: Path, **values: object) -> None:
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps({**record, **values}))


def test_damage_is_found(tiny: Build, tmp_path: Path) -> None:
    folder = save_bundle(tmp_path / "b", tiny(dimensions=("a", "b")))
    weights = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="not the file that the bundle was made with"):
        load(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match="lacks its weights"):
        load(folder)
    (folder / WEIGHTS).write_bytes(weights)
    state = load_file(folder / WEIGHTS)
    del state["head.text"]
    save_file(state, folder / WEIGHTS)
    record = json.loads((folder / RECORD).read_text())["weights"]
    change_record(folder, weights={**record, "sha256": sha256_of(folder / WEIGHTS)})
    with pytest.raises(CheckpointError, match="1 missing in the file: text"):
        load(folder)
    change_record(folder, format_version=99)
    with pytest.raises(UserError, match="format 99; this rewardkit reads up to 3"):
        load(folder)


def test_other_versions_are_warned_of(tiny: Build, tmp_path: Path) -> None:
    folder = save_bundle(tmp_path / "b", tiny())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(folder)
    change_record(folder, versions={"torch": "1.13.1", "pillow": "6.0"})
    with pytest.warns(UserWarning, match="made with torch 1.13.1 .*pillow 6.0"):
        load(folder)


def test_a_bundle_replaces_an_older_one_whole(tiny: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_bundle(tmp_path / "b", tiny(seed=1))
    before = sha256_of(folder / WEIGHTS)

    def fail(*args: object) -> str:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("rewardkit.models.bundle.card_text", fail)
        with pytest.raises(OSError, match="no space"):
            save_bundle(folder, tiny(seed=2))
    assert sha256_of(load(folder).record and folder / WEIGHTS) == before
    assert [path.name for path in tmp_path.iterdir()] == ["b"], "nothing half-written is left"
    save_bundle(folder, tiny(seed=2))
    assert sha256_of(folder / WEIGHTS) != before and load(folder)


def test_tied_tensors_are_stored_once(tiny: Build, tmp_path: Path) -> None:
    model = tiny(dimensions=("a", "b"))
    model.head.text = model.head.image
    folder = save_bundle(tmp_path / "b", model)
    record = json.loads((folder / RECORD).read_text())
    assert record["weights"]["tied"] == {"head.text": "head.image"}
    assert "head.text" not in load_file(folder / WEIGHTS)
    assert torch.equal(load(folder).model.head.text, model.head.image)
