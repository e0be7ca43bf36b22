"""Changes of pictures that cannot change a preference: all candidates of a group are changed in the same way.

A mirror image is as good as its original unless the prompt says which side something is on, or there is writing in it;
then nothing is mirrored. A shift moves all candidates by the same few pixels, and what is pushed out at one side is
filled with the outermost pixels at the other. What is drawn follows from (seed, epoch, position of the group), so
neither workers, ranks nor an interruption change it. Training alone is augmented, never a validation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from rewardkit.data.group import Group
from rewardkit.data.index_rows import captions_of

_STREAM = 0xA06
"""Keeps these draws apart from others of the same seed."""

_HAS_A_SIDE = re.compile(
    r"\b(left|right|lefthand|righthand|leftmost|rightmost|leftward|rightward|leftwards|rightwards|clockwise|"
    r"counterclockwise|anticlockwise|east|west|eastern|western|eastward|westward|mirror(ed)?|"
    r"text|texts|word|words|letter|letters|lettering|spell|spells|spelled|spelling|say|says|saying|read|reads|reading|"
    r"write|writes|writing|written|sign|signs|signage|label|labels|labeled|labelled|caption|captions|logo|logos|"
    r"typography|font|calligraphy|handwriting|title|titled|headline|inscription|inscribed|poster|posters|newspaper|"
    r"number|numbers|digit|digits|clock|clocks|watch|watches|map|maps|flag|flags|alphabet)\b"
    r"|[0-9]|[\"“”«»„]",
    re.IGNORECASE,
)
"""English words of sides and of writing, digits and quotation marks. Too many prompts are left alone rather than too
few: "the right mood" is, too."""

_NOT_ASCII_LETTERS = re.compile(r"[^\W\d_a-zA-Z]")


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How training pictures are changed.

    Attributes:
        flip: Mirror half of the groups whose texts permit it (``may_flip``).
        shift: Move each group's pictures by up to this share of their side, across and down; in [0, 0.25].
        seed: Of the draws.
    """

    flip: bool
    shift: float
    seed: int

    def __call__(self, pixels: Tensor, group: Group, *, epoch: int, position: int) -> Tensor:
        """A group's pictures as this epoch shows them.

        Args:
            pixels: uint8 ``[K, 3, S, S]``; not changed in place.
            group: Its prompt and captions.
            epoch: From 0.
            position: Of the group in the training data.
        """
        draws = np.random.default_rng([_STREAM, self.seed, epoch, position])
        mirrored = bool(draws.random() < 0.5)
        most = round(self.shift * pixels.shape[-1])
        across, down = (int(n) for n in draws.integers(-most, most + 1, size=2))
        if self.flip and mirrored and may_flip([group.prompt, *captions_of(group)]):
            pixels = pixels.flip(-1)
        return shifted(pixels, across=across, down=down)


def may_flip(texts: Iterable[str]) -> bool:
    """Whether a mirror image is as true to these texts: none names a side or writing.

    Words are known in English alone, so a text with letters outside ASCII counts as one that might.
    """
    return not any(_HAS_A_SIDE.search(text) or _NOT_ASCII_LETTERS.search(text) for text in texts)


def shifted(pixels: Tensor, *, across: int, down: int) -> Tensor:
    """Pictures ``[K, C, H, W]`` moved right by ``across`` and down by ``down`` pixels; edges are repeated."""
    if not across and not down:
        return pixels
    height, width = pixels.shape[-2:]
    edge = (max(across, 0), max(-across, 0), max(down, 0), max(-down, 0))
    # Padding by repetition is defined for floating point alone; bytes are exact in it.
    padded = F.pad(pixels.float(), edge, mode="replicate").to(pixels.dtype)
    top, left = max(-down, 0), max(-across, 0)
    return padded[..., top : top + height, left : left + width].contiguous()
