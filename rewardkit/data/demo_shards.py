"""The embedded dataset as shards in the cache, drawn once."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import rewardkit.data.demo
from rewardkit.data.cache import DEFAULT_MAX_BYTES, cache_folder
from rewardkit.data.demo.dataset import draw_groups
from rewardkit.data.demo.prompts import Split
from rewardkit.data.index import FORMAT_VERSION, ShardIndex
from rewardkit.data.index_build import build_index
from rewardkit.data.shard_writer import ShardWriter
from rewardkit.errors import RewardkitError

KIND = "embedded"
GROUPS_PER_SHARD = 256


def demo_shards(
    root: Path,
    *,
    split: Split,
    groups: int,
    seed: int = 0,
    answers: bool = False,
    workers: int = 2,
    max_bytes: int = DEFAULT_MAX_BYTES,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """The folder of shards with groups 0 to ``groups - 1`` of a split; drawn on first use.

    Args:
        root: The cache (``cache_root``).
        split: ``train``, ``val`` or ``all``.
        groups: How many.
        seed: Of drawings and votes.
        answers: Whether raters also said how good each candidate is.
        workers: Processes that draw; 0 draws in this one.
        max_bytes: Bound of all embedded datasets in the cache.
        progress: Called with the number of groups drawn so far; not called where the cache has them.

    Raises:
        UserError: The cache cannot be written.
    """
    made = {"action": "demo", "split": split, "groups": groups, "seed": seed}
    made |= {"answers": True} if answers else {}

    def draw(folder: Path) -> None:
        with ShardWriter(folder, f"demo-{split}", max_groups=GROUPS_PER_SHARD) as writer:
            drawn = draw_groups(seed=seed, start=0, count=groups, split=split, answers=answers, workers=workers)
            for group, images in drawn:
                writer.write(group, images)
                if progress is not None:
                    progress(writer.groups)
        build_index(folder, made=made)

    digest = hashlib.sha256(json.dumps({**made, "code": _code(), "index": FORMAT_VERSION}).encode()).hexdigest()[:32]
    entry = cache_folder(root, KIND, digest, draw, max_bytes=max_bytes)
    try:
        ShardIndex.open(entry)
    except RewardkitError:  # someone has deleted or changed files inside the cache: draw again
        shutil.rmtree(entry)
        entry = cache_folder(root, KIND, digest, draw, max_bytes=max_bytes)
    return entry


def _code() -> str:
    """A digest of the code that draws, so that a change of it never meets old drawings."""
    digest = hashlib.sha256()
    for path in sorted(Path(rewardkit.data.demo.__path__[0]).glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
