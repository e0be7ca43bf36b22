"""Where a page finds the pictures of validation data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from rewardkit.commands.find_sources import remote_access, sources
from rewardkit.config.schema import CacheOptions, EmbeddedOptions, RemoteOptions
from rewardkit.data.open_index import open_index
from rewardkit.data.remote import is_url
from rewardkit.data.remote_samples import RemoteSamples
from rewardkit.errors import RewardkitError


def picture_folders(
    names: Sequence[str], embedded: EmbeddedOptions, cache: CacheOptions, remote: RemoteOptions, console: Console
) -> list[Path | RemoteSamples]:
    """The folders of validation shards; the embedded dataset is drawn again where the cache has lost it.

    A page without pictures is better than none: where the data cannot be found, there are no folders.
    """
    try:
        found = sources(names, "val", embedded, cache, console)
        access = remote_access(remote, cache)
        return [
            open_index(source.path, access).shards_at if is_url(source.path) else Path(source.path) for source in found
        ]
    except RewardkitError:
        return []
