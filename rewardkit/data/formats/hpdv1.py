"""HPD v1: which of several images a person chose (align_sd; Wu et al. 2023, arXiv 2303.14420).

::

    dataset/preference_train.json, preference_test.json
        [{"human_preference": 2, "prompt": "…", "id": 7, "file_path": ["7_0.jpg", …], "user_hash": "…",
          "contain_name": false}, …]
    dataset/preference_images/7_0.jpg

``human_preference`` is the place of the chosen image in ``file_path``, from 0. The chosen image was preferred to each
of the others; of these among themselves nothing is said. HPS v2's loader of the set reads ``pap_pref`` in its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from rewardkit.config.options import option
from rewardkit.data.reading.fields import image_paths, optional_text, source_folder, text
from rewardkit.data.reading.format import ReadLog, Row, say_each
from rewardkit.data.reading.record_fields import fields_of
from rewardkit.data.reading.rows import check_columns, read_rows
from rewardkit.data.reading.source_rows import source_rows
from rewardkit.data.reading.split_files import split_files
from rewardkit.data.reading.statements import Choice, Said, Statement
from rewardkit.errors import UserError

SPLITS = {"train": ("preference_train.json",), "test": ("preference_test.json",)}
FILES = ("*.json", "*.jsonl", "*.parquet")
CHOSEN = ("human_preference", "pap_pref")
NEEDED = ("prompt", "file_path")
KNOWN = (*CHOSEN, "id", "user_hash", "contain_name")
IMAGES = "preference_images"


@dataclass
class Hpdv1Options:
    """What can be asked of HPD v1."""

    split: str | None = option(None)
    """Which published split to read: train, test, or train,test; needed where the folder holds both."""
    images: str = option("")
    """Folder of the images, inside the source. Default: `preference_images` where there is one, else the source."""


class Hpdv1Format:
    """See the module's docstring."""

    name = "hpdv1"
    summary = "HPD v1 (align_sd): preference_train.json or preference_test.json, one chosen image of several"
    options = Hpdv1Options

    def matches(self, src: Path) -> bool:
        """The first record has ``file_path`` and the place of the chosen one."""
        try:
            places = split_files(src, None, {}, FILES, self.name) if src.is_file() else []
            places = places or [
                ("", src / name) for names in SPLITS.values() for name in names if (src / name).is_file()
            ]
            row = next(read_rows(places[0][1], ReadLog()))
            return "file_path" in row.values and isinstance(_chosen_field(row.values), int)
        except Exception:
            return False

    def read(self, src: Path, options: Hpdv1Options, log: ReadLog) -> Iterator[Said]:
        """See ``Format.read``."""
        places = split_files(src, options.split, SPLITS, FILES, self.name)
        root = source_folder(src)
        folder = options.images or (IMAGES if any((root / f"{IMAGES}{end}").exists() for end in ("", ".zip")) else "")
        for split, place in places:
            found = fields_of(place)
            if found:  # Rows of a file that shows no fields say themselves what is wrong with it.
                check_columns(found, place, log, needed=NEEDED, known=KNOWN)
                if not set(CHOSEN) & set(found):
                    raise UserError(
                        f"{place}: there is neither human_preference nor pap_pref; there are {', '.join(found)}"
                    )
            say = partial(_say, group=split if len(places) > 1 else None, folder=folder)
            yield from say_each(source_rows(place, src, log), log, say)


def _chosen_field(values: dict[str, Any]) -> Any:
    return next((values[name] for name in CHOSEN if values.get(name) is not None), None)


def _say(row: Row, group: str | None, folder: str) -> list[Said]:
    images = image_paths(row.values, "file_path")
    if len(images) < 2:
        raise ValueError("file_path names one image; a choice needs two")
    chosen = _chosen_field(row.values)
    if isinstance(chosen, list):
        raise ValueError(f"human_preference is {chosen!r}; HPD v1 has the chosen image's place. A list is HPD v2's")
    if not isinstance(chosen, int) or isinstance(chosen, bool) or not 0 <= chosen < len(images):
        raise ValueError(f"human_preference is {chosen!r}; it must be the place of one of {len(images)} images, from 0")
    named = row.values.get("contain_name")
    if named is not None and not isinstance(named, bool):
        raise ValueError(f"contain_name is {named!r}; it must be true or false")
    shared: dict[str, Any] = {
        "file": row.file,
        "line": row.line,
        "prompt": text(row.values, "prompt"),
        "folder": "" if all(PurePosixPath(image).parts[0] == folder for image in images) else folder,
        "by": optional_text(row.values, "user_hash") or "",
        "group": group,
        "tags": {} if named is None else {"contain_name": "yes" if named else "no"},
    }
    # The images first as they are listed: their order in the group must not follow from the choice.
    said: list[Said] = [Statement(**shared, images=images)] if len(images) > 2 else []
    for place in range(len(images)):
        if place != chosen:
            pair = (images[min(place, chosen)], images[max(place, chosen)])
            said.append(Choice(**shared, images=pair, votes=(1.0, 0.0, 0.0) if chosen < place else (0.0, 0.0, 1.0)))
    return said
