"""What scores look like on a named set: stored in the bundle, so that a single score can be read."""

from __future__ import annotations

from typing import Any

from rewardkit.data.predictions import Predictions

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Shares of the candidates below each quantile that is stored."""


def score_statistics(predictions: Predictions) -> dict[str, dict[str, Any]]:
    """Mean, standard deviation (ddof 0) and quantiles of the scores of each dimension over all candidates.

    Returns:
        Dimension to ``{"candidates": n, "mean": …, "std": …, "quantiles": {"0.01": …}}``, on the scale of the table.
    """
    statistics: dict[str, dict[str, Any]] = {}
    for dimension in predictions.dimensions:
        scores = predictions.scores.loc[predictions.scores["dimension"] == dimension, "score"].dropna().astype(float)
        if not len(scores):
            continue
        quantiles = scores.quantile(list(QUANTILES)).tolist()
        statistics[dimension] = {
            "candidates": len(scores),
            "mean": float(scores.mean()),
            "std": float(scores.std(ddof=0)),
            "quantiles": {f"{share:g}": float(value) for share, value in zip(QUANTILES, quantiles, strict=True)},
        }
    return statistics
