"""AVT-AI: 27 prompts, five generators and real photographs, each image rated by about 24 people on scales 1 to 5.

Göring et al., "Analysis of Appeal for Realistic AI-Generated Photos" (IEEE Access 2023; QoMEX 2023), repository
Telecommunication-Telemedia-Assessment/avt_ai_images. Test t1 asked for appeal, realism and prompt_matching, test t2
for appeal and quality, with different people.

::

    groups.jsonl   {"id": "avt_p01", "prompt", "category", "images": ["images/…"], "models": [...]} per prompt
    ratings.csv    test,rater,prompt_id,model,image,dimension,rating      one row per single rating
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewardkit.config.options import option
from rewardkit.data.formats.csv import read_table
from rewardkit.data.formats.format import GroupWithImages, Image
from rewardkit.data.group import Answer, Candidate, Group
from rewardkit.errors import UserError

COLUMNS = ["test", "rater", "prompt_id", "model", "image", "dimension", "rating"]
IN_BOTH_TESTS = "appeal"


@dataclass
class AvtOptions:
    """What can be asked of AVT-AI."""

    pooled: bool = option(True)
    """One dimension appeal from both tests; false keeps them apart as appeal_t1 and appeal_t2."""


class AvtFormat:
    """See the module's docstring."""

    name = "avt"
    summary = "AVT-AI: a folder with groups.jsonl, ratings.csv and images/; every single rating is kept"
    options = AvtOptions

    def matches(self, src: Path) -> bool:
        """A folder that holds ``groups.jsonl`` and ``ratings.csv``."""
        return all((src / name).is_file() for name in ("groups.jsonl", "ratings.csv"))

    def read(self, src: Path, options: AvtOptions, notes: Counter[str]) -> Iterator[GroupWithImages]:
        """See ``Format.read``."""
        for name in ("groups.jsonl", "ratings.csv"):
            if not (src / name).is_file():
                raise UserError(f"{src / name} does not exist; format=avt takes the folder that holds it")
        prompts = _prompts(src / "groups.jsonl")
        _add_ratings(src / "ratings.csv", prompts, options.pooled, notes)
        for prompt in prompts.values():
            record = Group(
                id=prompt.id,
                prompt=prompt.text,
                candidates=tuple(Candidate(image, model) for image, model in prompt.models.items()),
                answers=tuple(prompt.answers),
                tags={"category": prompt.category},
                provenance={"format": "avt", "file": "ratings.csv", "prompt_id": prompt.id.removeprefix("avt_")},
            )
            images: list[Image] = [src / image for image in prompt.models]
            yield record, images


@dataclass(slots=True)
class _Prompt:
    """One line of ``groups.jsonl`` and the ratings found for it; ``models`` maps image to generator."""

    id: str
    text: str
    category: str
    models: dict[str, str]
    answers: list[Answer] = field(default_factory=list)


def _prompts(file: Path) -> dict[str, _Prompt]:
    """The prompts by the ``prompt_id`` of ratings.csv (``avt_p01`` -> ``p01``)."""
    prompts: dict[str, _Prompt] = {}
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record: dict[str, Any] = json.loads(line)
                images, models = record["images"], record["models"]
                prompt = _Prompt(
                    str(record["id"]),
                    str(record["prompt"]),
                    str(record["category"]),
                    dict(zip(images, models, strict=True)),
                )
            except KeyError as error:
                raise UserError(f"{file}:{number}: the field {error.args[0]!r} is missing") from None
            except (ValueError, TypeError) as error:
                raise UserError(f"{file}:{number}: not a record of AVT-AI: {error}") from None
            prompts[prompt.id.removeprefix("avt_")] = prompt
    return prompts


def _add_ratings(file: Path, prompts: dict[str, _Prompt], pooled: bool, notes: Counter[str]) -> None:
    """Every row of ratings.csv as an answer of its prompt; rows without an image are counted in the notes."""
    rows = read_table(file)
    _, header = next(rows)
    if header != COLUMNS:
        raise UserError(f"{file}:1: the columns are {','.join(header)}; AVT-AI has {','.join(COLUMNS)}")
    positions = {id: {image: n for n, image in enumerate(prompt.models)} for id, prompt in prompts.items()}
    for line, cells in rows:
        if len(cells) != len(COLUMNS):
            raise UserError(f"{file}:{line}: {len(cells)} cells where the header has {len(COLUMNS)}")
        test, rater, prompt_id, model, image, dimension, rating = cells
        if prompt_id not in prompts:
            raise UserError(f"{file}:{line}: prompt_id {prompt_id!r} is not in groups.jsonl")
        if not image:
            notes[f"ratings without an image file ({model}, {prompt_id})"] += 1
            continue
        if image not in positions[prompt_id]:
            raise UserError(f"{file}:{line}: image {image!r} is not among those of {prompt_id} in groups.jsonl")
        try:
            value = float(rating)
        except ValueError:
            raise UserError(f"{file}:{line}: rating is {rating!r}; it must be a number from 1 to 5") from None
        if not 1 <= value <= 5:
            raise UserError(f"{file}:{line}: rating is {rating}; AVT-AI's scales go from 1 to 5")
        if dimension == IN_BOTH_TESTS and not pooled:
            dimension = f"{dimension}_{test}"
        prompts[prompt_id].answers.append(Answer(dimension, positions[prompt_id][image], rater, value))
