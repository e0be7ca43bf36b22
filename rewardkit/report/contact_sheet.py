"""Draws groups of a validation on one sheet: the model's best on the left, people's favourite framed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from rewardkit.report.shown_groups import ShownCandidate, ShownGroup

_EDGE, _GAP, _FRAME = 16, 10, 4
_INK, _FAINT, _PAPER, _EMPTY = (24, 24, 27), (110, 110, 118), (255, 255, 255), (236, 236, 240)
_FAVOURITE = (22, 140, 70)
_LINE = 17
_PROMPT_LINES = 2
_CAPTION_LINES = 3


def contact_sheet(groups: Sequence[ShownGroup], *, title: str, side: int) -> Image.Image:
    """The groups below each other, each with its prompt above its candidates.

    Args:
        groups: One or more.
        title: First line.
        side: Of a picture, in pixels.

    Returns:
        RGB.
    """
    columns = max(3, max(len(group.candidates) for group in groups))
    width = 2 * _EDGE + columns * (side + _GAP) - _GAP
    room = width - 2 * _EDGE
    prompts = [wrapped(group.prompt, _font(), room, lines=_PROMPT_LINES) for group in groups]
    height = _EDGE + 2 * _LINE + sum(_height(prompt, side) for prompt in prompts)
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_EDGE, _EDGE), fitted(title, _font(bold=True), room), fill=_INK, font=_font(bold=True))
    y = _EDGE + 2 * _LINE
    for group, prompt in zip(groups, prompts, strict=True):
        _draw_group(sheet, draw, group, prompt, y, room, side)
        y += _height(prompt, side)
    return sheet


def _height(prompt: Sequence[str], side: int) -> int:
    """Of one group."""
    return (len(prompt) + 1) * _LINE + side + 2 * _FRAME + _CAPTION_LINES * _LINE + 2 * _EDGE


def _draw_group(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    group: ShownGroup,
    prompt: Sequence[str],
    y: int,
    room: int,
    side: int,
) -> None:
    for line in prompt:
        draw.text((_EDGE, y), line, fill=_INK, font=_font())
        y += _LINE
    told = (
        f"{group.right} of {group.decided} comparisons right" if group.decided else "no comparison that people decided"
    )
    draw.text((_EDGE, y), fitted(f"{told} · {group.source}, {group.key}", _font(), room), fill=_FAINT, font=_font())
    y += _LINE + _FRAME
    favourite = max((_share(one) for one in group.candidates), default=0.0)
    for n, one in enumerate(group.candidates):
        x = _EDGE + n * (side + _GAP)
        _draw_picture(sheet, draw, one, x, y, side)
        if one.votes and _share(one) == favourite:
            box = (x - _FRAME, y - _FRAME, x + side + _FRAME - 1, y + side + _FRAME - 1)
            draw.rectangle(box, outline=_FAVOURITE, width=_FRAME)
        votes = f"{one.won:g} of {one.votes:g} votes" if one.votes else "no votes"
        for row, line in enumerate((f"score {one.score:.3f}", votes, one.generator or "")):
            fill = _FAINT if row else _INK
            draw.text(
                (x, y + side + _FRAME + 2 + row * _LINE),
                fitted(line, _font(), side),
                fill=fill,
                font=_font(bold=not row),
            )


def _draw_picture(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, one: ShownCandidate, x: int, y: int, side: int
) -> None:
    draw.rectangle((x, y, x + side - 1, y + side - 1), fill=_EMPTY)
    if one.picture is None:
        draw.text((x + 8, y + side // 2 - _LINE // 2), "no picture", fill=_FAINT, font=_font())
        return
    scale = side / max(one.picture.size)
    size = tuple(max(1, round(length * scale)) for length in one.picture.size)
    fit = one.picture.resize(size, Image.Resampling.LANCZOS)  # type: ignore[arg-type]
    sheet.paste(fit, (x + (side - size[0]) // 2, y + (side - size[1]) // 2))


def _share(one: ShownCandidate) -> float:
    return one.won / one.votes if one.votes else 0.0


def fitted(text: str, font: ImageFont.FreeTypeFont, room: int) -> str:
    """A text in one line, cut off with dots where it is wider than ``room`` pixels."""
    return wrapped(text, font, room, lines=1)[0]


def wrapped(text: str, font: ImageFont.FreeTypeFont, room: int, *, lines: int) -> list[str]:
    """A text in up to so many lines, broken between words; the last one is cut off with dots where there is more."""
    words = text[:2000].split()
    made: list[str] = []
    while words and len(made) < lines:
        count = 1
        while count < len(words) and font.getlength(" ".join(words[: count + 1])) <= room:
            count += 1
        last = len(made) == lines - 1
        line = " ".join(words if last else words[:count])
        made.append(line if font.getlength(line) <= room else _cut(line, font, room))
        words = [] if last else words[count:]
    return made or [""]


def _cut(line: str, font: ImageFont.FreeTypeFont, room: int) -> str:
    low, high = 0, len(line)  # the longest beginning that fits with its dots lies in between
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(line[:middle] + "…") <= room else (low, middle - 1)
    return line[:low].rstrip() + "…"


@cache
def _font(*, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Matplotlib's own font, which has the letters of many scripts and is there on every machine."""
    path = font_manager.findfont(font_manager.FontProperties("DejaVu Sans", weight="bold" if bold else "normal"))
    return ImageFont.truetype(path, 13)
