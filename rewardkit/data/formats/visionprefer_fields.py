"""The names under which VisionPrefer's records may hold what is read of them, and the fields of a record by them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rewardkit.data.reading.fields import nearest, optional_text
from rewardkit.data.reading.format import ReadLog

ASPECTS: Mapping[str, tuple[str, ...]] = {
    "prompt_following": ("prompt_following", "alignment", "text_image_alignment"),
    "aesthetic": ("aesthetic", "aesthetics"),
    "fidelity": ("fidelity",),
    "harmlessness": ("harmlessness", "harmless"),
}
"""Dimension to the names that its aspect may have; capitals, hyphens and spaces do not matter."""

NAMES: Mapping[str, tuple[str, ...]] = {
    "id": ("prompt_id", "id"),
    "prompt": ("polished_prompt", "prompt"),
    "raw prompt": ("raw_prompt", "original_prompt", "unpolished_prompt"),
    "annotator": ("annotator", "annotated_by", "rater", "by"),
    "images": ("images", "candidates", "generations"),
    "image": ("path", "image", "file", "image_path", "file_name"),
    "image id": ("image_id", "id"),
    "model": ("model", "generator", "model_name"),
    "models": ("models", "generators"),
    "guidance": ("guidance", "guidance_scale"),
    "scores": ("scores", "ratings", "annotations", "aspects", "aspect_scores"),
    "score": ("score", "rating"),
    "rationales": ("rationales", "reasons"),
    "rationale": ("rationale", "reason"),
    "ranking": ("ranking", "ranks"),
    "dimension": ("dimension", "aspect"),
    "outcome": ("outcome",),
}
"""What is read, and the names that its field may have. ``prompt`` beside ``polished_prompt`` is the raw one."""


@dataclass(slots=True)
class Fields:
    """The fields of an object, each taken once; what nobody took is left over."""

    values: Mapping[str, Any]
    taken: set[str] = field(default_factory=set)

    def take(self, what: str) -> Any:
        """The value under any of the names of a thing; None where there is none."""
        names = [name for name in NAMES[what] if self.values.get(name) is not None and name not in self.taken]
        self.taken.update(names[:1])
        return self.values[names[0]] if names else None

    def text(self, what: str) -> str | None:
        """The same as text."""
        value = self.take(what)
        return None if value is None else optional_text({what: value}, what)

    def aspects(self) -> dict[str, Any]:
        """The values under the names of aspects."""
        found = {name: value for name, value in self.values.items() if aspect_of(name)}
        self.taken.update(found)
        return found

    def reasons(self) -> dict[str, Any]:
        """The values under the name of an aspect with ``_rationale`` or ``_reason`` behind, by that name."""
        found = {}
        for name, value in self.values.items():
            for ending in NAMES["rationale"]:
                if name.lower().endswith(f"_{ending}") and aspect_of(name[: -len(ending) - 1]):
                    self.taken.add(name)
                    found[name[: -len(ending) - 1]] = value
        return found

    def note_rest(self, log: ReadLog, where: str) -> None:
        """Counts the fields that are not read."""
        for name in self.values:
            if name not in self.taken and self.values[name] is not None:
                log.notes[f"field {name!r} of {where} is not one of this format: not read"] += 1


def aspect_of(name: str) -> str | None:
    """The dimension of an aspect's name; None where it is none."""
    plain = name.lower().replace("-", "_").replace(" ", "_").removesuffix("_score")
    return next((dimension for dimension, names in ASPECTS.items() if plain in names), None)


def the_aspect(name: Any) -> str:
    """The dimension of an aspect's name.

    Raises:
        ValueError: It is none; says which is nearest.
    """
    dimension = aspect_of(str(name))
    if dimension is None:
        raise ValueError(f"{name!r} is not an aspect of VisionPrefer. {nearest(str(name), ASPECTS)}")
    return dimension
