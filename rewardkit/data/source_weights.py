"""Weights of sources: who has which, and how long an epoch of weighted sources is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rewardkit.config.messages import did_you_mean
from rewardkit.data.mixture import Mixture
from rewardkit.data.sources import Source
from rewardkit.errors import UserError


def weighted(sources: Sequence[Source], weights: Mapping[str, float]) -> list[Source]:
    """Sources with their weights.

    Args:
        sources: In order.
        weights: By the source's path as it was given, or by its label (the name of its folder). Empty: no weights.

    Raises:
        UserError: A source has no weight, a name fits none or several, or a weight is not above 0.
    """
    if not weights:
        return list(sources)
    wrong = [f"{name} is {weight:g}" for name, weight in weights.items() if not 0 < weight < float("inf")]
    if wrong:
        raise UserError(f"data.weights: {', '.join(wrong)}; a weight is a number above 0. Leave a source out instead")
    taken: dict[int, float] = {}
    for name, weight in weights.items():
        fits = [n for n, source in enumerate(sources) if name in (source.path, source.label)]
        if not fits:
            known = [source.label for source in sources]
            raise UserError(
                f"data.weights names {name!r}, which is no source of data.train ({', '.join(known)})."
                f"{did_you_mean(name, known)}"
            )
        if len(fits) > 1 or fits[0] in taken:
            which = ", ".join(sources[n].path for n in fits)
            raise UserError(f"data.weights: {name!r} could be {which}; name each source once, by its path")
        taken[fits[0]] = weight
    without = [source.label for n, source in enumerate(sources) if n not in taken]
    if without:
        raise UserError(f"data.weights: give {', '.join(without)} a weight too; every source has one, or none")
    return [replace(source, weight=taken[n]) for n, source in enumerate(sources)]


def weights_of(sources: Sequence[Source]) -> list[float] | None:
    """The weights of sources, None where they have none.

    Raises:
        UserError: Some have one and some have none.
    """
    weights = [source.weight for source in sources if source.weight is not None]
    if weights and len(weights) < len(sources):
        without = ", ".join(source.path for source in sources if source.weight is None)
        raise UserError(f"{without} has no weight, other sources have; give every source one, or none")
    return weights or None


def epoch_units(mixture: Mixture, pairing: str, epoch_groups: int | None, batch_groups: int) -> int:
    """Units (groups; with ``pairing="pairs"`` comparisons) in one epoch of training data.

    Args:
        mixture: The data.
        pairing: ``grouped`` or ``pairs``.
        epoch_groups: As asked for; needed with weights, and only there.
        batch_groups: Units in one optimiser step.

    Raises:
        UserError: It is missing, too small, or given without weights; or a source has no unit to draw.
    """
    units = mixture.units().position if pairing == "pairs" else None
    there = len(mixture) if units is None else units.size
    if mixture.weights is None:
        if epoch_groups is not None:
            raise UserError(
                f"data.epoch_groups={epoch_groups} says how long an epoch of weighted sources is; give data.weights "
                f"too, or leave it out (an epoch is then every group once: {there})"
            )
        return there
    if epoch_groups is None:
        raise UserError(
            "data.weights: sources that are mixed by weight are never all read at once, so say how many groups make an "
            f"epoch: data.epoch_groups={there} is as many as there are"
        )
    if epoch_groups < batch_groups:
        raise UserError(f"data.epoch_groups={epoch_groups} is fewer than one step of data.batch_groups={batch_groups}")
    if units is not None:
        counts = units.searchsorted(mixture.starts)
        for index, first, end in zip(mixture.indices, counts[:-1], counts[1:], strict=True):
            if first == end:
                raise UserError(f"{index.place}: it has a weight, but no comparison on the model's dimensions to draw")
    return epoch_groups
