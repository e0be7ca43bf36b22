"""CLIPs in transformers' layout: every ViT tower, old and new configurations, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from rewardkit.commands.open_model import open_model
from rewardkit.errors import CheckpointError, UserError
from rewardkit.models.clip import CLIPReward, build_clip_reward
from rewardkit.models.export import export_open_clip, export_transformers
from rewardkit.models.pretrained_folder import find_architecture, find_folder

Build = Callable[..., CLIPReward]
PROMPTS = ["a cat", "two dogs' on a Table, 4k", "don't!!  stop"]

TOWERS: dict[str, dict[str, Any]] = {
    # Heads, head width / 8, MLP, patch, side and activation of the vision tower; text heads; width of the embedding.
    "ViT-B-32": {"vision": (12, 8, 384, 32, 224, "quick_gelu"), "text": 8, "embed": 64},
    "ViT-B-16": {"vision": (12, 8, 384, 16, 224, "quick_gelu"), "text": 8, "embed": 64},
    "ViT-L-14": {"vision": (16, 8, 512, 14, 224, "quick_gelu"), "text": 12, "embed": 96},
    "ViT-L-14-336": {"vision": (16, 8, 512, 14, 336, "quick_gelu"), "text": 12, "embed": 96},
    "ViT-H-14": {"vision": (16, 10, 640, 14, 224, "gelu"), "text": 16, "embed": 128},
    "ViT-g-14": {"vision": (16, 11, 768, 14, 224, "gelu"), "text": 16, "embed": 128},
    "ViT-bigG-14": {"vision": (16, 13, 1024, 14, 224, "gelu"), "text": 20, "embed": 160},
}
"""Published towers at an eighth of their width: their own heads, proportions, patches, sides and activations."""


def small(name: str = "ViT-B-32", **changes: Any) -> CLIPConfig:
    heads, head, inner, patch, side, act = TOWERS[name]["vision"]
    text, embed = TOWERS[name]["text"], TOWERS[name]["embed"]
    vision_config = {
        "hidden_size": heads * head,
        "num_attention_heads": heads,
        "intermediate_size": inner,
        "num_hidden_layers": 3,
        "patch_size": patch,
        "image_size": side,
        "hidden_act": act,
        **changes.get("vision", {}),
    }
    text_config = {
        "hidden_size": text * 8,
        "num_attention_heads": text,
        "intermediate_size": text * 32,
        "num_hidden_layers": 2,
        "hidden_act": act,
        "eos_token_id": 49407,
        **changes.get("text", {}),
    }
    return CLIPConfig(projection_dim=embed, vision_config=vision_config, text_config=text_config)


@pytest.fixture
def published(tmp_path: Path) -> Callable[..., Path]:
    """Writes a folder as PickScore's: configuration, weights, preprocessor; the tokenizer of an export of ours."""

    def write(config: CLIPConfig | None = None, *, pickled: bool = False, name: str = "published") -> Path:
        folder = tmp_path / name
        torch.manual_seed(0)
        model = CLIPModel(config or small())
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
        model.save_pretrained(folder)
        side = model.config.vision_config.image_size
        CLIPImageProcessor(size={"shortest_edge": side}, crop_size=side).save_pretrained(folder)
        if pickled:
            torch.save(model.state_dict(), folder / "pytorch_model.bin")
            (folder / "model.safetensors").unlink()
        return folder

    return write


def their_logits(folder: Path, pixels: torch.Tensor) -> torch.Tensor:
    model = CLIPModel.from_pretrained(folder).eval()
    reward = build_clip_reward(architecture="auto", pretrained=str(folder))
    with torch.no_grad():
        tokens = reward.tokenizer(PROMPTS)
        tokens = torch.where(torch.arange(77) > tokens.argmax(1, keepdim=True), 49407, tokens)  # CLIP's own padding
        return model(input_ids=tokens, pixel_values=pixels).logits_per_image.diagonal()


def our_logits(folder: Path, pixels: torch.Tensor) -> torch.Tensor:
    model = build_clip_reward(architecture="auto", pretrained=str(folder), output="logit").eval().requires_grad_(False)
    group = torch.arange(len(PROMPTS))
    return model.scaled(model.cosines(model.encode_pixels(pixels), model.encode_prompts(PROMPTS), group))[:, 0]


@pytest.mark.parametrize("tower", TOWERS)
def test_scores_are_those_of_transformers(published: Callable[..., Path], tower: str) -> None:
    folder = published(small(tower))
    side = TOWERS[tower]["vision"][4]
    pixels = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(1))
    theirs, ours = their_logits(folder, pixels), our_logits(folder, pixels)
    # The cosine is what is compared to 1e-6: the logit is 14 times it.
    torch.testing.assert_close(ours / 14.3, theirs / 14.3, rtol=0, atol=1e-6)
    assert theirs.std() > 1e-3


@pytest.mark.parametrize(
    "tower", [pytest.param(name, marks=[] if name == "ViT-B-32" else pytest.mark.slow) for name in TOWERS]
)
def test_an_export_read_back_is_bit_equal(tmp_path: Path, published: Callable[..., Path], tower: str) -> None:
    first = build_clip_reward(architecture="auto", pretrained=str(published(small(tower)))).eval().requires_grad_(False)
    folder = export_transformers(tmp_path / "export", first)["overall"]
    again = build_clip_reward(architecture="auto", pretrained=str(folder)).eval().requires_grad_(False)
    assert first.transform == again.transform
    for name, tensor in first.clip.state_dict().items():
        assert torch.equal(tensor, again.clip.state_dict()[name]), name
    pixels = torch.randint(0, 256, (2, 3, 50, 40), dtype=torch.uint8)
    group = torch.tensor([0, 1])
    assert torch.equal(first.score(pixels, PROMPTS[:2], group), again.score(pixels, PROMPTS[:2], group))


@pytest.mark.parametrize(
    "changes",
    [
        {"text": {"eos_token_id": 2}},
        {"text": {"layer_norm_eps": 1e-3}, "vision": {"layer_norm_eps": 1e-6}},
        {"text": {"hidden_act": "gelu"}, "vision": {"hidden_act": "gelu"}},
        {"text": {"max_position_embeddings": 77, "intermediate_size": 100}, "vision": {"intermediate_size": 333}},
    ],
    ids=str,
)
@pytest.mark.parametrize("pickled", [False, True])
def test_configurations_of_all_ages(published: Callable[..., Path], changes: dict, pickled: bool) -> None:
    folder = published(small(**changes), pickled=pickled)
    pixels = torch.randn(3, 3, 224, 224)
    torch.testing.assert_close(our_logits(folder, pixels), their_logits(folder, pixels), rtol=0, atol=2e-5)


def test_counting_rows_and_several_files(published: Callable[..., Path]) -> None:
    folder = published()
    pixels = torch.randn(3, 3, 224, 224)
    wanted = our_logits(folder, pixels)
    state = load_file(folder / "model.safetensors")
    state["text_model.embeddings.position_ids"] = torch.arange(77).unsqueeze(0)
    state["vision_model.embeddings.position_ids"] = torch.arange(50).unsqueeze(0)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    assert torch.equal(our_logits(folder, pixels), wanted)
    names = sorted(state)
    parts = {"a.safetensors": names[:9], "b.safetensors": names[9:]}
    for file, inside in parts.items():
        save_file({name: state[name] for name in inside}, folder / file)
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {name: file for file, inside in parts.items() for name in inside}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert torch.equal(our_logits(folder, pixels), wanted)


def test_images_go_through_the_folders_own_transform(tmp_path: Path, published: Callable[..., Path]) -> None:
    folder = published()
    processor = CLIPImageProcessor.from_pretrained(folder)
    generator = np.random.default_rng(0)
    image = Image.fromarray(generator.integers(0, 256, (60, 90, 3), dtype=np.uint8)).resize((300, 260))
    pixels = torch.as_tensor(np.array(processor(image)["pixel_values"])).expand(3, -1, -1, -1)
    ours = open_model(str(folder), device="cpu").score([image] * 3, PROMPTS)
    torch.testing.assert_close(ours[:, 0], their_logits(folder, pixels), rtol=0, atol=2e-3)


def test_an_old_preprocessor_says_numbers(published: Callable[..., Path]) -> None:
    folder = published()
    wanted = build_clip_reward(architecture="auto", pretrained=str(folder)).transform
    old = {"crop_size": 224, "size": 224, "do_center_crop": True, "do_normalize": True, "do_resize": True}
    old |= {"feature_extractor_type": "CLIPFeatureExtractor", "resample": 3, "image_mean": list(wanted.mean)}
    (folder / "preprocessor_config.json").write_text(json.dumps({**old, "image_std": list(wanted.std)}))
    assert build_clip_reward(architecture="auto", pretrained=str(folder)).transform == wanted
    assert (wanted.resize, wanted.size, wanted.interpolation) == ("crop", 224, "bicubic")
    (folder / "preprocessor_config.json").unlink()
    assert build_clip_reward(architecture="auto", pretrained=str(folder)).transform == wanted


def change(folder: Path, file: str, **values: Any) -> None:
    content = json.loads((folder / file).read_text())
    for key, value in values.items():
        content[key] = {**content[key], **value} if isinstance(content.get(key), dict) else value
    (folder / file).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("file", "values", "said"),
    [
        ("config.json", {"model_type": "siglip"}, "model_type 'siglip'.*SigLIP towers can be built through open_clip"),
        ("config.json", {"text_config": {"hidden_act": "gelu"}}, "two activations"),
        ("config.json", {"text_config": {"vocab_size": 999}}, "knows 999 tokens"),
        ("config.json", {"text_config": {"eos_token_id": 7}}, "pools at token 7"),
        ("config.json", {"vision_config": {"num_attention_heads": 7}}, "no valid CLIP configuration"),
        ("preprocessor_config.json", {"resample": 1}, "no transform resizes"),
        ("preprocessor_config.json", {"crop_size": {"height": 200, "width": 200}}, "no transform resizes"),
        ("preprocessor_config.json", {"do_normalize": False}, "always does both"),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_refused(published: Callable[..., Path], file: str, values: dict, said: str) -> None:
    folder = published()
    change(folder, file, **values)
    with pytest.raises(UserError, match=said):
        build_clip_reward(architecture="auto", pretrained=str(folder))


def test_tensors_that_do_not_fit_are_named(published: Callable[..., Path]) -> None:
    folder = published()
    state = load_file(folder / "model.safetensors")
    gone = state.pop("visual_projection.weight")
    state["visual_projection.bias"] = torch.zeros(3)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(CheckpointError) as error:
        build_clip_reward(architecture="auto", pretrained=str(folder))
    assert "1 missing in the file: visual_projection.weight" in str(error.value)
    assert "1 unexpected in the file: visual_projection.bias" in str(error.value)
    state = {**state, "visual_projection.weight": gone[:-1]}
    del state["visual_projection.bias"]
    save_file(state, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"visual_projection.weight is \[63, 96\] in the file and \[64, 96\]"):
        build_clip_reward(architecture="auto", pretrained=str(folder))
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no weights: neither model.safetensors nor pytorch_model.bin"):
        build_clip_reward(architecture="auto", pretrained=str(folder))


@pytest.mark.slow
def test_another_tokenizer_is_refused(tmp_path: Path, tiny: Build) -> None:
    folder = export_transformers(tmp_path / "out", tiny())["overall"]
    assert build_clip_reward(architecture="auto", pretrained=str(folder))
    theirs = CLIPTokenizer.from_pretrained(folder)
    vocabulary = theirs.get_vocab()
    vocabulary["cat</w>"], vocabulary["dog</w>"] = vocabulary["dog</w>"], vocabulary["cat</w>"]
    CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    with pytest.raises(UserError, match="is not CLIP's: 2 of its 49408 tokens"):
        build_clip_reward(architecture="auto", pretrained=str(folder))


def test_which_architecture_goes_with_what(tmp_path: Path, published: Callable[..., Path]) -> None:
    folder = str(published())
    with pytest.raises(UserError, match=r"set model.architecture=auto"):
        find_architecture("ViT-B-32", folder)
    with pytest.raises(UserError, match=r"auto takes the towers from the folder .*pretrained=openai is none"):
        find_architecture("auto", "openai")
    with pytest.raises(UserError, match="positional embeddings are never resized"):
        find_architecture("auto", folder, image_size=336)
    with pytest.raises(UserError, match=r"folder without config.json or open_clip_config.json"):
        find_folder(str(tmp_path))
    with pytest.raises(UserError, match="Write hf-hub:yuvalkirstain/PickScore_v1"):
        build_clip_reward(architecture="ViT-B-32", pretrained="yuvalkirstain/PickScore_v1")


def test_the_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"hf-hub:nobody/nothing-here cannot be fetched.*other means"):
        find_folder("hf-hub:nobody/nothing-here")


def test_open_clip_folders_are_read_too(tiny: Build, tmp_path: Path) -> None:
    model = tiny().requires_grad_(False)
    folder = export_open_clip(tmp_path / "out", model)["overall"]
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    found = open_model(str(folder), device="cpu").score(pixels, "a cat")
    assert torch.equal(found, model.score(pixels, ["a cat"], torch.zeros(2, dtype=torch.long)))
