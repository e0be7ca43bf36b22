"""Graded faults of the embedded dataset's pictures: what makes one ugly, broken or unpleasant to see.

Each dimension has a few kinds of fault; a level from 0 (none) to ``LEVELS`` says how strong. Faults of ``aesthetic``
and ``harmlessness`` are painted on the large canvas, those of ``fidelity`` hit the finished picture, as the artefacts
of a generator do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from rewardkit.data.demo.subjects import Colour

LEVELS = 3
"""The strongest level."""

_GRAIN = 3  # side of a grain of noise, pixels

Fault = Callable[[np.random.Generator, Image.Image, int], Image.Image]
"""(random numbers, picture, level of at least 1) to the picture with the fault."""


def _muddy(rng: np.random.Generator, canvas: Image.Image, level: int) -> Image.Image:
    """A dull brown veil, as from colours mixed too often."""
    veil = Image.new("RGB", canvas.size, (104, 92, 58))
    return Image.blend(ImageEnhance.Color(canvas).enhance(1 - 0.14 * level), veil, (0.2, 0.34, 0.48)[level - 1])


def _tilt(rng: np.random.Generator, canvas: Image.Image, level: int) -> Image.Image:
    """A crooked picture whose corners show the bare board behind it."""
    angle = (7.0, 14.0, 22.0)[level - 1] * (1 if rng.integers(2) else -1)
    return canvas.rotate(angle, Image.Resampling.BILINEAR, fillcolor=(60, 58, 60))


def _clutter(rng: np.random.Generator, canvas: Image.Image, level: int) -> Image.Image:
    """Confetti in clashing colours all over."""
    draw = ImageDraw.Draw(canvas)
    width, height = canvas.size
    loud: tuple[Colour, ...] = ((255, 0, 200), (0, 255, 190), (255, 120, 0), (190, 255, 0))
    for n in range((12, 28, 54)[level - 1]):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        angle, length = rng.uniform(0, np.pi), 0.052 * width
        dx, dy = length * np.cos(angle), length * np.sin(angle)
        draw.line((x - dx, y - dy, x + dx, y + dy), fill=loud[n % len(loud)], width=max(2, round(0.026 * width)))
    return canvas


def _noise(rng: np.random.Generator, picture: Image.Image, level: int) -> Image.Image:
    """Coarse grain, mostly of brightness, partly of colour."""
    width, height = picture.size
    coarse = (height // _GRAIN + 1, width // _GRAIN + 1)
    grain = rng.standard_normal((*coarse, 1), np.float32) + 0.5 * rng.standard_normal((*coarse, 3), np.float32)
    grain = grain.repeat(_GRAIN, axis=0).repeat(_GRAIN, axis=1)[:height, :width] * (18.0, 32.0, 48.0)[level - 1]
    return Image.fromarray(np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8))


def _blur(rng: np.random.Generator, picture: Image.Image, level: int) -> Image.Image:
    """Everything out of focus."""
    return picture.filter(ImageFilter.GaussianBlur((1.6, 2.6, 3.8)[level - 1] * picture.width / 128))


def _glitch(rng: np.random.Generator, picture: Image.Image, level: int) -> Image.Image:
    """Horizontal strips that slipped sideways and lost the balance of their colours."""
    pixels = np.asarray(picture).copy()
    height, width = pixels.shape[:2]
    strip = max(3, round(0.05 * height))
    for slot in rng.permutation(height // strip)[: (3, 6, 10)[level - 1]]:
        shift = round(rng.uniform(0.08, 0.16) * width) * (1 if rng.integers(2) else -1)
        rows = slice(slot * strip, (slot + 1) * strip)
        channel = 0 if rng.integers(2) else 2
        pixels[rows] = np.roll(pixels[rows], shift, axis=1)
        pixels[rows, :, channel] = 255 - pixels[rows, :, channel] // 3
        pixels[rows, :, 1] //= 2
    return Image.fromarray(pixels)


def _slime(rng: np.random.Generator, canvas: Image.Image, level: int) -> Image.Image:
    """Acid green slime that drips from the top."""
    draw = ImageDraw.Draw(canvas)
    width, height = canvas.size
    slime, gloss = (132, 196, 24), (208, 240, 110)
    depth = (0.07, 0.12, 0.17)[level - 1] * height
    draw.rectangle((0, 0, width, depth * 0.6), fill=slime)
    x = -0.03 * width
    while x < width:
        w, d = rng.uniform(0.06, 0.1) * width, depth * rng.uniform(0.8, 2.2)
        draw.rounded_rectangle((x, -w, x + w, d), w / 2, fill=slime, outline=(70, 110, 16), width=max(1, width // 130))
        draw.ellipse((x + 0.25 * w, d - 0.8 * w, x + 0.5 * w, d - 0.4 * w), fill=gloss)
        x += w * 0.92
    draw.rectangle((0, 0, width, depth * 0.5), fill=slime)
    return canvas


def _thorns(rng: np.random.Generator, canvas: Image.Image, level: int) -> Image.Image:
    """Black brambles that grow in from the bottom."""
    draw = ImageDraw.Draw(canvas)
    width, height = canvas.size
    ink: Colour = (24, 14, 22)
    reach = (0.1, 0.17, 0.25)[level - 1] * height
    for _ in range(5 * level + 3):
        x, top = rng.uniform(0, width), height - reach * rng.uniform(0.7, 1.4)
        bend, w = rng.uniform(-0.12, 0.12) * width, 0.012 * width
        draw.polygon([(x - 2 * w, height), (x + bend, top), (x + 2 * w, height)], fill=ink)
        for t in (0.2, 0.45, 0.7):
            cx, cy, s = x + t * bend, height + t * (top - height), 0.032 * width * (1 - 0.5 * t)
            draw.polygon([(cx - s, cy - s), (cx, cy - 0.2 * s), (cx + s, cy - s), (cx, cy + 0.5 * s)], fill=ink)
    draw.rectangle((0, height - 0.3 * reach, width, height), fill=ink)
    return canvas


def _skulls(rng: np.random.Generator, canvas: Image.Image, level: int) -> Image.Image:
    """Warning signs with a skull, in the corners."""
    draw = ImageDraw.Draw(canvas)
    width, height = canvas.size
    s = 0.1 * min(width, height)
    corners = [
        (1.15 * s, 1.15 * s),
        (width - 1.15 * s, 1.15 * s),
        (1.15 * s, height - 1.0 * s),
        (width - 1.15 * s, height - 1.0 * s),
    ]
    order = rng.permutation(4)
    for n in order[: (1, 2, 4)[level - 1]]:
        x, y = corners[n]
        black: Colour = (20, 18, 20)
        draw.polygon([(x, y - 1.1 * s), (x - 1.1 * s, y + 0.9 * s), (x + 1.1 * s, y + 0.9 * s)], fill=black)
        draw.polygon([(x, y - 0.8 * s), (x - 0.86 * s, y + 0.75 * s), (x + 0.86 * s, y + 0.75 * s)], fill=(255, 196, 0))
        draw.ellipse((x - 0.4 * s, y - 0.3 * s, x + 0.4 * s, y + 0.4 * s), fill=black)
        draw.rectangle((x - 0.2 * s, y + 0.3 * s, x + 0.2 * s, y + 0.62 * s), fill=black)
        for side in (-1, 1):
            draw.ellipse(
                (x + side * 0.19 * s - 0.1 * s, y - 0.08 * s, x + side * 0.19 * s + 0.1 * s, y + 0.14 * s),
                fill=(255, 196, 0),
            )
    return canvas


FAULTS: Mapping[str, Mapping[str, Fault]] = {
    "aesthetic": {"muddy": _muddy, "tilt": _tilt, "clutter": _clutter},
    "fidelity": {"noise": _noise, "blur": _blur, "glitch": _glitch},
    "harmlessness": {"slime": _slime, "thorns": _thorns, "skulls": _skulls},
}
"""Dimension to its kinds of fault."""


def spoil(rng: np.random.Generator, picture: Image.Image, dimension: str, level: int) -> Image.Image:
    """The picture with a fault of one dimension, its kind drawn; the picture itself at level 0."""
    kinds = tuple(FAULTS[dimension].values())
    kind = kinds[rng.integers(len(kinds))]
    return kind(rng, picture, level) if level else picture
