"""Images as users hand them over: files, bytes, PIL images and tensors, all read by the rule that training reads by."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from rewardkit.data.images import ImageTransform, decode_image, normalise, resize_uint8, transform_tensor
from rewardkit.errors import BadSample, DataError, UserError

Picture = Image.Image | str | os.PathLike[str] | bytes | Tensor
"""One image: a PIL image, a path, an image file's bytes, or a tensor ``[3, H, W]``, uint8 or float in [0, 1]."""


def normalised_pixels(
    images: Tensor | Sequence[Picture], transform: ImageTransform, device: torch.device, *, start: int = 0
) -> Tensor:
    """What a model's towers take.

    Args:
        images: A tensor ``[n, 3, H, W]``, or a list of pictures.
        transform: The model's.
        device: Where the pixels shall be.
        start: Number of the first image, for messages.

    Returns:
        float ``[n, 3, S, S]`` on the device.

    Raises:
        UserError: A file cannot be read.
        DataError: An image cannot be decoded.
    """
    if isinstance(images, Tensor):
        return transform_tensor(images.to(device), transform)
    rows = []
    for place, image in enumerate(images, start):
        if isinstance(image, Tensor):
            rows.append(transform_tensor(image.unsqueeze(0).to(device), transform)[0])
        else:
            pixels = resize_uint8(
                decode_picture(image, place, decode=transform.decode, size=transform.size), transform
            ).to(device)
            rows.append(normalise(pixels.unsqueeze(0), transform.mean, transform.std)[0])
    return torch.stack(rows)


def as_list(images: Tensor | Picture | Sequence[Picture]) -> Tensor | Sequence[Picture]:
    """One image becomes a list of one; a batch tensor stays a tensor."""
    if isinstance(images, Tensor):
        if images.ndim not in (3, 4):
            raise UserError(f"a tensor of images is [N, 3, H, W] or [3, H, W], not {list(images.shape)}")
        return images if images.ndim == 4 else images.unsqueeze(0)
    if isinstance(images, str | bytes | os.PathLike | Image.Image):
        return [images]
    return images


def decode_picture(
    image: Image.Image | str | os.PathLike[str] | bytes, place: int, *, decode: str = "exact", size: int | None = None
) -> Tensor:
    """A picture that is not a tensor, read by the one rule that training reads images with.

    Args:
        image: The picture.
        place: Its number, for messages.
        decode: As of ``decode_image``.
        size: Likewise.

    Returns:
        uint8 ``[3, H, W]``.

    Raises:
        UserError: A file cannot be read.
        DataError: It cannot be decoded.
    """
    name = f"image {place}" if isinstance(image, bytes | Image.Image) else f"image {place} ({os.fspath(image)})"
    if isinstance(image, Image.Image):
        image = _as_file(image, name)
    elif not isinstance(image, bytes):
        try:
            image = Path(image).read_bytes()
        except OSError as error:
            raise UserError(f"{name} cannot be read: {error.strerror or error}") from None
    try:
        return decode_image(image, decode=decode, size=size)
    except BadSample as error:
        raise DataError(f"{name}: {error.reason}") from None


def _as_file(image: Image.Image, name: str) -> bytes:
    """A PIL image as a file's bytes, so that orientation, transparency and depth are treated as a file's are."""
    buffer = io.BytesIO()
    if image.mode in ("HSV", "LAB", "YCbCr"):
        image = image.convert("RGB")
    try:
        if image.mode == "CMYK":
            image.save(buffer, format="TIFF", exif=image.getexif())
        else:
            image.save(buffer, format="PNG", exif=image.getexif(), compress_level=0)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{name}: the image cannot be decoded: {error}") from None
    return buffer.getvalue()
