"""Images keep their bytes where shards can hold them; the others are rewritten with the pixels a model would see."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from rewardkit.data.images import decode_image
from rewardkit.data.source_images import prepare_image
from rewardkit.errors import BadSample


def picture(width=12, height=8, mode="RGB"):
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def encoded(kind, image=None, **options):
    file = io.BytesIO()
    (image or picture()).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")])
def test_bytes_are_kept(kind, suffix):
    data = encoded(kind)
    made = prepare_image(data, decode=True)
    assert made.data == data
    assert (made.suffix, made.width, made.height, made.rewritten) == (suffix, 12, 8, "")
    assert made.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "GIF"])
def test_other_kinds_become_png_with_equal_pixels(kind):
    data = encoded(kind)
    made = prepare_image(data, decode=False)
    assert made.suffix == "png"
    assert made.rewritten
    assert decode_image(made.data).equal(decode_image(data))


def test_exif_orientation_swaps_the_sides():
    exif = Image.Exif()
    exif[0x0112] = 6
    made = prepare_image(encoded("JPEG", exif=exif), decode=True)
    assert (made.width, made.height) == (8, 12)


def test_large_images_are_made_smaller_only_when_told():
    data = encoded("JPEG", picture(64, 32))
    assert prepare_image(data, decode=True, max_side=64).data == data
    made = prepare_image(data, decode=True, max_side=16)
    assert (made.suffix, made.width, made.height) == ("jpg", 16, 8)
    assert tuple(decode_image(made.data).shape) == (3, 8, 16)
    thin = prepare_image(encoded("PNG", picture(1000, 1)), decode=True, max_side=10)
    assert (thin.suffix, thin.width, thin.height) == ("png", 10, 1)


@pytest.mark.parametrize("data", [b"", b"no image", encoded("PNG")[:20]])
def test_unreadable_files_are_bad_samples(data):
    with pytest.raises(BadSample):
        prepare_image(data, decode=False)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_file_that_is_cut_off_is_found_without_decoding(kind):
    whole = encoded(kind, picture(200, 200))
    assert prepare_image(whole, decode=False).width == 200
    assert prepare_image(whole + b"\0\0", decode=False).width == 200
    for cut in (1, 200, len(whole) // 2):
        with pytest.raises(BadSample, match=r"cut off|cannot be read"):
            prepare_image(whole[:-cut], decode=False)


def test_damage_in_the_middle_needs_decoding():
    data = bytearray(encoded("PNG", picture(200, 200)))
    data[data.index(b"IDAT") + 4] = 255
    assert prepare_image(bytes(data), decode=False).width == 200
    with pytest.raises(BadSample, match="cannot be decoded"):
        prepare_image(bytes(data), decode=True)


def test_the_quality_of_what_is_made_smaller():
    data = encoded("JPEG", picture(300, 200))
    low, high = (prepare_image(data, decode=False, max_side=150, quality=quality) for quality in (30, 95))
    assert (low.width, low.height) == (150, 100) and len(low.data) < len(high.data)
