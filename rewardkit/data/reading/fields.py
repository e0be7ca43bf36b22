"""Fields of a row, taken by name and checked: each function raises ValueError with what is wrong and what to do."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from rewardkit.config.messages import did_you_mean
from rewardkit.errors import UserError


def nearest(word: str, known: Iterable[str]) -> str:
    """The hint ``Did you mean …?`` for a wrong word, or the list of what is known."""
    words = list(known)
    return did_you_mean(word, words).strip() or "Known are " + ", ".join(words)


def source_folder(src: Path) -> Path:
    """The folder of a source: itself, or that of its annotation file. Image paths are relative to it."""
    return src if src.is_dir() else src.parent


def the_file(src: Path, names: Sequence[str], format_name: str) -> Path:
    """The annotation file: the path itself, or the one file of the folder that matches one of the patterns.

    Raises:
        UserError: There is none, or there are several.
    """
    if src.is_file():
        return src
    if not src.exists():
        raise UserError(f"src={src} does not exist")
    found = sorted({path for name in names for path in src.glob(name)})
    if len(found) != 1:
        listed = ", ".join(path.name for path in found[:5]) or "none"
        raise UserError(
            f"the folder {src} must hold one file {' or '.join(names)} to be read as format={format_name}, and holds "
            f"{len(found)} ({listed}). Give the file itself: src={found[0] if found else src / 'FILE'}"
        )
    return found[0]


def text(values: Mapping[str, Any], name: str, advice: str = "") -> str:
    """A text that is not blank."""
    value = values.get(name)
    if value is None:
        raise ValueError(f"the field {name!r} is missing" + (f"; {advice}" if advice else ""))
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}; it must be text")
    if not value.strip():
        raise ValueError(f"{name} is empty" + (f"; {advice}" if advice else ""))
    return value


def optional_text(values: Mapping[str, Any], name: str) -> str | None:
    """A text, or None where the field is missing, null or blank; numbers are written out."""
    value = values.get(name)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}; it must be text")
    return str(value) if str(value).strip() else None


def number(values: Mapping[str, Any], name: str, *, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number, as such or written as text, within its range."""
    value = values.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ValueError(f"the field {name!r} is missing or empty; it must be a number")
    return as_number(value, name, low=low, high=high)


def as_number(value: Any, name: str, *, low: float = -math.inf, high: float = math.inf) -> float:
    """The same of a value that is at hand."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{name} is {value!r}; it must be a number")
    if not low <= found <= high:
        raise ValueError(f"{name} is {value!r}; it must lie between {low:g} and {high:g}")
    return found


def listed(values: Mapping[str, Any], name: str, *, count: int | None = None) -> list[Any]:
    """A list that is not empty, of so many entries where ``count`` is given."""
    value = values.get(name)
    if value is None:
        raise ValueError(f"the field {name!r} is missing")
    if not isinstance(value, list) or not value:
        raise ValueError(f"{name} is {value!r}; it must be a list")
    if count is not None and len(value) != count:
        raise ValueError(f"{name} has {len(value)} entries; it must have {count}")
    return value


def image_paths(values: Mapping[str, Any], name: str, *, count: int | None = None) -> tuple[str, ...]:
    """A list of image paths, none twice."""
    return different(tuple(image_path(item, name) for item in listed(values, name, count=count)), name)


def different(images: tuple[str, ...], name: str) -> tuple[str, ...]:
    """The images, which must be different ones."""
    if len(set(images)) < len(images):
        doubled = next(image for n, image in enumerate(images) if image in images[:n])
        raise ValueError(f"{name} names the image {doubled!r} twice")
    return images


_PLAIN_PATH = re.compile(r"[^/\\:.\0][^/\\:\0]*(?:/[^/\\:.\0][^/\\:\0]*)*").fullmatch
"""Whether a path is one whose parts neither begin with a dot nor are empty, so that it is written in one way only."""


def image_path(value: Any, name: str = "image") -> str:
    """A path as written, without ``./`` and doubled slashes, so that equal files are one candidate."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} is {value!r}; it must be the path of an image")
    if _PLAIN_PATH(value):  # most are, and taking paths apart is slow
        return value
    if "://" in value:
        raise ValueError(f"{name} is the URL {value!r}; download the images first and give their paths")
    if "\0" in value:
        raise ValueError(f"{name} is {value!r}, which is not a file name")
    return str(PurePosixPath(value.replace("\\", "/") if "/" not in value else value))


def ranks(value: Any, count: int, name: str = "rank") -> tuple[float, ...]:
    """One rank for each of ``count`` images; 1 is best."""
    if not isinstance(value, list) or len(value) != count:
        raise ValueError(f"{name} is {value!r}; it must be a list of {count} numbers, one per image")
    return tuple(as_number(rank, name, low=1) for rank in value)
