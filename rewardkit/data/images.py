"""Images: from file bytes to uint8 pixels, to the model's size, to normalised tensors; one named transform for all.

Loader workers decode and resize (``decode_image``, ``resize_uint8``), the device normalises (``normalise``). Tensors
that a caller gives, possibly with gradients, take ``transform_tensor``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from rewardkit.data.image_files import decode_rgb
from rewardkit.errors import UserError

MAX_ASPECT = 8
"""``crop`` first takes the middle of an image that is longer than this times its short side."""

_PILLOW = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
"""OpenAI CLIP's channel means, for pixels in [0, 1]; HPS v2 uses them too (``src/open_clip/constants.py``)."""
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""OpenAI CLIP's channel standard deviations."""


@dataclass(frozen=True, slots=True)
class ImageTransform:
    """How an image becomes a model's input: recorded with every run and bundle.

    Attributes:
        size: Side of the square the model sees, pixels.
        resize: ``pad``: the longest side becomes ``size``, the rest is black, centred (HPS v2). ``crop``: the shortest
            side becomes ``size``, the middle is kept (CLIP). ``squash``: both sides become ``size``.
        interpolation: ``bicubic`` or ``bilinear``.
        antialias: Low-pass filter when shrinking. HPS v2 was trained and first published without, and newer
            torchvision versions turned it on by default: it changes scores, so it is always stated.
        mean: Subtracted from pixels in [0, 1], per channel.
        std: Divides after that, per channel.
        decode: ``exact``, or ``scaled``: JPEGs are decoded at a fraction of their size where that suffices, and
            resizing is done in integers. Faster, and pixels differ slightly.
    """

    size: int
    resize: Literal["pad", "crop", "squash"] = "pad"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    antialias: bool = True
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    decode: Literal["exact", "scaled"] = "exact"

    def __post_init__(self) -> None:
        choices = {
            "resize": ("pad", "crop", "squash"),
            "interpolation": ("bicubic", "bilinear"),
            "decode": ("exact", "scaled"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise UserError(f"image transform: {name} is {getattr(self, name)!r}; choose {', '.join(known)}")
        if self.size < 1:
            raise UserError(f"image transform: size is {self.size}; it is a side in pixels, at least 1")
        if len(self.mean) != 3 or len(self.std) != 3 or not all(s > 0 for s in self.std):
            raise UserError(f"image transform: mean {self.mean} and std {self.std} need 3 numbers, std positive")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImageTransform:
        """The inverse of ``to_dict``; unknown and missing names are refused, since each changes scores."""
        names = {f.name for f in fields(cls)}
        if set(values) != names:
            raise UserError(
                f"image transform: unknown {sorted(set(values) - names)}, missing {sorted(names - set(values))}"
            )
        return cls(**{**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])})


def decode_image(data: bytes, *, decode: str = "exact", size: int | None = None) -> Tensor:
    """``decode_rgb`` as a tensor.

    Returns:
        uint8 ``[3, h, w]``.

    Raises:
        BadSample: As ``decode_rgb``.
    """
    return torch.from_numpy(decode_rgb(data, decode=decode, size=size)).permute(2, 0, 1)


def resize_uint8(image: Tensor, transform: ImageTransform) -> Tensor:
    """Brings decoded pixels to the model's size on a loader worker.

    ``crop`` with antialias resamples with Pillow, bit for bit as open_clip's evaluation transform does. All else is
    computed in float32, clamped to [0, 255] and rounded: against the float path that is at most 0.5 grey levels of
    rounding, and the clamping of bicubic overshoot (up to about 0.05 of the range beside hard edges). With
    ``decode="scaled"`` torch's uint8 kernel is used instead, 3 to 9 times faster; it rounds and clamps between its two
    passes: mean difference below 0.5 levels, but beside hard one-pixel edges up to 32.

    Args:
        image: uint8 ``[3, h, w]``.
        transform: What to do.

    Returns:
        uint8 ``[3, size, size]``.
    """
    image = _middle(image, transform)
    height, width = _target(image.shape[-2], image.shape[-1], transform)
    if (height, width) != tuple(image.shape[-2:]):
        if transform.resize == "crop" and transform.antialias and transform.decode == "exact":
            image = _pillow_resize(image, height, width, transform)
        elif transform.decode == "scaled":
            image = _interpolate(image.unsqueeze(0), height, width, transform).squeeze(0)
        else:
            image = _interpolate(image.unsqueeze(0).float(), height, width, transform).squeeze(0)
            image = image.clamp_(0, 255).round_().to(torch.uint8)
    return _to_square(image, transform)


def transform_tensor(images: Tensor, transform: ImageTransform) -> Tensor:
    """Brings a batch of images of any one size to the model's normalised input.

    Float images stay float throughout: differentiable, overshoot not clamped. That is HPS v2's published transform
    (``src/open_clip/transform.py`` with ``resize_longest_max``), except that an image whose longest side already fits
    is padded as well. Half-precision images are resized in float32: their gradient comes back in their own type. uint8
    images take exactly what loader workers do, so that a file and its pixels score the same.

    Args:
        images: ``[N, 3, h, w]``, uint8, or float in [0, 1].
        transform: What to do.

    Returns:
        Float ``[N, 3, size, size]``, normalised; float32, or float64 for float64 images.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise UserError(f"images have shape {list(images.shape)}; expected [N, 3, height, width]")
    if images.dtype == torch.uint8:
        resized = [resize_uint8(image, transform) for image in images.cpu()]
        square = torch.stack(resized) if resized else images.new_empty(0, 3, transform.size, transform.size)
        return normalise(square.to(images.device), transform.mean, transform.std)
    if not images.is_floating_point():
        raise UserError(f"images are {images.dtype}; expected uint8, or float in [0, 1]")
    images = _middle(images.float() if images.dtype.itemsize < 4 else images, transform)
    height, width = _target(images.shape[-2], images.shape[-1], transform)
    if (height, width) != tuple(images.shape[-2:]):
        images = _interpolate(images, height, width, transform)
    return normalise(_to_square(images, transform), transform.mean, transform.std)


def normalise(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """``(x - mean) / std`` per channel, for x in [0, 1].

    Args:
        pixels: ``[..., 3, H, W]``, uint8 (divided by 255 first) or float in [0, 1].
        mean: Three numbers.
        std: Three positive numbers.
    """
    x = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
    return (x - x.new_tensor(mean).view(3, 1, 1)) / x.new_tensor(std).view(3, 1, 1)


def _target(height: int, width: int, transform: ImageTransform) -> tuple[int, int]:
    """The size to resample to, before padding or cropping."""
    size = transform.size
    if transform.resize == "squash":
        return size, size
    if transform.resize == "pad":
        # Python's round of side * size / longest, as HPS v2 computes it; thin images keep one pixel.
        scale = size / max(height, width)
        return max(1, round(height * scale)), max(1, round(width * scale))
    # torchvision.transforms.Resize truncates the longer side.
    short = min(height, width)
    return (size, int(size * width / short)) if height <= width else (int(size * height / short), size)


def _middle(image: Tensor, transform: ImageTransform) -> Tensor:
    """For ``crop``, the middle of a very long image: its far ends would be cut off anyway, at great cost."""
    if transform.resize != "crop":
        return image
    height, width = image.shape[-2:]
    longest = MAX_ASPECT * min(height, width)
    top, left = max(0, height - longest) // 2, max(0, width - longest) // 2
    return image[..., top : top + min(height, longest), left : left + min(width, longest)]


def _interpolate(images: Tensor, height: int, width: int, transform: ImageTransform) -> Tensor:
    return F.interpolate(
        images,
        size=(height, width),
        mode=transform.interpolation,
        antialias=transform.antialias,
        align_corners=False,
    )


def _pillow_resize(image: Tensor, height: int, width: int, transform: ImageTransform) -> Tensor:
    pillow = Image.fromarray(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
    resized = pillow.resize((width, height), _PILLOW[transform.interpolation])
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


def _to_square(images: Tensor, transform: ImageTransform) -> Tensor:
    """Pads with black or crops to the square, centred; on odd remainders the left and top get the floor of half."""
    size = transform.size
    height, width = images.shape[-2:]
    if transform.resize == "crop":
        # torchvision's centre crop rounds half to even.
        top, left = round((height - size) / 2), round((width - size) / 2)
        return images[..., top : top + size, left : left + size]
    left, top = math.floor((size - width) / 2), math.floor((size - height) / 2)
    if left == top == 0 and (height, width) == (size, size):
        return images
    return F.pad(images, (left, size - width - left, top, size - height - top))
