"""From the [CLS] state of a BLIP's text tower to one score for each dimension."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from rewardkit.config.overall import OVERALL, overall_problems
from rewardkit.errors import UserError
from rewardkit.models.overall import DerivedOverallHead, make_weights

Kind = Literal["mlp", "linear"]
Init = Literal["scaled", "published"]

MLP_DROPOUT = (0.2, 0.2, 0.1)
"""ImageReward's, behind the first three layers."""

_MLP_WIDTHS = (1024, 128, 64, 16)


class BlipHead(nn.Module):
    """Scores ``[N, D]`` from states ``[N, E]``, in float32 whatever the towers compute in.

    ``mlp`` is ImageReward's (``train/src/ImageReward.py``): E-1024-128-64-16-D with dropout and without activations, so
    that it is affine once dropout is off. ``linear`` is one layer E-D. Names are those of ImageReward.pt behind
    ``mlp.``: ``layers.0``, ``layers.2``, ``layers.4``, ``layers.6``, ``layers.7``.

    Args:
        kind: ``mlp`` or ``linear``.
        width: E, the text tower's width.
        dimensions: D.
        init: ``scaled``: weights normal with variance 1/inputs, biases 0. The [CLS] state leaves a layer norm, so
            scores start with a standard deviation of about 1, and every layer gets a gradient of its size.
            ``published``: every weight normal with std 1/(E+1), as ImageReward's code has it. Scores then start at
            about 1e-9 and gradients at 1e-7: the loss stays at ln 2 for hundreds of steps, in half precision for ever.
            It is here so that a guard can be tested with it.
        dropout: Rates behind the first three layers of ``mlp``.

    Raises:
        UserError: An unknown kind or init, or not three rates.
    """

    def __init__(
        self,
        kind: Kind,
        width: int,
        dimensions: int,
        *,
        init: Init = "scaled",
        dropout: Sequence[float] = MLP_DROPOUT,
    ) -> None:
        super().__init__()
        if kind not in ("mlp", "linear"):
            raise UserError(f"model.blip.head={kind!r} is not one of mlp, linear")
        if init not in ("scaled", "published"):
            raise UserError(f"model.blip.head_init={init!r} is not one of scaled, published")
        if len(dropout) != 3 or not all(0 <= rate < 1 for rate in dropout):
            raise UserError(f"model.blip.head_dropout expects three numbers from 0 up to below 1, not {list(dropout)}")
        self.kind = kind
        self.dropout = tuple(float(rate) for rate in dropout)
        if kind == "linear":
            self.layers = nn.Sequential(nn.Linear(width, dimensions))
        else:
            a, b, c, d = _MLP_WIDTHS
            self.layers = nn.Sequential(
                nn.Linear(width, a),
                nn.Dropout(dropout[0]),
                nn.Linear(a, b),
                nn.Dropout(dropout[1]),
                nn.Linear(b, c),
                nn.Dropout(dropout[2]),
                nn.Linear(c, d),
                nn.Linear(d, dimensions),
            )
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                std = 1.0 / (width + 1) if init == "published" else 1.0 / math.sqrt(layer.in_features)
                nn.init.normal_(layer.weight, mean=0.0, std=std)
                nn.init.zeros_(layer.bias)

    def forward(self, states: Tensor) -> Tensor:
        """States ``[N, E]`` to scores float32 ``[N, D]``, autocast or not."""
        with torch.autocast(device_type=states.device.type, enabled=False):
            scores: Tensor = self.layers(states.float())
        return scores


class BlipOverallHead(DerivedOverallHead):
    """A head of the other dimensions, and ``overall`` as their weighed sum (``rewardkit.models.overall``)."""

    def forward(self, states: Tensor) -> Tensor:  # type: ignore[override]
        """States ``[N, E]`` to scores float32 ``[N, D]``, autocast or not."""
        others: Tensor = self.others(states)  # [N, D - 1]
        weighed = others.detach() if self.gradient == "weights" else others
        # The weights of a BLIP are the same for every prompt; the states only say how many rows there are.
        overall = (self.weights(states.float()) * weighed).sum(dim=-1, keepdim=True)  # [N, 1]
        return torch.cat([others[:, : self.place], overall, others[:, self.place :]], dim=1)


def make_blip_head(
    kind: Kind,
    width: int,
    dimensions: Sequence[str],
    *,
    init: Init = "scaled",
    dropout: Sequence[float] = MLP_DROPOUT,
    overall: str = "learned",
    overall_gradient: str = "all",
) -> BlipHead | BlipOverallHead:
    """The head of some dimensions.

    Args:
        kind: See ``BlipHead``.
        width: E, the text tower's width.
        dimensions: Names, in the order of the scores.
        init: See ``BlipHead``.
        dropout: See ``BlipHead``.
        overall: ``learned`` (a dimension like the others), ``mean`` or ``combination`` of the others.
        overall_gradient: ``all``, or ``weights``: what labels of such an overall teach.

    Raises:
        UserError: An unknown name, or an ``overall`` that cannot be.
    """
    if overall == "gate":
        raise UserError(
            "model.overall: a gate reads the prompt alone, which a BLIP never does; take mean or combination"
        )
    problems = overall_problems(overall, dimensions, overall_gradient)
    if problems:
        raise UserError("; ".join(problems))
    if overall == "learned":
        return BlipHead(kind, width, len(dimensions), init=init, dropout=dropout)
    others = len(dimensions) - 1
    return BlipOverallHead(
        BlipHead(kind, width, others, init=init, dropout=dropout),
        make_weights(overall, others, width, gate_width=1),
        place=list(dimensions).index(OVERALL),
        gradient=overall_gradient,
    )


def own_head(head: BlipHead | BlipOverallHead) -> BlipHead:
    """The head of the dimensions that have one of their own."""
    return head if isinstance(head, BlipHead) else head.others  # type: ignore[return-value]
