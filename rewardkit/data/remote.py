"""A shard set on a server: its folder and its shards as places, beside ``Path`` for those on a disk."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from rewardkit.data.remote_access import RemoteAccess, redacted
from rewardkit.errors import UserError


@dataclass(frozen=True, slots=True)
class RemoteFolder:
    """The folder of a shard set on a server.

    Attributes:
        url: Without a slash at its end.
        access: How its files are read.
    """

    url: str
    access: RemoteAccess = field(default_factory=RemoteAccess)

    @property
    def name(self) -> str:
        """The last part of its path, or the server's name."""
        return self.url.rpartition("/")[2]

    def file_url(self, name: str) -> str:
        """The URL of a file in it."""
        return f"{self.url}/{name}"

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A shard on a server.

    Attributes:
        parent: Its folder.
        name: Its name there.
        size: Bytes, as the index says.
        digest: Of its samples, as the index says.
    """

    parent: RemoteFolder
    name: str
    size: int
    digest: str

    @property
    def url(self) -> str:
        """Where it lies."""
        return self.parent.file_url(self.name)

    @property
    def key(self) -> str:
        """Names it among all remote files, and this state of it, in the cache."""
        return hashlib.sha256(f"{self.url}\0{self.size}\0{self.digest}".encode()).hexdigest()[:32]

    def __str__(self) -> str:
        return self.url


ShardPlace = Path | RemoteFile
"""Where a shard lies."""


def is_url(path: object) -> bool:
    """Whether a source is named by URL; all else is a folder on this machine."""
    return isinstance(path, str) and "://" in path


def remote_folder(url: str, access: RemoteAccess | None = None) -> RemoteFolder:
    """The folder that a URL names.

    Raises:
        UserError: It holds more than a place: credentials, a query, several protocols.
    """
    shown = redacted(url)
    rest = url.partition("://")[2]
    if "@" in rest.partition("/")[0] or "?" in rest:
        raise UserError(
            f"{shown}: passwords and signed queries do not go into a URL, since a run keeps it in its record. Give "
            "them in ~/.netrc, in the server's usual environment variables, or in fsspec's settings "
            "(docs/data_scale.md)"
        )
    if "::" in url or "#" in rest or not rest.strip("/"):
        raise UserError(f"{shown}: a source on a server is PROTOCOL://SERVER/PATH, the folder of shards with its index")
    return RemoteFolder(url.rstrip("/"), access or RemoteAccess())
