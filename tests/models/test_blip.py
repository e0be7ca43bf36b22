"""The BLIP reward: what changes a score and what must not, its head, its scale, and its groups of layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rewardkit.data.images import transform_tensor
from rewardkit.errors import UserError
from rewardkit.models.blip import BLIPReward, build_blip_reward
from rewardkit.models.blip_architecture import read_blip_architecture
from rewardkit.models.blip_head import BlipHead
from rewardkit.models.blip_tokenizers import used_tokens
from rewardkit.models.freezing import groups_of_model, layer_groups
from rewardkit.models.reward import RewardModel

TINY: dict[str, Any] = {
    "vision_config": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
    },
    "text_config": {
        "vocab_size": 49408,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "max_position_embeddings": 40,
    },
    "tokenizer": "open_clip",
}
PROMPTS = ["a cat", "two dogs ! and a very long story of a red house by the sea at night", "!"]


@pytest.fixture
def blip() -> Callable[..., BLIPReward]:
    """Builds a tiny reward whose weights are large enough for scores to differ."""

    def build(*, seed: int = 0, **options: Any) -> BLIPReward:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = build_blip_reward(architecture=read_blip_architecture(TINY), **options)
            with torch.no_grad():
                for parameter in model.blip.parameters():
                    parameter.add_(0.1 * torch.randn_like(parameter))
        return model.eval()

    return build


def pictures(count: int, side: int = 32, seed: int = 1) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, side, side), generator=draw, dtype=torch.uint8)


def test_it_is_a_reward_model(blip: Callable[..., BLIPReward]) -> None:
    model = blip(dimensions=("overall", "fidelity"))
    assert isinstance(model, RewardModel)
    scores = model.score(pictures(3), PROMPTS, torch.tensor([0, 1, 1]))
    assert scores.shape == (3, 2) and scores.dtype == torch.float32 and scores.std() > 1e-3


def test_score_depends_on_image_and_prompt_together(blip: Callable[..., BLIPReward]) -> None:
    model = blip()
    images = pictures(2).repeat(2, 1, 1, 1)
    s = model.score(images, PROMPTS, torch.tensor([0, 0, 1, 1])).squeeze(1)
    # A cross-encoder is no sum of an image's and a prompt's part: the image's advantage changes with the prompt.
    assert abs((s[0] - s[1]) - (s[2] - s[3])) > 1e-3


def test_batch_mates_and_padding_change_nothing(blip: Callable[..., BLIPReward]) -> None:
    model = blip()
    images, group = pictures(6), torch.tensor([0, 0, 1, 1, 2, 2])
    together = model.score(images, PROMPTS, group)
    for n in range(6):
        alone = model.score(images[n : n + 1], [PROMPTS[int(group[n])]], torch.tensor([0]))
        assert torch.allclose(together[n], alone[0], atol=1e-5)
    pixels = transform_tensor(images, model.transform)
    full = model.tokenizer(PROMPTS)
    assert full.shape == (3, 35)
    assert torch.allclose(model.logits(pixels, full, group), together, atol=1e-5)
    # Padding is masked: were its embedding seen, this would move every score.
    before = model.logits(pixels, full, group)
    with torch.no_grad():
        model.blip.text_encoder.embeddings.position_embeddings.weight[30:] += 5.0
    assert torch.equal(model.logits(pixels, full, group), before)


def test_text_is_marked_by_place_since_the_padding_number_is_also_a_word() -> None:
    tokens = torch.tensor([[9, 0, 0, 8, 0, 0], [9, 8, 0, 0, 0, 0]])  # open_clip's 0 is "!"
    assert used_tokens(tokens, 0).tolist() == [[True] * 4 + [False] * 2, [True] * 2 + [False] * 4]


def test_text_length_cuts(blip: Callable[..., BLIPReward]) -> None:
    short, long = blip(text_length=6), blip(text_length=30)
    ends = [f"a cat and a dog and a {word}" for word in ("house", "mouse")]
    images = pictures(1).repeat(2, 1, 1, 1)
    assert short.tokenizer.lengths(ends) == [10, 10]
    a, b = short.score(images, ends, torch.tensor([0, 1]))
    assert torch.equal(a, b)
    a, b = long.score(images, ends, torch.tensor([0, 1]))
    assert not torch.equal(a, b)


def test_images_carry_gradients_equal_to_finite_differences(blip: Callable[..., BLIPReward]) -> None:
    model = blip().double()
    model.head = model.head.float()
    image = torch.rand(1, 3, 40, 48, generator=torch.Generator().manual_seed(2)).requires_grad_()
    score = model.score(image, ["a cat"], torch.tensor([0])).sum()
    score.backward()
    assert image.grad is not None
    direction = image.grad / image.grad.norm()
    with torch.no_grad():
        step = 1e-2 * direction
        ahead = model.score((image + step).clamp(0, 1), ["a cat"], torch.tensor([0])).sum()
        behind = model.score((image - step).clamp(0, 1), ["a cat"], torch.tensor([0])).sum()
    assert float(ahead - behind) == pytest.approx(2e-2 * float(image.grad.norm()), rel=0.1)


def test_image_is_encoded_once_and_text_is_cut_to_the_longest(blip: Callable[..., BLIPReward]) -> None:
    model = blip()
    seen: list[tuple[int, ...]] = []
    model.blip.vision_model.register_forward_hook(
        lambda m, a, k, o: seen.append(k["pixel_values"].shape), with_kwargs=True
    )
    model.blip.text_encoder.embeddings.register_forward_hook(lambda m, a, o: seen.append(o.shape))
    model.score(pictures(4), ["a cat", "a dog"], torch.tensor([0, 0, 1, 1]))
    assert seen == [(4, 3, 32, 32), (4, 4, 16)]


def test_head_is_imagereward_s_and_affine_in_evaluation() -> None:
    head = BlipHead("mlp", 768, 1).eval()
    assert [tuple(layer.weight.shape) for layer in head.layers if isinstance(layer, nn.Linear)] == [
        (1024, 768),
        (128, 1024),
        (64, 128),
        (16, 64),
        (1, 16),
    ]
    assert [layer.p for layer in head.layers if isinstance(layer, nn.Dropout)] == [0.2, 0.2, 0.1]
    x, y = torch.randn(2, 5, 768, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(head(x) + head(y) - head(torch.zeros_like(x)), head(x + y), atol=1e-4)


def test_sane_start_moves_and_the_published_one_does_not() -> None:
    torch.manual_seed(0)
    states = torch.nn.functional.layer_norm(torch.randn(256, 768), (768,))
    sane, published = BlipHead("mlp", 768, 1).eval(), BlipHead("mlp", 768, 1, init="published").eval()
    assert 0.3 < float(sane(states).detach().std()) < 3
    assert float(published(states).detach().abs().max()) < 1e-6
    for head, least, most in ((sane, 1e-2, 1e3), (published, 0.0, 1e-5)):
        (torch.nn.functional.softplus(-(head(states[:128]) - head(states[128:])))).mean().backward()
        norm = float(head.layers[0].weight.grad.norm())
        assert least <= norm < most
    assert published.state_dict().keys() == sane.state_dict().keys()
    assert BlipHead("linear", 8, 3)(torch.zeros(2, 8)).shape == (2, 3)


def test_normalised_output_is_per_dimension(blip: Callable[..., BLIPReward]) -> None:
    model = blip(dimensions=("a", "b"), output="normalised", mean=0.5, std=2.0)
    images, group = pictures(3), torch.tensor([0, 1, 2])
    normalised = model.score(images, PROMPTS, group)
    logits = model.score_pixels(
        transform_tensor(images, model.transform), model.prepare_prompts(PROMPTS), group, "logit"
    )
    assert torch.allclose(normalised, (logits - 0.5) / 2.0)
    factor, shift = model.of_logits()["b"]
    assert torch.allclose(logits[:, 1] * factor + shift, normalised[:, 1])
    with pytest.raises(UserError, match="cosine"):
        blip(output="cosine")


def test_groups_of_layers_hold_each_tower_parameter_once(blip: Callable[..., BLIPReward]) -> None:
    model = blip()
    groups = layer_groups(model.blip)
    assert [g.name for g in groups["image"]] == ["image.stem", "image.block.0", "image.block.1", "image.block.2"]
    assert [g.name for g in groups["text"]] == ["text.embeddings", "text.block.0", "text.block.1", "text.block.2"]
    names = [name for tower in groups.values() for group in tower for name in group.parameters]
    assert sorted(names) == sorted(name for name, _ in model.blip.named_parameters())
    full = [name for tower in groups_of_model(model).values() for group in tower for name in group.parameters]
    assert {name for name, _ in model.named_parameters()} - set(full) == {
        name for name, _ in model.named_parameters() if name.startswith("head.")
    }


def test_freezing_trains_the_last_groups(blip: Callable[..., BLIPReward]) -> None:
    model = blip(unlocked_image_groups=1, unlocked_text_layers=2)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all(
        name.startswith(
            (
                "head.",
                "blip.vision_model.encoder.layers.2.",
                "blip.vision_model.post_layernorm.",
                "blip.text_encoder.encoder.layer.1.",
                "blip.text_encoder.encoder.layer.2.",
            )
        )
        for name in trained
    )
    assert "blip.text_encoder.encoder.layer.1.crossattention.self.key.weight" in trained
    assert "blip.vision_model.post_layernorm.weight" in trained


def test_checkpointing_and_stochastic_depth(blip: Callable[..., BLIPReward]) -> None:
    plain, again = blip().train(), blip(gradient_checkpointing=True).train()
    gradients = []
    for model in (plain, again):
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        model.score(pictures(2), PROMPTS, torch.tensor([0, 1])).sum().backward()
        gradients.append([p.grad for p in model.blip.parameters() if p.grad is not None])
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    deep = blip(drop_path=0.5)
    images = transform_tensor(pictures(64), deep.transform)
    assert torch.equal(deep.blip.encode_image(images), blip().blip.encode_image(images))  # nothing in evaluation
    torch.manual_seed(0)
    dropped = deep.train().blip.encode_image(images)
    kept = blip().blip.encode_image(images)
    assert not torch.allclose(dropped, kept, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"text_length": 60}, "40 positions"),
        ({"dimensions": ("a", "a")}, "different names"),
        ({"head": "deep"}, "mlp, linear"),
        ({"tokenizer": "/nowhere/at/all"}, "vocab.txt"),
    ],
)
def test_mistakes_are_named(blip: Callable[..., BLIPReward], options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        blip(**options)


def test_architectures_are_named_or_files() -> None:
    large = read_blip_architecture("blip-large")
    assert (large.vision["hidden_size"], large.vision["num_hidden_layers"], large.image_size) == (1024, 24, 224)
    assert (large.text["num_attention_heads"], large.vision["layer_norm_eps"]) == (12, 1e-6)
    with pytest.raises(UserError, match="nearest is blip-large"):
        read_blip_architecture("blip-lage")
    with pytest.raises(UserError, match="nearest is hidden_size"):
        read_blip_architecture({"vision_config": {"hiden_size": 3}})
