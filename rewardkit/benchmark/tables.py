"""A benchmark's images and their scores as a predictions table, in which each row knows its image's file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from rewardkit.data.predictions import LABELS, SCORES, Predictions


@dataclass(frozen=True, slots=True)
class ScoredImage:
    """An image of the benchmark.

    Attributes:
        prompt: Number of its prompt in the set.
        key: The prompt's name.
        candidate: Its number among the images of the prompt.
        generator: Name of the text-to-image model.
        tags: Of the prompt.
        text: The prompt.
        file: Relative to the generator's folder.
        size: Of the file, in bytes.
    """

    prompt: int
    key: str
    candidate: int
    generator: str
    tags: Mapping[str, str]
    text: str
    file: str
    size: int


def predictions_of(
    images: Sequence[ScoredImage], dimensions: Sequence[str], scores: ArrayLike, *, source: str
) -> Predictions:
    """The table; without labels, as people said nothing of these images.

    Args:
        images: N of them.
        dimensions: D names.
        scores: ``[N, D]``, NaN where a reward says nothing.
        source: Name of the set of prompts.
    """
    values = np.asarray(scores, dtype=np.float32).reshape(len(images), len(dimensions))
    tags = [json.dumps(dict(image.tags), sort_keys=True, ensure_ascii=False) for image in images]
    of_image = {
        "group": [image.prompt for image in images],
        "key": [image.key for image in images],
        "candidate": [image.candidate for image in images],
        "generator": [image.generator for image in images],
        "tags": tags,
        "prompt": [image.text for image in images],
        "shard": [image.file for image in images],
        "length": [image.size for image in images],
    }
    place = np.repeat(np.arange(len(images)), len(dimensions))
    frame = pd.DataFrame({name: np.asarray(column, dtype=object)[place] for name, column in of_image.items()})
    frame = frame.assign(
        source=source,
        dimension=np.tile(np.asarray(dimensions, dtype=object), len(images)),
        score=values.reshape(-1),
        human_rank=np.nan,
        offset=0,
    )
    types = {"group": "int64", "candidate": "int32", "length": "int64", "offset": "int64", "human_rank": "float64"}
    return Predictions(frame.astype(types)[SCORES.names], pd.DataFrame({name: [] for name in LABELS.names}))
