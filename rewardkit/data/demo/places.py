"""The places of the embedded dataset: each paints a background over a whole canvas."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageDraw

from rewardkit.data.demo.subjects import Colour, blend

WHITE: Colour = (255, 255, 255)


def gradient(size: tuple[int, int], top: Colour, bottom: Colour) -> Image.Image:
    """A canvas that runs from one colour at the top to another at the bottom."""
    share = np.linspace(0.0, 1.0, size[1])[:, None, None]  # [H,1,1]
    column = np.array(top) * (1 - share) + np.array(bottom) * share  # [H,1,3]
    return Image.fromarray(np.rint(column).astype(np.uint8)).resize(size, Image.Resampling.NEAREST)


def hills(
    draw: ImageDraw.ImageDraw,
    rng: np.random.Generator,
    size: tuple[int, int],
    *,
    level: float,
    swing: float,
    fill: Colour,
) -> None:
    """A wavy ground whose edge swings around ``level`` (both shares of the height)."""
    width, height = size
    phase, waves = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.5)
    xs = np.linspace(0, width, 24)
    ys = height * (level + swing * np.sin(phase + 2 * np.pi * waves * xs / width))
    draw.polygon([(0, height), *zip(xs.tolist(), ys.tolist(), strict=True), (width, height)], fill=fill)


def _sun(draw: ImageDraw.ImageDraw, rng: np.random.Generator, size: tuple[int, int], fill: Colour) -> None:
    width, height = size
    radius = 0.08 * min(size)
    x, y = rng.uniform(0.15, 0.85) * width, rng.uniform(0.1, 0.2) * height
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def meadow(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Green hills with small blossoms under a clear sky."""
    width, height = size
    canvas = gradient(size, (150, 208, 240), (222, 240, 240))
    draw = ImageDraw.Draw(canvas)
    _sun(draw, rng, size, (255, 240, 176))
    hills(draw, rng, size, level=0.46, swing=0.05, fill=(150, 204, 120))
    hills(draw, rng, size, level=0.6, swing=0.04, fill=(122, 188, 96))
    for _ in range(16):
        x, y, r = rng.uniform(0, width), rng.uniform(0.68, 1.0) * height, 0.009 * width
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(244, 236, 190))
    return canvas


def desert(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Dunes and a cactus under a warm sky."""
    width, height = size
    canvas = gradient(size, (252, 214, 150), (254, 236, 200))
    draw = ImageDraw.Draw(canvas)
    _sun(draw, rng, size, (255, 250, 224))
    hills(draw, rng, size, level=0.5, swing=0.06, fill=(232, 176, 104))
    x, y, u = (0.08 + 0.84 * rng.integers(2)) * width, 0.6 * height, 0.035 * height
    for box in (
        (-0.6, -5, 0.6, 1),
        (-2.2, -2.6, -0.5, -1.6),
        (-2.2, -4, -1.3, -1.6),
        (0.5, -2, 2.2, -1),
        (1.3, -3.4, 2.2, -1),
    ):
        draw.rounded_rectangle((x + u * box[0], y + u * box[1], x + u * box[2], y + u * box[3]), u * 0.4, (96, 140, 84))
    hills(draw, rng, size, level=0.64, swing=0.04, fill=(218, 156, 86))
    return canvas


def sea(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Water with waves up to a high horizon."""
    width, height = size
    canvas = gradient(size, (196, 230, 246), (236, 246, 248))
    draw = ImageDraw.Draw(canvas)
    _sun(draw, rng, size, (255, 246, 206))
    canvas.paste(gradient((width, height), (58, 152, 186), (22, 92, 140)), (0, round(0.36 * height)))
    for row in range(7):
        y = (0.42 + 0.085 * row) * height
        offset = rng.uniform(0, 0.2)
        for n in range(6):
            x, w = (offset + 0.2 * n - 0.1) * width, 0.09 * width
            draw.arc((x, y, x + w, y + 0.045 * height), 200, 340, fill=(140, 206, 222), width=max(1, width // 110))
    return canvas


def snow(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """White ground before mountains, with flakes."""
    width, height = size
    canvas = gradient(size, (158, 178, 204), (204, 216, 230))
    draw = ImageDraw.Draw(canvas)
    for _ in range(3):
        x, y, w = rng.uniform(0, 1) * width, rng.uniform(0.1, 0.24) * height, 0.36 * width
        foot = 0.6 * height
        draw.polygon([(x - w, foot), (x, y), (x + w, foot)], fill=(112, 130, 160))
        draw.polygon(
            [(x - 0.3 * w, y + 0.3 * (foot - y)), (x, y), (x + 0.3 * w, y + 0.3 * (foot - y))], fill=(238, 243, 248)
        )
    hills(draw, rng, size, level=0.56, swing=0.04, fill=(220, 230, 240))
    hills(draw, rng, size, level=0.7, swing=0.03, fill=(236, 242, 248))
    for _ in range(26):
        x, y, r = rng.uniform(0, width), rng.uniform(0, height), 0.008 * width
        draw.ellipse((x - r, y - r, x + r, y + r), fill=WHITE)
    return canvas


def city(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A street before houses with lit windows at dusk."""
    width, height = size
    canvas = gradient(size, (236, 160, 140), (252, 214, 170))
    draw = ImageDraw.Draw(canvas)
    x = -rng.uniform(0, 0.1)
    while x < 1:
        w, top = rng.uniform(0.14, 0.24), rng.uniform(0.1, 0.4)
        wall = blend((120, 96, 110), (84, 76, 100), rng.uniform())
        draw.rectangle((x * width, top * height, (x + w) * width, 0.74 * height), fill=wall)
        for row in np.arange(top + 0.05, 0.68, 0.1):
            for column in np.arange(x + 0.03, x + w - 0.04, 0.07):
                if rng.uniform() < 0.7:
                    draw.rectangle(
                        (column * width, row * height, (column + 0.03) * width, (row + 0.045) * height),
                        fill=(250, 214, 130),
                    )
        x += w + 0.01
    draw.rectangle((0, 0.72 * height, width, height), fill=(128, 124, 132))
    for n in range(5):
        draw.rectangle(
            ((0.22 * n) * width, 0.86 * height, (0.22 * n + 0.12) * width, 0.875 * height), fill=(236, 228, 210)
        )
    return canvas


def night(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Stars and a crescent over dark hills."""
    width, height = size
    canvas = gradient(size, (20, 24, 62), (58, 54, 110))
    draw = ImageDraw.Draw(canvas)
    for _ in range(36):
        x, y, r = rng.uniform(0, width), rng.uniform(0, 0.8) * height, rng.uniform(0.004, 0.01) * width
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(250, 246, 214))
    x, y, r = rng.uniform(0.15, 0.85) * width, 0.15 * height, 0.08 * min(size)
    draw.ellipse((x - r, y - r, x + r, y + r), fill=(250, 240, 196))
    draw.ellipse((x - 0.4 * r, y - 1.1 * r, x + 1.4 * r, y + 0.7 * r), fill=(27, 30, 70))
    hills(draw, rng, size, level=0.78, swing=0.04, fill=(32, 36, 66))
    return canvas


PAINTERS: Mapping[str, Callable[[np.random.Generator, tuple[int, int]], Image.Image]] = {
    "meadow": meadow,
    "desert": desert,
    "sea": sea,
    "snow": snow,
    "city": city,
    "night": night,
}
"""The painter of each place of ``prompts.PLACES``: (random numbers, canvas size) to a canvas."""
