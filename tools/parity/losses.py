"""Replays ``losses.json``: values and gradients of every objective, in float64.

A case is replayed through the pure function and through the objective that ``fit`` minimises. Where a published
program has a defect, the sound value (``corrected``) is compared; what starts with ``reference`` is that program's
literal output, which rewardkit does not offer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from loss_lists import LIST_REPLAYS
from loss_pairs import PAIR_REPLAYS
from loss_replay import Replay
from measure import Check, Malformed, need

_REPLAYS: dict[str, Callable[[Mapping[str, Any]], Replay]] = {**PAIR_REPLAYS, **LIST_REPLAYS}

COVERED = tuple(_REPLAYS)
"""Kinds of ``losses.json`` that rewardkit has an answer to."""


def check_losses(kind: str, cases: list[Any], meta: Mapping[str, Any]) -> Check:
    """Losses and gradients in float64."""
    check = Check(kind, len(cases))
    tolerance = {"atol": float(meta.get("atol", 1e-7)), "rtol": float(meta.get("rtol", 1e-6))}
    for n, case in enumerate(cases):
        need(case, "inputs", "expected")
        where = f"{kind}/{case.get('name', n)}"
        replay = _REPLAYS[kind](case)
        for part in ("expected", *(key for key in replay.beside if key in case)):
            wanted = case[part] if isinstance(case[part], Mapping) else {part: case[part]}
            for name, value in wanted.items():
                if name.startswith("reference"):
                    continue
                if name not in replay.found:
                    raise Malformed(f"{where}: {name} is not part of the schema")
                _compare(check, f"{where}/{name}", replay.found[name], value, tolerance)
        _compare_gradients(check, where, replay, case.get("grad", {}), tolerance)
    return check


def _compare_gradients(check: Check, where: str, replay: Replay, wanted: Mapping[str, Any], tolerance: Any) -> None:
    """Gradients that the replay has, and those of ``of`` with respect to its leaves."""
    of = wanted.get("of", "loss_sum")
    values = {name: value for name, value in wanted.items() if not isinstance(value, str)}
    if values and not replay.gradients and of not in replay.found and of not in replay.gradients_of:
        raise Malformed(f"{where}: gradients of {of}, which is not part of the schema")
    unknown = [name for name in values if name not in replay.leaves and name not in replay.gradients]
    if unknown:
        raise Malformed(f"{where}: gradients with respect to {', '.join(unknown)}")
    for name, value in values.items():
        if name in replay.gradients:
            got = replay.gradients[name]
        else:
            loss = replay.gradients_of[of] if of in replay.gradients_of else replay.found[of]
            leaf = replay.leaves[name]
            found = torch.autograd.grad(loss, leaf, retain_graph=True)
            got = list(found) if isinstance(leaf, list) else found[0]
        _compare(check, f"{where}/grad {name}", got, value, tolerance)


def _compare(check: Check, where: str, got: Any, wanted: Any, tolerance: Any) -> None:
    """Numbers, lists of lists of any length, or numbers by name."""
    if isinstance(wanted, Mapping):
        for name, value in wanted.items():
            if name not in got:
                raise Malformed(f"{where}/{name} is not part of the schema")
            _compare(check, f"{where}/{name}", got[name], value, tolerance)
    elif isinstance(got, list):
        if len(got) != len(wanted):
            raise Malformed(f"{where}: {len(wanted)} rows for {len(got)}")
        for n, (row, value) in enumerate(zip(got, wanted, strict=True)):
            _compare(check, f"{where}[{n}]", row, value, tolerance)
    else:
        check.numbers(where, torch.as_tensor(got).detach(), wanted, **tolerance)
