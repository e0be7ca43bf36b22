"""Reading ImageReward.pt, BLIP's own files and transformers' BLIP: scores equal, and nothing loaded on a guess."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from blip_published import HEAD_WIDTH, published_rewards, published_state
from torch import Tensor

from rewardkit.data.images import normalise
from rewardkit.errors import CheckpointError, UserError
from rewardkit.models.blip import IMAGEREWARD_MEAN, IMAGEREWARD_STD, BLIPReward, build_blip_reward
from rewardkit.models.blip_architecture import read_blip_architecture
from rewardkit.models.imagereward import read_imagereward

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "dog", "photo", "of", "two", "##s", "red"]
PROJECTION = "blip.visual_encoder.blocks.1.attn.proj.bias"
PROMPTS = ["a photo of two cats", "a red dog", "a"]


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A small ImageReward.pt with the files that the hub keeps beside it, and a vocabulary."""
    torch.save(published_state(), tmp_path / "ImageReward.pt")
    (tmp_path / "med_config.json").write_text(json.dumps({"num_attention_heads": 2, "layer_norm_eps": 1e-12}))
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    return tmp_path / "ImageReward.pt"


@pytest.fixture
def open_published(published: Path, monkeypatch: pytest.MonkeyPatch) -> BLIPReward:
    return read_small(published, monkeypatch)


def read_small(path: Path, monkeypatch: pytest.MonkeyPatch) -> BLIPReward:
    """Opens the small file; its image tower's heads are narrower than the 64 that the shapes of a BLIP imply."""
    from rewardkit.models import imagereward

    def narrow(state: dict[str, Tensor], **options: object) -> object:
        found = architecture_of(state, **options)
        vision = {**found.vision, "num_attention_heads": found.vision["hidden_size"] // HEAD_WIDTH}
        return type(found)(found.name, vision, found.text, found.tokenizer)

    architecture_of = imagereward.architecture_of
    monkeypatch.setattr(imagereward, "architecture_of", narrow)
    return read_imagereward(path, text_length=8)


def pictures(count: int = 3) -> Tensor:
    return torch.randint(0, 256, (count, 3, 16, 16), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def by_hand(model: BLIPReward, state: dict[str, Tensor], images: Tensor) -> Tensor:
    rows = [[model.tokenizer._tokenizer(p, padding="max_length", max_length=8, truncation=True)] for p in PROMPTS]
    tokens = torch.tensor([row[0]["input_ids"] for row in rows])
    mask = torch.tensor([row[0]["attention_mask"] for row in rows])
    return published_rewards(state, normalise(images, model.transform.mean, model.transform.std), tokens, mask)


def test_scores_are_those_of_the_published_code_written_by_hand(open_published: BLIPReward) -> None:
    raw = by_hand(open_published, published_state(), pictures())
    scores = open_published.score(pictures(), PROMPTS, torch.arange(3))
    assert raw.std() > 0.1
    assert torch.allclose(scores[:, 0], (raw - IMAGEREWARD_MEAN) / IMAGEREWARD_STD, atol=1e-5)
    assert open_published.output == "normalised"
    assert (open_published.transform.resize, open_published.transform.interpolation) == ("crop", "bicubic")


def test_prefix_of_ddp_is_stripped_and_everything_loaded(
    published: Path, open_published: BLIPReward, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The published package loads such a file with strict=False: nothing, and scores with random weights.
    torch.save({f"module.{name}": value for name, value in published_state().items()}, published)
    again = read_small(published, monkeypatch)
    for (name, one), (_, other) in zip(open_published.state_dict().items(), again.state_dict().items(), strict=True):
        assert torch.equal(one, other), name


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop(PROJECTION), f"1 missing in the file: {PROJECTION}"),
        (lambda s: s.pop("mlp.layers.7.weight"), "1 missing in the file: mlp.layers.7.weight"),
        (lambda s: s.update({"blip.extra": torch.zeros(1)}), "1 unexpected in the file: blip.extra"),
        (lambda s: s.update({"mlp.layers.6.bias": torch.zeros(3)}), "mlp.layers.6.bias is [3] in the file and [16] in"),
    ],
)
def test_what_does_not_fit_is_named(
    published: Path, monkeypatch: pytest.MonkeyPatch, change: object, said: str
) -> None:
    state = published_state()
    change(state)  # type: ignore[operator]
    torch.save(state, published)
    with pytest.raises(CheckpointError, match="does not fit") as caught:
        read_small(published, monkeypatch)
    assert said in str(caught.value)


def test_code_in_a_file_is_not_run(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"state_dict": published_state(), "hook": Path("x")}, published)
    with pytest.raises(CheckpointError, match="more than tensors"):
        read_small(published, monkeypatch)


def test_another_model_is_refused(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"visual.conv1.weight": torch.zeros(1)}, published)
    with pytest.raises(CheckpointError, match="is no BLIP"):
        read_small(published, monkeypatch)


def small_blip(path: Path | None, *, tokenizer: Path, **options: object) -> BLIPReward:
    """A reward of the small model's size whose towers start from a file."""
    architecture = read_blip_architecture(
        {
            "vision_config": {
                "hidden_size": 32,
                "intermediate_size": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": 16,
                "patch_size": 8,
            },
            "text_config": {
                "vocab_size": 20,
                "hidden_size": 32,
                "intermediate_size": 128,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "max_position_embeddings": 24,
            },
        }
    )
    return build_blip_reward(
        architecture=architecture,
        pretrained=None if path is None else str(path),
        tokenizer=str(tokenizer),
        text_length=8,
        **options,  # type: ignore[arg-type]
    )


def test_a_blip_is_a_start_and_its_other_parts_are_left_out(published: Path) -> None:
    state = {k.removeprefix("blip."): v for k, v in published_state().items() if k.startswith("blip.")}
    extra = ("text_decoder.cls.predictions.bias", "visual_encoder_m.norm.bias", "itm_head.bias", "image_queue", "temp")
    file = published.parent / "model_large.pth"
    torch.save({"model": {**state, **{name: torch.zeros(2) for name in extra}}, "epoch": 3}, file)
    model = small_blip(file, tokenizer=published.parent, dimensions=("overall", "fidelity"))
    assert torch.equal(model.blip.vision_model.post_layernorm.bias, state["visual_encoder.norm.bias"])
    assert model.head.layers[-1].out_features == 2
    del state["text_encoder.encoder.layer.0.crossattention.self.key.weight"]
    torch.save({"model": state}, file)
    with pytest.raises(CheckpointError, match=r"missing in the file: text_encoder.encoder.layer.0.crossattention"):
        small_blip(file, tokenizer=published.parent)


def test_transformers_names_are_our_own(published: Path) -> None:
    one = small_blip(None, tokenizer=published.parent)
    state = {**one.blip.state_dict(), "itm_head.weight": torch.zeros(2, 32), "text_proj.bias": torch.zeros(8)}
    file = published.parent / "pytorch_model.bin"
    torch.save(state, file)
    other = small_blip(file, tokenizer=published.parent)
    for name, value in other.blip.state_dict().items():
        assert torch.equal(value, state[name])


def test_imagereward_starts_a_training_too_but_only_of_one_dimension(published: Path) -> None:
    model = small_blip(published, tokenizer=published.parent)
    assert torch.equal(model.head.layers[0].weight, published_state()["mlp.layers.0.weight"])
    with pytest.raises(CheckpointError, match=r"(?s)mlp.layers.7.weight is .* one dimension"):
        small_blip(published, tokenizer=published.parent, dimensions=("a", "b"))


def test_a_file_without_a_head_is_no_reward(published: Path) -> None:
    state = {k.removeprefix("blip."): v for k, v in published_state().items() if k.startswith("blip.")}
    torch.save({"model": state}, published)
    with pytest.raises(UserError, match="without a reward's head"):
        read_imagereward(published)
