"""Bytes of remote files through fsspec: with time limits and retries, and never taken for more than they are.

What is known beforehand, the size of a file and the range asked for, must be what the server says it sends, and as many
bytes must come. A failure is tried again, later and later, and in the end is an error that names the file: it is never
a bad sample, and never fewer bytes. Everything runs as a coroutine on fsspec's own thread; ``wait`` is the way in.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from rewardkit.data.remote_access import Failed, NotThere, RangeIgnored, Refused, RemoteAccess, redacted
from rewardkit.data.remote_http import http_pieces, http_range, http_small
from rewardkit.errors import DataError, UserError

T = TypeVar("T")

PIECE_BYTES = 2**22
"""An index is copied in pieces of this size."""

_SLOWEST = 10
"""So many times ``timeout`` may a range take in all, however steadily its bytes drip in."""

_PATIENCE = 60.0
"""Seconds that a server may ask to wait (Retry-After) at most."""

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
"""Protocol to the extra of rewardkit that reads it."""

_log = logging.getLogger("rewardkit.remote")


def wait(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine on fsspec's thread and waits for what it gives."""
    from fsspec.asyn import get_loop

    return asyncio.run_coroutine_threadsafe(work, get_loop()).result()


async def read_range(url: str, start: int, length: int, *, size: int, access: RemoteAccess) -> bytes:
    """Bytes ``[start, start + length)`` of a file.

    Args:
        url: Of the file.
        start: First byte.
        length: Above 0.
        size: Of the whole file, as it must be.
        access: Attempts and time limits.

    Raises:
        RangeIgnored: The server sends only whole files.
        NotThere: The server knows no such file.
        DataError: It cannot be read.
    """
    return await _retried(url, lambda: _range(url, start, length, size, access), access)


async def read_small(url: str, *, access: RemoteAccess, check: Callable[[bytes], None]) -> bytes:
    """A whole file of unknown size that fits into memory.

    Args:
        url: Of the file.
        access: Attempts and time limits.
        check: Raises ValueError where the content cannot be right; it is then read again, until the same comes twice.

    Raises:
        NotThere: The server knows no such file.
        DataError: It cannot be read, or its content cannot be right.
    """
    wrong: bytes | None = None

    async def attempt() -> bytes:
        nonlocal wrong
        fs = filesystem(url)
        async with asyncio.timeout(_SLOWEST * access.timeout):
            if _is_http(url):
                data = await http_small(fs, url, timeout=access.timeout)
            else:
                data = bytes(await fs._cat_file(fs._strip_protocol(url)))
        try:
            check(data)
        except ValueError as error:
            if data == wrong:  # nothing was damaged on its way: this is what lies there
                raise DataError(f"{redacted(url)}: {error}") from error
            wrong = data
            raise
        return data

    return await _retried(url, attempt, access)


async def read_whole(
    url: str, *, size: int, piece: int, access: RemoteAccess, take: Callable[[int, bytes], None]
) -> None:
    """A whole file from end to end, of a server that ignores ranges.

    Args:
        url: Of the file.
        size: As it must be.
        piece: Bytes of a piece.
        access: Attempts and time limits.
        take: Gets the number of each piece and its bytes; from 0 on again where an attempt failed on the way.

    Raises:
        NotThere: The server knows no such file.
        DataError: It cannot be read.
    """

    def attempt() -> Awaitable[None]:
        return http_pieces(filesystem(url), url, size=size, piece=piece, take=take, timeout=access.timeout)

    await _retried(url, attempt, access)


async def save(url: str, path: Path, *, size: int, sha256: str, access: RemoteAccess) -> None:
    """Copies a file to the disk and compares its digest.

    Raises:
        NotThere: The server knows no such file.
        DataError: It cannot be read, or is another file than the digest says.
    """

    async def ranges(take: Callable[[int, bytes], None]) -> None:
        for number, start in enumerate(range(0, size, PIECE_BYTES)):
            take(number, await _range(url, start, min(PIECE_BYTES, size - start), size, access))

    async def whole(take: Callable[[int, bytes], None]) -> None:
        await http_pieces(filesystem(url), url, size=size, piece=PIECE_BYTES, take=take, timeout=access.timeout)

    try:
        await _retried(url, lambda: _to_disk(path, sha256, ranges), access)
    except RangeIgnored:
        await _retried(url, lambda: _to_disk(path, sha256, whole), access)


async def _to_disk(path: Path, sha256: str, pieces: Callable[[Callable[[int, bytes], None]], Awaitable[None]]) -> None:
    """One attempt to write a file from its pieces."""
    digest = hashlib.sha256()
    with open(path, "wb", buffering=0) as file:

        def take(_: int, data: bytes) -> None:
            digest.update(data)
            try:
                file.write(data)
            except OSError as error:  # a full disk does not pass by reading again
                told = f"the cache {path} cannot be written ({error.strerror or error})"
                raise UserError(f"{told}; name another folder with cache.dir=…") from error

        await pieces(take)
    if digest.hexdigest() != sha256:
        raise Failed("what came is not what its digest says")


async def _retried(url: str, attempt: Callable[[], Awaitable[T]], access: RemoteAccess) -> T:
    """Tries until it works, the attempts are used up, or the answer is final."""
    failure = ""
    for number in range(access.attempts):
        asked, began = 0.0, time.monotonic()
        try:
            return await attempt()
        except (RangeIgnored, DataError, UserError):
            raise
        except (FileNotFoundError, IsADirectoryError) as error:
            raise NotThere(f"{redacted(url)} is not there") from error
        except (PermissionError, Refused) as error:
            told = redacted(str(error)) or "access is denied"
            raise DataError(f"{redacted(url)} cannot be read: {told}") from error
        except Exception as error:  # every client library has kinds of its own for what may pass
            failure = _told(error, access)
            asked = error.wait if isinstance(error, Failed) else 0.0
        if number + 1 < access.attempts:
            seconds = max(access.pause(number), min(asked, _PATIENCE))
            if seconds + time.monotonic() - began >= 1:
                again = f"attempt {number + 2} of {access.attempts} in {seconds:.0f} s"
                _log.warning("%s: %s; %s", redacted(url), failure, again)
            await asyncio.sleep(seconds)
    raise DataError(
        f"{redacted(url)} cannot be read ({access.attempts} attempts): {failure}. The server or the way there fails, "
        "not a sample; no sample was left out"
    )


def _told(error: Exception, access: RemoteAccess) -> str:
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return f"no byte came for {access.timeout:g} s, or too few in {_SLOWEST * access.timeout:g} s"
    return redacted(str(error)) or type(error).__name__


async def _range(url: str, start: int, length: int, size: int, access: RemoteAccess) -> bytes:
    """One attempt to read a range."""
    fs = filesystem(url)
    async with asyncio.timeout(_SLOWEST * access.timeout):
        if _is_http(url):
            data = await http_range(fs, url, start, length, size=size, timeout=access.timeout)
        else:
            data = bytes(await fs._cat_file(fs._strip_protocol(url), start=start, end=start + length))
    if len(data) != length:
        raise Failed(f"{len(data)} bytes came where {length} were asked for")
    return data


def filesystem(url: str) -> Any:
    """The asynchronous file system of fsspec for a URL; one for each process and protocol.

    Raises:
        UserError: There is no such protocol, or its package is not installed.
    """
    return _filesystem(url.partition("://")[0], os.getpid())


@lru_cache(maxsize=64)
def _filesystem(protocol: str, process: int) -> Any:
    import fsspec
    from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

    settings: dict[str, Any] = {"client_kwargs": {"trust_env": True}} if protocol in ("http", "https") else {}
    try:
        made = fsspec.filesystem(protocol, **settings)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        remedy = f"`pip install 'rewardkit[{extra}]'`" if extra else "install it"
        raise UserError(f"{protocol}:// needs a package that is not installed ({error}); {remedy}") from error
    except ValueError as error:
        raise UserError(f"{protocol}:// is no protocol that can be read, as https://, s3:// and gs:// are") from error
    return made if made.async_impl else AsyncFileSystemWrapper(made)


def _is_http(url: str) -> bool:
    return url.startswith(("http://", "https://"))
