"""Reads a checkpoint folder of FSDP (``engine/fsdp_checkpoints.py`` writes it).

Torch's FSDP2 gives each rank some rows of each parameter, and of its moments::

    rank-00000.pt ...   {"rows": {name: [first, end]}, "tensors": {name: {"weight", "exp_avg", "exp_avg_sq", "step"}}}
    whole.pt            {"shapes": {name: shape}, "tensors": {name: buffer}, "groups": [...], "record": {...}}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rewardkit.errors import CheckpointError
from rewardkit.models.stored.interface import WEIGHT

WHOLE = "whole.pt"


def name_of_rank(rank: int) -> str:
    """File name of a rank's rows."""
    return f"rank-{rank:05d}.pt"


def is_row_folder(path: Path) -> bool:
    """Whether a folder holds such a checkpoint."""
    return (path / WHOLE).is_file()


class RowFolder(Mapping[str, Tensor]):
    """A ``StoredTraining`` in the rows of many ranks.

    Raises:
        CheckpointError: A file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        whole = _load(path / WHOLE)
        self.record: dict[str, Any] = whole["record"]
        self._shapes = {name: torch.Size(shape) for name, shape in whole["shapes"].items()}
        self._tied: dict[str, str] = whole["tied"]
        self._buffers: dict[str, Tensor] = whole["tensors"]
        self._groups: list[dict[str, Any]] = whole["groups"]
        self._trained: list[str] = whole["trained"]
        self._ranks = [_load(path / name_of_rank(rank)) for rank in range(whole["ranks"])]

    def __getitem__(self, name: str) -> Tensor:
        name = self._tied.get(name, name)
        return self._buffers[name] if name in self._buffers else self._join(name, WEIGHT)

    def __iter__(self) -> Iterator[str]:
        return iter([*self._shapes, *self._buffers, *self._tied])

    def __len__(self) -> int:
        return len(self._shapes) + len(self._buffers) + len(self._tied)

    @property
    def trained(self) -> list[str]:
        """Names of the parameters that the optimiser holds."""
        return self._trained

    def shape(self, name: str) -> torch.Size:
        """A tensor's shape, without reading it."""
        name = self._tied.get(name, name)
        return self._buffers[name].shape if name in self._buffers else self._shapes[name]

    def read(self, name: str, what: str) -> Tensor | None:
        """A trained parameter's weight, or one of its moments."""
        return self._join(name, what) if what in self._ranks[0]["tensors"][name] else None

    def steps(self, name: str) -> float | None:
        """Optimiser steps that a parameter has taken."""
        step = self._ranks[0]["tensors"][name].get("step")
        return None if step is None else float(step)

    @property
    def group_values(self) -> list[dict[str, Any]]:
        """Learning rate and the like of each of the optimiser's groups."""
        return self._groups

    def _join(self, name: str, what: str) -> Tensor:
        parts = sorted(
            ((rank["rows"][name], rank["tensors"][name][what]) for rank in self._ranks if name in rank["tensors"]),
            key=lambda part: tuple(part[0]),
        )
        found, expected = (
            sum(end - first for (first, end), _ in parts),
            self._shapes[name][0] if self._shapes[name] else 1,
        )
        if found != expected:
            raise CheckpointError(f"{name}: the ranks' files hold {found} of {expected} rows")
        return torch.cat([tensor for _, tensor in parts]).view(self._shapes[name])


def _load(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing") from None
    except Exception as error:  # torch raises many kinds for a damaged file
        raise CheckpointError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    return record
