"""CLIPReward: equal to open_clip, never moved by batch-mates, differentiable, float32 similarities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from rewardkit.data.batch import Batch
from rewardkit.data.images import ImageTransform, normalise
from rewardkit.errors import CheckpointError, UserError
from rewardkit.models.architecture import image_transform, read_architecture
from rewardkit.models.clip import CLIPReward, build_clip_reward
from rewardkit.models.heads import make_head
from rewardkit.models.reward import RewardModel
from rewardkit.models.tokenizers import cut_padding, fill_padding

PROMPTS = ["a cat", "a much longer prompt about two dogs, four boats and a lighthouse", ""]
Build = Callable[..., CLIPReward]


def batch_of(model: CLIPReward, pixels: torch.Tensor, prompts: list[str], group: list[int]) -> Batch:
    tokens = cut_padding(model.tokenizer(prompts), model.tokenizer.pad_id)
    return SimpleNamespace(  # type: ignore[return-value]
        pixels=pixels,
        tokens=tokens,
        group=torch.tensor(group),
        caption_tokens=torch.zeros(0, 4, dtype=torch.long),
        image_features=None,
        text_features=None,
    )


def pictures(n: int, size: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))


@pytest.mark.parametrize("custom_text", [False, True])
def test_one_dimension_is_plain_clip(tiny: Build, custom_text: bool) -> None:
    model = tiny(config={"custom_text": custom_text})
    assert isinstance(model, RewardModel)
    pixels = pictures(4)
    output = model(batch_of(model, pixels, PROMPTS, [0, 0, 1, 2]))
    image = model.clip.encode_image(normalise(pixels, model.transform.mean, model.transform.std))
    text = model.clip.encode_text(model.tokenizer(PROMPTS))
    cosine = F.cosine_similarity(image, text[[0, 0, 1, 2]])
    torch.testing.assert_close(output.scores[:, 0], cosine * model.clip.logit_scale.exp(), rtol=1e-5, atol=1e-5)
    assert output.scores.shape == (4, 1) and output.logit_scale.shape == ()
    assert output.caption_features is None


@pytest.mark.parametrize(
    "text_cfg",
    [
        {},
        {"pool_type": "eos", "eos_id": 49407},
        {"pool_type": "first"},
        {"pool_type": "last"},
        {"no_causal_mask": True},
        {"embed_cls": True},
        {"proj_bias": True},
        {"proj_type": "none"},
    ],
    ids=str,
)
@pytest.mark.parametrize("custom_text", [False, True])
def test_cut_rows_give_the_features_of_full_rows(tiny: Build, custom_text: bool, text_cfg: dict) -> None:
    if text_cfg.get("embed_cls") and not custom_text:
        pytest.skip("open_clip.CLIP drops the class token of its text tower")
    base = read_architecture("ViT-B-32").config["text_cfg"]
    sizes = {**base, "width": 16, "heads": 2, "layers": 2, **text_cfg}
    model = tiny(config={"custom_text": custom_text, "text_cfg": sizes})
    full = model.clip.encode_text(model.tokenizer(PROMPTS))
    cut = cut_padding(model.tokenizer(PROMPTS), 0)
    assert cut.shape[1] < 20
    torch.testing.assert_close(model.encode_tokens(cut), full, rtol=1e-4, atol=1e-5)


def test_padding_round_trip() -> None:
    tokens = torch.tensor([[5, 6, 0, 0], [5, 0, 0, 0]])
    assert cut_padding(tokens, 0).tolist() == [[5, 6], [5, 0]]
    assert fill_padding(cut_padding(tokens, 0), 4, 0).equal(tokens)
    assert cut_padding(torch.zeros(2, 4, dtype=torch.long), 0).shape == (2, 1)


@pytest.mark.parametrize("dimensions", [("overall",), ("overall", "aesthetic", "fidelity")])
def test_batch_mates_never_change_a_score(tiny: Build, dimensions: tuple[str, ...]) -> None:
    model = tiny(dimensions=dimensions)
    pixels = pictures(5)
    with torch.no_grad():
        together = model.score(pixels, PROMPTS, torch.tensor([0, 1, 1, 2, 0]))
        alone = model.score(pixels[2:3], [PROMPTS[1]], torch.tensor([0]))
    torch.testing.assert_close(together[2:3], alone, rtol=1e-5, atol=1e-6)


def test_score_is_a_face_on_forward_and_names_its_scale(tiny: Build) -> None:
    for output, factor in (("cosine", 1.0), ("cosine100", 100.0), ("logit", None)):
        model = tiny(output=output)
        pixels = pictures(3)
        logits = model(batch_of(model, pixels, PROMPTS[:2], [0, 1, 1])).scores
        scores = model.score(pixels, PROMPTS[:2], torch.tensor([0, 1, 1]))
        wanted = logits if factor is None else logits / model.scale() * factor
        torch.testing.assert_close(scores, wanted, rtol=1e-5, atol=1e-5)
    with pytest.raises(UserError, match="'percent' is not one of cosine"):
        tiny(output="percent")


def test_gradients_reach_images_of_any_size(tiny: Build) -> None:
    model = tiny(dimensions=("a", "b"))
    images = torch.rand(2, 3, 40, 24, requires_grad=True)
    model.score(images, ["a cat"], torch.tensor([0, 0])).sum().backward()
    assert images.grad is not None and (images.grad.abs().amax(dim=(1, 2, 3)) > 0).all()


def test_captions_are_encoded_where_the_batch_has_them(tiny: Build) -> None:
    model = tiny()
    batch = batch_of(model, pictures(2), ["a cat"], [0, 0])
    batch.caption_tokens = cut_padding(model.tokenizer(["a dog", "a cat"]), 0)
    output = model(batch)
    torch.testing.assert_close(output.caption_features[1:], output.text_features, rtol=1e-5, atol=1e-6)


def test_many_dimensions_start_as_the_plain_clip() -> None:
    architecture = read_architecture(
        {
            "embed_dim": 16,
            "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
            "text_cfg": {"width": 16, "heads": 2, "layers": 1},
        }
    )
    model = build_clip_reward(architecture=architecture, dimensions=("a", "b", "c")).eval()
    with torch.no_grad():
        scores = model.score(pictures(4), ["a cat"], torch.zeros(4, dtype=torch.long))
    assert scores.std(dim=0).min() > 1e-4, "the scores of different images differ"
    torch.testing.assert_close(scores, scores[:, :1].expand(4, 3))


def test_similarities_are_float32_whatever_the_towers_compute_in(tiny: Build) -> None:
    model = tiny(dimensions=("a", "b"))
    pixels = pictures(6)
    with torch.no_grad():
        wanted = model.score(pixels, ["a cat"], torch.zeros(6, dtype=torch.long))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            under_autocast = model.score(pixels, ["a cat"], torch.zeros(6, dtype=torch.long))
        low = model.to_low_precision(torch.bfloat16)
        scores = low.score(pixels, ["a cat"], torch.zeros(6, dtype=torch.long))
    assert low.clip.visual.conv1.weight.dtype == torch.bfloat16 and low.logit_scale.dtype == torch.float32
    for found in (under_autocast, scores):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, wanted, atol=0.05, rtol=0.1)
        # A bfloat16 cosine has 8 bits: it would sit on this grid.
        assert not torch.equal(found, found.bfloat16().float())


def test_gradient_checkpointing_gives_the_same_gradients(tiny: Build) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = tiny(gradient_checkpointing=checkpointing).train()
        model.score(pictures(3), ["a cat"], torch.zeros(3, dtype=torch.long)).sum().backward()
        gradients.append(model.clip.visual.conv1.weight.grad)
    torch.testing.assert_close(gradients[0], gradients[1])
    resnet = {"vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "head_width": 32}}
    with pytest.raises(UserError, match="no gradient checkpointing"):
        tiny(config=resnet, gradient_checkpointing=True)


def test_towers_of_timm_and_transformers(foreign_towers: Path) -> None:
    model = build_clip_reward(
        architecture=foreign_towers, dimensions=("appeal", "quality"), unlocked_image_groups=0, unlocked_text_layers=0
    )
    timm_mean = (0.485, 0.456, 0.406)
    assert model.transform.mean == timm_mean and model.transform.size == 64
    trained = {name for name, parameter in model.clip.named_parameters() if parameter.requires_grad}
    assert trained == {"logit_scale", "visual.head.proj.weight", "text.proj.weight"}
    model.train()
    norms = [m for m in model.clip.visual.trunk.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms and not any(norm.training for norm in norms), "frozen batch norms stay in eval"
    assert model.clip.text.training
    before = norms[0].running_mean.clone()
    output = model(batch_of(model, pictures(3, 64), ["a cat", "a photo of two dog"], [0, 0, 1]))
    output.scores.sum().backward()
    assert torch.equal(norms[0].running_mean, before)
    assert model.head.image.grad.abs().sum() > 0
    model.eval()
    full = model.clip.encode_text(model.tokenizer(["a cat", "a photo"]))
    cut = cut_padding(model.tokenizer(["a cat", "a photo"]), model.tokenizer.pad_id)
    assert cut.shape[1] == 4
    torch.testing.assert_close(model.encode_tokens(cut), full, rtol=1e-4, atol=1e-5)
    assert model.tokenizer.lengths(["a cat", "a " * 40]) == [4, 42]


def test_trainable_batch_norms_do_train(foreign_towers: Path) -> None:
    model = build_clip_reward(architecture=foreign_towers).train()
    norms = [m for m in model.clip.visual.trunk.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms and all(norm.training for norm in norms)


def test_transform_of_an_architecture() -> None:
    plain = image_transform(read_architecture("ViT-B-32"))
    assert (plain.size, plain.resize, plain.interpolation) == (224, "crop", "bicubic")
    assert image_transform(read_architecture("ViT-H-14"), resize="pad").resize == "pad"
    squashing = image_transform(read_architecture("ViT-B-32"), "datacomp_xl_s13b_b90k")
    assert squashing.mean == plain.mean
    assert image_transform(read_architecture("ViT-B-32", image_size=96)).size == 96


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"architecture": "ViT-H14"}, "nearest are .*ViT-H-14"),
        ({"architecture": "towers/none.json"}, "cannot read the architecture"),
        ({"architecture": "coca_ViT-B-32"}, "is a CoCa"),
        ({"architecture": "ViT-B-32", "pretrained": "laion2b"}, "nor a folder, nor a tag .* its tags are"),
        ({"architecture": "ViT-B-32", "dimensions": ("a", "a")}, "different names"),
        ({"architecture": "ViT-B-32", "dimensions": ()}, "one or more"),
    ],
    ids=str,
)
def test_mistakes_get_one_clear_message(options: dict, said: str) -> None:
    with torch.device("meta"), pytest.raises(UserError, match=said):
        build_clip_reward(**options)


def test_mistakes_in_a_configuration(tmp_path: Path, tiny: Build) -> None:
    path = tmp_path / "a.json"
    for text, said in (
        ("{", "not valid JSON"),
        ("[]", "is a list"),
        ('{"embed_dim": 3}', "lacks vision_cfg, text_cfg"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=said):
            read_architecture(path)
    with pytest.raises(UserError, match="cannot build"):
        tiny(config={"vision_cfg": {"imagesize": 3}})
    with pytest.raises(UserError, match="transform makes images of 224 px"):
        tiny(transform=ImageTransform(size=224))
    with pytest.raises(UserError, match="did you mean 'projection'"):
        make_head("projections", ["a"], 4)
    with pytest.raises(UserError, match="cosine head has one dimension"):
        make_head("cosine", ["a", "b"], 4)


def test_weights_of_foreign_towers_are_loaded_strictly(
    foreign_towers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file, save_file

    text, image = foreign_towers.parent / "bert" / "model.safetensors", foreign_towers.parent / "image.safetensors"
    capsys.readouterr()
    model = build_clip_reward(architecture=foreign_towers)
    assert capsys.readouterr() == ("", ""), "nothing is spilled on the console"
    state = load_file(text)
    name = "encoder.layer.0.output.dense.weight"
    assert torch.equal(model.clip.text.transformer.get_parameter(name), state[name])
    stem = load_file(image)["conv_stem.weight"]
    assert torch.equal(model.clip.visual.trunk.conv_stem.weight, stem)
    # As a masked-language model saves it, with a head that a text tower has not.
    save_file({**{f"bert.{k}": v for k, v in state.items()}, "cls.predictions.bias": torch.zeros(3)}, text)
    again = build_clip_reward(architecture=foreign_towers)
    assert torch.equal(again.clip.text.transformer.get_parameter(name), state[name])
    del state[name]
    save_file(state, text)
    with pytest.raises(CheckpointError, match=f"1 missing in the file: {name}"):
        build_clip_reward(architecture=foreign_towers)
