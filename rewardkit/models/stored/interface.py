"""What every stored training answers, in whichever files it lies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

WEIGHT = "weight"
MOMENTS = ("exp_avg", "exp_avg_sq")
"""What is kept of a trained parameter: itself, and Adam's two moments under torch's names."""


class StoredTraining(Protocol):
    """The tensors of a training by their names in the LightningModule; each is read when it is asked for.

    Attributes:
        record: What the training kept besides (counters, schedules, callbacks), as plain values.
    """

    record: dict[str, Any]

    def __getitem__(self, name: str) -> Tensor:
        """A tensor of the module's state_dict."""
        ...

    def __iter__(self) -> Iterator[str]:
        """The names of the state_dict; frozen weights may be left out."""
        ...

    def __len__(self) -> int:
        """How many."""
        ...

    @property
    def trained(self) -> list[str]:
        """Names of the parameters that the optimiser holds."""
        ...

    def shape(self, name: str) -> torch.Size:
        """A tensor's shape, without reading it."""
        ...

    def read(self, name: str, what: str) -> Tensor | None:
        """One float32 tensor of a trained parameter: its ``weight``, or a moment; None where it has none yet."""
        ...

    def steps(self, name: str) -> float | None:
        """Optimiser steps that a parameter has taken; None where it has taken none."""
        ...

    @property
    def group_values(self) -> list[dict[str, Any]]:
        """Learning rate and the like of each of the optimiser's groups."""
        ...
