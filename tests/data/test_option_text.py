"""Texts that name an option, and texts that do not. (Scores of EvalAlign: tests/metrics/test_evalalign_scores.py.)"""

from __future__ import annotations

import pytest

from rewardkit.data.option_text import option_named


@pytest.mark.parametrize(
    ("text", "names", "place"),
    [
        ("Yes.", ["yes", "no"], 0),
        ("no, it is not", ["yes", "no"], 1),
        ("Nope", ["yes", "no"], None),
        ("yes or no", ["yes", "no"], None),
        ("It is yes", ["yes", "no"], None),
        ("<|im_start|> 3<|im_end|>", ["2", "3"], 1),
        ("3 or 10", ["2", "3"], None),
        ("B. A cat", ["A", "B"], 1),
        ("A cat", ["A", "B"], None),
        ("A", ["A", "B"], 0),
        ("N", ["0", "1", "N"], 2),
        ("n", ["N", "n"], 1),
        ("very good", ["good", "very good"], 1),
        ("good, very", ["good", "very good"], 0),
        ("", ["yes", "no"], None),
        ("1.5 (of 2)", ["1.5", "2"], 0),
        ("a+b", ["a+b", "a"], 0),
    ],
)
def test_a_text_begins_with_an_option_or_names_none(text: str, names: list[str], place: int | None) -> None:
    assert option_named(text, names) == place
