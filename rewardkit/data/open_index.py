"""Opens the index of a shard set wherever it lies; one on a server is copied to the cache first, and checked."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rewardkit.data.cache import cache_folder
from rewardkit.data.index import ARRAYS, FORMAT_VERSION, INDEX_FILE, ShardIndex
from rewardkit.data.index_build import digest_of_record
from rewardkit.data.remote import RemoteFolder, is_url, remote_folder
from rewardkit.data.remote_access import NotThere, RemoteAccess
from rewardkit.data.remote_blocks import AT_ONCE
from rewardkit.data.remote_samples import open_copy
from rewardkit.data.remote_transport import read_small, save, wait
from rewardkit.errors import DataError, UserError

KIND = "indices"
"""Their folder in the cache."""

REMEDY = "run `rewardkit data index src=FOLDER` where the shards lie, and upload the index beside them"


def open_index(path: str | Path, access: RemoteAccess | None = None) -> ShardIndex:
    """The index of a shard set.

    Args:
        path: A folder, or a URL that fsspec reads (https://, s3://, gs://, …).
        access: How a server is read.

    Raises:
        UserError: There are no shards or no index, its format is another, or the shards have changed.
        DataError: The index is damaged, or a server cannot be read.
    """
    if not is_url(path):
        return ShardIndex.open(path)
    folder = remote_folder(str(path), access)
    record = _read_record(folder)
    copied = partial(
        cache_folder,
        folder.access.cache,
        KIND,
        hashlib.sha256(f"{folder}\0".encode() + record).hexdigest()[:32],
        partial(_copy, folder, record),
        max_bytes=folder.access.max_bytes,
    )
    entry = copied()
    try:
        return open_copy(entry, folder)
    except (DataError, UserError):  # someone has deleted or changed files inside the cache: copy again
        shutil.rmtree(entry, ignore_errors=True)
        return open_copy(copied(), folder)


def _read_record(folder: RemoteFolder) -> bytes:
    """The bytes of ``index.json``.

    Raises:
        UserError: There is none, or its format does not let a reader check what it gets.
        DataError: It cannot be read.
    """
    try:
        data = wait(read_small(folder.file_url(INDEX_FILE), access=folder.access, check=_check_record))
    except NotThere as error:
        raise UserError(f"{error}: a shard set on a server is read by its index; {REMEDY}") from error
    version = json.loads(data)["version"]
    if version != FORMAT_VERSION:
        raise UserError(f"{folder.file_url(INDEX_FILE)}: its format is {version}, not {FORMAT_VERSION}; {REMEDY}")
    return data


def _check_record(data: bytes) -> None:
    """Raises ValueError where ``index.json`` is damaged, or names files outside its folder."""
    try:
        wrong = _wrong_with(json.loads(data))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        wrong = f"it is no index, or one without digests ({type(error).__name__}: {error})"
    if wrong is not None:
        raise ValueError(f"{wrong}; {REMEDY}")


def _wrong_with(record: dict[str, Any]) -> str | None:
    """What is wrong with an index; None where all is well or its format is another."""
    if record["version"] != FORMAT_VERSION:
        return None
    names = [record["arrays"], *record["files"], *(shard["name"] for shard in record["shards"])]
    if record["sha256"] != digest_of_record(record):
        return "it is not what its digest says"
    if not all(re.fullmatch(r"[^/\\]*[^/\\.][^/\\]*", name) for name in names):
        return "it names files outside its folder"
    if not {f"{name}.npy" for name in ARRAYS} <= set(record["files"]):
        return "it does not name all its files"
    return None


def _copy(folder: RemoteFolder, data: bytes, entry: Path) -> None:
    """Copies an index into an empty folder."""
    record = json.loads(data)
    arrays = entry / record["arrays"]
    arrays.mkdir()
    wait(_copy_arrays(folder, arrays, record["files"]))
    (entry / INDEX_FILE).write_bytes(data)


async def _copy_arrays(folder: RemoteFolder, arrays: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    slots = asyncio.Semaphore(AT_ONCE)

    async def copy(name: str, about: Mapping[str, Any]) -> None:
        async with slots:
            url, size = folder.file_url(f"{arrays.name}/{name}"), int(about["bytes"])
            await save(url, arrays / name, size=size, sha256=about["sha256"], access=folder.access)

    try:
        async with asyncio.TaskGroup() as group:
            for name, about in files.items():
                group.create_task(copy(name, about))
    except ExceptionGroup as failures:  # the first ended the others
        raise failures.exceptions[0] from None
