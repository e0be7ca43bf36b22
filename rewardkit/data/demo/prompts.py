"""Compositional prompts of the embedded dataset: what a scene is, how it is said, and which prompts are held out.

A scene has four slots that a picture can get wrong (count, colour, subject, place) and a style, which it never does.
All words are common, so each is one token for CLIP's vocabulary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

Split = Literal["train", "val", "all"]
"""``train`` and ``val`` share no prompt; ``all`` draws from both."""

HELD_OUT_SHARE = 0.15
"""Share of the combinations of count, colour, subject and place that only ``val`` shows as prompts."""

COUNTS = ("one", "two", "three", "four")
COLOURS = ("red", "yellow", "green", "blue", "purple", "white")
SUBJECTS: Mapping[str, str] = {
    "cat": "cats",
    "fish": "fish",
    "house": "houses",
    "car": "cars",
    "flower": "flowers",
    "balloon": "balloons",
    "boat": "boats",
    "mushroom": "mushrooms",
}
"""Singular and plural of each subject."""

PLACES: Mapping[str, str] = {
    "meadow": "in a meadow",
    "desert": "in the desert",
    "sea": "on the sea",
    "snow": "in the snow",
    "city": "in the city",
    "night": "under the stars",
}
"""How each place is said."""

STYLES = ("poster", "watercolour", "pastel", "storybook")
SLOTS = ("count", "colour", "subject", "place")
"""The slots that a picture can get wrong, in the order of the sentence."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a picture shows, or should show. ``count`` is a word; see the vocabularies of this module."""

    count: str
    colour: str
    subject: str
    place: str
    style: str

    @property
    def number(self) -> int:
        """How many subjects there are, 1 to 4."""
        return COUNTS.index(self.count) + 1

    def slots(self) -> dict[str, str]:
        """The scene as a group's ``slots``."""
        return {slot: getattr(self, slot) for slot in (*SLOTS, "style")}


def sentence(scene: Scene) -> str:
    """The scene in words, for example ``"three red cats in the snow, watercolour"``."""
    noun = scene.subject if scene.number == 1 else SUBJECTS[scene.subject]
    return f"{scene.count} {scene.colour} {noun} {PLACES[scene.place]}, {scene.style}"


def held_out(scene: Scene) -> bool:
    """Whether the scene's count, colour, subject and place belong to ``val``; the style does not matter.

    A fixed hash decides, not the seed, so that the validation set of one seed holds no prompt that another trained on.
    """
    key = "/".join(getattr(scene, slot) for slot in SLOTS)
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:8], "big") < HELD_OUT_SHARE * 2**64


def draw_scene(rng: np.random.Generator, split: Split) -> Scene:
    """A scene of the split, every one equally likely."""
    while True:
        scene = Scene(
            count=COUNTS[rng.integers(len(COUNTS))],
            colour=COLOURS[rng.integers(len(COLOURS))],
            subject=tuple(SUBJECTS)[rng.integers(len(SUBJECTS))],
            place=tuple(PLACES)[rng.integers(len(PLACES))],
            style=STYLES[rng.integers(len(STYLES))],
        )
        if split == "all" or held_out(scene) == (split == "val"):
            return scene


def mistake(rng: np.random.Generator, scene: Scene, wrong: int, split: Split) -> Scene:
    """The scene with ``wrong`` of its four slots changed, each to another value of its vocabulary.

    In ``train`` a scene that is held out is drawn anew, so that training never shows what validation asks for.
    """
    vocabularies = {"count": COUNTS, "colour": COLOURS, "subject": tuple(SUBJECTS), "place": tuple(PLACES)}
    while True:
        shown = scene
        for n in rng.permutation(len(SLOTS))[:wrong]:
            slot = SLOTS[n]
            others = [value for value in vocabularies[slot] if value != getattr(scene, slot)]
            shown = replace(shown, **{slot: others[rng.integers(len(others))]})
        if split != "train" or not held_out(shown):
            return shown


def wrong_slots(asked: Scene, shown: Scene) -> int:
    """How many of the four slots the picture gets wrong."""
    return sum(getattr(asked, slot) != getattr(shown, slot) for slot in SLOTS)
