"""AVT-AI: 27 prompts, five generators and real photographs, each image rated by about 24 people on scales 1 to 5.

Göring et al., "Analysis of Appeal for Realistic AI-Generated Photos" (IEEE Access 2023; QoMEX 2023), repository
Telecommunication-Telemedia-Assessment/avt_ai_images. Test t1 asked for appeal, realism and prompt_matching, test t2
for appeal and quality, with different people.

::

    groups.jsonl   {"id": "avt_p01", "prompt", "category", "images": ["images/…"], "models": [...]} per prompt
    ratings.csv    test,rater,prompt_id,model,image,dimension,rating      one row per single rating
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rewardkit.config.options import option
from rewardkit.data.reading.fields import image_path, image_paths, listed, number, text
from rewardkit.data.reading.format import ReadLog, Row, say_each
from rewardkit.data.reading.rows import check_columns, columns_of, read_rows
from rewardkit.data.reading.statements import Rating, Said, Statement
from rewardkit.errors import UserError

COLUMNS = ["test", "rater", "prompt_id", "model", "image", "dimension", "rating"]
GROUPS, RATINGS = "groups.jsonl", "ratings.csv"
IN_BOTH_TESTS = "appeal"
SCALE = (1, 5)


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
        """A folder that holds ``groups.jsonl`` and a ``ratings.csv`` with AVT-AI's columns."""
        return (src / GROUPS).is_file() and set(COLUMNS) <= set(columns_of(src / RATINGS))

    def read(self, src: Path, options: AvtOptions, log: ReadLog) -> Iterator[Said]:
        """See ``Format.read``. The prompts are held in memory (one line each), the ratings are not."""
        for name in (GROUPS, RATINGS):
            if not (src / name).is_file():
                raise UserError(f"{src / name} does not exist; format=avt takes the folder that holds it")
        prompts: dict[str, Statement] = {}
        # A candidate is one also where nobody rated it.
        yield from say_each(read_rows(src / GROUPS, log), log, lambda row: [_prompt(row, prompts)])
        header = columns_of(src / RATINGS)
        if header:  # A file without a header says itself what is wrong with it.
            check_columns(header, src / RATINGS, log, needed=COLUMNS)
        ratings = read_rows(src / RATINGS, log)
        yield from say_each(ratings, log, lambda row: _ratings(row, prompts, options.pooled, log))


def _prompt(row: Row, prompts: dict[str, Statement]) -> Statement:
    """One line of ``groups.jsonl``; enters it under the ``prompt_id`` of ratings.csv (``avt_p01`` -> ``p01``)."""
    images = image_paths(row.values, "images")
    models = listed(row.values, "models", count=len(images))
    if not all(isinstance(model, str) for model in models):
        raise ValueError(f"models is {models!r}; it must be a list of names")
    id = text(row.values, "id")
    key = id.removeprefix("avt_")
    if key in prompts:
        raise ValueError(f"the id {id!r} stands already in line {prompts[key].line}")
    prompts[key] = Statement(
        file=row.file,
        line=row.line,
        prompt=text(row.values, "prompt"),
        images=images,
        generators=tuple(models),
        group=id,
        id=id,
        tags={"category": text(row.values, "category")},
    )
    return prompts[key]


def _ratings(row: Row, prompts: Mapping[str, Statement], pooled: bool, log: ReadLog) -> list[Said]:
    """One row of ``ratings.csv``; one without an image file is counted in the notes."""
    values = row.values
    key, model = text(values, "prompt_id"), text(values, "model")
    if key not in prompts:
        raise ValueError(f"prompt_id {key!r} is not in {GROUPS}")
    prompt = prompts[key]
    if not values["image"].strip():
        log.notes[f"ratings without an image file ({model}, {key})"] += 1
        return []
    image = image_path(values["image"])
    if image not in prompt.images:
        raise ValueError(f"image {image!r} is not among those of {key} in {GROUPS}")
    dimension = text(values, "dimension")
    if dimension == IN_BOTH_TESTS and not pooled:
        dimension = f"{dimension}_{text(values, 'test')}"
    return [
        Rating(
            file=row.file,
            line=row.line,
            prompt=prompt.prompt,
            images=(image,),
            generators=(model,),
            dimension=dimension,
            by=text(values, "rater"),
            group=prompt.group,
            id=prompt.id,
            value=number(values, "rating", low=SCALE[0], high=SCALE[1]),
        )
    ]
