"""Reads every sample of a shard set, decodes every image and compares it with its record."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rewardkit.data.images import decode_image
from rewardkit.data.index import ShardIndex
from rewardkit.data.open_index import open_index
from rewardkit.data.remote import is_url
from rewardkit.data.remote_samples import OtherBytes
from rewardkit.data.shards import Sample, open_sample, scan_shard, shard_paths
from rewardkit.errors import BadSample, DataError, RewardkitError


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a shard set: where, and what. The key is empty where the sample's name cannot be read."""

    shard: str
    key: str
    reason: str

    def __str__(self) -> str:
        return ", ".join(part for part in (self.shard, self.key) if part) + f": {self.reason}"


@dataclass(frozen=True, slots=True)
class Verified:
    """What ``verify_shards`` found, and in how much."""

    groups: int
    images: int
    problems: list[Problem]


def verify_shards(
    folder: str | Path, *, workers: int = 2, progress: Callable[[int], None] = lambda groups: None
) -> Verified:
    """Checks a shard set as thoroughly as its files allow.

    Each sample is read by its place in the index, so that damage to one hides no other. Without a usable index, which
    is a problem of its own, shards are read from their beginning to the first damage.

    Args:
        folder: The shards, or the URL of a folder of shards with its index.
        workers: Threads that decode.
        progress: Called with the number of samples read, after each.

    Raises:
        UserError: The folder holds no shards.
        DataError: A shard cannot be read at all, or a server cannot be read.
    """
    problems: list[Problem] = []
    groups = images = 0
    for found in _in_threads(_places(folder, problems), workers):
        groups += 1
        images += found.images
        problems += found.problems
        progress(groups)
    return Verified(groups, images, problems)


def _places(folder: str | Path, problems: list[Problem]) -> Iterator[Callable[[], Verified]]:
    """One check per sample, not done yet; problems of the shards and the index themselves are noted."""
    paths = [] if is_url(folder) else shard_paths(Path(folder))
    try:
        index = open_index(folder)
    except RewardkitError as error:
        if is_url(folder):  # without its index nothing is known of it
            raise
        problems.append(Problem("index.json", "", str(error)))
    else:
        problems += [Problem(bad["shard"], bad["key"], bad["reason"]) for bad in index.left_out]
        for position in range(len(index)):
            yield _by_index(index, position)
        return
    for path in paths:
        try:
            for stored in scan_shard(path):
                try:
                    sample = open_sample(stored)
                except BadSample as error:
                    problems.append(Problem(path.name, stored.key, error.reason))
                else:
                    yield _of_sample(path.name, sample)
        except DataError as error:
            problems.append(Problem(path.name, "", str(error)))


def _by_index(index: ShardIndex, position: int) -> Callable[[], Verified]:
    def check() -> Verified:
        shard = index.shards[index.shard[position]]
        try:
            sample = index.sample(position)
        except BadSample as error:
            where = f"sample at byte {index.offset[position]}"
            return Verified(1, 0, [Problem(shard, where, error.reason)])
        except OtherBytes as error:
            return Verified(1, 0, [Problem(shard, "", str(error))])
        return check_sample(shard, sample)

    return check


def _of_sample(shard: str, sample: Sample) -> Callable[[], Verified]:
    return lambda: check_sample(shard, sample)


def check_sample(shard: str, sample: Sample) -> Verified:
    """Decodes the images of one sample and compares bytes and sizes with its record."""
    problems = []
    for candidate, data in zip(sample.group.candidates, sample.images, strict=True):
        wrong = []
        if candidate.sha256 is not None and hashlib.sha256(data).hexdigest() != candidate.sha256:
            wrong.append("its bytes are not those of the record's sha256")
        try:
            height, width = decode_image(data).shape[-2:]
        except BadSample as error:
            wrong.append(error.reason)
        else:
            recorded = (candidate.width or width, candidate.height or height)
            if recorded != (width, height):
                wrong.append(f"it is {width} x {height}, the record says {recorded[0]} x {recorded[1]}")
        problems += [Problem(shard, sample.key, f"{candidate.file}: {reason}") for reason in wrong]
    return Verified(1, len(sample.images), problems)


def _in_threads(checks: Iterator[Callable[[], Verified]], workers: int) -> Iterator[Verified]:
    """Results in order, worked out a little ahead."""
    pending: deque[Future[Verified]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for check in checks:
                pending.append(pool.submit(check))
                if len(pending) > 4 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
