"""An image in a cell of a table: a path, the file's bytes, or both together as Hugging Face ``datasets`` stores it."""

from __future__ import annotations

import hashlib
from typing import Any

from rewardkit.data.reading.fields import image_path


def image_cell(value: Any, column: str) -> tuple[str, bytes | None]:
    """Name and bytes of an image; bytes are None where it lies in a file of its own.

    Bytes that come without a path are named by their digest, so that equal images are one candidate.

    Raises:
        ValueError: The cell holds no image.
    """
    data: Any = None
    path = value
    if isinstance(value, dict):
        data, path = value.get("bytes"), value.get("path")
    elif isinstance(value, bytes):
        data, path = value, None
    if data is None and path is None:
        raise ValueError(f"{column} is empty; it must be the path of an image, or its bytes")
    if data is not None and (not isinstance(data, bytes) or not data):
        raise ValueError(f"{column} holds no bytes of an image")
    if data is not None and not (isinstance(path, str) and path.strip()):
        return f"sha256-{hashlib.sha256(data).hexdigest()[:32]}", data
    return image_path(path, column), data
