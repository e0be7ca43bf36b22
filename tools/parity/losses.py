"""Replays the pairwise losses of ``losses.json``."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from measure import Check, Malformed, need
from torch import Tensor

from rewardkit.metrics.judged_pairs import FIRST
from rewardkit.metrics.protocols import PROTOCOLS, credit
from rewardkit.models.heads import paired_products
from rewardkit.models.reward import RewardOutput
from rewardkit.objectives.pairwise import PairwiseObjective, bradley_terry


def check_losses(kind: str, cases: list[Any], meta: Mapping[str, Any]) -> Check:
    """Losses and gradients in float64, from the pure function and from the objective that ``fit`` minimises."""
    check = Check(kind, len(cases))
    tolerance = {"atol": float(meta.get("atol", 1e-7)), "rtol": float(meta.get("rtol", 1e-6))}
    for n, case in enumerate(cases):
        inputs, expected = need(case, "inputs", "expected")
        where = f"{kind}/{case.get('name', n)}"
        leaves, found = _REPLAYS[kind](inputs)
        for name, wanted in expected.items():
            if name not in found:
                raise Malformed(f"{where}: {name} is not part of the schema")
            check.numbers(f"{where}/{name}", found[name].detach(), wanted, **tolerance)
        gradients = case.get("grad", {})
        if gradients:
            of = gradients.get("of", "loss_sum")
            if of not in found:
                raise Malformed(f"{where}: gradients of {of}, which is not part of the schema")
            names = [name for name in gradients if name != "of"]
            unknown = [name for name in names if name not in leaves]
            if unknown:
                raise Malformed(f"{where}: gradients with respect to {', '.join(unknown)}")
            values = torch.autograd.grad(found[of], [leaves[name] for name in names])
            for name, value in zip(names, values, strict=True):
                check.numbers(f"{where}/grad {name}", value, gradients[name], **tolerance)
    return check


def _from_features(inputs: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    image, text, scale, labels = (
        torch.tensor(value, dtype=torch.float64, requires_grad=True)
        for value in need(inputs, "image_features", "text_features", "logit_scale", "labels")
    )
    pairs = len(text)
    if len(image) != 2 * pairs:
        raise Malformed(f"{len(image)} image features for {pairs} texts; each pair has two images")
    scores = scale * paired_products(image, text, torch.arange(pairs).repeat(2))  # [2B]
    first, second = scores[:pairs], scores[pairs:]
    found = _pair_losses(first, second, labels.detach())
    leaves = {"image_features": image, "text_features": text, "logit_scale": scale}
    return {**leaves, "score_0": first, "score_1": second}, {**found, "score_0": first, "score_1": second}


def _from_scores(inputs: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    first, second, labels = (
        torch.tensor(value, dtype=torch.float64, requires_grad=True)
        for value in need(inputs, "score_0", "score_1", "labels")
    )
    return {"score_0": first, "score_1": second}, _pair_losses(first, second, labels.detach())


def _imagereward(inputs: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    better, worse = (
        torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in need(inputs, "better", "worse")
    )
    won = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(len(better), 2)
    pairs = pd.DataFrame({"score_first": better.detach(), "score_second": worse.detach(), "verdict": FIRST})
    found = _pair_losses(better, worse, won)
    found["accuracy_strict"] = torch.tensor(np.mean(credit(pairs, PROTOCOLS["strict_micro"])))
    return {"better": better, "worse": worse}, found


def _pair_losses(first: Tensor, second: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Sum and mean as the objective gives them, and each pair's loss."""
    target = torch.stack([labels[:, 0], torch.zeros_like(labels[:, 0]), labels[:, 1]], dim=1)  # [B, 3]
    pairs = len(first)
    batch = SimpleNamespace(
        first=torch.arange(pairs),
        second=torch.arange(pairs, 2 * pairs),
        dimension=torch.zeros(pairs, dtype=torch.long),
        target=target,
        weight=torch.ones(pairs, dtype=torch.float64),
    )
    denominators = SimpleNamespace(comparisons=torch.tensor([float(pairs)]))
    output = RewardOutput(scores=torch.cat([first, second]).unsqueeze(1))
    found = {"loss_per_pair": bradley_terry(first - second, target)}
    for reduction in ("sum", "mean"):
        objective = PairwiseObjective(["overall"], reduction=reduction)
        found[f"loss_{reduction}"] = objective(output, batch, denominators).total
    return found


_REPLAYS = {
    "hps_pair_from_features": _from_features,
    "hps_pair_from_scores": _from_scores,
    "imagereward_pair": _imagereward,
}

COVERED = tuple(_REPLAYS)
"""Kinds of ``losses.json`` that rewardkit has an answer to."""
