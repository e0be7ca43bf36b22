"""Prompts of four images and the statistics of a reward of two dimensions, as the tests of rewards use them."""

from __future__ import annotations

STATISTICS = {
    "overall": {"candidates": 9, "mean": 0.1, "std": 0.2, "quantiles": {}},
    "aesthetic": {"candidates": 9, "mean": -0.2, "std": 0.05, "quantiles": {}},
}
PROMPTS = ["a red fox", "two boats at sea", "a red fox", "a cat"]
