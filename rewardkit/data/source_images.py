"""Images as a source holds them, made ready for a shard: checked, measured, and rewritten only where they must be."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

from PIL import Image

from rewardkit.data.image_files import check_whole, decode_rgb, image_size

JPEG_QUALITY = 95
"""Default for images that are made smaller; with full colour resolution, the loss is below that of a model's resize."""


@dataclass(frozen=True, slots=True)
class ShardImage:
    """One image as it goes into a shard.

    Attributes:
        data: The file's bytes.
        suffix: ``jpg``, ``png`` or ``webp``.
        width: Pixels, after EXIF orientation.
        height: Pixels, after EXIF orientation.
        sha256: Hex digest of ``data``.
        rewritten: Why the bytes are not those of the source, "" where they are.
    """

    data: bytes
    suffix: str
    width: int
    height: int
    sha256: str
    rewritten: str = ""


def prepare_image(data: bytes, *, decode: bool, max_side: int | None = None, quality: int = JPEG_QUALITY) -> ShardImage:
    """Checks an image and makes it ready for a shard.

    JPEG, PNG and WebP keep their bytes. Other kinds (GIF, BMP, TIFF) become PNG with the pixels that a model would
    see (``decode_rgb``). Images above ``max_side`` are resampled (Lanczos) and become JPEG where they were, else PNG.

    Args:
        data: The file's bytes.
        decode: Whether to decode all of it, which finds damage in the middle; else header and end are looked at.
        max_side: Largest longer side, pixels; None leaves the size alone.
        quality: Of JPEGs that are made smaller, 1 to 100.

    Raises:
        BadSample: The image cannot be read.
    """
    width, height = image_size(data)
    suffix = file_kind(data)
    too_large = max_side is not None and max(width, height) > max_side
    if suffix is not None and not too_large:
        check_whole(data)
        if decode:
            decode_rgb(data)
        return _shard_image(data, suffix, width, height)
    picture = Image.fromarray(decode_rgb(data))
    if too_large:
        assert max_side is not None
        scale = max_side / max(width, height)
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    target = "jpg" if suffix == "jpg" else "png"
    why = f"images made smaller, longer side {max_side}" if too_large else "images of other kinds written as PNG"
    return _shard_image(_encode(picture, target, quality), target, width, height, why)


def file_kind(data: bytes) -> str | None:
    """``jpg``, ``png`` or ``webp`` by the file's first bytes, None for any other kind."""
    if data.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    return "webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def _encode(picture: Image.Image, kind: str, quality: int) -> bytes:
    file = io.BytesIO()
    if kind == "jpg":
        picture.save(file, "JPEG", quality=quality, subsampling=0)
    else:
        picture.save(file, "PNG")
    return file.getvalue()


def _shard_image(data: bytes, suffix: str, width: int, height: int, rewritten: str = "") -> ShardImage:
    return ShardImage(data, suffix, width, height, hashlib.sha256(data).hexdigest(), rewritten)
