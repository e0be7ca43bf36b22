"""Appended prompts: which text each prompt gets, and what it changes, paired by prompt.

HPS v2 raises the preference for images by words of style behind the prompt. That has two sides, which are kept apart:
whether the *images* made from the longer prompt are better for the prompt that a user wrote (both scored under the
original prompt), and how far the reward moves by the *wording* alone (the same images under both prompts).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rewardkit.benchmark.prompts import Prompt, PromptSet
from rewardkit.benchmark.result_rows import Part, Variant
from rewardkit.config.messages import did_you_mean
from rewardkit.errors import UserError
from rewardkit.metrics.intervals import DRAWS
from rewardkit.metrics.model_ranking import compare_models

Floats = NDArray[np.float64]

IMAGES, WORDING, BOTH = "images", "wording", "both"


def appended_texts(append: str | Mapping[str, str], prompts: PromptSet) -> list[str]:
    """Each prompt with its text behind it.

    Args:
        append: One text for all, or a text for each value of the set's main tag; prompts of the others stay.
        prompts: The set.

    Raises:
        UserError: A value that no prompt has, or nothing to append.
    """
    if isinstance(append, str):
        if not append.strip():
            raise UserError("append= is empty; give the text that is to stand behind each prompt")
        return [_joined(prompt, append) for prompt in prompts.prompts]
    known = list(dict.fromkeys(prompts.part_of(prompt) for prompt in prompts.prompts))
    for value, text in append.items():
        if value not in known:
            raise UserError(
                f"append={{{value}: …}}: no prompt has that {prompts.main_tag or 'tag'}.{did_you_mean(value, known)} "
                f"There are {', '.join(filter(None, known)) or 'none'}; a text alone is appended to all"
            )
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"append={{{value}: {text!r}}}: it must be a text")
    texts = {value: str(text) for value, text in append.items()}
    return [
        _joined(prompt, texts[prompts.part_of(prompt)]) if prompts.part_of(prompt) in texts else prompt.text
        for prompt in prompts.prompts
    ]


def _joined(prompt: Prompt, text: str) -> str:
    """A text that begins with punctuation stands directly behind the prompt, any other behind a space."""
    text = text.strip()
    return f"{prompt.text.rstrip()}{'' if text[0] in ',.;:' else ' '}{text}"


def variant_rows(
    original: Mapping[str, Floats],
    appended: Mapping[str, Floats],
    variants: Mapping[str, str],
    parts: Sequence[tuple[Part, NDArray[np.bool_]]],
    changed: NDArray[np.bool_],
    *,
    reward: str,
    dimension: str,
    draws: int = DRAWS,
    seed: int = 0,
) -> list[Variant]:
    """What appending changes under one dimension of one reward.

    Args:
        original: Generator (variants too) to ``[P]``, scored under the original prompts.
        appended: The same images under the appended prompts.
        variants: Generator to its variant, where there is one.
        parts: Of the set.
        changed: ``[P]``, which prompts get a text; the others are in no pair.
        reward: Label, for the rows.
        dimension: Likewise.
        draws: Resamples of prompts behind each interval.
        seed: Of the resamples.
    """
    rows = []
    others = set(variants.values())
    for generator in [name for name in original if name not in others]:
        variant = variants.get(generator, "")
        sides = {WORDING: (appended[generator], original[generator])}
        if variant:
            sides = {
                IMAGES: (original[variant], original[generator]),
                **sides,
                BOTH: (appended[variant], original[generator]),
            }
        for compared, (ours, theirs) in sides.items():
            for part, inside in parts:
                use = inside & changed
                if not use.any():
                    continue
                pair = compare_models({"with": ours[use], "without": theirs[use]}, draws=draws, seed=seed)[0]
                rows.append(
                    Variant(
                        generator, "" if compared == WORDING else variant, compared, reward, dimension, part.tag,
                        part.value, pair.prompts, pair.difference, pair.low, pair.high, pair.win_rate, pair.win_low,
                        pair.win_high,
                    )
                )  # fmt: skip
    return rows
