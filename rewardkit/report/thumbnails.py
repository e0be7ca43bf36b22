"""Images for a page: made small, and written into it as data URIs, so that the page needs no other file."""

from __future__ import annotations

import base64
import io

from PIL import Image

from rewardkit.data.image_files import decode_rgb
from rewardkit.errors import BadSample


def thumbnail_uri(data: bytes, *, side: int, quality: int, decode: str = "exact") -> str | None:
    """A small JPEG of an image as a data URI; None where the image cannot be decoded.

    Args:
        data: The image file's bytes.
        side: Of the square that it is fitted into, pixels; smaller images stay as they are.
        quality: Of the JPEG, 1 to 95.
        decode: ``exact``, or ``scaled`` (see ``decode_rgb``), which is faster where the image is large.
    """
    try:
        pixels = decode_rgb(data, decode=decode, size=side)  # uint8 [h, w, 3]
    except BadSample:
        return None
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
