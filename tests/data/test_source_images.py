"""Images keep their bytes where shards can hold them; the others are rewritten with the pixels a model would see."""

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from rewardkit.data.images import decode_image
from rewardkit.data.source_images import prepare_image, read_source
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


def test_a_file_cut_off_behind_the_header_needs_decoding():
    data = encoded("JPEG", picture(200, 200))[:-2000]
    assert prepare_image(data, decode=False).width == 200
    with pytest.raises(BadSample):
        prepare_image(data, decode=True)


def test_a_missing_file_is_a_bad_sample(tmp_path):
    with pytest.raises(BadSample, match=r"there is no file .*a\.jpg"):
        read_source(tmp_path / "a.jpg")
    with pytest.raises(BadSample, match="is a folder"):
        read_source(tmp_path)
    assert read_source(b"x") == b"x"


@pytest.mark.parametrize("name", ["a\0b.jpg", "x" * 5000])
def test_names_that_no_file_can_have_are_bad_samples(tmp_path, name):
    with pytest.raises(BadSample, match="is not a file name"):
        read_source(tmp_path / name)
