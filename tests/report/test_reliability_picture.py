"""The reliability plot is drawn where there is something to draw."""

from __future__ import annotations

import numpy as np
import pandas as pd

from rewardkit.report.reliability_picture import reliability_picture


def pairs(first: list[float], second: list[float]) -> pd.DataFrame:
    count = len(first)
    votes = {"votes_first": [3.0] * count, "votes_tie": [0.0] * count, "votes_second": [1.0] * count}
    return pd.DataFrame({"score_first": first, "score_second": second, **votes})


def test_another_certainty_gives_another_picture() -> None:
    unsure, sure = (reliability_picture(pairs([score, score], [0.0, 0.0]), title="t") for score in (0.3, 3.0))
    assert unsure is not None and sure is not None and unsure.mode == "RGB"
    assert unsure.size == sure.size == (500, 440)
    assert (np.asarray(unsure) != np.asarray(sure)).any()


def test_nothing_to_draw_is_no_picture() -> None:
    assert reliability_picture(pairs([], []), title="t") is None
    assert reliability_picture(pairs([1.0], [1.0]), title="t") is None
    assert reliability_picture(pairs([float("inf")], [1.0]), title="t") is None
    assert reliability_picture(pairs([float("nan")], [1.0]), title="t") is None
