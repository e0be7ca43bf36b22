"""The subjects of the embedded dataset as lists of shapes, and the pen that draws them.

Each subject fills the box from -1 to 1 on both axes (y downwards). A shape has a kind, a role that its colour follows
from, and its coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import ImageDraw

Colour = tuple[int, int, int]
Kind = Literal["ellipse", "polygon", "line"]
Role = Literal["body", "shade", "light", "ink", "pale"]
Shape = tuple[Kind, Role, tuple[float, ...]]

INK: Colour = (38, 34, 48)
PALE: Colour = (250, 246, 236)

SHAPES: Mapping[str, Sequence[Shape]] = {
    "cat": (
        ("polygon", "body", (0.45, 0.75, 0.95, 0.45, 0.8, -0.15, 0.98, -0.2, 1.0, 0.55, 0.6, 0.98)),
        ("ellipse", "body", (-0.6, -0.1, 0.6, 1.0)),
        ("polygon", "body", (-0.68, -0.5, -0.62, -1.0, -0.15, -0.72)),
        ("polygon", "body", (0.68, -0.5, 0.62, -1.0, 0.15, -0.72)),
        ("ellipse", "body", (-0.72, -0.82, 0.72, 0.22)),
        ("ellipse", "light", (-0.3, 0.3, 0.3, 0.95)),
        ("ellipse", "ink", (-0.4, -0.5, -0.16, -0.2)),
        ("ellipse", "ink", (0.16, -0.5, 0.4, -0.2)),
        ("polygon", "ink", (-0.09, -0.16, 0.09, -0.16, 0.0, -0.04)),
    ),
    "fish": (
        ("polygon", "shade", (0.35, 0.0, 1.0, -0.6, 0.88, 0.0, 1.0, 0.6)),
        ("polygon", "shade", (-0.3, -0.45, 0.1, -0.85, 0.4, -0.35)),
        ("ellipse", "body", (-1.0, -0.58, 0.6, 0.58)),
        ("polygon", "shade", (-0.15, 0.1, 0.3, 0.0, 0.15, 0.42)),
        ("line", "light", (-0.5, -0.42, -0.42, 0.0, -0.5, 0.42)),
        ("ellipse", "pale", (-0.84, -0.28, -0.54, 0.04)),
        ("ellipse", "ink", (-0.78, -0.2, -0.62, -0.02)),
    ),
    "house": (
        ("polygon", "body", (-0.72, -0.1, 0.72, -0.1, 0.72, 0.95, -0.72, 0.95)),
        ("polygon", "shade", (0.35, -0.95, 0.58, -0.95, 0.58, -0.2, 0.35, -0.2)),
        ("polygon", "shade", (-1.0, -0.05, 0.0, -1.0, 1.0, -0.05)),
        ("polygon", "ink", (-0.16, 0.35, 0.2, 0.35, 0.2, 0.95, -0.16, 0.95)),
        ("polygon", "pale", (-0.58, 0.12, -0.28, 0.12, -0.28, 0.44, -0.58, 0.44)),
        ("polygon", "pale", (0.32, 0.12, 0.6, 0.12, 0.6, 0.44, 0.32, 0.44)),
    ),
    "car": (
        ("polygon", "body", (-0.55, -0.05, -0.35, -0.58, 0.35, -0.58, 0.62, -0.05)),
        ("polygon", "body", (-1.0, 0.0, -0.9, -0.08, 0.85, -0.08, 1.0, 0.1, 1.0, 0.42, -1.0, 0.42)),
        ("polygon", "pale", (-0.4, -0.08, -0.26, -0.46, -0.04, -0.46, -0.04, -0.08)),
        ("polygon", "pale", (0.06, -0.08, 0.06, -0.46, 0.28, -0.46, 0.46, -0.08)),
        ("ellipse", "ink", (-0.8, 0.16, -0.26, 0.7)),
        ("ellipse", "ink", (0.26, 0.16, 0.8, 0.7)),
        ("ellipse", "pale", (-0.62, 0.34, -0.44, 0.52)),
        ("ellipse", "pale", (0.44, 0.34, 0.62, 0.52)),
    ),
    "flower": (
        ("line", "ink", (0.0, 0.1, 0.05, 1.0)),
        ("polygon", "shade", (0.04, 0.8, 0.45, 0.42, 0.5, 0.72)),
        ("ellipse", "body", (-0.28, -1.0, 0.28, -0.38)),
        ("ellipse", "body", (0.1, -0.72, 0.74, -0.16)),
        ("ellipse", "body", (-0.74, -0.72, -0.1, -0.16)),
        ("ellipse", "body", (0.02, -0.34, 0.56, 0.3)),
        ("ellipse", "body", (-0.56, -0.34, -0.02, 0.3)),
        ("ellipse", "ink", (-0.22, -0.52, 0.22, -0.1)),
        ("ellipse", "light", (-0.12, -0.42, 0.12, -0.2)),
    ),
    "balloon": (
        ("line", "ink", (0.0, 0.4, -0.1, 0.7, 0.06, 1.0)),
        ("polygon", "shade", (-0.14, 0.52, 0.14, 0.52, 0.0, 0.32)),
        ("ellipse", "body", (-0.66, -1.0, 0.66, 0.44)),
        ("ellipse", "light", (-0.42, -0.78, -0.1, -0.34)),
    ),
    "boat": (
        ("line", "ink", (0.0, -1.0, 0.0, 0.4)),
        ("polygon", "pale", (0.08, -0.92, 0.78, 0.18, 0.08, 0.18)),
        ("polygon", "light", (-0.08, -0.72, -0.62, 0.18, -0.08, 0.18)),
        ("polygon", "body", (-1.0, 0.32, 1.0, 0.32, 0.66, 0.88, -0.66, 0.88)),
        ("line", "shade", (-0.82, 0.56, 0.82, 0.56)),
    ),
    "mushroom": (
        ("polygon", "pale", (-0.26, 0.0, 0.26, 0.0, 0.38, 0.98, -0.38, 0.98)),
        ("polygon", "body", (-1.0, 0.12, -0.92, -0.34, -0.6, -0.78, 0.0, -0.98, 0.6, -0.78, 0.92, -0.34, 1.0, 0.12)),
        ("ellipse", "light", (-0.62, -0.46, -0.26, -0.12)),
        ("ellipse", "light", (-0.06, -0.82, 0.3, -0.5)),
        ("ellipse", "light", (0.36, -0.38, 0.68, -0.08)),
    ),
}

PIGMENTS: Mapping[str, Colour] = {
    "red": (218, 48, 44),
    "yellow": (250, 204, 40),
    "green": (46, 158, 70),
    "blue": (44, 98, 220),
    "purple": (146, 62, 186),
    "white": (248, 248, 244),
}


def blend(a: Colour, b: Colour, share: float) -> Colour:
    """``a`` with a ``share`` (0 to 1) of ``b`` mixed in."""
    return tuple(round(x + (y - x) * share) for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Pen:
    """Draws shapes of the box from -1 to 1 at a place of a canvas.

    Attributes:
        x: Middle of the box on the canvas, pixels.
        y: Middle of the box on the canvas, pixels.
        half: Half the side of the box, pixels.
        flip: Whether left and right change places.
        outline: Width of the outline of bodies, as a share of ``half``.
    """

    draw: ImageDraw.ImageDraw
    x: float
    y: float
    half: float
    flip: bool
    outline: float

    def points(self, coordinates: Sequence[float]) -> list[tuple[float, float]]:
        """Canvas positions of box coordinates (x0, y0, x1, y1 and so on)."""
        sign = -1.0 if self.flip else 1.0
        xs, ys = coordinates[0::2], coordinates[1::2]
        return [(self.x + sign * self.half * x, self.y + self.half * y) for x, y in zip(xs, ys, strict=True)]

    def subject(self, name: str, pigment: Colour) -> None:
        """Draws one subject in a pigment."""
        colours: dict[Role, Colour] = {
            "body": pigment,
            "shade": blend(pigment, INK, 0.28),
            "light": blend(pigment, PALE, 0.55),
            "ink": INK,
            "pale": PALE,
        }
        width = max(1, round(self.half * self.outline))
        for kind, role, coordinates in SHAPES[name]:
            points, fill = self.points(coordinates), colours[role]
            edge = blend(pigment, INK, 0.75) if role in ("body", "shade", "pale") else None
            if kind == "line":
                self.draw.line(points, fill=fill, width=max(2, round(self.half * 0.09)), joint="curve")
            elif kind == "polygon":
                self.draw.polygon(points, fill=fill)
                if edge is not None:
                    self.draw.line([*points, points[0]], fill=edge, width=width, joint="curve")
            else:
                (x0, y0), (x1, y1) = points
                self.draw.ellipse((min(x0, x1), y0, max(x0, x1), y1), fill=fill, outline=edge, width=width)
