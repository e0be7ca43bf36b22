"""Prompts of the embedded dataset: the split, the sentences, the mistakes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from rewardkit.data.demo.prompts import (
    COLOURS,
    COUNTS,
    HELD_OUT_SHARE,
    PLACES,
    STYLES,
    SUBJECTS,
    Scene,
    draw_scene,
    held_out,
    mistake,
    sentence,
    wrong_slots,
)

EVERY_SCENE = [Scene(*slots) for slots in product(COUNTS, COLOURS, SUBJECTS, PLACES, STYLES)]


def test_sentences_tell_scenes_apart() -> None:
    assert sentence(Scene("one", "red", "cat", "snow", "pastel")) == "one red cat in the snow, pastel"
    assert sentence(Scene("three", "red", "cat", "sea", "poster")) == "three red cats on the sea, poster"
    assert len({sentence(scene) for scene in EVERY_SCENE}) == len(EVERY_SCENE)


def test_the_share_held_out_is_what_was_asked_for_and_the_style_does_not_matter() -> None:
    share = np.mean([held_out(scene) for scene in EVERY_SCENE])
    assert abs(share - HELD_OUT_SHARE) < 0.04
    scene = EVERY_SCENE[0]
    for style in STYLES:
        assert held_out(Scene(scene.count, scene.colour, scene.subject, scene.place, style)) == held_out(scene)


@pytest.mark.parametrize("wrong", [0, 1, 2, 3])
def test_a_mistake_changes_that_many_slots_and_never_the_style(wrong: int) -> None:
    rng = np.random.default_rng(wrong)
    for _ in range(50):
        asked = draw_scene(rng, "train")
        shown = mistake(rng, asked, wrong, "train")
        assert wrong_slots(asked, shown) == wrong
        assert shown.style == asked.style


def test_training_never_shows_what_validation_asks_for() -> None:
    rng = np.random.default_rng(0)
    for n in range(300):
        asked = draw_scene(rng, "train")
        assert not held_out(asked)
        assert not held_out(mistake(rng, asked, n % 4, "train"))
        assert held_out(draw_scene(rng, "val"))
