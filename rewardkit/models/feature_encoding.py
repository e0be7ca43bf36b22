"""Encodes the images and prompts of a shard set by frozen towers into the cache's features, shard by shard."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rewardkit.data.features import BadFeature, write_shard
from rewardkit.data.images import ImageTransform, decode_image, normalise, resize_uint8
from rewardkit.data.index import ShardIndex
from rewardkit.data.stream import leave_signals_alone
from rewardkit.errors import BadSample, CheckpointError, RewardkitError
from rewardkit.models.bundle_record import versions
from rewardkit.models.clip import CLIPReward
from rewardkit.models.tokenizers import TextTokenizer, cut_padding

_TRAINED = ("logit_scale", "logit_bias")
"""Parameters of a CLIP that no feature depends on."""

_PROBES = ["a red fox in the snow", 'Zwei Katzen, 3 dogs & a café: "naïve" 東京', "word " * 200]
"""Texts whose tokens tell one tokenizer from another."""


def freeze_towers(model: CLIPReward) -> None:
    """Freezes both towers wholly, with their projections; the head and the logit scale stay as they are.

    ``layer_groups`` always trains a projection that open_clip puts on another library's tower; where features are
    kept, it cannot.
    """
    for name, parameter in model.clip.named_parameters():
        if name not in _TRAINED:
            parameter.requires_grad_(False)


def towers_digest(model: CLIPReward) -> str:
    """Hex; identifies all that a feature follows from but the data: weights, architecture, transform, tokenizer.

    Versions of the packages that can move a feature are part of it.
    """
    digest = hashlib.sha256()
    about = {
        "architecture": model.architecture.config,
        "transform": model.transform.to_dict(),
        "context_length": model.tokenizer.context_length,
        "pad_id": model.tokenizer.pad_id,
        "tokens": model.tokenizer(_PROBES).tolist(),
        "versions": {name: number.split("+")[0] for name, number in versions().items() if name != "python"},
    }
    digest.update(json.dumps(about, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.clip.state_dict().items()):
        if name not in _TRAINED:
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Part:
    """Neighbouring groups of one shard that are encoded together.

    Attributes:
        positions: In the index.
        last: Whether the shard ends with them.
    """

    shard: int
    positions: range
    last: bool


@dataclass(frozen=True, slots=True)
class ReadPart:
    """A part as a loader worker read it.

    Attributes:
        pixels: uint8 ``[n, 3, S, S]``, candidates in the index's order; black where ``bad`` names one.
        tokens: int64 ``[G, L]``.
        missing: bool ``[n]``, candidates without features.
        unread: bool ``[G]``, groups without features.
    """

    part: Part
    pixels: Tensor
    tokens: Tensor
    missing: NDArray[np.bool_]
    unread: NDArray[np.bool_]
    bad: list[BadFeature]


class PartReader(Dataset[ReadPart]):
    """Reads, decodes and tokenises parts; runs on loader workers.

    Args:
        index: The source.
        transform: The model's.
        tokenizer: The model's.
    """

    def __init__(self, index: ShardIndex, transform: ImageTransform, tokenizer: TextTokenizer) -> None:
        self._index = index
        self._transform = transform
        self._tokenizer = tokenizer

    def __getitems__(self, part: Part) -> ReadPart | RewardkitError:
        """One part."""
        try:
            return self._read(part)
        except RewardkitError as error:
            return error

    def _read(self, part: Part) -> ReadPart:
        size = self._transform.size
        black = torch.zeros(3, size, size, dtype=torch.uint8)
        pixels: list[Tensor] = []
        prompts: list[str] = []
        bad: list[BadFeature] = []
        missing: list[bool] = []
        for position in part.positions:
            try:
                sample = self._index.sample(position)
            except BadSample as error:
                count = int(self._index.candidates[position])
                bad.append(BadFeature(position, None, error.reason))
                pixels += [black] * count
                missing += [True] * count
                prompts.append("")
                continue
            prompts.append(sample.group.prompt)
            for number, data in enumerate(sample.images):
                try:
                    image = decode_image(data, decode=self._transform.decode, size=size)
                except BadSample as error:
                    bad.append(BadFeature(position, number, f"{sample.group.candidates[number].file}: {error.reason}"))
                    pixels.append(black)
                else:
                    pixels.append(resize_uint8(image, self._transform))
                missing.append(pixels[-1] is black)
        tokens = cut_padding(self._tokenizer(prompts), self._tokenizer.pad_id)
        whole = {b.position for b in bad if b.candidate is None}
        unread = np.array([position in whole for position in part.positions])
        return ReadPart(part, torch.stack(pixels), tokens, np.array(missing), unread, bad)


class FeatureEncoder:
    """Encodes shards with a model's towers.

    Args:
        model: Its towers.
        device: Where to compute; the towers are moved there.
        precision: ``32``, ``bf16`` or ``16``: the arithmetic of the towers, as in training.
        dtype: What features are stored in, ``float32`` or ``float16``.
        images: Images in one forward pass.
        workers: Processes that decode; 0 decodes in this one.
    """

    def __init__(
        self, model: CLIPReward, *, device: torch.device, precision: str, dtype: str, images: int, workers: int
    ) -> None:
        self._model = model.to(device)
        self._device = device
        self._autocast = {"bf16": torch.bfloat16, "16": torch.float16}.get(precision)
        self._dtype = np.dtype(dtype)
        self._images = images
        self._workers = workers

    def encode(
        self, index: ShardIndex, shards: Iterator[int], folder: Path, *, progress: Callable[[int], None]
    ) -> None:
        """Encodes shards and writes each as it ends. What a shard's file holds follows from the shard alone.

        Args:
            index: The source.
            shards: Taken one after the other.
            folder: From ``feature_folder``.
            progress: Called with the number of images encoded since it was called last.

        Raises:
            DataError: A shard cannot be read.
            CheckpointError: The towers give features that are not finite.
        """
        was_training = self._model.training
        self._model.eval()
        try:
            done: list[tuple[NDArray[np.floating], NDArray[np.floating]]] = []
            bad: list[BadFeature] = []
            for read in self._parts(index, shards):
                done.append(self._features(read, index))
                bad += read.bad
                progress(len(read.pixels))
                if read.part.last:
                    image, text = (np.concatenate(column) for column in zip(*done, strict=True))
                    write_shard(folder, read.part.shard, image=image, text=text, bad=bad)
                    done, bad = [], []
        finally:
            self._model.train(was_training)

    def _parts(self, index: ShardIndex, shards: Iterator[int]) -> Iterator[ReadPart]:
        loader: DataLoader[Any] = DataLoader(
            PartReader(index, self._model.transform, self._model.tokenizer),
            batch_sampler=parts_of(index, shards, images=self._images),  # type: ignore[arg-type]
            collate_fn=_as_it_is,
            num_workers=self._workers,
            worker_init_fn=leave_signals_alone,
        )
        for read in loader:
            if isinstance(read, RewardkitError):
                raise read
            yield read

    @torch.inference_mode()
    def _features(self, read: ReadPart, index: ShardIndex) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Image features ``[n, E]`` and text features ``[G, E]``; rows that there is nothing for are 0."""
        model = self._model
        with torch.autocast(self._device.type, dtype=self._autocast, enabled=self._autocast is not None):
            pixels = read.pixels.to(self._device)
            image = model.encode_pixels(normalise(pixels, model.transform.mean, model.transform.std))
            text = model.encode_tokens(read.tokens.to(self._device))
        made = []
        for features, empty in ((image, read.missing), (text, read.unread)):
            with np.errstate(over="ignore"):  # told below
                array = features.float().cpu().numpy().astype(self._dtype)
            array[empty] = 0
            made.append(array)
        if not all(np.isfinite(array).all() for array in made):
            first, last = read.part.positions[0], read.part.positions[-1]
            raise CheckpointError(
                f"{index.path(first)}: the towers give features that are not finite, or too large for "
                f"{self._dtype.name}, in groups {first} to {last}; take data.feature_dtype=float32 and "
                "trainer.precision=32, and look whether the weights are sound"
            )
        return made[0], made[1]


def parts_of(index: ShardIndex, shards: Iterator[int], *, images: int) -> Iterator[Part]:
    """Cuts shards into parts of about so many images; a group is never cut."""
    for shard in shards:
        begin, end = np.searchsorted(index.shard, [shard, shard + 1]).tolist()
        for positions in _runs(index.candidates[begin:end].tolist(), images):
            at = range(begin + positions.start, begin + positions.stop)
            yield Part(shard, at, at.stop == end)


def _runs(counts: Sequence[int], most: int) -> Iterator[range]:
    """Runs of neighbours whose counts add up to ``most`` or less, or of one."""
    start, total = 0, 0
    for n, count in enumerate(counts):
        if total and total + count > most:
            yield range(start, n)
            start, total = n, 0
        total += count
    if start < len(counts):
        yield range(start, len(counts))


def _as_it_is(part: Any) -> Any:
    return part
