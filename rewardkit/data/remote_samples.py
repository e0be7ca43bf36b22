"""Samples of a shard set on a server: each is compared with the index before it is used.

The index has a hash of every record and image. What does not fit was damaged on its way, or the shard is another
one by now: it is read again, past the cache, and in the end the run stops. A sample whose bytes are those that were
indexed, and whose image cannot be decoded, is a bad sample here as anywhere.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from rewardkit.data.group import Group
from rewardkit.data.index import ShardIndex
from rewardkit.data.remote import RemoteFile, RemoteFolder
from rewardkit.data.remote_blocks import block_reader
from rewardkit.data.shards import Sample, StoredSample, open_sample, parse_record, read_record_file, read_stored
from rewardkit.errors import BadSample, DataError

T = TypeVar("T")


class OtherBytes(DataError):
    """What a server sends of a sample is not what was indexed, however often it is asked."""


class RemoteSamples:
    """Reads the samples of an index whose shards lie on a server.

    Args:
        index: As it was copied to this machine.
        folder: Where its shards lie.
    """

    def __init__(self, index: ShardIndex, folder: RemoteFolder) -> None:
        self.folder = folder
        self.index = index
        self._starts = index.starts(index.candidates)

    def reopen(self) -> tuple[Any, ...]:
        """How another process opens the index again (``__reduce__``): from the copy, without asking the server."""
        return open_copy, (self.index.folder, self.folder)

    def path(self, position: int) -> RemoteFile:
        """The shard of a group."""
        return self._shard(int(self.index.shard[position]))

    def shard(self, name: str) -> RemoteFile | None:
        """A shard by its name; None where there is none of that name."""
        return self._shard(self.index.shards.index(name)) if name in self.index.shards else None

    def _shard(self, number: int) -> RemoteFile:
        index = self.index
        return RemoteFile(self.folder, index.shards[number], index.shard_bytes[number], index.shard_digests[number])

    def sample(self, position: int) -> Sample:
        """Reads a group with its images.

        Raises:
            OtherBytes: It is not what was indexed.
            DataError: It cannot be read.
        """
        return open_sample(self._checked(position, read_stored, self._wrong_sample))

    def record(self, position: int) -> Group:
        """Reads a group without its images; raises as ``sample``."""
        return parse_record(self._checked(position, read_record_file, self._wrong_record))

    def _checked(
        self, position: int, read: Callable[[RemoteFile, int, int], T], wrong: Callable[[int, T], str | None]
    ) -> T:
        """What ``read`` gives of a sample, once nothing is wrong with it."""
        file = self.path(position)
        offset, length = int(self.index.offset[position]), int(self.index.length[position])
        access, problem = self.folder.access, None
        for attempt in range(access.attempts):
            if attempt:
                block_reader(access).forget(file, offset, length)
                time.sleep(access.pause(attempt - 1))
            try:
                found = read(file, offset, length)
                problem = wrong(position, found)
            except BadSample as error:
                problem = error.reason
            else:
                if problem is None:
                    return found
        raise OtherBytes(
            f"{file}: bytes {offset} to {offset + length} are not the sample that was indexed ({problem}; "
            f"{access.attempts} attempts). Either the shard was changed: run `rewardkit data index src=…` where it "
            "lies, and upload index and shards together; or its server sends damaged bytes: `rewardkit data verify "
            f"src={self.folder}` names all"
        )

    def _wrong_sample(self, position: int, stored: StoredSample) -> str | None:
        """What of a sample is not as indexed."""
        first, end = int(self._starts[position]), int(self._starts[position + 1])
        images = sorted(name for name in stored.files if isinstance(name, int))
        if images != list(range(end - first)) or "json" not in stored.files:
            return "its files are others"
        for number in images:
            if _first_bytes(stored.files[number]) != int(self.index.each_candidate_hash[first + number]):
                return f"image {number} is another"
        return self._wrong_record(position, stored.files["json"])

    def _wrong_record(self, position: int, record: bytes) -> str | None:
        return None if _first_bytes(record) == int(self.index.record_hash[position]) else "its record is another"


def open_copy(copy: Path, folder: RemoteFolder) -> ShardIndex:
    """The index of a shard set on a server, from its copy on this machine.

    Args:
        copy: Folder of the copy.
        folder: Where the shards lie.

    Raises:
        DataError: The copy is damaged.
    """
    index = ShardIndex.read(copy)
    return replace(index, remote=RemoteSamples(index, folder))


def _first_bytes(data: bytes) -> int:
    """A hash as the index keeps it, of a record or an image."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "little")
