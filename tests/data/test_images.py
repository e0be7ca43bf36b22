"""Decoding of every awkward kind of image, and equality with the published transforms."""

import contextlib
import hashlib
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rewardkit.data.image_files import image_size
from rewardkit.data.images import (
    CLIP_MEAN,
    CLIP_STD,
    ImageTransform,
    decode_image,
    normalise,
    resize_uint8,
    transform_tensor,
)
from rewardkit.errors import BadSample, UserError

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "preprocess.json").read_text())


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pattern(name: str, height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    channels = {
        "smooth": lambda: (
            (x * 255) // max(width - 1, 1),
            (y * 255) // max(height - 1, 1),
            ((x + y) * 255) // max(width + height - 2, 1),
        ),
        "rings": lambda: (
            ((x * x + y * y) // 97) % 256,
            ((x * x + 3 * y * y) // 211) % 256,
            ((2 * x * x + y * y + x * y) // 157) % 256,
        ),
        "checker": lambda: (
            ((x // 7 + y // 5) % 2) * 255,
            ((x // 3 + y // 11) % 2) * 200 + 20,
            ((x // 13) % 2) * ((y // 2) % 2) * 255,
        ),
        "noise": lambda: tuple(
            ((x * 7919 + y * 104729 + k * 1299709 + ((x * y) % 1009) * 31) % 65537) % 256 for k in range(3)
        ),
    }[name]()
    return np.stack(channels, -1).astype(np.uint8)


def golden_transform(name: str) -> ImageTransform:
    if name == "open_clip_shortest_crop_pil":
        return ImageTransform(224, resize="crop")
    return ImageTransform(224, resize="pad", antialias=name.endswith("true"))


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["pattern"])
@pytest.mark.parametrize("name", ["hps_pad_antialias_true", "hps_pad_antialias_false", "open_clip_shortest_crop_pil"])
def test_published_transforms(case, name):
    pixels = pattern(case["pattern"], case["height"], case["width"])
    assert hashlib.sha256(pixels.tobytes()).hexdigest() == case["uint8_sha256"]
    image = torch.from_numpy(pixels).permute(2, 0, 1)
    images = image[None] if "crop" in name else image[None].float() / 255
    out = transform_tensor(images, golden_transform(name))[0].double()
    expected = case["out"][name]
    blocks = out.view(3, 14, 16, 14, 16).mean(dim=(2, 4))
    torch.testing.assert_close(blocks, torch.tensor(expected["block_mean"]).double(), atol=2e-4, rtol=0)
    samples = expected["samples"]
    got = out[samples["c"], samples["y"], samples["x"]]
    torch.testing.assert_close(got, torch.tensor(samples["value"]).double(), atol=2e-3, rtol=0)
    assert out.min() == pytest.approx(expected["min"], abs=2e-3)
    assert out.max() == pytest.approx(expected["max"], abs=2e-3)


def test_an_image_that_already_fits_is_padded():
    case = GOLDEN["edge_cases"][0]
    image = torch.from_numpy(pattern(case["pattern"], 224, 160)).permute(2, 0, 1)
    out = resize_uint8(image, ImageTransform(224))
    assert list(out.shape) == case["corrected"]["shape"]
    left, _, right, _ = case["corrected"]["pad_left_top_right_bottom"]
    assert torch.equal(out[:, :, left : 224 - right], image)
    assert out[:, :, :left].sum() == 0


@pytest.mark.parametrize("name", ["smooth", "rings", "checker", "noise"])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("resize", ["pad", "squash"])
def test_workers_differ_from_the_float_path_by_rounding_and_clamping_only(name, antialias, resize):
    image = torch.from_numpy(pattern(name, 97, 150)).permute(2, 0, 1)
    transform = ImageTransform(64, resize=resize, antialias=antialias, mean=(0, 0, 0), std=(1, 1, 1))
    exact = transform_tensor(image[None].float() / 255, transform)[0] * 255
    worker = resize_uint8(image, transform).float()
    assert (worker - exact.clamp(0, 255)).abs().max() <= 0.5 + 1e-3


def test_the_integer_path_stays_near():
    image = torch.from_numpy(pattern("smooth", 97, 150)).permute(2, 0, 1)
    exact = resize_uint8(image, ImageTransform(64)).float()
    fast = resize_uint8(image, ImageTransform(64, decode="scaled")).float()
    assert (exact - fast).abs().max() <= 2


def test_uint8_tensors_take_the_path_of_the_workers():
    image = torch.from_numpy(pattern("rings", 90, 61)).permute(2, 0, 1)
    for resize in ("pad", "crop", "squash"):
        transform = ImageTransform(48, resize=resize)
        torch.testing.assert_close(
            transform_tensor(image[None], transform)[0],
            normalise(resize_uint8(image, transform), CLIP_MEAN, CLIP_STD),
            atol=0,
            rtol=0,
        )


@pytest.mark.parametrize("resize", ["pad", "crop", "squash"])
def test_gradients_reach_the_pixels(resize):
    images = torch.rand(2, 3, 20, 31, dtype=torch.float64, requires_grad=True)
    transform_tensor(images, ImageTransform(16, resize=resize)).square().sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0


@pytest.mark.parametrize("resize", ["pad", "crop", "squash"])
@pytest.mark.parametrize("size", [(1, 1), (1, 500), (700, 1), (1, 40000), (33, 32)])
def test_sides_of_one_pixel(resize, size):
    image = torch.full((3, *size), 200, dtype=torch.uint8)
    transform = ImageTransform(32, resize=resize)
    assert resize_uint8(image, transform).shape == (3, 32, 32)
    assert resize_uint8(image, transform).max() == 200
    assert transform_tensor(image[None].float() / 255, transform).shape == (1, 3, 32, 32)


def test_colour_modes():
    red = Image.new("RGB", (5, 4), (250, 10, 20))
    assert decode_image(encode(red))[:, 0, 0].tolist() == [250, 10, 20]
    cmyk = decode_image(encode(red.convert("CMYK"), "JPEG", quality=100, subsampling=0))
    assert (cmyk[:, 0, 0].int() - torch.tensor([250, 10, 20])).abs().max() <= 4
    palette = decode_image(encode(red.quantize(4)))
    assert palette[:, 0, 0].tolist() == [250, 10, 20]
    assert decode_image(encode(Image.new("L", (5, 4), 77)))[:, 0, 0].tolist() == [77] * 3
    assert decode_image(encode(Image.new("1", (5, 4), 1)))[:, 0, 0].tolist() == [255] * 3


def test_transparency_is_laid_on_white():
    assert decode_image(encode(Image.new("RGBA", (3, 3), (200, 0, 0, 0))))[:, 1, 1].tolist() == [255, 255, 255]
    half = decode_image(encode(Image.new("RGBA", (3, 3), (200, 0, 0, 128))))[:, 1, 1].tolist()
    assert half[0] in range(226, 229) and half[1] in range(126, 129)
    assert decode_image(encode(Image.new("LA", (3, 3), (0, 0))))[:, 0, 0].tolist() == [255] * 3
    clear = Image.new("P", (3, 3), 0)
    clear.putpalette([9, 9, 9, 200, 0, 0])
    assert decode_image(encode(clear, transparency=0))[:, 0, 0].tolist() == [255] * 3
    keyed = encode(Image.new("RGB", (3, 3), (7, 8, 9)), transparency=(7, 8, 9))
    assert decode_image(keyed)[:, 0, 0].tolist() == [255] * 3


def test_sixteen_bits_keep_the_high_byte():
    values = np.array([[0, 255, 256, 65535]], dtype=np.uint16)
    assert decode_image(encode(Image.fromarray(values)))[0].tolist() == [[0, 0, 1, 255]]
    tiff = encode(Image.fromarray(values.astype(np.int32)), "TIFF")
    assert decode_image(tiff)[0].tolist() == [[0, 0, 1, 255]]
    with pytest.raises(BadSample, match="floating-point"):
        decode_image(encode(Image.fromarray(values.astype(np.float32)), "TIFF"))


def test_the_first_frame_of_an_animation():
    frames = [Image.new("RGB", (6, 6), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert decode_image(data)[:, 2, 2].tolist() == [255, 0, 0], kind
    several = decode_image(encode(frames[0], "MPO", save_all=True, append_images=frames[1:]))  # as phones write them
    assert several[0].min() > 250 and several[1:].max() < 5


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation(kind):
    image = Image.new("RGB", (40, 20), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 20, 20))  # the left half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it: the left becomes the top
    data = encode(image, kind, exif=exif)
    pixels = decode_image(data)
    assert pixels.shape == (3, 40, 20) and image_size(data) == (20, 40)
    assert pixels[0, 5, 10] > 200 and pixels[0, 35, 10] < 50
    exif[0x0112] = 99
    assert decode_image(encode(image, kind, exif=exif)).shape == (3, 20, 40)


def _png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("width", "height"), [(8193, 8192), (12000, 9000), (60000, 60000), (2**31 - 1, 2**31 - 1)])
def test_decompression_bombs_are_refused_from_the_header(width, height):
    for read in (decode_image, image_size):
        with pytest.raises(BadSample, match="pixels"):
            read(_png_header(width, height))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_cut_off_images(kind):
    data = encode(Image.fromarray(pattern("noise", 64, 64)), kind)
    for part in (0, 1, 10, 40, len(data) // 2, int(len(data) * 0.9)):
        with pytest.raises(BadSample):
            decode_image(data[:part])


def test_damaged_images():
    for data in (
        b"",
        b"no image",
        b"\xff\xd8\xff\xe0" + b"\0" * 50,
        b"\x89PNG\r\n\x1a\n" + b"\0" * 50,
        b"RIFF\0\0\0\0WEBP",
    ):
        with pytest.raises(BadSample) as caught:
            decode_image(data)
        assert caught.value.reason
    random = np.random.default_rng(0)
    data = bytearray(encode(Image.fromarray(pattern("rings", 48, 48))))
    for _ in range(300):
        broken = bytearray(data)
        for place in random.integers(0, len(data), 5):
            broken[place] = random.integers(0, 256)
        with contextlib.suppress(BadSample):
            assert decode_image(bytes(broken)).dtype == torch.uint8


def test_scaled_decoding_keeps_the_side():
    data = encode(Image.fromarray(pattern("smooth", 512, 768)), "JPEG")
    assert decode_image(data, decode="scaled", size=128).shape == (3, 128, 192)
    assert decode_image(data, decode="exact", size=128).shape == (3, 512, 768)


def test_transform_as_a_dict():
    transform = ImageTransform(64, resize="crop", antialias=False, decode="scaled")
    assert ImageTransform.from_dict(json.loads(json.dumps(transform.to_dict()))) == transform
    with pytest.raises(UserError, match="missing \\['size'\\]"):
        ImageTransform.from_dict({k: v for k, v in transform.to_dict().items() if k != "size"})
    with pytest.raises(UserError, match="resize is 'stretch'"):
        ImageTransform(64, resize="stretch")
    with pytest.raises(UserError, match="size is 0"):
        ImageTransform(0)
    with pytest.raises(UserError, match="expected \\[N, 3"):
        transform_tensor(torch.zeros(3, 4, 4), transform)
    with pytest.raises(UserError, match="int64"):
        transform_tensor(torch.zeros(1, 3, 4, 4, dtype=torch.int64), transform)
