"""Whether a run would be judged on what it was trained on: prompts and images that are in train and in val."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardkit.data.index import ShardIndex
from rewardkit.data.leaks_prompts import fold, text_hash
from rewardkit.data.leaks_sides import ShardSide
from rewardkit.data.mixture import Mixture
from rewardkit.errors import BadSample, UserError

FOLD_UP_TO = 20_000
"""Groups of train and val together up to which prompts are read and compared but for case and punctuation too (about
two seconds); the index has hashes of the exact texts only, and `data leaks` reads sets of any size. Sets on servers are
compared by hashes alone: to read their prompts is to fetch most of them."""

_EXAMPLES = 3
_LETTERS = 60


@dataclass(frozen=True, slots=True)
class Overlap:
    """What a training and a validation set share, in words; empty where they share nothing.

    Attributes:
        prompts: Prompts, with counts and examples.
        images: Image files of the same bytes.
    """

    prompts: str
    images: str


def overlap(train: ShardIndex, val: ShardIndex) -> Overlap:
    """Compares prompts (empty ones aside) and images by 64-bit hashes, and small sets' prompts also as folded texts.

    Args:
        train: The set that is trained on.
        val: The set that is judged on; counts and examples are of it.
    """
    equal = np.isin(val.prompt_hash, train.prompt_hash) & (val.prompt_hash != 0)
    told = []
    if equal.any():
        told.append(_count(np.unique(val.prompt_hash[equal]).size, "prompt", val, np.flatnonzero(equal), texts=True))
    on_disk = train.remote is None and val.remote is None
    if on_disk and len(train) + len(val) <= FOLD_UP_TO:
        folded = _folded(val)
        nearly = np.isin(folded, _folded(train)) & (folded != 0) & ~equal
        if nearly.any():
            count = _count(np.unique(folded[nearly]).size, "prompt", val, np.flatnonzero(nearly), texts=True)
            told.append(f"{count} but for case, punctuation and spaces")
    images = np.isin(val.each_candidate_hash, train.each_candidate_hash)
    groups = np.unique(np.repeat(np.arange(len(val)), val.candidates)[images])
    of_images = np.unique(val.each_candidate_hash[images]).size
    return Overlap(
        " and ".join(told),
        _count(of_images, "image", val, groups, texts=False) if of_images else "",
    )


def _folded(index: ShardIndex) -> NDArray[np.uint64]:
    """Hashes of the prompts but for case, punctuation and spaces; 0 for empty and unreadable ones."""
    folded = (fold(said[1]).replace(" ", "") if said else "" for said in ShardSide(index).texts())
    return np.array([text_hash(text) for text in folded], np.uint64)


def _count(number: int, what: str, index: ShardIndex, positions: NDArray[np.int64], *, texts: bool) -> str:
    """``2 prompts (in 3 groups, such as 'g1' "a cat")``."""
    examples: Sequence[str] = [_example(index, int(position), texts) for position in positions[:_EXAMPLES]]
    groups = f"{len(positions):,} {'group' if len(positions) == 1 else 'groups'}"
    return f"{number:,} {what}{'' if number == 1 else 's'} (in {groups}, such as {', '.join(examples)})"


def _example(index: ShardIndex, position: int, with_text: bool) -> str:
    try:
        group = index.record(position)
    except BadSample:
        return f"group {position}"
    if not with_text:
        return repr(group.id)
    line = " ".join(group.prompt.split())
    return f'{group.id!r} "{line if len(line) <= _LETTERS else line[: _LETTERS - 1] + "…"}"'


def check_overlap(train: Mixture, sets: Sequence[Mixture], *, allow_images: bool) -> list[str]:
    """Warnings about what train and val share.

    Raises:
        UserError: They share images, and that is not permitted.
    """
    warnings = []
    for data in sets:
        for index in data.indices:
            for other in train.indices:
                shared = overlap(other, index)
                where = f"{other.place} (train) and {index.place} (val) share"
                remedy = "Split by prompt with `rewardkit data split src=… out=… by=prompt`"
                if shared.images and not allow_images:
                    both = " and ".join(part for part in (shared.images, shared.prompts) if part)
                    raise UserError(
                        f"{where} {both}: held-out accuracy would mean little. {remedy}, or permit it with "
                        "data.allow_overlap=true"
                    )
                for part in (shared.prompts, shared.images):
                    if part:
                        warnings.append(f"{where} {part}: held-out accuracy flatters the model. {remedy}")
    return warnings
