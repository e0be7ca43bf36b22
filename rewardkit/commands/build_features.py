"""From the options of ``fit`` to the features of its sources: found in the cache, or encoded and told how far it is."""

from __future__ import annotations

import hashlib
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from rewardkit.config.schema import CacheOptions, FitOptions
from rewardkit.data.cache import cache_root
from rewardkit.data.feature_sharing import share_shards
from rewardkit.data.features import FeatureShards, feature_bytes, feature_folder, read_done
from rewardkit.data.index import ShardIndex
from rewardkit.engine.interruption import TrainingStopped
from rewardkit.engine.precision import find_precision
from rewardkit.errors import EXIT_INTERRUPTED, EXIT_PREEMPTED, UserError
from rewardkit.models.clip import CLIPReward
from rewardkit.models.feature_encoding import FeatureEncoder, towers_digest
from rewardkit.models.kinds import AnyReward

FORMAT_VERSION = 1
_SECONDS_BETWEEN_LINES = 10.0


class CachedFeatures:
    """Finds the features of a source in the cache, and encodes what is missing (``data.features.FeatureMaker``).

    Args:
        model: Its towers encode.
        precision: ``32``, ``bf16`` or ``16``.
        dtype: What features are stored in.
        images: Images in one forward pass.
        workers: Processes that decode.
        cache: Where features are kept, and how much.
        console: Where progress goes.

    Attributes:
        digest: Identifies towers, transform, tokenizer, arithmetic and number type.
    """

    def __init__(
        self,
        model: CLIPReward,
        *,
        precision: str,
        dtype: str,
        images: int,
        workers: int,
        cache: CacheOptions,
        console: Console,
    ) -> None:
        self._model = model
        self._precision, self._dtype, self._images, self._workers = precision, dtype, images, workers
        self._cache = cache
        self._console = console
        what = [towers_digest(model), precision, dtype, FORMAT_VERSION]
        self.digest = hashlib.sha256(json.dumps(what).encode()).hexdigest()

    def __call__(self, index: ShardIndex, *, name: str, rank: int, ranks: int, device: Any) -> FeatureShards:
        """The features of one source, whole; see ``FeatureMaker``.

        Raises:
            UserError: They would not fit into the cache, or it cannot be written.
            TrainingStopped: A signal came; what is encoded so far is kept.
        """
        folder = self._folder(index)
        shards = len(index.shards)
        telling = EncodingProgress(index, folder, name=name, console=self._console)
        if telling.is_complete:
            self._console.print(
                f"features of {name}: all {len(index)} groups are in the cache, nothing is encoded",
                highlight=False,
                soft_wrap=True,
            )
            return FeatureShards(folder, index)
        encoder = FeatureEncoder(
            self._model,
            device=device,
            precision=self._precision,
            dtype=self._dtype,
            images=self._images,
            workers=self._workers,
        )
        with _stop_at_signals(), telling:
            share_shards(
                folder,
                shards,
                rank=rank,
                ranks=ranks,
                encode=lambda mine: encoder.encode(index, mine, folder, progress=telling.add),
            )
        return FeatureShards(folder, index)

    def _folder(self, index: ShardIndex) -> Path:
        width = int(self._model.architecture.config["embed_dim"])
        size, bound = feature_bytes(index, width=width, dtype=self._dtype), int(self._cache.max_gb * 1e9)
        if size > bound:
            half = " or data.feature_dtype=float16" if self._dtype == "float32" else ""
            raise UserError(
                f"the features of {index.place} take {size / 1e9:.3g} GB, more than cache.max_gb="
                f"{self._cache.max_gb:g}; give cache.max_gb={size / 1e9 * 1.2:.3g} or more{half}"
            )
        about = {
            "version": FORMAT_VERSION,
            "source": str(index.place if index.remote else index.folder.resolve()),
            "source_digest": index.digest,
            "towers": self._model.architecture.name,
            "towers_digest": self.digest,
            "transform": self._model.transform.to_dict(),
            "precision": self._precision,
            "dtype": self._dtype,
        }
        digest = hashlib.sha256(f"{self.digest} {index.digest}".encode()).hexdigest()[:32]
        return feature_folder(cache_root(self._cache.dir), digest, max_bytes=bound, about=about)


class EncodingProgress:
    """Says how far the encoding of a source is: a bar on a terminal, a line now and then elsewhere.

    Images that other processes encode at the same time count as soon as their shard is whole.

    Args:
        index: The source.
        folder: Where its features appear.
        name: What to call it.
        console: Where to show it.
    """

    def __init__(self, index: ShardIndex, folder: Path, *, name: str, console: Console) -> None:
        self._folder = folder
        self._name = name
        self._console = console
        rows = index.starts(index.candidates)
        firsts = index.shard.searchsorted(range(len(index.shards) + 1))
        self._images = [int(rows[b] - rows[a]) for a, b in pairwise(firsts)]
        self.total = sum(self._images)
        self._there = {shard for shard in range(len(self._images)) if read_done(folder, shard) is not None}
        self._before = self._done = sum(self._images[shard] for shard in self._there)
        self._looked = self._told = self._began = time.monotonic()
        self._mine = 0
        self._bar: Progress | None = None

    @property
    def is_complete(self) -> bool:
        """Whether nothing was missing when it was made."""
        return len(self._there) == len(self._images)

    def __enter__(self) -> EncodingProgress:
        self._began = time.monotonic()
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn(f"encoding {self._name}"),
                BarColumn(),
                TextColumn("{task.completed:.0f}/{task.total:.0f} images  {task.fields[speed]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=self.total, completed=self._before, speed="")
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        if kind is None:
            seconds = time.monotonic() - self._began
            kept = f", {self._before} were there" if self._before else ""
            self._say(
                f"features of {self._name}: {self.total - self._before} images encoded in {seconds:.1f} s "
                f"({self._mine / max(seconds, 1e-9):.0f} images/s by this process{kept}), kept in {self._folder}"
            )

    def add(self, images: int) -> None:
        """Counts images that this process has encoded."""
        self._mine += images
        now = time.monotonic()
        if now - self._looked > 2.0:
            self._looked = now
            missing = [shard for shard in range(len(self._images)) if shard not in self._there]
            self._there |= {shard for shard in missing if read_done(self._folder, shard) is not None}
        whole = sum(self._images[shard] for shard in self._there)
        self._done = min(self.total, max(self._done, whole, self._before + self._mine))
        speed = (self._done - self._before) / max(now - self._began, 1e-9)
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, speed=f"{speed:.0f} images/s")
        elif now - self._told > _SECONDS_BETWEEN_LINES:
            self._told = now
            left = (self.total - self._done) / max(speed, 1e-9)
            self._say(
                f"features of {self._name}: {self._done}/{self.total} images, {speed:.0f} images/s, {_clock(left)} left"
            )

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)


def build_features(options: FitOptions, model: AnyReward, console: Console) -> CachedFeatures | None:
    """What makes features, where ``data.features`` asks for them."""
    data = options.data
    if not data.features:
        return None
    assert isinstance(model, CLIPReward)  # checks refuse other kinds
    return CachedFeatures(
        model,
        precision=find_precision(options.trainer.precision),
        dtype=data.feature_dtype,
        images=data.feature_images,
        workers=data.workers,
        cache=options.cache,
        console=console,
    )


@contextmanager
def _stop_at_signals() -> Iterator[None]:
    """Encoding ends at once at Ctrl-C or a cluster's signal: whole shards are kept, and training has not begun."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TrainingStopped(0, EXIT_INTERRUPTED if number == signal.SIGINT else EXIT_PREEMPTED)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _clock(seconds: float) -> str:
    """``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
