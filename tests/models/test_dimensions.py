"""Heads, an overall that follows from the other dimensions, uncertainty: how they start, learn, and come back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import rewardkit
from rewardkit.data.batch import Batch
from rewardkit.errors import UserError
from rewardkit.models.bundle import save_bundle
from rewardkit.models.bundle_record import RECORD
from rewardkit.models.clip import CLIPReward
from rewardkit.models.export import export_open_clip, export_transformers
from rewardkit.models.heads import TextQueryHead, make_head
from rewardkit.models.load import load
from rewardkit.models.overall import CombinationWeights, GateWeights
from rewardkit.models.uncertainty import UncertaintyHead

Build = Callable[..., CLIPReward]
ASPECTS = ("prompt_following", "aesthetic", "overall", "fidelity")
"""``overall`` stands in the middle: its place is the user's choice."""

WIDTH = 6


def features(images: int = 5, prompts: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    group = torch.arange(images) % prompts
    return (
        3 * torch.randn(images, WIDTH, generator=generator),
        0.2 * torch.randn(prompts, WIDTH, generator=generator),
        group,
    )


def stir(module: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module


@pytest.mark.parametrize("kind", ["projection", "text_query"])
@pytest.mark.parametrize("overall", ["learned", "mean", "combination", "gate"])
def test_every_dimension_starts_as_the_plain_clip(kind: str, overall: str) -> None:
    image, text, group = features()
    scores = make_head(kind, ASPECTS, WIDTH, overall=overall)(image, text, group)
    plain = F.cosine_similarity(image, text[group])
    torch.testing.assert_close(scores, plain.unsqueeze(1).expand(5, 4))


def test_text_query_by_hand() -> None:
    image, text, group = features()
    head = stir(TextQueryHead(3, WIDTH))
    asked = F.normalize(text, dim=1)[group] + head.query[1]
    torch.testing.assert_close(head(image, text, group)[:, 1], F.cosine_similarity(image, asked))
    # The size of the text tower's output says nothing.
    torch.testing.assert_close(head(image, 50 * text, group), head(7 * image, text, group))


@pytest.mark.parametrize("kind", ["projection", "text_query"])
@pytest.mark.parametrize("overall", ["mean", "combination", "gate"])
def test_overall_is_the_weighted_sum_of_the_others(kind: str, overall: str) -> None:
    image, text, group = features()
    head = stir(make_head(kind, ASPECTS, WIDTH, overall=overall))
    scores = head(image, text, group)
    others = scores[:, [0, 1, 3]]
    if overall == "mean":
        weights = torch.full((2, 3), 1 / 3)
    elif overall == "combination":
        weights = torch.softmax(head.weights.logits, 0).expand(2, 3)
    else:
        prompt = F.normalize(text, dim=1) * WIDTH**0.5
        gate = head.weights
        hidden = torch.relu(prompt @ gate.hidden.weight.T + gate.hidden.bias)
        weights = torch.softmax(hidden @ gate.out.weight.T + gate.out.bias, 1)
        assert (weights[0] - weights[1]).abs().max() > 1e-3, "prompts weigh differently"
    torch.testing.assert_close(scores[:, 2], (weights[group] * others).sum(1))
    assert (weights >= 0).all() and torch.allclose(weights.sum(1), torch.ones(2))


def test_a_dimension_speaks_to_its_own_parameters_alone() -> None:
    image, text, group = features()
    for kind in ("projection", "text_query"):
        for overall in ("learned", "mean", "combination", "gate"):
            head = stir(make_head(kind, ASPECTS, WIDTH, overall=overall))
            head(image, text, group)[:, 1].square().sum().backward()  # aesthetic
            own = head if overall == "learned" else head.others
            for parameter in own.parameters():
                moved = parameter.grad.flatten(1).abs().sum(1) > 0
                assert moved.tolist() == [n == 1 for n in range(len(moved))]
            if overall != "learned":
                assert all(p.grad is None or not p.grad.any() for p in head.weights.parameters())


@pytest.mark.parametrize("overall", ["combination", "gate"])
@pytest.mark.parametrize("gradient", ["all", "weights"])
def test_what_labels_of_overall_teach(overall: str, gradient: str) -> None:
    image, text, group = features()
    text.requires_grad_(True)
    head = stir(make_head("projection", ASPECTS, WIDTH, overall=overall, overall_gradient=gradient))
    head(image, text, group)[:, 2].square().sum().backward()
    assert any(p.grad.any() for p in head.weights.parameters())
    taught = head.others.image.grad is not None and bool(head.others.image.grad.any())
    assert taught == (gradient == "all")
    assert (text.grad is not None and bool(text.grad.any())) == (gradient == "all"), "a gate never moves the text tower"


def test_the_combination_learns_which_dimension_counts() -> None:
    weights = CombinationWeights(3)
    optimiser = torch.optim.Adam(weights.parameters(), lr=0.1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(150):
        first, second = torch.randn(2, 64, 3, generator=generator)
        won = (first[:, 1] > second[:, 1]).float()
        delta = ((first - second) * weights(torch.ones(1, 2))).sum(1)
        optimiser.zero_grad()
        F.binary_cross_entropy_with_logits(5 * delta, won).backward()
        optimiser.step()
    found = weights.weights()
    assert found[1] > 0.8 and found.min() >= 0 and found.sum().item() == pytest.approx(1)


def test_the_gate_learns_from_prompts() -> None:
    torch.manual_seed(0)
    gate = GateWeights(2, WIDTH, 16)
    optimiser = torch.optim.Adam(gate.parameters(), lr=0.02)
    text = torch.randn(200, WIDTH)
    wanted = (text[:, 0] > 0).long()  # this feature says which dimension counts
    for _ in range(200):
        optimiser.zero_grad()
        F.nll_loss(gate(text).log(), wanted).backward()
        optimiser.step()
    fresh = torch.randn(200, WIDTH)
    assert (gate(fresh).argmax(1) == (fresh[:, 0] > 0).long()).float().mean() > 0.9


def test_uncertainty_starts_at_one_learns_and_stays_sane() -> None:
    image, text, group = features()
    head = UncertaintyHead(2, WIDTH)
    assert torch.equal(head(image, text, group), torch.zeros(5, 2))
    head(image, text, group)[:, 0].sum().backward()
    assert all(p.grad[0].any() and not p.grad[1].any() for p in head.parameters())
    with torch.no_grad():
        head.bias.fill_(1e4)
    assert (head(image, text, group) <= 3).all() and (head(image.half(), text.half(), group).dtype == torch.float32)


@pytest.mark.parametrize("kind", ["projection", "text_query"])
@pytest.mark.parametrize("overall", ["learned", "mean", "combination", "gate"])
def test_batch_mates_never_change_a_score(tiny: Build, kind: str, overall: str) -> None:
    model = tiny(dimensions=ASPECTS, head=kind, overall=overall, uncertainty=True)
    stir(model.uncertainty)
    pixels = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    group = torch.tensor([0, 1, 1, 0])

    def judged(rows: list[int], prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        batch: Any = SimpleNamespace(
            pixels=pixels[rows],
            tokens=model.tokenizer(prompts),
            group=group[rows] if len(prompts) > 1 else torch.zeros(len(rows), dtype=torch.long),
            caption_tokens=torch.zeros(0, 1, dtype=torch.long),
            image_features=None,
            text_features=None,
        )
        output = model(batch)
        return output.scores, output.log_sigma

    for together, alone in zip(judged([0, 1, 2, 3], ["a cat", "two boats"]), judged([2], ["two boats"]), strict=True):
        torch.testing.assert_close(together[2:3], alone, rtol=1e-5, atol=1e-5)


def test_features_of_the_batch_are_taken_as_they_are(tiny: Build) -> None:
    model = tiny(dimensions=("a", "b"), uncertainty=True)
    image, text = torch.randn(3, 16), torch.randn(2, 16)
    group = torch.tensor([0, 1, 1])
    nothing = torch.zeros(0, 1, dtype=torch.long)
    batch: Batch = SimpleNamespace(  # type: ignore[assignment]
        pixels=torch.zeros(3, 3, 0, 0, dtype=torch.uint8),
        tokens=torch.zeros(2, 0, dtype=torch.long),
        group=group,
        caption_tokens=nothing,
        image_features=image,
        text_features=text,
    )
    output = model(batch)
    torch.testing.assert_close(output.scores, model.scale() * model.head(image, text, group))
    assert output.log_sigma is not None and output.image_features is image


@pytest.mark.parametrize("uncertainty", [False, True])
@pytest.mark.parametrize("overall", ["learned", "mean", "combination", "gate"])
@pytest.mark.parametrize("kind", ["projection", "text_query", "cosine"])
def test_bundles_come_back_bit_for_bit(tiny: Build, tmp_path: Path, kind: str, overall: str, uncertainty: bool) -> None:
    dimensions = ASPECTS
    if kind == "cosine":
        dimensions = ("overall",) if overall == "learned" else ("overall", "aesthetic")
    options = {"overall_gradient": "weights", "gate_width": 7} if overall == "gate" else {}
    model = tiny(dimensions=dimensions, head=kind, overall=overall, uncertainty=uncertainty, **options)
    if model.uncertainty is not None:
        stir(model.uncertainty)
    model.requires_grad_(False)
    pixels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    prompts = ["a cat", "a dog", "a cat"]
    loaded = rewardkit.load(save_bundle(tmp_path / "b", model))
    assert torch.equal(loaded.score(pixels, prompts), model.score(pixels, ["a cat", "a dog"], torch.tensor([0, 1, 0])))
    for part in ("head", "uncertainty"):
        ours, theirs = getattr(model, part), getattr(loaded.model, part)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert {k: v.tolist() for k, v in ours.state_dict().items()} == {
                k: v.tolist() for k, v in theirs.state_dict().items()
            }
    if overall == "gate":
        assert loaded.model.head.gradient == "weights"
    again = load(save_bundle(tmp_path / "again", loaded.model))
    assert torch.equal(again.score(pixels, prompts), loaded.score(pixels, prompts))
    if uncertainty:
        scores, sigma = loaded.score_with_sigma(pixels, prompts)
        assert torch.equal(scores, loaded.score(pixels, prompts)) and (sigma > 0).all()
        logits, logit_sigma = loaded.score_with_sigma(pixels, prompts, output="logit")
        torch.testing.assert_close(logits / scores, logit_sigma / sigma)
    else:
        with pytest.raises(UserError, match="has no uncertainty"):
            loaded.score_with_sigma(pixels, prompts)


def test_weights_of_overall_can_be_read(tiny: Build, tmp_path: Path) -> None:
    combined = tiny(dimensions=ASPECTS, overall="combination")
    folder = save_bundle(tmp_path / "c", combined)
    said = json.loads((folder / RECORD).read_text())["model"]["overall"]
    assert said["kind"] == "combination" and list(said["weights"]) == ["prompt_following", "aesthetic", "fidelity"]
    assert list(said["weights"].values()) == combined.head.weights.weights().tolist()
    assert f"aesthetic {said['weights']['aesthetic']:.4f}" in (folder / "README.md").read_text()
    read = load(folder).overall_weights(["a cat", "a dog"])
    assert read["fidelity"].tolist() == [pytest.approx(said["weights"]["fidelity"])] * 2
    gated = load(save_bundle(tmp_path / "g", tiny(dimensions=ASPECTS, overall="gate", uncertainty=True)))
    cat, boat = (gated.overall_weights(prompt) for prompt in ("a cat", "two boats at sea"))
    assert sum(float(w) for w in cat.values()) == pytest.approx(1) and cat["fidelity"] != boat["fidelity"]
    card = (tmp_path / "g" / "README.md").read_text()
    assert "a gate reads the weights off the prompt" in card and "score_with_sigma" in card
    with pytest.raises(UserError, match="no overall that follows"):
        load(save_bundle(tmp_path / "l", tiny(dimensions=ASPECTS))).overall_weights("a cat")


def test_bundles_of_format_1_still_load(tiny: Build, tmp_path: Path) -> None:
    model = tiny(dimensions=("overall", "aesthetic")).requires_grad_(False)
    folder = save_bundle(tmp_path / "b", model)
    record = json.loads((folder / RECORD).read_text())
    record["format_version"] = 1
    for later in ("overall", "uncertainty"):
        del record["model"][later]
    (folder / RECORD).write_text(json.dumps(record))
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    wanted = model.score(pixels, ["a cat"], torch.zeros(2, dtype=torch.long))
    assert torch.equal(load(folder).score(pixels, "a cat"), wanted)


@pytest.mark.parametrize(
    ("dimensions", "options", "said"),
    [
        (("overall",), {"overall": "mean"}, "names it alone"),
        (("a", "b"), {"overall": "gate"}, r"none of that name; add it: model.dimensions=overall,a,b"),
        (("overall", "a"), {"overall": "median"}, "not one of learned, mean, combination, gate"),
        (("overall", "a"), {"overall": "mean", "overall_gradient": "weights"}, "mean has none to learn"),
        (("overall", "a", "b"), {"overall": "mean", "head": "cosine"}, "cosine head has one dimension, but 2"),
        (("overall", "a"), {"head": "text-query"}, "did you mean 'text_query'"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(tiny: Build, dimensions: tuple, options: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        tiny(dimensions=dimensions, **options)


@pytest.mark.parametrize("export", [export_open_clip, export_transformers])
def test_exports_name_what_would_be_lost(tiny: Build, tmp_path: Path, export: Callable[..., Any]) -> None:
    for options, said in (
        ({"head": "text_query"}, "no place for the text queries"),
        ({"overall": "gate"}, "the gate that makes 'overall'.*dimensions=prompt_following,aesthetic,fidelity exports"),
        ({"overall": "mean", "uncertainty": True}, "the mean that makes .*nor for the uncertainty"),
    ):
        with pytest.raises(UserError, match=said):
            export(tmp_path / "out", tiny(dimensions=ASPECTS, **options))
        assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="no dimension 'beauty'; the model has prompt_following"):
        export(tmp_path / "out", tiny(dimensions=ASPECTS), dimensions=["beauty"])


def test_the_other_dimensions_of_a_gate_are_exported(tiny: Build, tmp_path: Path) -> None:
    import open_clip

    model = tiny(dimensions=ASPECTS, overall="gate")
    places = export_open_clip(tmp_path / "out", model, dimensions=["fidelity", "aesthetic"])
    assert places == {name: tmp_path / "out" / name for name in ("fidelity", "aesthetic")}
    pixels, tokens = torch.randn(2, 3, 32, 32), model.tokenizer(["a cat", "a dog"])
    wanted = model.cosines(model.encode_pixels(pixels), model.encode_tokens(tokens), torch.arange(2))
    for name, place in places.items():
        towers = open_clip.create_model(f"local-dir:{place}").eval()
        found = F.cosine_similarity(towers.encode_image(pixels), towers.encode_text(tokens))
        torch.testing.assert_close(found, wanted[:, ASPECTS.index(name)], rtol=1e-4, atol=1e-5)
