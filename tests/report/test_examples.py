"""The images behind a mean: the best, the median's, the worst; and pictures in rounds, within a budget."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rewardkit.report.examples import choose_examples, in_rounds, take_pictures


def test_the_best_the_worst_and_those_around_the_median() -> None:
    scores = np.array([5.0, 1.0, np.nan, 9.0, 3.0, 7.0, 2.0, 8.0, 4.0, 6.0])  # 9 are known; the median is 5
    assert choose_examples(scores, 2) == {"Best": [3, 7], "Around the median": [9, 0], "Worst": [6, 1]}
    assert choose_examples(scores, 1) == {"Best": [3], "Around the median": [0], "Worst": [1]}


@pytest.mark.parametrize("known", range(8))
def test_few_images_are_all_shown_and_none_twice(known: int) -> None:
    found = choose_examples(np.append(np.arange(known, dtype=float), np.nan), 3)
    shown = [place for places in found.values() for place in places]
    assert shown == list(range(known))[::-1]
    assert all(found.values())


def test_none_asked_for_none_shown() -> None:
    assert choose_examples([1.0, 2.0], 0) == {}


def test_everybody_gets_the_first_wish_before_the_second() -> None:
    a, b, c, d = (Path(name) for name in "abcd")
    assert in_rounds([[a, b, d], [c, a], []]) == [a, c, b, d]


def test_pictures_stop_at_the_budget_and_name_what_is_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    files = []
    for n in range(4):
        files.append(tmp_path / f"{n}.png")
        Image.fromarray(rng.integers(0, 256, (300, 200, 3), np.uint8)).save(files[-1])
    (tmp_path / "broken.png").write_bytes(b"no image")
    wanted = [tmp_path / "gone.png", tmp_path / "broken.png", *files]
    whole = take_pictures(wanted, max_bytes=10**9)
    assert (len(whole.uris), whole.over_budget, whole.unreadable) == (4, 0, 2)
    assert all(uri.startswith("data:image/jpeg;base64,") for uri in whole.uris)
    budget = sum(len(uri) for uri in whole.uris[:2]) + 10
    part = take_pictures(wanted, max_bytes=budget)
    assert part.uris == whole.uris[:2] and sum(map(len, part.uris)) <= budget
    assert (part.over_budget, part.unreadable) == (2, 2)
    assert part.number == {files[0]: 0, files[1]: 1}
    assert take_pictures(files, max_bytes=0).over_budget == 4
