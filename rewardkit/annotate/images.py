"""Images as they are shown to a model: their size and file kind, and the tokens that they will cost."""

from __future__ import annotations

import io
import math
from typing import Literal

from PIL import Image

from rewardkit.data.image_files import decode_rgb, image_size
from rewardkit.data.source_images import JPEG_QUALITY, prepare_image

ImageFormat = Literal["keep", "jpeg", "png"]

CELL = 28
"""Side in pixels of what one image token stands for in Qwen2.5-VL. Others differ; most take fewer tokens."""


def shown_image(data: bytes, *, max_side: int | None, format: ImageFormat) -> tuple[bytes, str]:
    """An image file as it is sent, and its media type.

    Args:
        data: The file.
        max_side: Longest side, pixels; larger ones are made smaller. None: as they are.
        format: ``keep``: JPEG, PNG and WebP keep their bytes.

    Raises:
        BadSample: It cannot be read.
    """
    image = prepare_image(data, decode=False, max_side=max_side)
    suffix, data = image.suffix, image.data
    if format != "keep" and suffix != {"jpeg": "jpg"}.get(format, format):
        file = io.BytesIO()
        Image.fromarray(decode_rgb(data)).save(
            file, format.upper(), **({"quality": JPEG_QUALITY} if format == "jpeg" else {})
        )
        suffix, data = {"jpeg": "jpg"}.get(format, format), file.getvalue()
    return data, {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}[suffix]


def image_tokens(data: bytes, *, max_side: int | None) -> int:
    """Tokens that an image will cost, about: one for each cell of 28 x 28 pixels of what is sent."""
    width, height = image_size(data)
    scale = min(1.0, max_side / max(width, height)) if max_side else 1.0
    return math.ceil(width * scale / CELL) * math.ceil(height * scale / CELL) + 2


def text_tokens(text: str) -> int:
    """Tokens that a text will cost, about: one for each three bytes, which is more than most tokenizers make."""
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / 3)
