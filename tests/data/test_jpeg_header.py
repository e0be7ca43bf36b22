"""The size of a JPEG without Pillow: never another answer than Pillow's, whatever the file and its damage."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
from PIL import Image

from rewardkit.data import image_files
from rewardkit.data.image_files import MAX_PIXELS, image_size
from rewardkit.data.jpeg_header import plain_jpeg_size
from rewardkit.errors import BadSample


def jpeg(width: int = 40, height: int = 24, mode: str = "RGB", **options: object) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def with_pillow(data: bytes) -> tuple[int, int] | None:
    """What ``image_size`` says without the quick way; None where the image is refused."""
    kept = image_files.plain_jpeg_size
    image_files.plain_jpeg_size = lambda data: None
    try:
        return image_size(data)
    except BadSample:
        return None
    finally:
        image_files.plain_jpeg_size = kept


def exif(orientation: int) -> Image.Exif:
    made = Image.Exif()
    made[0x0112] = orientation
    return made


PLAIN = {
    "baseline": jpeg(),
    "progressive": jpeg(progressive=True),
    "grey": jpeg(mode="L"),
    "full colour": jpeg(subsampling=0, quality=95),
    "restarts": jpeg(restart_marker_blocks=2),
    "comment": jpeg(comment=b"a fox"),
    "optimised": jpeg(optimize=True),
    "no JFIF": (lambda data: data[:2] + data[20:])(jpeg()),
}
SPECIAL = {
    "turned": jpeg(exif=exif(6)),
    "not turned": jpeg(exif=exif(1)),
    "CMYK": jpeg(mode="CMYK"),
    "profile": jpeg(icc_profile=b"profile" * 20),
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "empty": b"",
    "start only": b"\xff\xd8\xff",
    "no frame": (lambda data: data[: data.index(b"\xff\xc0")] + data[data.index(b"\xff\xda") :])(jpeg()),
    "two frames": (lambda data, at: data[:at] + data[at : at + 19] + data[at:])(jpeg(), jpeg().index(b"\xff\xc0")),
    "cut off in the header": jpeg()[:300],
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_files_are_measured(name: str) -> None:
    assert plain_jpeg_size(PLAIN[name]) == (40, 24) == with_pillow(PLAIN[name])


@pytest.mark.parametrize("name", SPECIAL)
def test_others_are_left_to_pillow(name: str) -> None:
    assert plain_jpeg_size(SPECIAL[name]) is None


def test_orientation_counts() -> None:
    assert image_size(SPECIAL["turned"]) == (24, 40) and image_size(SPECIAL["not turned"]) == (40, 24)


def test_never_another_answer_than_pillow() -> None:
    draw = random.Random(0)
    measured = refused = 0
    files = list(PLAIN.values())
    for _ in range(6000):
        data = bytearray(draw.choice(files))
        header = data.index(b"\xff\xda") + 14
        for _ in range(draw.choice((1, 1, 2, 3))):
            data[draw.randrange(header)] = draw.choice((0, 1, 2, 8, 255, draw.randrange(256)))
        if draw.random() < 0.2:
            del data[draw.randrange(header) :]
        quick = plain_jpeg_size(bytes(data))
        if quick is not None:
            assert quick == with_pillow(bytes(data))
            measured += 1
        else:
            refused += 1
    assert measured > 500 and refused > 500


def test_too_large_an_image_is_refused() -> None:
    data = bytearray(jpeg())
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = b"\xff\xff\xff\xff"
    assert plain_jpeg_size(bytes(data)) == (65535, 65535) and MAX_PIXELS < 65535**2
    with pytest.raises(BadSample, match="pixels"):
        image_size(bytes(data))
