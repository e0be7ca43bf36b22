"""Annotation files of which a folder holds one per split: which of them are read is said, never guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rewardkit.data.reading.fields import nearest
from rewardkit.data.reading.source_rows import annotation_place
from rewardkit.errors import UserError


def split_files(
    src: Path, asked: str | None, names: Mapping[str, Sequence[str]], others: Sequence[str], format_name: str
) -> list[tuple[str, Path]]:
    """Split and annotation file of each split to read.

    Args:
        src: The folder, or the one file.
        asked: Splits, separated by commas; needed where the folder holds several.
        names: Split to the names (patterns) that its file may have.
        others: Patterns of the one file that is read where none of these is there; its split is called "".
        format_name: For messages.

    Raises:
        UserError: A split is unknown, not there, has two files, or it is not said which of several to read.
    """
    if not src.is_dir():
        place = annotation_place(src, others, format_name)
        found = {split: place for split, patterns in names.items() if any(place.match(name) for name in patterns)}
        present = found or {"": place}
    else:
        present = _present(src, names, format_name)
        if not present:
            present = {"": annotation_place(src, others, format_name)}
    if not asked:
        if len(present) > 1:
            ways = " or ".join(f"split={split}" for split in present)
            held = " and ".join(file.name for file in present.values())
            raise UserError(f"{src} holds {held}: say {ways} (one shard set each)")
        return list(present.items())
    splits = list(dict.fromkeys(split.strip() for split in asked.split(",")))
    for split in splits:
        if split not in names:
            raise UserError(f"split={split} is not a split of format={format_name}. {nearest(split, names)}")
        if split not in present:
            held = ", ".join(file.name for file in present.values())
            raise UserError(f"split={split}: {src} has no {' or '.join(names[split])} ({held} is there)")
    return [(split, present[split]) for split in splits]


def _present(src: Path, names: Mapping[str, Sequence[str]], format_name: str) -> dict[str, Path]:
    """The splits of a folder, in the order of ``names``."""
    present: dict[str, Path] = {}
    for split, patterns in names.items():
        files = sorted({path for name in patterns for path in src.glob(name) if path.is_file()})
        if len(files) > 1:
            listed = " and ".join(path.name for path in files)
            raise UserError(f"{src} holds {listed} for split={split} of format={format_name}; give one: src={files[0]}")
        if files:
            present[split] = files[0]
    return present
