"""Byte ranges over HTTP (RFC 9110, section 14) with fsspec's session; what an answer says of itself must be true.

fsspec's own read hides the answer's headers, and takes a whole file, or another range, for the range asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rewardkit.data.remote_access import Failed, RangeIgnored, Refused


async def http_range(fs: Any, url: str, start: int, length: int, *, size: int, timeout: float) -> bytes:
    """One attempt to read bytes ``[start, start + length)`` of a file.

    Args:
        fs: fsspec's HTTP file system.
        url: Of the file.
        start: First byte.
        length: Above 0.
        size: Of the whole file, as it must be.
        timeout: Seconds in which the server must answer, and in which a next byte must come.

    Raises:
        RangeIgnored: The server sends the whole file.
        FileNotFoundError: The server knows no such file.
        Refused: It denies access.
        Failed: Another answer, or another range, than was asked for.
    """
    last = start + length - 1
    async with await _get(fs, url, {"Range": f"bytes={start}-{last}"}, timeout) as answer:
        if answer.status == 200 and length < size:
            raise RangeIgnored
        _expect_status(answer, 206, 200)
        said = answer.headers.get("Content-Range")
        if answer.status == 206 and said not in (f"bytes {start}-{last}/{size}", f"bytes {start}-{last}/*"):
            raise Failed(
                f"asked for bytes {start}-{last} of {size}, the server sent {said!r}; if the shards were changed, make "
                "their index again"
            )
        if answer.content_length not in (None, length):
            raise Failed(f"the server announced {answer.content_length} bytes where {length} were asked for")
        return bytes(await answer.content.readexactly(length))


async def http_small(fs: Any, url: str, *, timeout: float) -> bytes:
    """One attempt to read a whole file into memory; raises as ``http_range``."""
    async with await _get(fs, url, {}, timeout) as answer:
        _expect_status(answer, 200)
        return bytes(await answer.content.read())


async def http_pieces(
    fs: Any, url: str, *, size: int, piece: int, take: Callable[[int, bytes], None], timeout: float
) -> None:
    """One attempt to read a whole file piece by piece; raises as ``http_range``.

    Args:
        fs: fsspec's HTTP file system.
        url: Of the file.
        size: As it must be.
        piece: Bytes of a piece.
        take: Gets the number of each piece and its bytes.
        timeout: As for ``http_range``.
    """
    async with await _get(fs, url, {}, timeout) as answer:
        _expect_status(answer, 200)
        if answer.content_length not in (None, size):
            raise Failed(f"the server's file has {answer.content_length} bytes, the index says {size}")
        for number, start in enumerate(range(0, size, piece)):
            take(number, await answer.content.readexactly(min(piece, size - start)))
        if not answer.content.at_eof() and await answer.content.read(1):
            raise Failed(f"more than the {size} bytes came that the index says")


async def _get(fs: Any, url: str, headers: dict[str, str], timeout: float) -> Any:
    """A GET with fsspec's session, so that its settings (headers, proxies, netrc) hold."""
    from aiohttp import ClientTimeout

    session = await fs.set_session()
    options = {**fs.kwargs, "timeout": ClientTimeout(total=None, sock_connect=timeout, sock_read=timeout)}
    options["headers"] = {**options.get("headers", {}), "Accept-Encoding": "identity", **headers}
    return session.get(fs.encode_url(url), **options)


def _expect_status(answer: Any, *wanted: int) -> None:
    """Raises where the status is another."""
    status, said = answer.status, f"HTTP {answer.status} {answer.reason or ''}".strip()
    if status in wanted:
        return
    if status in (404, 410):
        raise FileNotFoundError(said)
    if status in (401, 403, 407):
        raise Refused(f"{said}; give credentials in ~/.netrc or in fsspec's own settings (docs/data_scale.md)")
    after = answer.headers.get("Retry-After", "")
    raise Failed(said, float(after) if after.isdigit() else 0.0)
