"""The embedded dataset: pure in (seed, index), nothing of the law in the record, pictures that differ as told."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from rewardkit.data.demo.dataset import (
    CANDIDATES,
    GENERATORS,
    demo_ceilings,
    demo_group,
    demo_groups,
    demo_utilities,
    draw_groups,
    plan_group,
)
from rewardkit.data.demo.drawing import SIZES, draw_candidate
from rewardkit.data.demo.faults import FAULTS, LEVELS
from rewardkit.data.demo.prompts import PLACES, SUBJECTS, Scene, sentence
from rewardkit.data.demo.voters import ANNOTATORS, DIMENSIONS
from rewardkit.data.group import from_json, to_json

CLEAN = {"aesthetic": 0, "fidelity": 0, "harmlessness": 0}
SCENE = Scene("two", "red", "boat", "sea", "storybook")


def pixels(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).astype(float)


def test_a_group_depends_on_seed_split_and_index_alone() -> None:
    alone = demo_group(seed=7, index=5, split="train")
    assert list(demo_groups(seed=7, start=4, count=2, split="train"))[1] == alone
    assert demo_group(seed=8, index=5, split="train")[1] != alone[1]
    assert demo_group(seed=7, index=6, split="train")[1] != alone[1]
    assert demo_group(seed=7, index=5, split="val")[0].prompt != alone[0].prompt


def test_processes_draw_the_same_groups_in_the_same_order() -> None:
    here = list(demo_groups(seed=1, start=2, count=5))
    assert list(draw_groups(seed=1, start=2, count=5, workers=2, chunk=2)) == here
    assert list(draw_groups(seed=1, start=2, count=5, workers=0)) == here


def test_the_record_is_whole_and_says_nothing_of_the_law() -> None:
    group, files = demo_group(seed=0, index=3, split="val")
    assert from_json(to_json(group)) == group
    assert len(files) == len(group.candidates) == CANDIDATES
    for candidate, file in zip(group.candidates, files, strict=True):
        picture = Image.open(io.BytesIO(file))
        assert (picture.format, picture.size) == ("JPEG", (candidate.width, candidate.height))
        assert candidate.sha256 == hashlib.sha256(file).hexdigest()
        assert candidate.generator in GENERATORS
    assert Counter(c.dimension for c in group.comparisons) == dict.fromkeys(DIMENSIONS, 6)
    assert all(sum(c.votes) == ANNOTATORS for c in group.comparisons)
    assert group.tags == {"style": group.slots["style"]}
    assert set(json.loads(to_json(group))["slots"]) == {"count", "colour", "subject", "place", "style", "captions"}


def test_captions_tell_what_is_shown_and_the_prompt_what_was_asked() -> None:
    for index in range(4):
        plan = plan_group(seed=2, index=index, split="train")
        group, _ = demo_group(seed=2, index=index, split="train")
        assert group.prompt == sentence(plan.asked)
        assert group.slots["captions"] == [sentence(scene) for scene in plan.shown]
        right = [caption == group.prompt for caption in group.slots["captions"]]
        assert right == [level["prompt_following"] == 0 for level in plan.levels]


def test_train_and_val_share_no_prompt() -> None:
    prompts = {
        split: {sentence(plan_group(seed=0, index=i, split=split).asked) for i in range(400)}  # type: ignore[arg-type]
        for split in ("train", "val")
    }
    assert not prompts["train"] & prompts["val"]


def test_position_does_not_tell_the_better_candidate() -> None:
    by_position = np.array([[u["overall"] for u in group] for group in demo_utilities(seed=0, start=0, count=3000)])
    # The standard error of a mean over 3000 groups is about 0.015.
    assert np.ptp(by_position.mean(axis=0)) < 0.08


def test_generators_differ_in_quality() -> None:
    means: dict[str, list[float]] = {name: [] for name in GENERATORS}
    for index in range(800):
        plan = plan_group(seed=0, index=index, split="all")
        for name, levels in zip(plan.generators, plan.levels, strict=True):
            means[name].append(sum(levels.values()))
    assert np.mean(means["lantern-xl"]) < np.mean(means["otter-1.5"]) < np.mean(means["pebble-base"])


def test_the_ceilings_are_where_the_dataset_promises_them() -> None:
    found = demo_ceilings(seed=0, start=0, count=500, split="val")
    assert found.best["overall"] == pytest.approx(0.90, abs=0.015)
    assert found.blind == pytest.approx(0.79, abs=0.02)
    assert all(found.best[d] > 0.96 for d in DIMENSIONS[1:])


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize("place", PLACES)
def test_every_subject_shows_in_every_place(subject: str, place: str) -> None:
    scene = Scene("one", "purple", subject, place, "storybook")
    other = replace(scene, colour="yellow")
    a, b = (draw_candidate(np.random.default_rng(1), s, CLEAN) for s in (scene, other))
    assert a.size == b.size and a.size in SIZES
    # The same random numbers, another colour: only the subject changes.
    changed = np.abs(pixels(a) - pixels(b)).max(axis=2) > 40
    assert 0.02 < changed.mean() < 0.4


@pytest.mark.parametrize(("dimension", "kind"), [(d, k) for d, kinds in FAULTS.items() for k in kinds])
def test_a_fault_hurts_more_at_each_level(dimension: str, kind: str) -> None:
    scene = pixels(draw_candidate(np.random.default_rng(4), SCENE, CLEAN))
    harm = []
    for level in range(1, LEVELS + 1):
        spoilt = FAULTS[dimension][kind](np.random.default_rng(9), Image.fromarray(scene.astype(np.uint8)), level)
        assert spoilt.size == (scene.shape[1], scene.shape[0])
        harm.append(np.abs(pixels(spoilt) - scene).mean())
    assert 0.5 < harm[0] < harm[1] < harm[2]
