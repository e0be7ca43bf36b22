"""Preferences of the size and shape of HPD v2, made from a seed: images, a file of pairs, shards.

Images are noise that compresses about as photographs do; some hundred are drawn, and every file carries a comment
(JPEG's COM segment) with its number, so that all differ in their bytes and their size stays what it is.
"""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image

from rewardkit.data.group import Candidate, Comparison, Group

CANDIDATES = 4
BASES = 200
"""Different pictures among the images."""

WORDS = """
a portrait of an old fisherman woman astronaut fox castle city street forest river at dawn dusk night in the rain snow
fog with red golden blue light highly detailed oil painting watercolour photograph by studio dramatic soft lighting wide
angle close up trending concept art 35mm film grain
"""


@dataclass(frozen=True)
class Shape:
    """What a source is like.

    Attributes:
        groups: Prompts.
        lines: Judgements of each prompt.
        side: Of the images, pixels.
        interleaved: Whether the lines of a prompt stand far apart, the hardest order for who gathers them.
    """

    groups: int
    lines: int = 20
    side: int = 512
    interleaved: bool = False


def make_source(folder: Path, shape: Shape) -> Path:
    """Images and ``pairs.jsonl``, the same for the same shape; what is there already is kept."""
    about = folder.with_name(f"{folder.name}.json")
    if about.exists() and json.loads(about.read_text(encoding="utf-8")) == asdict(shape):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    bases = base_images(shape.side)
    for group in range(shape.groups):
        place = folder / image_name(group, 0)
        if group % 1000 == 0:
            place.parent.mkdir(parents=True)
        for candidate in range(CANDIDATES):
            (folder / image_name(group, candidate)).write_bytes(image(bases, group * CANDIDATES + candidate))
    with open(folder / "pairs.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines(shape))
    about.write_text(json.dumps(asdict(shape)) + "\n", encoding="utf-8")
    return folder


def image_name(group: int, candidate: int) -> str:
    """Where an image lies in the source."""
    return f"images/{group // 1000:04d}/{group:07d}_{candidate}.jpg"


def files_of(folder: Path) -> list[Path]:
    """The images of a source, in order of their groups."""
    return sorted((folder / "images").rglob("*.jpg"))


def lines(shape: Shape) -> Iterator[dict[str, object]]:
    """The judgements, in the file's order."""
    pairs = list(combinations(range(CANDIDATES), 2))
    places = ((line, group) for line in range(shape.lines) for group in range(shape.groups))
    if not shape.interleaved:
        places = ((line, group) for group in range(shape.groups) for line in range(shape.lines))
    for line, group in places:
        first, second = pairs[(line + group) % len(pairs)]
        yield {
            "prompt": prompt(group),
            "images": [image_name(group, first), image_name(group, second)],
            "better": (line * 7 + group) % 3 % 2,
            "generators": [f"generator-{first}", f"generator-{second}"],
        }


def prompt(group: int) -> str:
    """A text of 8 to 24 words, with the group's number so that no two are equal."""
    draw = random.Random(group)
    return " ".join(draw.choices(WORDS.split(), k=draw.randint(8, 24))) + f", number {group}"


def base_images(side: int) -> list[bytes]:
    """JPEG files of noise of two grains; at 512 pixels 60 KB on average."""
    draw = np.random.default_rng(0)
    made = []
    for number in range(BASES):
        coarse = draw.integers(0, 256, (max(1, side // 8), max(1, side // 8), 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=72 + number % 16)
        made.append(file.getvalue())
    return made


def image(bases: list[bytes], number: int) -> bytes:
    """The file of an image: one of the bases with its own comment behind the start mark."""
    comment = b"image %d" % number
    base = bases[number % len(bases)]
    return base[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + base[2:]


def group_record(number: int) -> Group:
    """The record of a group as HPD v2 has them: 4 candidates, 6 comparisons, 1 dimension."""
    return Group(
        id=f"group-{number:07d}",
        prompt=prompt(number),
        candidates=tuple(Candidate(f"{n}.jpg", f"generator-{n}", 512, 512) for n in range(CANDIDATES)),
        comparisons=tuple(
            Comparison("overall", i, j, (float((number + i) % 3), 0.0, float((j + 1) % 3 + 1)))
            for i, j in combinations(range(CANDIDATES), 2)
        ),
        provenance={"format": "bench", "source": "bench"},
    )
