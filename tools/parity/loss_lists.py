"""Replays of losses over whole lists of candidates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from loss_replay import Replay, slope, step, tensors
from measure import Malformed, need
from torch import Tensor

from rewardkit.models.reward import RewardOutput
from rewardkit.objectives.listwise import RankingObjective, Top1, listnet, ranking_hinge
from rewardkit.objectives.plackett_luce import PlackettLuce, plackett_luce


def _preference(case: Mapping[str, Any]) -> Replay:
    rows, winners = need(case["inputs"], "scores_per_prompt", "labels")
    scores = [torch.tensor(row, dtype=torch.float64, requires_grad=True) for row in rows]
    ranks = [torch.where(torch.arange(len(row)) == winner, 1.0, 2.0) for row, winner in zip(rows, winners, strict=True)]
    loss, each = _ranked(scores, ranks, Top1())
    found: dict[str, Any] = {"loss_mean": loss, "loss_per_prompt": each}
    if "logits_per_image" in case["inputs"]:
        _refuse_other_scores(case["inputs"]["logits_per_image"], rows)
    return Replay(found, {"scores_per_prompt": scores})


def _ranked(scores: list[Tensor], ranks: list[Tensor], rule: Any) -> tuple[Tensor, Tensor]:
    """The objective's loss of rows of any length, and what the rule says of each."""
    longest = max(len(row) for row in scores)
    candidate = torch.full((len(scores), longest), -1)
    rank = torch.full((len(scores), longest), -1.0, dtype=torch.float64)
    start = 0
    for n, row in enumerate(scores):
        candidate[n, : len(row)] = torch.arange(start, start + len(row))
        rank[n, : len(row)] = ranks[n]
        start += len(row)
    flat = torch.cat(scores)
    labels: Any = SimpleNamespace(
        ranking_dimension=torch.zeros(len(scores), dtype=torch.long), ranking_candidate=candidate, ranking_rank=rank
    )
    loss = RankingObjective(["overall"], rule)(RewardOutput(scores=flat.unsqueeze(1)), labels, step(len(scores)))
    return loss.total, rule(flat[candidate.clamp(min=0)], rank)


def _refuse_other_scores(logits: list[list[float]], rows: list[list[float]]) -> None:
    """``scores_per_prompt`` are the blocks of ``logits_per_image`` that belong to each prompt."""
    start = 0
    for prompt, row in enumerate(rows):
        block = [image[prompt] for image in logits[start : start + len(row)]]
        if block != row:
            raise Malformed(f"scores of prompt {prompt} are {row}, in logits_per_image {block}")
        start += len(row)


def _ranking_hinge(case: Mapping[str, Any]) -> Replay:
    rows, ranks = need(case["inputs"], "scores_per_prompt", "ranks_per_prompt")
    margin = float(need(case["inputs"], "margin")[0])
    scores = [torch.tensor(row, dtype=torch.float64, requires_grad=True) for row in rows]
    parts = [
        ranking_hinge(score.unsqueeze(0), torch.tensor([rank], dtype=torch.float64), margin)
        for score, rank in zip(scores, ranks, strict=True)
    ]
    total, pairs = sum(p[0].sum() for p in parts), sum(p[1].sum() for p in parts)
    found = {"corrected": total / pairs, "n_pairs_corrected": pairs}
    return Replay(found, {"scores_per_prompt": scores})


def _plackett_luce(case: Mapping[str, Any]) -> Replay:
    scores, ranks = tensors(case["inputs"], "scores", "ranks")
    row, order = scores.unsqueeze(0), ranks.detach().unsqueeze(0)
    orders = math.prod(math.factorial(m) for m in Counter(ranks.tolist()).values())
    found: dict[str, Any] = {
        f"nll_{name}": plackett_luce(row, order, ties=ties)[0]  # type: ignore[arg-type]
        for name, ties in {
            "of_total_probability": "marginal",
            "mean_over_orders": "mean",
            "breslow": "breslow",
            "efron": "efron",
        }.items()
    }
    found["nll_of_mean_probability"] = found["nll_of_total_probability"] + math.log(orders)
    found["nll"], _ = _ranked([scores], [ranks.detach()], PlackettLuce())
    gradients = {name: slope(loss, scores) for name, loss in found.items()}
    asked = case["expected"].get("nll_topk", {})
    found["nll_topk"] = {k: plackett_luce(row, order, top=int(k))[0] for k in asked}
    found["n_orders"] = torch.tensor(orders)
    return Replay(found, gradients=gradients, beside=("n_orders",))


def _listnet(case: Mapping[str, Any]) -> Replay:
    scores, labels = tensors(case["inputs"], "scores", "labels")
    (tau,) = need(case, "tau")
    there = torch.ones(1, len(scores), dtype=torch.bool)
    loss = listnet(scores.unsqueeze(0), labels.detach().unsqueeze(0), there, float(tau))[0]
    return Replay({"cross_entropy": loss, "grad": slope(loss, scores)})


LIST_REPLAYS: dict[str, Callable[[Mapping[str, Any]], Replay]] = {
    "hps_preference_variable_n": _preference,
    "hps_ranking_hinge": _ranking_hinge,
    "plackett_luce": _plackett_luce,
    "listnet_top1": _listnet,
}
