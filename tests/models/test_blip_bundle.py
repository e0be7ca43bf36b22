"""A BLIP's bundle: the same scores bit for bit, gradients for images, and clear words where something does not fit."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import rewardkit
from rewardkit.errors import CheckpointError, UserError
from rewardkit.models.blip import BLIPReward, build_blip_reward
from rewardkit.models.blip_architecture import read_blip_architecture
from rewardkit.models.bundle import save_bundle

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "dog", "photo", "of", "two", "##s", "red"]
PROMPTS = ["a photo of two cats", "a red dog", "a"]


def small(tokenizer: str, **options: Any) -> BLIPReward:
    torch.manual_seed(0)
    model = build_blip_reward(
        architecture=read_blip_architecture(
            {
                "vision_config": {
                    "hidden_size": 16,
                    "intermediate_size": 32,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 2,
                    "image_size": 16,
                    "patch_size": 8,
                },
                "text_config": {
                    "vocab_size": 49408 if tokenizer == "open_clip" else 20,
                    "hidden_size": 16,
                    "intermediate_size": 32,
                    "num_hidden_layers": 2,
                    "num_attention_heads": 2,
                    "max_position_embeddings": 24,
                },
            },
            name="small",
        ),
        tokenizer=tokenizer,
        text_length=12,
        **options,
    )
    with torch.no_grad():
        for parameter in model.blip.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def images(count: int = 4) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 20, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    folder = tmp_path / "words"
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    return folder


@pytest.mark.parametrize("tokenizer", ["open_clip", "words"])
def test_reloaded_scores_are_equal_bit_for_bit(tmp_path: Path, vocabulary: Path, tokenizer: str) -> None:
    source = str(vocabulary) if tokenizer == "words" else tokenizer
    model = small(source, dimensions=("overall", "fidelity"), output="normalised", mean=0.3, std=1.5)
    save_bundle(tmp_path / "bundle", model)
    for file in vocabulary.iterdir():
        file.unlink()  # the bundle needs nothing from outside
    group = torch.tensor([0, 1, 2, 0])
    with torch.no_grad():
        expected = model.score(images(), PROMPTS, group)
    before = torch.get_rng_state()
    loaded = rewardkit.load(tmp_path / "bundle")
    assert torch.equal(torch.get_rng_state(), before)
    scores = loaded.score(images(), [PROMPTS[int(g)] for g in group])
    assert torch.equal(scores, expected)
    assert loaded.output == "normalised" and loaded.dimensions == ("overall", "fidelity")
    logits = loaded.score(images(), [PROMPTS[int(g)] for g in group], output="logit")
    assert torch.allclose(logits, scores * 1.5 + 0.3)
    assert torch.allclose(loaded.score(images(), "a red dog", batch_size=1), loaded.score(images(), "a red dog"))
    record = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    assert record["model"]["kind"] == "blip"
    assert record["model"]["normalisation"] == {"mean": [0.3, 0.3], "std": [1.5, 1.5]}
    assert "ImageReward" in (tmp_path / "bundle" / "README.md").read_text()


@pytest.mark.parametrize("overall", ["mean", "combination"])
def test_overall_of_the_others(tmp_path: Path, overall: str) -> None:
    model = small("open_clip", dimensions=("a", "overall", "b"), overall=overall)
    if overall == "combination":
        with torch.no_grad():
            model.head.weights.logits.copy_(torch.tensor([1.0, -1.0]))
    save_bundle(tmp_path / "bundle", model)
    loaded = rewardkit.load(tmp_path / "bundle")
    scores = loaded.score(images(), "a cat")
    assert torch.equal(scores, model.score(images(), ["a cat"], torch.zeros(4, dtype=torch.int64)))
    weights = {name: float(value) for name, value in loaded.overall_weights("a cat").items()}
    assert weights["a"] == pytest.approx(0.5 if overall == "mean" else 1 / (1 + math.exp(-2)))
    assert torch.allclose(scores[:, 1], weights["a"] * scores[:, 0] + weights["b"] * scores[:, 2], atol=1e-6)


def test_a_folder_without_a_vocabulary_is_refused(tmp_path: Path) -> None:
    # transformers would go on with special tokens alone, and read every word as unknown.
    with pytest.raises(UserError, match="no vocabulary"):
        small(str(tmp_path))


def test_a_gate_is_refused() -> None:
    with pytest.raises(UserError, match="mean or combination"):
        small("open_clip", dimensions=("a", "overall"), overall="gate")


def test_gradients_reach_a_callers_image(tmp_path: Path) -> None:
    save_bundle(tmp_path / "bundle", small("open_clip"))
    loaded = rewardkit.load(tmp_path / "bundle")
    image = torch.rand(2, 3, 32, 32).requires_grad_()
    loaded.score(image, "a cat").sum().backward()
    assert image.grad is not None and float(image.grad.abs().sum()) > 0


def test_a_tensor_that_is_missing_is_named(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from rewardkit.models.bundle_record import sha256_of

    folder = save_bundle(tmp_path / "bundle", small("open_clip"))
    state = load_file(folder / "model.safetensors")
    del state["text_encoder.encoder.layer.1.crossattention.self.key.bias"]
    save_file(state, folder / "model.safetensors")
    record = json.loads((folder / "bundle.json").read_text())
    record["weights"]["sha256"] = sha256_of(folder / "model.safetensors")
    (folder / "bundle.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match=r"text_encoder.encoder.layer.1.crossattention.self.key.bias"):
        rewardkit.load(folder)


def test_outputs_of_the_other_kind_are_refused(tmp_path: Path) -> None:
    save_bundle(tmp_path / "bundle", small("open_clip"))
    loaded = rewardkit.load(tmp_path / "bundle")
    with pytest.raises(UserError, match="logit, normalised"):
        loaded.score(images(), "a cat", output="cosine")
