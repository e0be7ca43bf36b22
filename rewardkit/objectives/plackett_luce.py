"""The Plackett-Luce law of rankings (Luce 1959, Plackett 1975), with ties.

A ranking is a sequence of choices: the best of all, then the best of the rest, and so on. With scores s and the order
o, ``-log P(o) = sum_k [logsumexp_{l >= k} s_{o_l} - s_{o_k}]``, not negative; for two candidates it is Bradley-Terry.

Candidates of one rank form a block: their order is not known. Let W be the sum of ``exp(s)`` behind a block of m.

- ``marginal``: the negative log of the total probability of all orders within the block. The exact likelihood; a block
  at the end says nothing and costs nothing.
- ``breslow``: every candidate of the block is chosen out of the whole block and all behind it (Breslow 1974).
- ``efron``: like breslow, but the l-th choice of the block leaves out l / m of the block's sum (Efron 1977).
- ``mean``: the mean over the orders of the negative log likelihood (marginal + log m! or more).

The first and last go over the 2^m subsets of a block: the m 2^(m-1) intermediate values of a block of 12 are 25
thousand. For blocks above ``MAX_EXACT`` with candidates behind them, ``mean`` falls back to efron, and ``marginal`` to
efron - log m!, its approximation of the mean probability.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from itertools import combinations
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from rewardkit.errors import UserError
from rewardkit.objectives.listwise import masked_logsumexp

Ties = Literal["marginal", "breslow", "efron", "mean"]

MAX_EXACT = 12
"""Largest block of ties that is summed over its orders exactly."""


def plackett_luce(scores: Tensor, ranks: Tensor, *, ties: Ties = "marginal", top: int | None = None) -> Tensor:
    """Negative log likelihood of rankings. See the module's docstring.

    Args:
        scores: ``[R, K]``.
        ranks: ``[R, K]``, 1 is best, equal ranks tie, -1 where there is no candidate. Only their order counts.
        ties: What a block of equal ranks costs.
        top: Only the first choices count, this many; a block of ties that begins among them counts whole. Default: all.

    Returns:
        ``[R]``, not negative; 0 for a ranking of one candidate or none.
    """
    there = ranks >= 0
    mine, other = ranks.unsqueeze(-1), ranks.unsqueeze(-2)  # [R, K, 1], [R, 1, K]
    here = there.unsqueeze(-2) & there.unsqueeze(-1)
    tied, behind = here & (other == mine), here & (other > mine)  # [R, K, K]
    size = tied.sum(dim=-1)  # [R, K]
    counted = there
    if top is not None:
        counted = there & ((here & (other < mine)).sum(dim=-1) < top)
    exact = ties in ("marginal", "mean")
    in_order = torch.arange(ranks.shape[-1], device=ranks.device)
    before = (tied & (in_order < in_order.unsqueeze(-1))).sum(dim=-1)  # place within the block
    left_out = torch.zeros_like(scores) if ties == "breslow" else before.to(scores.dtype) / size.clamp(min=1)
    # Chosen out of all behind the block, and the block itself but for what is left out.
    share = torch.log1p(-left_out).unsqueeze(-1)
    pool = torch.where(tied, scores.unsqueeze(-2) + share, scores.unsqueeze(-2).expand_as(tied))
    chosen = masked_logsumexp(pool, tied | behind) - scores  # [R, K]
    if not exact:
        return torch.where(counted, chosen, torch.zeros_like(chosen)).sum(dim=-1)
    last = ~behind.any(dim=-1)
    # A block at the end costs nothing by the marginal form, and a mean that is as easily had; others are summed below.
    by_subsets = counted & (size > 1) & (size <= MAX_EXACT) & ~(last & (ties == "marginal"))
    free = (size > 1) & last & (ties == "marginal")
    closed = torch.where(counted & ~by_subsets & ~free, chosen, torch.zeros_like(chosen)).sum(dim=-1)
    if ties == "marginal":
        large = counted & (size > MAX_EXACT) & ~free & (before == 0)
        orders = torch.lgamma(size.to(scores.dtype) + 1)
        closed = closed - torch.where(large, orders, torch.zeros_like(orders)).sum(dim=-1)
    rest = masked_logsumexp(scores.unsqueeze(-2).expand_as(behind), behind)  # log W, -inf at the end
    return closed + _blocks(scores, rest, ranks, by_subsets, ties)


def _blocks(scores: Tensor, rest: Tensor, ranks: Tensor, wanted: Tensor, ties: Ties) -> Tensor:
    """What the wanted candidates' blocks of ties cost, ``[R]``."""
    blocks: dict[int, list[tuple[int, list[int]]]] = defaultdict(list)
    for row, (flags, row_ranks) in enumerate(zip(wanted.tolist(), ranks.tolist(), strict=True)):
        members: dict[float, list[int]] = defaultdict(list)
        for place, (flag, rank) in enumerate(zip(flags, row_ranks, strict=True)):
            if flag:
                members[rank].append(place)
        for places in members.values():
            blocks[len(places)].append((row, places))
    losses = scores.new_zeros(len(scores))
    for found in blocks.values():
        rows = torch.tensor([row for row, _ in found], device=scores.device)
        where = torch.tensor([p for _, p in found], device=scores.device)  # [B, m]
        block, behind = scores[rows.unsqueeze(-1), where], rest[rows, where[:, 0]]
        cost = _marginal(block, behind) if ties == "marginal" else _mean(block, behind)
        losses = losses.index_add(0, rows, cost)
    return losses


def _marginal(block: Tensor, rest: Tensor) -> Tensor:
    """Minus log probability that a block ``[B, m]`` comes before all behind it, whose ``log W`` is ``rest`` ``[B]``.

    With F(S) the probability that the candidates S, of a block of which they are left, come before all behind:
    ``F(S) = sum_{i in S} w_i F(S - i) / (W + w(S))``, ``F({}) = 1``; by number of candidates, in logs.
    """
    size = block.shape[-1]
    log_before = block.new_zeros(len(block), 1)  # of the subsets of one candidate less
    for chosen, without in _subsets(size):
        members = torch.tensor(chosen, device=block.device)  # [C(m, n), n]
        smaller = torch.tensor(without, device=block.device)
        scores = block[:, members]  # [B, C(m, n), n]
        pool = torch.logaddexp(torch.logsumexp(scores, dim=-1), rest.unsqueeze(-1))
        log_before = torch.logsumexp(scores + log_before[:, smaller], dim=-1) - pool
    return -log_before.squeeze(-1)


def _mean(block: Tensor, rest: Tensor) -> Tensor:
    """Mean over the orders of a block ``[B, m]`` of its negative log likelihood, ``rest`` as in ``_marginal``.

    When n of the block are left, they are equally often each of its subsets of n.
    """
    cost = -block.sum(dim=-1)
    for chosen, _ in _subsets(block.shape[-1]):
        scores = block[:, torch.tensor(chosen, device=block.device)]
        cost = cost + _add_rest(torch.logsumexp(scores, dim=-1), rest.unsqueeze(-1)).mean(dim=-1)
    return cost


def _add_rest(log_sum: Tensor, rest: Tensor) -> Tensor:
    """``logaddexp`` with a rest that may be -inf, whose gradient would be NaN."""
    none = rest == float("-inf")
    return torch.where(none, log_sum, torch.logaddexp(log_sum, torch.where(none, torch.zeros_like(rest), rest)))


@cache
def _subsets(size: int) -> list[tuple[list[list[int]], list[list[int]]]]:
    """For n = 1 to size: the subsets of n of ``range(size)``, and where each of them without one member stands.

    The second list's entry [c][i] is the position, among the subsets of n - 1, of subset c without its i-th member.
    """
    found = []
    position: dict[tuple[int, ...], int] = {(): 0}
    for n in range(1, size + 1):
        subsets = list(combinations(range(size), n))
        without = [[position[s[:i] + s[i + 1 :]] for i in range(n)] for s in subsets]
        found.append(([list(s) for s in subsets], without))
        position = {s: c for c, s in enumerate(subsets)}
    return found


class PlackettLuce(nn.Module):
    """``plackett_luce``.

    Args:
        ties: ``marginal``, ``breslow``, ``efron`` or ``mean``.
        top: How many choices count, at least 1; None for all.
    """

    def __init__(self, ties: Ties = "marginal", top: int | None = None) -> None:
        super().__init__()
        if ties not in get_args(Ties):
            raise UserError(f"ties of plackett_luce are {', '.join(get_args(Ties))}, not {ties!r}")
        if top is not None and top < 1:
            raise UserError(f"plackett_luce counts at least the first choice, not {top}")
        self.ties: Ties = ties
        self.top = top

    def forward(self, scores: Tensor, ranks: Tensor) -> Tensor:
        """Loss of each ranking, ``[R]``."""
        return plackett_luce(scores, ranks, ties=self.ties, top=self.top)
