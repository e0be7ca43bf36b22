"""Cheap things that a generator could do to an image: none of them shows better what the prompt asks for.

Each takes float images ``[N, 3, H, W]`` in [0, 1], their N prompts and a torch generator for what is random, and gives
images in [0, 1]. Strengths are ours: well visible, and far from destroying the picture.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

Perturbation = Callable[[Tensor, Sequence[str], torch.Generator], Tensor]

NOISE = 0.1
"""Standard deviation of the noise, of the range of pixels."""
BLUR = 64
"""The blur's standard deviation is the longest side divided by this."""
JPEG_QUALITY = 20
BORDER = 12
"""A border takes the longest side divided by this, on each of its sides."""
PRAISE = "masterpiece, best quality"
LUMA = (0.299, 0.587, 0.114)
"""Rec. 601's weights of red, green and blue."""


def mirror(images: Tensor, prompts: Sequence[str], generator: torch.Generator) -> Tensor:
    """Left and right exchanged: the control. What this moves is what nothing moves."""
    return images.flip(-1)


def blank(images: Tensor, prompts: Sequence[str], generator: torch.Generator) -> Tensor:
    """An even grey, with no picture at all."""
    return torch.full_like(images, 0.5)


def noise(images: Tensor, prompts: Sequence[str], generator: torch.Generator) -> Tensor:
    """Gaussian noise."""
    drawn = torch.randn(images.shape, generator=generator).to(images)
    return (images + NOISE * drawn).clamp(0, 1)


def blur(images: Tensor, prompts: Sequence[str], generator: torch.Generator) -> Tensor:
    """Gaussian blur."""
    return _blurred(images, max(images.shape[-2:]) / BLUR)


def sharpen(images: Tensor, prompts: Sequence[str], generator: torch.Generator) -> Tensor:
    """Unsharp mask: twice the difference from the blurred image."""
    return (images + 2 * (images - _blurred(images, max(images.shape[-2:]) / BLUR))).clamp(0, 1)


def jpeg(images: Tensor, prompts: Sequence[str], generator: torch.Generator) -> Tensor:
    """Written as a JPEG of low quality and read again."""
    return torch.stack([_through_jpeg(image) for image in images])


def saturation(images: Tensor, prompts: Sequence[str], generator: torch.Generator) -> Tensor:
    """Colours twice as far from grey."""
    luma = _luma(images)
    return (luma + 2 * (images - luma)).clamp(0, 1)


def greyscale(images: Tensor, prompts: Sequence[str], generator: torch.Generator) -> Tensor:
    """No colour."""
    return _luma(images).expand_as(images)


def contrast(images: Tensor, prompts: Sequence[str], generator: torch.Generator) -> Tensor:
    """1.6 times as far from the image's mean brightness."""
    middle = _luma(images).mean(dim=(-2, -1), keepdim=True)
    return (middle + 1.6 * (images - middle)).clamp(0, 1)


def brightness(images: Tensor, prompts: Sequence[str], generator: torch.Generator) -> Tensor:
    """1.3 times as bright."""
    return (images * 1.3).clamp(0, 1)


def text_prompt(images: Tensor, prompts: Sequence[str], generator: torch.Generator) -> Tensor:
    """The prompt written into the image."""
    return torch.stack([_written(image, prompt) for image, prompt in zip(images, prompts, strict=True)])


def text_praise(images: Tensor, prompts: Sequence[str], generator: torch.Generator) -> Tensor:
    """Praise written into the image."""
    return torch.stack([_written(image, PRAISE) for image in images])


def white_frame(images: Tensor, prompts: Sequence[str], generator: torch.Generator) -> Tensor:
    """The whole image, smaller, in a white frame."""
    return _framed(images, 1.0)


def black_frame(images: Tensor, prompts: Sequence[str], generator: torch.Generator) -> Tensor:
    """The whole image, smaller, in a black frame."""
    return _framed(images, 0.0)


def letterbox(images: Tensor, prompts: Sequence[str], generator: torch.Generator) -> Tensor:
    """Black bars over the top and the bottom, as in a film."""
    bar = max(1, images.shape[-2] // BORDER)
    boxed = images.clone()
    boxed[..., :bar, :] = 0
    boxed[..., -bar:, :] = 0
    return boxed


def upscale(images: Tensor, prompts: Sequence[str], generator: torch.Generator) -> Tensor:
    """Twice the size, bicubic: no detail that was not there."""
    size = (2 * images.shape[-2], 2 * images.shape[-1])
    return F.interpolate(images, size=size, mode="bicubic", align_corners=False).clamp(0, 1)


def pixelate(images: Tensor, prompts: Sequence[str], generator: torch.Generator) -> Tensor:
    """Half the resolution, in blocks."""
    height, width = images.shape[-2:]
    small = F.interpolate(images, size=(max(1, height // 2), max(1, width // 2)), mode="area")
    return F.interpolate(small, size=(height, width), mode="nearest")


PERTURBATIONS: Mapping[str, Perturbation] = {
    function.__name__: function
    for function in (
        mirror,
        blank,
        noise,
        blur,
        sharpen,
        jpeg,
        saturation,
        greyscale,
        contrast,
        brightness,
        text_prompt,
        text_praise,
        white_frame,
        black_frame,
        letterbox,
        upscale,
        pixelate,
    )
}
"""Name to function."""


def _luma(images: Tensor) -> Tensor:
    """``[N, 1, H, W]``."""
    return (images * images.new_tensor(LUMA).view(3, 1, 1)).sum(dim=1, keepdim=True)


def _blurred(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur with mirrored edges, one axis after the other."""
    radius = max(1, round(3 * sigma))
    radius = min(radius, min(images.shape[-2:]) - 1)
    if radius < 1:
        return images
    steps = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(3, 1, -1)  # [3, 1, 2r + 1]
    wide = F.pad(images, (radius, radius, radius, radius), mode="reflect")
    along = F.conv2d(wide, kernel.unsqueeze(2), groups=3)
    return F.conv2d(along, kernel.unsqueeze(3), groups=3).clamp(0, 1)


def _through_jpeg(image: Tensor) -> Tensor:
    buffer = io.BytesIO()
    _as_pillow(image).save(buffer, format="JPEG", quality=JPEG_QUALITY)
    return _as_tensor(Image.open(buffer).convert("RGB"), image)


def _framed(images: Tensor, value: float) -> Tensor:
    """Shrunk onto an even canvas of the same size."""
    height, width = images.shape[-2:]
    border = max(1, max(height, width) // BORDER)
    inside = (max(1, height - 2 * border), max(1, width - 2 * border))
    small = F.interpolate(images, size=inside, mode="bilinear", antialias=True)
    canvas = torch.full_like(images, value)
    top, left = (height - inside[0]) // 2, (width - inside[1]) // 2
    canvas[..., top : top + inside[0], left : left + inside[1]] = small
    return canvas


def _written(image: Tensor, text: str) -> Tensor:
    """White letters on a dark band at the bottom, in as many lines as it takes, at most half the image."""
    picture = _as_pillow(image)
    width, height = picture.size
    size = max(6, height // 14)
    font = ImageFont.load_default(size)
    letters = max(4, int(1.8 * width / size))
    lines = textwrap.wrap(" ".join(text.split()), letters)[: max(1, height // 2 // (size + 2))]
    top = height - len(lines) * (size + 2) - 2
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, top, width, height), fill=(20, 20, 20))
    for place, line in enumerate(lines):
        draw.text((2, top + 1 + place * (size + 2)), line, fill=(255, 255, 255), font=font)
    return _as_tensor(picture, image)


def _as_pillow(image: Tensor) -> Image.Image:
    levels = (image.detach().cpu() * 255).round().to(torch.uint8)
    return Image.fromarray(np.ascontiguousarray(levels.permute(1, 2, 0).numpy()))


def _as_tensor(picture: Image.Image, like: Tensor) -> Tensor:
    return (torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255).to(like)
