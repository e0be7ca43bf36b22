"""HPD v3: pairs with the preferred image first, annotators' votes and a confidence (Ma et al. 2025, arXiv 2508.03789).

::

    all.json, train.json, test.json   (or JSON lines, parquet)
        [{"prompt", "path1": "images/a.jpg", "path2": "images/b.jpg", "confidence": 0.99, "choice_dist": [12, 7],
          "model1": "flux", "model2": "infinity"}, …]

``path1`` is always the preferred image: a model that prefers what stands first would be right everywhere, so nothing
here or later goes by the place. ``confidence`` and ``choice_dist`` are null where a pair came from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rewardkit.config.options import option
from rewardkit.data.reading.fields import as_number, different, image_path, listed, optional_text, text
from rewardkit.data.reading.format import ReadLog, Row, say_each
from rewardkit.data.reading.record_fields import fields_of
from rewardkit.data.reading.rows import check_columns, columns_of
from rewardkit.data.reading.source_rows import source_rows
from rewardkit.data.reading.split_files import split_files
from rewardkit.data.reading.statements import Choice, Said

SPLITS = {name: (f"{name}.json", f"{name}.jsonl", f"{name}.parquet") for name in ("train", "test", "all")}
FILES = ("*.json", "*.jsonl", "*.parquet", "*.csv")
NEEDED = ("prompt", "path1", "path2")
KNOWN = ("confidence", "choice_dist", "model1", "model2")
NO_MODEL = "hpdv2"
"""What the set writes for a model that is not known: the pair comes from HPD v2, which names none."""


@dataclass
class Hpdv3Options:
    """What can be asked of HPD v3."""

    split: str | None = option(None)
    """Which published file to read: train, test or all; needed where the folder holds more than one."""
    min_confidence: float = option(0.0, at_least=0, at_most=1)
    """Leave out pairs of a lower confidence; the paper trains with 0.95. Pairs without one are kept, as there."""
    labels: str = option("votes", choices=("votes", "winner"))
    """`votes` keeps the annotators' votes of choice_dist where it is given; `winner` takes one vote for path1."""
    images: str = option("")
    """Folder that the paths are relative to, inside the source. Default: the source."""


class Hpdv3Format:
    """See the module's docstring."""

    name = "hpdv3"
    summary = "HPD v3: records with prompt, path1 (the preferred image), path2 and confidence"
    options = Hpdv3Options

    def matches(self, src: Path) -> bool:
        """The first records have the fields prompt, path1 and path2."""
        try:
            files = [src] if src.is_file() else [src / name for names in SPLITS.values() for name in names]
            places = [file for file in files if file.is_file()] or [
                split_files(src, None, SPLITS, FILES, self.name)[0][1]
            ]
            return set(NEEDED) <= set(columns_of(places[0]))
        except Exception:
            return False

    def read(self, src: Path, options: Hpdv3Options, log: ReadLog) -> Iterator[Said]:
        """See ``Format.read``."""
        places = split_files(src, options.split, SPLITS, FILES, self.name)
        for split, place in places:
            found = fields_of(place)
            if found:  # Rows of a file that shows no fields say themselves what is wrong with it.
                check_columns(found, place, log, needed=NEEDED, known=KNOWN)
            say = partial(_say, options=options, group=split if len(places) > 1 else None, log=log)
            yield from say_each(source_rows(place, src, log), log, say)


def _say(row: Row, options: Hpdv3Options, group: str | None, log: ReadLog) -> list[Said]:
    images = different(tuple(image_path(row.values.get(name), name) for name in ("path1", "path2")), "the pair")
    prompt = text(row.values, "prompt")
    votes = _votes(row.values, options.labels, log)
    confidence = row.values.get("confidence")
    if confidence not in (None, "null", ""):
        confidence = as_number(confidence, "confidence", low=0, high=1)
        if confidence < options.min_confidence:
            log.notes[f"pairs whose confidence is below {options.min_confidence:g}: left out"] += 1
            return []
    elif options.min_confidence:
        log.notes["pairs without a confidence: kept"] += 1
    said = Choice(
        file=row.file,
        line=row.line,
        folder=options.images,
        prompt=prompt,
        images=images,
        generators=tuple(_model(row.values, name) for name in ("model1", "model2")),
        group=group,
        votes=votes,
    )
    return [said]


def _votes(values: dict[str, Any], labels: str, log: ReadLog) -> tuple[float, float, float]:
    """Votes for path1, for a tie, for path2."""
    if values.get("choice_dist") in (None, "null"):
        return (1.0, 0.0, 0.0)
    first, second = (as_number(count, "choice_dist", low=0) for count in listed(values, "choice_dist", count=2))
    if first + second == 0:
        raise ValueError("choice_dist is [0, 0]; it must hold a vote, or be null")
    if labels == "winner":
        return (1.0, 0.0, 0.0)
    if second > first:
        log.notes["pairs whose choice_dist has more votes for path2, though path1 is the preferred one: kept"] += 1
    return (first, 0.0, second)


def _model(values: dict[str, Any], name: str) -> str | None:
    model = optional_text(values, name)
    return None if model == NO_MODEL else model
