"""Contact sheets show the chosen groups with their votes, whatever prompts and pictures are like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rewardkit.data.group import Candidate, Comparison, Group
from rewardkit.data.predictions import PredictionRows, Predictions
from rewardkit.report.contact_sheet import _font, contact_sheet, fitted, wrapped
from rewardkit.report.disagreements import Thumbnails
from rewardkit.report.shown_groups import ShownCandidate, ShownGroup, choose_groups, show_groups

FAVOURITE = (22, 140, 70)


def predictions(count: int) -> Predictions:
    rows = PredictionRows(("overall",))
    for n in range(count):
        comparisons = (Comparison("overall", 0, 1, (2.0, 1.0, 7.0)), Comparison("overall", 1, 2, (5.0, 0.0, 5.0)))
        group = Group(f"g{n}", f"prompt {n}", tuple(Candidate(f"{k}.jpg", f"m{k}") for k in range(3)), comparisons)
        rows.add(group, [[0.1], [0.3], [0.2]], number=n, key=f"key-{n}", source="val")
    return rows.predictions()


def test_the_choice_is_the_same_whatever_else_is_there() -> None:
    few, many = predictions(20), predictions(20)
    many.scores["score"] += 1.0
    shuffled = Predictions(many.scores.sample(frac=1.0, random_state=0), many.labels)
    assert choose_groups(few, 4) == choose_groups(shuffled, 4) != [0, 1, 2, 3]
    assert choose_groups(few, 9)[:4] == choose_groups(few, 4)
    assert choose_groups(few, 4, ["key-7", "elsewhere", "key-2"]) == [7, 2]


def test_votes_are_counted_and_the_best_score_stands_first() -> None:
    (shown,) = show_groups(predictions(3), [1], "overall", Thumbnails([]))
    assert [(one.candidate, one.won, one.votes) for one in shown.candidates] == [
        (1, 12.5, 20),
        (2, 5, 10),
        (0, 2.5, 10),
    ]
    assert (shown.right, shown.decided, shown.prompt) == (1, 1, "prompt 1")
    assert all(one.picture is None for one in shown.candidates)


def group(prompt: str, won: tuple[float, ...], size: tuple[int, int] = (40, 30)) -> ShownGroup:
    picture = Image.new("RGB", size, (200, 30, 30))
    candidates = tuple(ShownCandidate(n, picture, f"generator-{n}", -n / 3, w, 10.0) for n, w in enumerate(won))
    return ShownGroup("val", "k", prompt, candidates, 1, 2)


def test_the_favourite_is_framed() -> None:
    sheet = np.asarray(contact_sheet([group("a cat", (2, 8, 5))], title="t", side=64))
    framed = np.flatnonzero((sheet == FAVOURITE).all(axis=2).any(axis=0))
    second = 16 + (64 + 10)
    assert framed.min() == second - 4 and framed.max() == second + 64 + 3


@pytest.mark.parametrize(
    "prompt", ["", "word " * 400, "x" * 3000, "<b>\n\ttwo\u0000 lines</b> 猫 🐈", "\u202eright to left"]
)
def test_any_prompt_can_be_drawn(prompt: str, tmp_path: Path) -> None:
    sheet = contact_sheet([group(prompt, (1, 2), (3000, 2)), group("b", (0,) * 16)], title=prompt, side=32)
    sheet.save(tmp_path / "sheet.png")
    assert sheet.width == 32 + 16 * 42 - 10


def test_texts_are_cut_between_words_and_end_in_dots() -> None:
    font = _font()
    lines = wrapped("one two three four five six seven", font, 80, lines=2)
    assert len(lines) == 2 and lines[1].endswith("…") and all(font.getlength(line) <= 80 for line in lines)
    assert fitted("short", font, 80) == "short"
