"""Tables of mean opinion scores, as AGIQA-3K's ``data.csv`` (arXiv 2306.04717, lcysyzxdxc/AGIQA-3k-Database, MIT).

::

    name,prompt,adj1,adj2,style,mos_quality,std_quality,mos_align,std_align
    sd1.5_lowstep_000.jpg,statue of a man,,,,0.96,0.22,0.40,0.61

Every ``mos_NAME`` column is a dimension NAME; higher is better. A mean opinion score speaks for all its raters at once:
it is kept as the answer of one rater, ``mos``, so that two images compare by their means. Its deviation over the raters
(``std_NAME``) is kept beside it as the text ``std 0.22``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from rewardkit.config.options import option
from rewardkit.data.reading.fields import as_number, image_path, number, optional_text, text
from rewardkit.data.reading.format import ReadLog, Row, say_each
from rewardkit.data.reading.rows import check_columns, columns_of
from rewardkit.data.reading.source_rows import annotation_place, source_rows
from rewardkit.data.reading.statements import OVERALL, Rating, Said, Statement
from rewardkit.errors import UserError

MOS = "mos"
"""Who says a mean opinion score: all raters, as one."""

ADJECTIVES = ("adj1", "adj2")
"""AGIQA-3K's columns of the details that a prompt asks for; they are kept in the slot ``adjectives``."""

FILES = ("*.csv", "*.tsv", "*.jsonl", "*.json", "*.parquet")

_AGIQA_NAME = re.compile(r"([^_]+)_(normal|lowstep|lowcorr|highcorr)_[0-9]+")


@dataclass
class AgiqaOptions:
    """What can be asked of a table of mean opinion scores."""

    scores: dict[str, str] = option({})  # noqa: RUF009  (option makes a dataclass field)
    """Column to dimension ({MOS: overall}). Default: every column mos_NAME to NAME, a column mos to overall."""
    low: float = option(0.0)
    """Lowest score of the scale; AGIQA-3K's goes from 0 to 5."""
    high: float = option(5.0)
    """Highest score of the scale."""
    image_column: str = option("name")
    """Column with the image's path."""
    prompt_column: str = option("prompt")
    """Column with the prompt."""
    generator_column: str | None = option(None)
    """Column with the model that made the image. Default: AGIQA-3K's image names say it (`sd1.5_lowstep_000.jpg`)."""
    tags: list[str] = option(["style"])  # noqa: RUF009
    """Columns to keep as tags of a prompt, where they are there and all its rows agree."""
    images: str = option("")
    """Folder of the images, inside the source. Default: the source."""


class AgiqaFormat:
    """See the module's docstring."""

    name = "agiqa"
    summary = "a table of mean opinion scores, one image per row, as AGIQA-3K's data.csv"
    options = AgiqaOptions

    def matches(self, src: Path) -> bool:
        """The columns are an image, a prompt and scores."""
        try:
            found = columns_of(annotation_place(src, FILES, self.name))
        except UserError:
            return False
        return {"name", "prompt"} <= set(found) and bool(_dimensions(found, {}))

    def read(self, src: Path, options: AgiqaOptions, log: ReadLog) -> Iterator[Said]:
        """See ``Format.read``."""
        if options.low >= options.high:
            raise UserError(f"low={options.low:g} must be below high={options.high:g}")
        place = annotation_place(src, FILES, self.name)
        found = columns_of(place)
        dimensions = _dimensions(found, options.scores)
        deviations = {
            column: name for column in dimensions if (name := f"std{column.lower().removeprefix(MOS)}") in found
        }
        tags = [name for name in options.tags if name in found]
        if found:  # Rows of a file that shows no fields say themselves what is wrong with it.
            needed = [options.image_column, options.prompt_column, *options.scores]
            needed += [options.generator_column] if options.generator_column else []
            check_columns(
                found, place, log, needed=needed, known=(*dimensions, *deviations.values(), *tags, *ADJECTIVES)
            )
            if not dimensions:
                raise UserError(
                    f"{place}: there is no column mos_NAME; say which hold scores: scores={{COLUMN: DIMENSION}}. There "
                    "are "
                    f"{', '.join(found)}"
                )
        unequal = _unequal(place, src, options.prompt_column, tags)
        say = partial(
            _say, options=options, dimensions=dimensions, deviations=deviations, tags=tags, unequal=unequal, log=log
        )
        yield from say_each(source_rows(place, src, log), log, say)


def _dimensions(found: Sequence[str], asked: Mapping[str, str]) -> dict[str, str]:
    """Column to dimension."""
    if asked:
        return dict(asked)
    made = {name: name[len(MOS) + 1 :] for name in found if name.lower().startswith(f"{MOS}_") and len(name) > 4}
    return made or {name: OVERALL for name in found if name.lower() == MOS}


def _unequal(place: Path, src: Path, prompt_column: str, tags: Sequence[str]) -> set[tuple[str, str]]:
    """Prompt and tag column where its rows disagree: a look through the file beforehand, that keeps one text each."""
    if not tags:
        return set()
    said: dict[tuple[str, str], Any] = {}
    unequal = set()
    for row in source_rows(place, src, ReadLog()):
        for name in tags:
            key = (str(row.values.get(prompt_column)), name)
            if said.setdefault(key, row.values.get(name)) != row.values.get(name):
                unequal.add(key)
    return unequal


def _say(
    row: Row,
    options: AgiqaOptions,
    dimensions: Mapping[str, str],
    deviations: Mapping[str, str],
    tags: Sequence[str],
    unequal: set[tuple[str, str]],
    log: ReadLog,
) -> list[Said]:
    values = row.values
    image, prompt = (
        image_path(values.get(options.image_column), options.image_column),
        text(values, options.prompt_column),
    )
    adjectives = [word for name in ADJECTIVES if (word := optional_text(values, name))]
    kept = {name: tag for name in tags if (prompt, name) not in unequal and (tag := optional_text(values, name))}
    if any((prompt, name) in unequal for name in tags):
        log.notes["rows whose tags differ from those of other rows of their prompt: no tag"] += 1
    shared: dict[str, Any] = {
        "file": row.file,
        "line": row.line,
        "folder": options.images,
        "prompt": prompt,
        "images": (image,),
        "generators": (_generator(values, options.generator_column, image),),
        "tags": kept,
        "slots": {"adjectives": adjectives} if adjectives else {},
    }
    said: list[Said] = []
    for column, dimension in dimensions.items():
        if _missing(values.get(column)):
            continue
        value = _in_scale(number(values, column), column, options)
        spread = None if column not in deviations else values.get(deviations[column])
        rationale = None if _missing(spread) else f"std {as_number(spread, deviations[column], low=0)}"
        said.append(Rating(**shared, by=MOS, dimension=dimension, value=value, rationale=rationale))
    return said or [Statement(**shared)]


def _in_scale(value: float, column: str, options: AgiqaOptions) -> float:
    if not options.low <= value <= options.high:
        raise ValueError(
            f"{column} is {value:g}; the scale goes from {options.low:g} to {options.high:g}. Another one is given by "
            "low= and high="
        )
    return value


def _missing(value: Any) -> bool:
    blank = isinstance(value, str) and not value.strip()
    return value is None or blank or (isinstance(value, float) and math.isnan(value))


def _generator(values: Mapping[str, Any], column: str | None, image: str) -> str | None:
    """The model, with the setting behind it where that is not the normal one (``sd1.5``, ``sd1.5_lowstep``)."""
    if column is not None:
        return optional_text(values, column)
    named = _AGIQA_NAME.fullmatch(PurePosixPath(image).stem)
    if named is None:
        return None
    return named[1] if named[2] == "normal" else f"{named[1]}_{named[2]}"
