"""Replays of losses over pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from loss_replay import LOSE, TIE, WIN, Replay, compared, number, pair_labels, slope, step, tensors
from measure import Malformed, need
from torch import Tensor

from rewardkit.metrics.judged_pairs import FIRST
from rewardkit.metrics.protocols import PROTOCOLS, credit
from rewardkit.models.heads import paired_products
from rewardkit.models.reward import RewardOutput
from rewardkit.objectives.bradley_terry import (
    CDPO,
    ImageReward,
    PickScore,
    Robust,
    bradley_terry,
    pickscore,
)
from rewardkit.objectives.compared import compare, is_decided
from rewardkit.objectives.in_batch import Negatives, in_batch_pickscore
from rewardkit.objectives.margins import Margin, Scaled, hinge, margin_loss, scaled_loss
from rewardkit.objectives.pairwise import ComparisonReduction, PairwiseObjective
from rewardkit.objectives.pointwise import RatingObjective, squared_error
from rewardkit.objectives.ties import Davidson, RaoKupper
from rewardkit.objectives.uncertain import gaussian, sigma_of_difference, thurstone

MISSING = 22
"""VideoAlign's label of a pair that nobody judged."""


def _from_features(case: Mapping[str, Any]) -> Replay:
    image, text, scale, labels = tensors(case["inputs"], "image_features", "text_features", "logit_scale", "labels")
    pairs = len(text)
    if len(image) != 2 * pairs:
        raise Malformed(f"{len(image)} image features for {pairs} texts; each pair has two images")
    scores = scale * paired_products(image, text, torch.arange(pairs).repeat(2))  # [2B]
    first, second = scores[:pairs], scores[pairs:]
    found = {**_pair_losses(first, second, labels.detach()), "score_0": first, "score_1": second}
    leaves = {"image_features": image, "text_features": text, "logit_scale": scale}
    return Replay(found, {**leaves, "score_0": first, "score_1": second})


def _from_scores(case: Mapping[str, Any]) -> Replay:
    first, second, labels = tensors(case["inputs"], "score_0", "score_1", "labels")
    return Replay(_pair_losses(first, second, labels.detach()), {"score_0": first, "score_1": second})


def _imagereward(case: Mapping[str, Any]) -> Replay:
    better, worse = tensors(case["inputs"], "better", "worse")
    labels = pair_labels(torch.tensor([WIN], dtype=torch.float64).expand(len(better), 3))
    output = RewardOutput(scores=torch.cat([better, worse]).unsqueeze(1))
    found = {
        f"loss_{reduction}": PairwiseObjective(["overall"], ImageReward(), reduction=reduction)(  # type: ignore[arg-type]
            output, labels, step(len(better))
        ).total
        for reduction in ("sum", "mean")
    }
    found["loss_per_pair"] = ImageReward()(compared(better - worse))
    pairs = pd.DataFrame({"score_first": better.detach(), "score_second": worse.detach(), "verdict": FIRST})
    found["accuracy_strict"] = torch.tensor(np.mean(credit(pairs, PROTOCOLS["strict_micro"])))
    return Replay(found, {"better": better, "worse": worse})


def _pair_losses(first: Tensor, second: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Sum and mean as the objective gives them, and each pair's loss."""
    target = torch.stack([labels[:, 0], torch.zeros_like(labels[:, 0]), labels[:, 1]], dim=1)  # [B, 3]
    output = RewardOutput(scores=torch.cat([first, second]).unsqueeze(1))
    found = {"loss_per_pair": bradley_terry(first - second, target)}
    for reduction in ("sum", "mean"):
        objective = PairwiseObjective(["overall"], reduction=reduction)  # type: ignore[arg-type]
        found[f"loss_{reduction}"] = objective(output, pair_labels(target), step(len(first))).total
    return found


def _pickscore(case: Mapping[str, Any]) -> Replay:
    text, first, second, scale, y0, y1, examples = tensors(
        case["inputs"],
        *("text_features", "image_0_features", "image_1_features", "logit_scale"),
        *("label_0", "label_1", "num_example_per_prompt"),
    )
    (in_batch,) = need(case, "in_batch_negatives")
    pairs = len(text)
    target = torch.stack([y0, torch.zeros_like(y0), y1], dim=1).detach()
    labels = pair_labels(target, weight=(1 / examples).detach())
    total = labels.weight.sum()
    image = torch.cat([first, second])
    scores = scale * paired_products(image, text, labels.group)
    score_0, score_1 = scores[:pairs], scores[pairs:]
    if in_batch:
        every = torch.ones(2 * pairs, pairs, dtype=torch.bool)
        logits = scale * text @ image.T
        losses = in_batch_pickscore(
            Negatives(logits, logits.T, every.T, every), labels.first, labels.second, torch.arange(pairs), target
        )
        loss = ComparisonReduction(["overall"])(losses, labels, step(total), "all").total
    else:
        losses = pickscore(score_0 - score_1, target)
        output = RewardOutput(scores=torch.cat([score_0, score_1]).unsqueeze(1))
        loss = PairwiseObjective(["overall"], PickScore())(output, labels, step(total)).total
    found = {"loss": loss, "loss_per_example": losses, "weights": labels.weight / total}
    found |= {"score_0": score_0, "score_1": score_1}
    leaves = {"logit_scale": scale, "text_features": text, "image_0_features": first, "image_1_features": second}
    if not in_batch:
        # The objective takes a difference of scores; with other images as negatives it does not pass through these.
        leaves |= {"score_0": score_0, "score_1": score_1}
    return Replay(found, leaves)


def _videoalign(case: Mapping[str, Any]) -> Replay:
    """A mean over all valid entries of all dimensions: each dimension's denominator is that number over D."""
    (kind,) = need(case, "loss_type")
    rewards_a, rewards_b, ratings_a, ratings_b, label = tensors(
        case["inputs"], "reward_A", "reward_B", "score_A", "score_B", "label"
    )
    rows, width = rewards_a.shape
    dimensions = [str(d) for d in range(width)]
    scores, ratings = torch.cat([rewards_a, rewards_b]), torch.cat([ratings_a, ratings_b]).detach()
    if kind == "reg":
        return _videoalign_ratings(scores, ratings, rewards_a, rewards_b)
    rules: dict[str, Any] = {
        "bt": ImageReward(),
        "margin": Margin(1.0, of="rating_gap"),
        "constant_margin": Margin(0.57),
        "scaled": Scaled(1.0, of="rating_gap"),
        "btt": RaoKupper(dimensions, theta=5.0),
    }
    if kind not in rules:
        raise Malformed(f"there is no loss_type {kind!r}")
    judged = label.detach().flatten() != MISSING
    where = judged.nonzero().squeeze(1)
    outcome = label.detach().flatten()[where]  # 1: A, -1: B, 0: tie
    target = torch.stack([outcome == 1, outcome == 0, outcome == -1], dim=1).double()
    row = where // width
    labels = pair_labels(target, dimension=where % width, ratings=ratings, group=torch.arange(rows).repeat(2))
    labels.first, labels.second = row, row + rows
    kept = torch.ones(len(where), dtype=torch.bool) if rules[kind].counts == "all" else is_decided(target)
    valid = int(kept.sum())
    objective = PairwiseObjective(dimensions, rules[kind])
    corrected = objective(RewardOutput(scores=scores), labels, step(valid / width, width)).total
    mask = torch.zeros(rows * width).index_add(0, where, kept.float())
    alone = ComparisonReduction(["all"], reduction="sum")
    losses = rules[kind](compare(RewardOutput(scores=scores), labels))
    per_entry = torch.zeros(rows * width, dtype=torch.float64)
    for n, place in enumerate(where.tolist()):
        one = pair_labels(target[n : n + 1])
        per_entry[place] = alone(losses[n : n + 1], one, step(1), rules[kind].counts).total.detach()
    found = {"corrected": corrected, "per_entry": per_entry.reshape(rows, width), "mask": mask.reshape(rows, width)}
    found |= {"n_entries": torch.tensor(rows * width), "n_valid": torch.tensor(valid)}
    reference = corrected * valid / (rows * width)
    return Replay(found, {"reward_A": rewards_a, "reward_B": rewards_b}, {"reference": reference})


def _videoalign_ratings(scores: Tensor, ratings: Tensor, rewards_a: Tensor, rewards_b: Tensor) -> Replay:
    """Squared error to the rating less 3, 0 is missing."""
    rows, width = rewards_a.shape
    dimensions = [str(d) for d in range(width)]
    ratings = torch.where(ratings == 0, float("nan"), ratings)
    valid = int((~ratings.isnan()).sum())
    objective = RatingObjective(dimensions, middle=dict.fromkeys(dimensions, 3.0), slope=1.0)
    labels: Any = pair_labels(torch.zeros(0, 3), ratings=ratings)
    corrected = objective(RewardOutput(scores=scores), labels, step(valid / width, width)).total
    per_entry = squared_error(objective.predicted(scores), ratings).reshape(2, rows, width).transpose(0, 1)
    mask = (~ratings.isnan()).double().reshape(2, rows, width).transpose(0, 1)
    found = {"corrected": corrected, "per_entry": per_entry, "mask": mask}
    found |= {"n_entries": torch.tensor(2 * rows * width), "n_valid": torch.tensor(valid)}
    reference = corrected * valid / (2 * rows * width)
    return Replay(found, {"reward_A": rewards_a, "reward_B": rewards_b}, {"reference": reference})


def _hpsv2_option(case: Mapping[str, Any]) -> Replay:
    preferred, other = tensors(case["inputs"], "score_preferred", "score_other")
    labels = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(len(preferred), 2)
    found = _pair_losses(preferred, other, labels)
    return Replay(
        {**found, "corrected": found["loss_sum"]},
        {"score_preferred": preferred, "score_other": other},
    )


def _gaussian(case: Mapping[str, Any]) -> Replay:
    mu, sigma_w, sigma_l = (value.reshape(1) for value in tensors(case["inputs"], "mu_diff", "sigma_w", "sigma_l"))
    sigma = sigma_of_difference((sigma_w.log(), sigma_l.log())).detach().requires_grad_()
    mu = mu.detach().requires_grad_()
    target = torch.tensor([WIN], dtype=torch.float64)
    mean_log = gaussian(mu, target, sigma, form="mean_neg_log", nodes=64)[0]
    log_mean = gaussian(mu, target, sigma, form="neg_log_mean", nodes=64)[0]
    found = {"E_neg_log_sigmoid": mean_log, "neg_log_E_sigmoid": log_mean, "sigma_z": sigma[0]}
    gradients = {}
    for name, loss in (("E", mean_log), ("negE", log_mean)):
        gradients[f"{name}_wrt_mu"] = slope(loss, mu)[0]
        gradients[f"{name}_wrt_sigma_z"] = slope(loss, sigma)[0]
    return Replay(found, gradients=gradients, beside=("adaptive_quadrature", "sigma_z"))


def _law_of_ties(rule: Any, case: Mapping[str, Any]) -> Replay:
    (delta,) = tensors(case["inputs"], "delta")
    found: dict[str, Any] = {}
    for name, outcome in (("win", WIN), ("tie", TIE), ("lose", LOSE)):
        losses = rule(compared(delta, outcome))
        found[f"nll_{name}"], found[f"grad_{name}"] = losses, slope(losses, delta)
    return Replay(found)


def _rao_kupper(case: Mapping[str, Any]) -> Replay:
    return _law_of_ties(RaoKupper(["overall"], theta=number(case, "theta")), case)


def _davidson(case: Mapping[str, Any]) -> Replay:
    return _law_of_ties(Davidson(["overall"], nu=number(case, "nu")), case)


def _thurstone(case: Mapping[str, Any]) -> Replay:
    (delta,) = tensors(case["inputs"], "delta")
    sigmas = [torch.tensor([number(case, key)], dtype=torch.float64).log() for key in ("sigma_1", "sigma_2")]
    target = torch.tensor([WIN], dtype=torch.float64).expand(len(delta), 3)
    losses = thurstone(delta, target, sigma_of_difference((sigmas[0], sigmas[1])))
    return Replay({"nll": losses, "grad_delta": slope(losses, delta)})


def _label_noise(case: Mapping[str, Any]) -> Replay:
    (delta,) = tensors(case["inputs"], "delta")
    rate = number(case, "epsilon")
    found: dict[str, Any] = {}
    for name, rule in (("cdpo", CDPO(["overall"], rate)), ("robust", Robust(["overall"], rate))):
        losses = rule(compared(delta))
        found[name], found[f"{name}_grad"] = losses, slope(losses, delta)
    return Replay(found)


def _variants(case: Mapping[str, Any]) -> Replay:
    delta, margin = tensors(case["inputs"], "delta", "margin")
    constant = number(case["inputs"], "constant_margin")
    won = torch.tensor([WIN], dtype=torch.float64).expand(len(delta), 3)
    found = {
        "bt": bradley_terry(delta, won),
        "margin": margin_loss(delta, won, margin),
        "constant_margin": Margin(constant)(compared(delta)),
        "scaled": scaled_loss(delta, won, margin),
        "hinge": hinge(delta, won, margin),
    }
    gradients = {f"{prefix}{name}": slope(loss, delta) for name, loss in found.items() for prefix in ("", "grad_")}
    return Replay({**found, **{f"grad_{n}": gradients[n] for n in found}}, {"delta": delta}, gradients=gradients)


PAIR_REPLAYS: dict[str, Callable[[Mapping[str, Any]], Replay]] = {
    "hps_pair_from_features": _from_features,
    "hps_pair_from_scores": _from_scores,
    "imagereward_pair": _imagereward,
    "pickscore": _pickscore,
    "videoalign": _videoalign,
    "hpsv3_hpsv2_option": _hpsv2_option,
    "gaussian_score_bt": _gaussian,
    "rao_kupper": _rao_kupper,
    "davidson": _davidson,
    "thurstone": _thurstone,
    "label_noise": _label_noise,
    "bt_variants": _variants,
}
