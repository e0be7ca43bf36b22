"""Reads a checkpoint that is one file, as one process or DDP writes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rewardkit.errors import CheckpointError
from rewardkit.models.stored.interface import WEIGHT

PARAMETERS = "parameters"
"""In the file: the names of the optimiser's parameters, group by group, in the order in which it numbers them."""


def read_checkpoint(path: Path, *, in_memory: bool = False) -> dict[str, Any]:
    """Reads a single-file checkpoint without unpickling anything but tensors and plain values.

    Args:
        path: The file.
        in_memory: Read the tensors too; else they stay on disk until used.

    Raises:
        CheckpointError: The file is no checkpoint, or is damaged.
    """
    try:
        record: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=not in_memory)
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint at {path}") from None
    except Exception as error:  # torch raises many kinds for a damaged file
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {str(error).splitlines()[0]}") from error
    if not isinstance(record, dict) or "state_dict" not in record or "global_step" not in record:
        raise CheckpointError(f"{path} is not a checkpoint of a run (no state_dict and global_step in it)")
    return record


class SingleFile(Mapping[str, Tensor]):
    """A ``StoredTraining`` in one file.

    Raises:
        CheckpointError: The file is no checkpoint, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        checkpoint = read_checkpoint(path)
        self._weights: dict[str, Tensor] = checkpoint.pop("state_dict")
        optimizer: dict[str, Any] = (checkpoint.pop("optimizer_states", None) or [{"state": {}, "param_groups": []}])[0]
        self._groups: list[dict[str, Any]] = optimizer["param_groups"]
        groups = checkpoint.get(PARAMETERS) or [[] for _ in self._groups]
        numbers = [number for group in self._groups for number in group["params"]]
        names = [name for group in groups for name in group]
        self._state = {name: optimizer["state"].get(number, {}) for name, number in zip(names, numbers, strict=False)}
        self.record = checkpoint

    def __getitem__(self, name: str) -> Tensor:
        return self._weights[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)

    @property
    def trained(self) -> list[str]:
        """Names of the parameters that the optimiser holds."""
        return list(self._state)

    def shape(self, name: str) -> torch.Size:
        """A tensor's shape."""
        return self._weights[name].shape

    def read(self, name: str, what: str) -> Tensor | None:
        """A trained parameter's weight, or one of its moments."""
        return self._weights[name] if what == WEIGHT else self._state[name].get(what)

    def steps(self, name: str) -> float | None:
        """Optimiser steps that a parameter has taken."""
        step = self._state[name].get("step")
        return None if step is None else float(step)

    @property
    def group_values(self) -> list[dict[str, Any]]:
        """Learning rate and the like of each of the optimiser's groups."""
        return [{key: value for key, value in group.items() if key != "params"} for group in self._groups]
