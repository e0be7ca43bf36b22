"""Live accuracy and score statistics equal what the predictions table says."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from rewardkit.data.predictions import Predictions
from rewardkit.metrics.calibration import score_statistics
from rewardkit.metrics.judged_pairs import judged_pairs
from rewardkit.metrics.live import PairAccuracy
from rewardkit.metrics.protocols import accuracy

Make = Callable[..., Predictions]


def batch_of(pairs: pd.DataFrame) -> tuple[torch.Tensor, SimpleNamespace]:
    scores = torch.tensor(pairs[["score_first", "score_second"]].to_numpy()).reshape(-1, 1)
    votes = torch.tensor(pairs[["votes_first", "votes_tie", "votes_second"]].to_numpy())
    n = len(pairs)
    batch = SimpleNamespace(
        first=torch.arange(0, 2 * n, 2),
        second=torch.arange(1, 2 * n, 2),
        dimension=torch.zeros(n, dtype=torch.long),
        target=(votes / votes.sum(1, keepdim=True)).float(),
    )
    return scores, batch


def test_uneven_batches_and_ranks_add_up(random_predictions: Make) -> None:
    pairs = judged_pairs(random_predictions(25, seed=0))
    wanted = accuracy(pairs, "strict_micro", draws=0)
    whole, first, second = PairAccuracy(["overall"]), PairAccuracy(["overall"]), PairAccuracy(["overall"])
    whole.update(*batch_of(pairs))
    first.update(*batch_of(pairs[:7]))
    second.update(*batch_of(pairs[7:]))
    assert whole.compute()["overall"].item() == pytest.approx(wanted.value)
    assert int(whole.decided) == wanted.comparisons
    assert (first.right + second.right).equal(whole.right) and (first.decided + second.decided).equal(whole.decided)


def test_ties_do_not_count_and_equal_scores_are_wrong(predictions_of: Make) -> None:
    votes = [(0, 1, (1, 8, 1)), (0, 2, (5, 0, 5)), (1, 2, (9, 0, 1))]
    metric = PairAccuracy(["overall", "other"])
    metric.update(*batch_of(judged_pairs(predictions_of([([0.0, 1.0, 1.0], votes)]))))
    assert metric.decided.tolist() == [1.0, 0.0]
    assert metric.compute()["overall"] == 0.0 and metric.compute()["other"].isnan()


def test_score_statistics(predictions_of: Make) -> None:
    table = predictions_of([([0.0, 1.0, 2.0, 3.0, float("nan")], [])])
    found = score_statistics(table)["overall"]
    assert found["candidates"] == 4 and found["mean"] == 1.5
    assert found["std"] == pytest.approx(1.25**0.5) and found["quantiles"]["0.5"] == 1.5
