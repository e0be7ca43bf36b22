"""The sources that options name: folders, URLs, and the embedded dataset, which is drawn on first use. No torch."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.progress import Progress

from rewardkit.config.schema import CacheOptions, EmbeddedOptions, RemoteOptions
from rewardkit.data.cache import cache_root
from rewardkit.data.demo_shards import demo_shards
from rewardkit.data.remote_access import RemoteAccess
from rewardkit.data.sources import Source

EMBEDDED = "embedded"


def sources(
    names: Sequence[str], split: str, embedded: EmbeddedOptions, cache: CacheOptions, console: Console
) -> list[Source]:
    """Sources by folder or URL; ``embedded`` is drawn into the cache where it is not there yet."""
    found = []
    for name in names:
        if name != EMBEDDED:
            found.append(Source(name))
            continue
        groups = embedded.train_groups if split == "train" else embedded.val_groups
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task(f"drawing the embedded dataset ({split})", total=groups, visible=False)
            folder = demo_shards(
                cache_root(cache.dir),
                split=split,  # type: ignore[arg-type]
                groups=groups,
                seed=embedded.seed,
                answers=embedded.answers,
                max_bytes=int(cache.max_gb * 1e9),
                progress=lambda done, bar=bar, task=task: bar.update(task, completed=done, visible=True),  # type: ignore[misc]
            )
        found.append(Source(str(folder), name=EMBEDDED))
    return found


def remote_access(remote: RemoteOptions, cache: CacheOptions) -> RemoteAccess:
    """How sources on servers are read."""
    return RemoteAccess(cache_root(cache.dir), int(cache.max_gb * 1e9), remote.attempts, remote.timeout)
