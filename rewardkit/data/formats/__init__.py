"""Formats: one file per public dataset, and rewardkit's own format for one's own data (docs/formats.md)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rewardkit.data.formats.agiqa import AgiqaFormat
from rewardkit.data.formats.avt import AvtFormat
from rewardkit.data.formats.csv import CsvFormat
from rewardkit.data.formats.evalalign import EvalAlignFormat
from rewardkit.data.formats.hpdv1 import Hpdv1Format
from rewardkit.data.formats.hpdv2 import Hpdv2Format
from rewardkit.data.formats.hpdv3 import Hpdv3Format
from rewardkit.data.formats.imagereward import ImageRewardFormat
from rewardkit.data.formats.jsonl import JsonlFormat
from rewardkit.data.formats.mps import MpsFormat
from rewardkit.data.formats.parquet import ParquetFormat
from rewardkit.data.formats.pickapic import PickaPicFormat
from rewardkit.data.formats.richhf import RichHfFormat
from rewardkit.data.formats.videoalign import VideoAlignFormat
from rewardkit.data.formats.visionprefer import VisionPreferFormat
from rewardkit.data.reading.fields import nearest
from rewardkit.data.reading.format import Format
from rewardkit.errors import UserError

FORMATS: Mapping[str, Format] = {
    format.name: format
    for format in (
        JsonlFormat(),
        CsvFormat(),
        ParquetFormat(),
        Hpdv2Format(),
        Hpdv3Format(),
        Hpdv1Format(),
        ImageRewardFormat(),
        PickaPicFormat(),
        AvtFormat(),
        VisionPreferFormat(),
        MpsFormat(),
        RichHfFormat(),
        EvalAlignFormat(),
        VideoAlignFormat(),
        AgiqaFormat(),
    )
}
"""Every format by its name."""


def find_format(name: str, src: Path) -> Format:
    """The format of a name.

    Args:
        name: As given by ``format=``.
        src: What is to be read; a message names the formats that it looks like.

    Raises:
        UserError: There is no such format, with the nearest names.
    """
    if name in FORMATS:
        return FORMATS[name]
    likely = looks_like(src)
    hint = f" {src} looks like format={' or format='.join(likely)}." if likely else ""
    raise UserError(
        f"format={name} is unknown. {nearest(name, FORMATS)}{hint} Formats: {', '.join(FORMATS)}; "
        "`data convert --help` says what each is"
    )


def looks_like(src: Path) -> list[str]:
    """Names of the formats that a source looks like."""
    return [name for name, format in FORMATS.items() if src.exists() and format.matches(src)]
