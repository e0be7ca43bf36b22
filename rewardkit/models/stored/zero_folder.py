"""Reads a checkpoint folder of DeepSpeed's ZeRO, tensor by tensor, without DeepSpeed, a GPU, or the ranks it had.

A folder holds (DeepSpeed 0.19, ``runtime/engine.py``)::

    mp_rank_00_model_states.pt                     stages 1 and 2: the module; names and shapes of what trains
    zero_pp_rank_R_mp_rank_00_model_states.pt      stage 3, one a rank: likewise, and rank R's part of what is frozen
    [bf16_]zero_pp_rank_R_mp_rank_00_optim_states.pt   rank R's part of the float32 weights and of Adam's moments

In stages 1 and 2 the weights of a parameter group lie one after the other in one long vector, which is cut into equal
parts (``stage_1_and_2.py``). In stage 3 each weight is cut by itself, into parts of ``ceil(numel / ranks)``
(``stage3.py``). Files stay on disk; a tensor is put together when it is asked for.
"""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rewardkit.errors import CheckpointError
from rewardkit.models.checkpoints import unwrapped_name
from rewardkit.models.stored.interface import WEIGHT

LATEST = "latest"
"""A file beside the folder, with its name."""

_OPTIM = re.compile(r"(?:bf16_)?zero_pp_rank_(\d+)_mp_rank_00_optim_states\.pt")
_MODEL = re.compile(r"(?:zero_pp_rank_(\d+)_)?mp_rank_00_model_states\.pt")


class _Number(int):
    """Stands for DeepSpeed's ``ZeroStageEnum``."""


class _Record:
    """Stands for an object of DeepSpeed that holds plain values and is of no use here."""


_HARMLESS = [
    (_Number, "deepspeed.runtime.zero.config.ZeroStageEnum"),
    (_Record, "deepspeed.runtime.fp16.loss_scaler.LossScaler"),
    (_Record, "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler"),
    (_Record, "deepspeed.utils.tensor_fragment.fragment_address"),
]
"""What a folder's files name beside tensors and plain values, and what it becomes: nothing of it is run."""


def is_zero_folder(path: Path) -> bool:
    """Whether a folder holds a ZeRO checkpoint, itself or in a folder inside it."""
    return path.is_dir() and bool(_files(_find_parts(path), _OPTIM))


class ZeroFolder(Mapping[str, Tensor]):
    """The tensors of a ZeRO checkpoint by name, as a state_dict has them; each is put together when it is looked up.

    Prefixes of wrappers are stripped from names.

    Args:
        path: The folder, or the one around it.

    Attributes:
        record: What the training kept besides (counters, schedules), as it was given to DeepSpeed.
        stage: 1, 2 or 3.
        ranks: How many ranks wrote it.

    Raises:
        CheckpointError: It is no such folder, a part is missing, or it holds objects that could run code.
    """

    def __init__(self, path: Path) -> None:
        self.path = _find_parts(path)
        models, optims = _files(self.path, _MODEL), _files(self.path, _OPTIM)
        if not models or not optims:
            raise CheckpointError(f"{path} is no ZeRO checkpoint: it lacks *_model_states.pt or *_optim_states.pt")
        model_states = [_load(file) for file in models]
        parts = [_load(file)["optimizer_state_dict"] for file in optims]
        self.record = model_states[0]
        self.stage, self.ranks = int(parts[0]["zero_stage"]), _one_number(parts[0]["partition_count"])
        for kind, found in (("optim_states", len(optims)), ("model_states", len(models) if self.stage == 3 else None)):
            if found is not None and found != self.ranks:
                raise CheckpointError(f"{self.path} has {found} files of {kind}; {self.ranks} ranks wrote it")
        if any(any(paddings) for paddings in parts[0].get("param_alignment_paddings") or ()):
            raise CheckpointError(
                f"{self.path} was written with zero_optimization.parameter_alignment; this is not read"
            )
        self._groups = [_groups_of_part(part, self.stage) for part in parts]
        self._optimizer = _optimizer_of_part(parts[0], self.stage)
        shapes = [dict(group) for group in self.record["param_shapes"]]
        self._places = _places(shapes, self.ranks if self.stage == 3 else 1)
        self._whole = _whole_tensors(model_states, self.stage, trained=self._places)
        shared = {unwrapped_name(k): unwrapped_name(v) for k, v in (self.record.get("shared_params") or {}).items()}
        self._tied = {
            second: first for second, first in shared.items() if first in self._places or first in self._whole
        }
        for second in self._tied:
            self._whole.pop(second, None)

    def __getitem__(self, name: str) -> Tensor:
        name = self._tied.get(name, name)
        if name not in self._places:
            return self._whole[name].read()
        weight = self.read(name, WEIGHT)
        assert weight is not None
        return weight

    def __iter__(self) -> Iterator[str]:
        return iter([*self._places, *self._whole, *self._tied])

    def __len__(self) -> int:
        return len(self._places) + len(self._whole) + len(self._tied)

    @property
    def trained(self) -> list[str]:
        """Names of the parameters that the optimiser holds."""
        return list(self._places)

    def shape(self, name: str) -> torch.Size:
        """A tensor's shape, without reading it."""
        name = self._tied.get(name, name)
        return self._places[name].shape if name in self._places else self._whole[name].shape

    def read(self, name: str, what: str) -> Tensor | None:
        """One float32 tensor of a trained parameter.

        Args:
            name: The parameter.
            what: ``weight``, or a moment: ``exp_avg``, ``exp_avg_sq``.

        Returns:
            None where the optimiser has not taken a step yet, or keeps its state in another form.
        """
        place = self._places[name]
        if what not in self._groups[0][place.group]:
            return None
        vectors = [groups[place.group][what].detach() for groups in self._groups]
        if self.stage == 3:
            pieces = [vector.narrow(0, place.start, place.length) for vector in vectors]
        else:
            pieces = _narrow(vectors, place.start, place.length)
        return torch.cat(pieces)[: place.shape.numel()].view(place.shape)

    def steps(self, name: str) -> float | None:
        """Optimiser steps that a parameter has taken; None where its moments are not there."""
        step = self._groups[0][self._places[name].group].get("step")
        return None if step is None else float(step)

    @property
    def group_values(self) -> list[dict[str, Any]]:
        """Learning rate and the like of each of the optimiser's groups."""
        return [{k: v for k, v in group.items() if k != "params"} for group in self._optimizer["param_groups"]]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a parameter lies: in which group's vector, from where, how much (stage 3: in the vector of each rank)."""

    group: int
    start: int
    length: int
    shape: torch.Size


@dataclass(frozen=True, slots=True)
class _Whole:
    """A tensor that no optimiser holds: in one piece, or in flat parts of equal length."""

    shape: torch.Size
    parts: tuple[Tensor, ...]

    def read(self) -> Tensor:
        if len(self.parts) == 1 and self.parts[0].shape == self.shape:
            return self.parts[0]
        return torch.cat([part.reshape(-1) for part in self.parts])[: self.shape.numel()].view(self.shape)


def _places(shapes: Sequence[Mapping[str, torch.Size]], ranks: int) -> dict[str, _Place]:
    """Where each parameter lies in vectors that are shared by so many ranks (1: in the vectors of all ranks joined)."""
    places = {}
    for number, group in enumerate(shapes):
        start = 0
        for name, shape in group.items():
            length = math.ceil(shape.numel() / ranks)
            places[unwrapped_name(name)] = _Place(number, start, length, torch.Size(shape))
            start += length
    return places


def _whole_tensors(
    model_states: Sequence[Mapping[str, Any]], stage: int, *, trained: Mapping[str, Any]
) -> dict[str, _Whole]:
    """Buffers and frozen parameters. Of stage 1 they are in the module alone."""
    first = model_states[0]
    if stage < 3:
        module = {unwrapped_name(name): tensor for name, tensor in first["module"].items()}
        return {n: _Whole(t.shape, (t,)) for n, t in module.items() if n not in trained and isinstance(t, Tensor)}
    # Parameters are empty there. What else a module keeps need not be a buffer: counts of a metric are not.
    module = {unwrapped_name(name): tensor for name, tensor in first["module"].items() if isinstance(tensor, Tensor)}
    found = {n: _Whole(t.shape, (t,)) for n, t in module.items() if n not in trained and t.numel()}
    for name, shape in (first.get("frozen_param_shapes") or {}).items():
        parts = tuple(states["frozen_param_fragments"][name] for states in model_states)
        found[unwrapped_name(name)] = _Whole(torch.Size(shape), parts)
    return found


def _optimizer_of_part(part: Mapping[str, Any], stage: int) -> Mapping[str, Any]:
    """The optimiser's own state_dict; an elastic checkpoint keeps none that could be read."""
    optimizer = part["optimizer_state_dict" if stage == 3 else "base_optimizer_state"]
    return optimizer if isinstance(optimizer, Mapping) else {"state": {}, "param_groups": []}


def _groups_of_part(part: Mapping[str, Any], stage: int) -> list[dict[str, Any]]:
    """One rank's vectors: for each group its weights, moments and step."""
    weights = part["fp32_flat_groups" if stage == 3 else "single_partition_of_fp32_groups"]
    state = _optimizer_of_part(part, stage)["state"]
    return [{WEIGHT: vector, **state.get(number, {})} for number, vector in enumerate(weights)]


def _narrow(vectors: Sequence[Tensor], start: int, length: int) -> list[Tensor]:
    """Elements of vectors as if they were joined."""
    pieces = []
    for vector in vectors:
        if start < len(vector) and length:
            pieces.append(vector.narrow(0, start, min(length, len(vector) - start)))
            length -= len(pieces[-1])
        start = max(0, start - len(vector))
    assert not length, "a parameter lies beyond the end of its group"
    return pieces


def _find_parts(path: Path) -> Path:
    """The folder with the parts: itself, or the one inside that ``latest`` names, or the only one."""
    if _files(path, _OPTIM) or not path.is_dir():
        return path
    if (path / LATEST).is_file():
        inner = path / (path / LATEST).read_text(encoding="utf-8").strip()
        if not inner.is_dir():
            raise CheckpointError(f"{path / LATEST} names {inner.name}, which is not there")
        return inner
    inside = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and _files(folder, _OPTIM)]
    if len(inside) > 1:
        names = ", ".join(folder.name for folder in inside)
        raise CheckpointError(f"{path} holds several checkpoints ({names}) and no file {LATEST}; name one of them")
    return inside[0] if inside else path


def _files(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    """The files of a kind, by rank."""
    if not folder.is_dir():
        return []
    matched = [(pattern.fullmatch(path.name), path) for path in folder.iterdir()]
    return [path for match, path in sorted(((m, p) for m, p in matched if m), key=lambda pair: int(pair[0][1] or 0))]


def _load(path: Path) -> dict[str, Any]:
    try:
        with torch.serialization.safe_globals(_HARMLESS):  # type: ignore[arg-type]
            try:
                record: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError as error:
                if "mmap can only be used" not in str(error):
                    raise
                record = torch.load(path, map_location="cpu", weights_only=True)  # torch's format before 1.6
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors and is not opened, because unpickling it could run code "
            f"({str(error).splitlines()[0]})"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    return record


def _one_number(value: Any) -> int:
    """DeepSpeed writes the number of parts for each group; all are the same without experts."""
    return int(max(value)) if isinstance(value, list | tuple) else int(value)
