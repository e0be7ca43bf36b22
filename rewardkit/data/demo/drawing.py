"""Draws one candidate of the embedded dataset: background, subjects, style, faults, JPEG.

Scenes are drawn at ``SUPERSAMPLE`` times the final size and then shrunk, which smooths every edge.
"""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

from rewardkit.data.demo.faults import spoil
from rewardkit.data.demo.places import PAINTERS
from rewardkit.data.demo.prompts import Scene
from rewardkit.data.demo.subjects import PIGMENTS, Pen

SUPERSAMPLE = 2
SIZES = ((128, 128), (144, 112), (112, 144), (128, 112), (120, 128))
"""Width and height of pictures, each equally likely."""

QUALITY = 90
"""Of the JPEG, on Pillow's scale."""

# Middle x, middle y (shares of the picture) and half side (share of the shorter side) for each number of subjects.
_LAYOUTS: Mapping[int, tuple[tuple[tuple[float, float], ...], float]] = {
    1: (((0.5, 0.55),), 0.31),
    2: (((0.28, 0.57), (0.72, 0.57)), 0.215),
    3: (((0.5, 0.33), (0.26, 0.7), (0.74, 0.7)), 0.19),
    4: (((0.28, 0.35), (0.72, 0.35), (0.28, 0.74), (0.72, 0.74)), 0.175),
}


def draw_candidate(rng: np.random.Generator, scene: Scene, levels: Mapping[str, int]) -> Image.Image:
    """The picture of a scene.

    Args:
        rng: Decides size, layout and the kind of each fault.
        scene: What the picture shows.
        levels: Fault level of ``aesthetic``, ``fidelity`` and ``harmlessness``, 0 to ``faults.LEVELS``.

    Returns:
        An RGB picture of one of ``SIZES``.
    """
    size = SIZES[rng.integers(len(SIZES))]
    canvas = PAINTERS[scene.place](rng, (size[0] * SUPERSAMPLE, size[1] * SUPERSAMPLE))
    _subjects(rng, canvas, scene)
    canvas = _style(rng, canvas, scene.style)
    for dimension in ("aesthetic", "harmlessness"):
        canvas = spoil(rng, canvas, dimension, levels[dimension])
    return spoil(rng, canvas.reduce(SUPERSAMPLE), "fidelity", levels["fidelity"])


def jpeg(picture: Image.Image) -> bytes:
    """The picture as a JPEG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return buffer.getvalue()


def _subjects(rng: np.random.Generator, canvas: Image.Image, scene: Scene) -> None:
    """Draws the scene's subjects with a little jitter of place and size."""
    draw = ImageDraw.Draw(canvas)
    width, height = canvas.size
    middles, half = _LAYOUTS[scene.number]
    flip = bool(rng.integers(2))
    for x, y in middles:
        dx, dy, grow = rng.uniform(-0.03, 0.03), rng.uniform(-0.03, 0.03), rng.uniform(0.92, 1.08)
        pen = Pen(
            draw=draw,
            x=(x + dx) * width,
            y=(y + dy) * height,
            half=half * grow * min(width, height),
            flip=flip,
            outline=0.11 if scene.style == "poster" else 0.06,
        )
        pen.subject(scene.subject, PIGMENTS[scene.colour])


def _style(rng: np.random.Generator, canvas: Image.Image, style: str) -> Image.Image:
    """The look of a style; mild, so that colours stay what they are called."""
    if style == "poster":
        return ImageEnhance.Contrast(canvas).enhance(1.1)
    if style == "pastel":
        return Image.blend(canvas, Image.new("RGB", canvas.size, (255, 248, 250)), 0.2)
    if style == "watercolour":
        # Pigment that settled unevenly: a few soft blotches, lighter and darker.
        blotches = Image.fromarray(rng.integers(206, 256, (6, 6), dtype=np.uint8)).resize(
            canvas.size, Image.Resampling.BICUBIC
        )
        return Image.composite(canvas, Image.new("RGB", canvas.size, (252, 250, 244)), blotches)
    border = ImageDraw.Draw(canvas)
    border.rectangle(
        (0, 0, canvas.width - 1, canvas.height - 1), outline=(250, 240, 214), width=max(4, canvas.width // 32)
    )
    return canvas
