"""Rankings: published values, ties against all orders by hand, padding, one candidate, any order of the candidates."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rewardkit.errors import UserError
from rewardkit.models.reward import RewardOutput
from rewardkit.objectives import plackett_luce as module
from rewardkit.objectives.bradley_terry import bradley_terry
from rewardkit.objectives.listwise import ListNet, RankingHinge, RankingObjective, Top1, listnet, ranking_hinge, top1
from rewardkit.objectives.plackett_luce import PlackettLuce, plackett_luce

RULES: dict[str, Any] = {
    **{ties: PlackettLuce(ties) for ties in ("marginal", "breslow", "efron", "mean")},  # type: ignore[arg-type]
    "top": PlackettLuce(top=2),
    "top1": Top1(),
    "listnet": ListNet(0.5),
    "ranking_hinge": RankingHinge(),
}


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def by_hand(scores: list[float], ranks: list[float]) -> dict[str, float]:
    """Over all orders that the ranks allow, one by one."""
    losses = []
    for order in itertools.permutations(range(len(scores))):
        if all(ranks[a] <= ranks[b] for a, b in itertools.pairwise(order)):
            left = [scores[n] for n in order]
            losses.append(sum(math.log(sum(map(math.exp, left[k:]))) - left[k] for k in range(len(left))))
    total = math.log(sum(math.exp(-loss) for loss in losses))
    return {"marginal": -total, "mean": sum(losses) / len(losses)}


@pytest.mark.parametrize(
    ("ranks", "ties", "wanted"),
    [
        ([1, 2, 3], "marginal", 0.720868),
        ([3, 2, 1], "marginal", 3.720868),
        ([1, 2, 2], "marginal", 0.407606),
        ([1, 2, 2], "mean", 1.220868),
        ([1, 2, 2], "breslow", 2.034129),
        ([1, 2, 2], "efron", 1.340982),
        ([1, 1, 1], "marginal", 0.0),
    ],
)
def test_published_values(ranks: list[float], ties: Any, wanted: float) -> None:
    assert plackett_luce(row(2, 1, 0), row(*ranks), ties=ties).item() == pytest.approx(wanted, abs=1e-6)


def test_two_candidates_are_bradley_terry() -> None:
    won = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    wanted = bradley_terry(torch.tensor([0.7], dtype=torch.float64), won)
    for ties in ("marginal", "breslow", "efron", "mean"):
        torch.testing.assert_close(plackett_luce(row(1.2, 0.5), row(1, 2), ties=ties), wanted)  # type: ignore[arg-type]
    torch.testing.assert_close(top1(row(1.2, 0.5), row(1, 2)), wanted)


@settings(max_examples=40, deadline=None)
@given(
    ranked=st.lists(st.tuples(st.floats(-5, 5), st.integers(1, 3)), min_size=1, max_size=6),
    ties=st.sampled_from(["marginal", "mean"]),
)
def test_ties_are_the_sum_over_all_orders(ranked: list[tuple[float, int]], ties: Any) -> None:
    scores, ranks = [s for s, _ in ranked], [float(r) for _, r in ranked]
    found = plackett_luce(row(*scores), row(*ranks), ties=ties).item()
    assert found == pytest.approx(by_hand(scores, ranks)[ties], abs=1e-9)


@pytest.mark.parametrize("size", [2, 5, 8, 12])
def test_large_blocks_are_exact(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    block = torch.randn(size, generator=generator, dtype=torch.float64)
    scores = torch.cat([block, torch.tensor([0.3, -0.2], dtype=torch.float64)]).unsqueeze(0)
    ranks = torch.cat([torch.ones(size), torch.tensor([2.0, 3.0])]).unsqueeze(0)
    found = plackett_luce(scores, ranks).item() - plackett_luce(scores[:, size:], ranks[:, size:]).item()
    # Exponential races (rates w): every one of the block ends before the first of the rest. With u uniform, the rest
    # ends first at -log(u) / W, so the probability is the mean of the product of 1 - u^(w / W).
    w, rest = block.exp(), scores[0, size:].exp().sum()
    u = (torch.arange(2_000_000, dtype=torch.float64) + 0.5) / 2_000_000
    product = torch.ones_like(u)
    for rate in w:
        product *= 1 - u ** (rate / rest)
    assert found == pytest.approx(-math.log(product.mean().item()), abs=1e-5)


def test_blocks_above_the_limit_fall_back_to_efron(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, ranks = torch.randn(1, 6, generator=torch.Generator().manual_seed(0)), row(1, 2, 2, 2, 3, 3).float()
    exact = {ties: plackett_luce(scores, ranks, ties=ties) for ties in ("marginal", "mean")}  # type: ignore[arg-type]
    monkeypatch.setattr(module, "MAX_EXACT", 2)
    whole = plackett_luce(scores, ranks, ties="efron")
    last = plackett_luce(scores[:, 4:], ranks[:, 4:], ties="efron")
    found = plackett_luce(scores, ranks, ties="marginal")
    torch.testing.assert_close(found, whole - last - math.log(6))
    assert abs(found - exact["marginal"]) < 0.6, "an approximation"
    found = plackett_luce(scores, ranks, ties="mean")
    torch.testing.assert_close(found, whole - last + plackett_luce(scores[:, 4:], ranks[:, 4:], ties="mean"))
    assert abs(found - exact["mean"]) < 0.6


def test_top_stops_after_the_first_choices() -> None:
    scores, ranks = row(0.4777, 2.5372, 2.3822, -1.0042, 2.8992), row(3, 1, 5, 2, 4)
    for top, wanted in {1: 1.23811465, 2: 5.67523713, 3: 8.61855914, 4: 9.08625185, 9: 9.08625185}.items():
        assert plackett_luce(scores, ranks, top=top).item() == pytest.approx(wanted)
    tied = row(1, 2, 2, 3, 3)
    begins = plackett_luce(scores, tied, top=2)  # the block of two begins within the first two and counts whole
    torch.testing.assert_close(begins, plackett_luce(scores, tied, top=3))
    assert plackett_luce(scores, tied, top=1) < begins


def test_the_best_is_chosen_by_top1() -> None:
    scores = row(2.0, 1.0, 0.0)
    total = math.log(sum(math.exp(s) for s in (2, 1, 0)))
    assert top1(scores, row(3, 1, 2)).item() == pytest.approx(total - 1)
    assert top1(scores, row(2, 1, 1)).item() == pytest.approx(total - 0.5)


def test_listnet_by_hand() -> None:
    labels, there = row(2, 1, 0), torch.ones(1, 3, dtype=torch.bool)
    assert listnet(row(0, 0, 0), labels, there).item() == pytest.approx(1.098612, abs=1e-6)
    assert listnet(row(2, 1, 0), labels, there).item() == pytest.approx(0.832396, abs=1e-6)
    torch.testing.assert_close(ListNet()(row(5, 3, 4), row(1, 2, 3)), listnet(row(5, 3, 4), labels, there))


def test_hinge_over_real_pairs() -> None:
    total, pairs = ranking_hinge(row(5.0, 2.5, -1.0), row(1, 2, 3))
    assert (total.item(), pairs.item()) == (0.0, 3)
    total, pairs = ranking_hinge(row(0.0, 0.5, 0.0, 9.0), row(1, 2, 2, -1), margin=1.0)
    # Leads of -0.5 and 0 for one rank, and a tie, which costs the margin.
    assert (total.item(), pairs.item()) == (1.5 + 1.0 + 1.0, 3)


@pytest.mark.parametrize("name", RULES)
def test_the_order_of_candidates_and_ranks_scale_mean_nothing(name: str) -> None:
    scores, ranks = row(0.3, -1.0, 2.0, 0.7, 0.1), row(2, 1, 2, 4, 3)
    order = [3, 0, 4, 2, 1]
    found = RULES[name](scores[:, order], ranks[:, order])
    torch.testing.assert_close(found, RULES[name](scores, ranks))
    if name not in ("ranking_hinge", "listnet"):
        torch.testing.assert_close(RULES[name](scores, ranks * ranks), found)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("size", [1.0, 1e4])
def test_padding_has_exactly_no_gradient(name: str, size: float) -> None:
    wide = (size * torch.tensor([[0.3, -1.0, 2.0, 5.0], [0.7, 9.0, 9.0, 9.0], [9.0] * 4])).requires_grad_()
    ranks = torch.tensor([[1.0, 2.0, 2.0, -1.0], [1.0, -1.0, -1.0, -1.0], [-1.0] * 4])
    losses = RULES[name](wide, ranks)
    alone = RULES[name](wide[:1, :3].detach(), ranks[:1, :3])
    torch.testing.assert_close(losses[:1].detach(), alone)
    assert losses[1] == 0 and losses[2] == 0, "one candidate, or none, says nothing"
    losses.sum().backward()
    assert wide.grad is not None and torch.isfinite(wide.grad).all()
    assert (wide.grad[ranks < 0] == 0).all() and (wide.grad[1] == 0).all()


@pytest.mark.parametrize("name", RULES)
def test_the_floor_is_reached_by_the_right_order(name: str) -> None:
    floor = {"listnet": None, "efron": None, "breslow": None, "mean": None}.get(name, 0.0)
    if floor is not None:
        assert RULES[name](row(90, 60, 30, 0), row(1, 2, 3, 4)).item() == pytest.approx(floor, abs=1e-9)
    else:
        # Ties do not say all, so these have a floor above 0 where there are any, and 0 (but for listnet) where not.
        share = torch.softmax(torch.tensor([0.0, -2.0]), dim=0)
        least = -(share * share.log()).sum().item() if name == "listnet" else 0.0
        assert RULES[name](row(*((2.0, 0.0) if least else (60, 0))), row(1, 2)).item() == pytest.approx(least, abs=1e-6)


def objective_on(
    rule: Any, scores: Tensor, ranked: list[tuple[int, list[int], list[float]]], counts: list[float]
) -> Any:
    longest = max(len(c) for _, c, _ in ranked)
    labels: Any = SimpleNamespace(
        ranking_dimension=torch.tensor([d for d, _, _ in ranked]),
        ranking_candidate=torch.tensor([c + [-1] * (longest - len(c)) for _, c, _ in ranked]),
        ranking_rank=torch.tensor([r + [-1.0] * (longest - len(r)) for _, _, r in ranked]),
    )
    step: Any = SimpleNamespace(rankings=torch.tensor(counts))
    return RankingObjective(("a", "b"), rule)(RewardOutput(scores=scores), labels, step)


def test_a_ranking_of_one_is_counted_and_dimensions_are_kept_apart() -> None:
    scores = torch.tensor([[2.0, 0.0], [1.0, 3.0], [0.0, 1.0]])
    ranked = [(0, [0, 1, 2], [1.0, 2.0, 3.0]), (0, [1], [1.0]), (1, [2, 1], [1.0, 2.0])]
    loss = objective_on(PlackettLuce(), scores, ranked, [2.0, 1.0])
    lost = math.log1p(math.exp(2))
    assert loss.parts["a"].item() == pytest.approx(0.720868 / 2, abs=1e-6)
    assert loss.parts["b"].item() == pytest.approx(lost)
    assert loss.total.item() == pytest.approx((0.720868 / 2 + lost) / 2, abs=1e-6)


def test_wrong_options_are_named() -> None:
    with pytest.raises(UserError, match="ties of plackett_luce are marginal, breslow, efron, mean, not 'exact'"):
        PlackettLuce("exact")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="at least the first choice, not 0"):
        PlackettLuce(top=0)
    with pytest.raises(UserError, match="temperature of listnet has to be above 0, not 0"):
        ListNet(0.0)
    with pytest.raises(UserError, match="margin has to be"):
        RankingHinge(-1.0)
    with pytest.raises(UserError, match="factors for c"):
        RankingObjective(("a",), Top1(), factors={"c": 1.0})
