"""Image files: decoded to RGB pixels, measured by their headers, and told whole from cut off. No torch."""

from __future__ import annotations

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, TiffImagePlugin, WebPImagePlugin

from rewardkit.data.jpeg_header import plain_jpeg_size
from rewardkit.errors import BadSample

MAX_PIXELS = 2**26
"""Largest image that is decoded: 8192 x 8192. Read from the header, before any memory is spent on pixels."""

# Pillow registers the first four by itself, the others when their module is imported. A JPEG that holds several
# pictures (MPO) opens as JPEG.
_PLUGINS = (TiffImagePlugin.TiffImageFile, WebPImagePlugin.WebPImageFile)
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", *(plugin.format for plugin in _PLUGINS))
_EXIF_ORIENTATION = 0x0112

_PNG_END = b"IEND\xae\x42\x60\x82"


def decode_rgb(data: bytes, *, decode: str = "exact", size: int | None = None) -> NDArray[np.uint8]:
    """Decodes one image file to RGB.

    Transparency is laid on white, as a web page shows it; 16-bit values keep their high byte; of an animation the
    first frame counts; the EXIF orientation is applied; CMYK and palettes are converted.

    Args:
        data: The file's bytes (JPEG, PNG, WebP, GIF, BMP or TIFF).
        decode: ``exact`` or ``scaled`` (see ``ImageTransform``).
        size: With ``scaled``, the side below which neither side may fall.

    Returns:
        uint8 ``[h, w, 3]``.

    Raises:
        BadSample: The bytes are empty, no known image, damaged, cut off, or above ``MAX_PIXELS``.
    """
    if not data:
        raise BadSample("the image has 0 bytes")
    try:
        with _open(data) as image:
            if decode == "scaled" and size is not None:
                image.draft("RGB", (size, size))
            image.load()  # numpy takes an image that fails to load for a mere object
            return np.array(_to_rgb(_upright(image)))
    except (BadSample, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise nearly every kind on damaged bytes; all mean the same here.
        raise BadSample(f"the image cannot be decoded: {error or type(error).__name__}") from error


def check_whole(data: bytes) -> None:
    """Whether a JPEG, PNG or WebP file ends as its kind does; finds files that were cut off, without decoding.

    Raises:
        BadSample: The end is missing.
    """
    if data.startswith(b"\xff\xd8"):
        # Entropy-coded data never hold these markers: behind the last scan's start there must be an end of image.
        whole = data.endswith(b"\xff\xd9") or data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")
    elif data.startswith(b"\x89PNG"):
        whole = data.endswith(_PNG_END) or _PNG_END in data
    elif data.startswith(b"RIFF"):
        whole = len(data) >= int.from_bytes(data[4:8], "little") + 8
    else:
        whole = True
    if not whole:
        raise BadSample(f"the image is cut off: its end is missing behind {len(data)} bytes")


def image_size(data: bytes) -> tuple[int, int]:
    """Width and height after EXIF orientation, from the header alone.

    Raises:
        BadSample: As ``decode_rgb``, as far as the header tells.
    """
    if not data:
        raise BadSample("the image has 0 bytes")
    plain = plain_jpeg_size(data)
    if plain is not None and plain[0] * plain[1] <= MAX_PIXELS:
        return plain
    try:
        with _open(data) as image:
            width, height = image.size
            return (height, width) if _orientation(image) >= 5 else (width, height)
    except (BadSample, MemoryError):
        raise
    except Exception as error:  # As above.
        raise BadSample(f"the image cannot be read: {error or type(error).__name__}") from error


def _open(data: bytes) -> Image.Image:
    """Opens an image without decoding it; refuses sizes above the limit."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError:
        raise BadSample(f"the image has more than {MAX_PIXELS} pixels") from None
    except Image.UnidentifiedImageError:
        raise BadSample(f"the {len(data)} bytes are not an image of a known format ({', '.join(_FORMATS)})") from None
    if image.width * image.height > MAX_PIXELS:
        raise BadSample(f"the image is {image.width} x {image.height}, more than {MAX_PIXELS} pixels")
    return image


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; damaged EXIF data say nothing, as in every viewer."""
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except (SyntaxError, ValueError, OSError, KeyError, IndexError, TypeError, EOFError):
        return 1
    return value if value in range(1, 9) else 1


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says."""
    return ImageOps.exif_transpose(image) if _orientation(image) != 1 else image


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any mode to 8-bit RGB."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        high_bytes = np.clip(np.asarray(image).astype(np.int64), 0, 65535) >> 8
        return Image.fromarray(high_bytes.astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise BadSample("the image holds floating-point pixels, whose range is not known")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        opaque = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", opaque.size, (255, 255, 255, 255)), opaque).convert("RGB")
    return image.convert("RGB")
