"""Whether tuning helped: rewards of pictures of prompts and seeds that the tuning never saw, before and after.

The reward that was tuned on has to rise, but that alone may be its errors that were found. So a second reward judges,
which was trained from another seed on other pictures and took no part.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from prepare import bundle_of, check_prepared
from rich import box
from rich.console import Console
from rich.table import Table
from tiny_generator import SIZE, TinyPipeline, read_pipeline, write_pipeline
from torch import Tensor

from rewardkit.data.demo.dataset import plan_group
from rewardkit.data.demo.prompts import Split, sentence
from rewardkit.errors import UserError
from rewardkit.metrics.intervals import bootstrap_interval, ratio
from rewardkit.models.load import load_reward
from rewardkit.rewards.reward import Reward

PROMPTS, SEEDS = 64, (1000, 1001)
"""Held-out prompts, and the seeds of one picture each."""


@dataclass(frozen=True)
class Change:
    """A reward before and after, in standard deviations of its scores on its validation set.

    Attributes:
        name: Which reward.
        before: Mean over all pictures.
        after: Likewise.
        change: after - before.
        low: Lower end of its 95 % interval (bootstrap over prompts; the noise is the same before and after).
        high: Upper end.
        within: Standard deviation over the pictures of one prompt, before: how far a choice of pictures alone reaches.
        pictures: How many, each time.
        prompts: Different ones.
    """

    name: str
    before: float
    after: float
    change: float
    low: float
    high: float
    within: float
    pictures: int
    prompts: int


def prompts_of(split: Split, count: int, *, seed: int = 0) -> list[str]:
    """Different prompts of the embedded dataset; ``train`` and ``val`` share none."""
    found: dict[str, None] = {}
    index = 0
    while len(found) < count:
        found[sentence(plan_group(seed=seed, index=index, split=split).asked)] = None
        index += 1
    return list(found)


def read_rewards(folder: Path) -> dict[str, Reward]:
    """The reward that is tuned on, and the judge; both of ``overall``."""
    return {name: Reward(load_reward(bundle_of(folder, name))) for name in ("reward", "judge")}


def pictures_for(
    pipeline: TinyPipeline, prompts: Sequence[str], seeds: Sequence[int] = SEEDS
) -> tuple[Tensor, list[str]]:
    """Pictures ``[seeds · prompts, 3, 32, 32]`` and the prompt of each."""
    pictures = torch.cat([pipeline(list(prompts), seed=seed) for seed in seeds])
    return pictures, list(prompts) * len(seeds)


def compare(rewards: dict[str, Reward], before: Tensor, after: Tensor, prompts: Sequence[str]) -> list[Change]:
    """Each reward of the same prompts' pictures before and after."""
    places = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompts))}
    rows = np.array([places[prompt] for prompt in prompts])
    found = []
    for name, reward in rewards.items():
        old, new = (reward(pictures, prompts, gradient=False).numpy().astype(float) for pictures in (before, after))
        sums = np.stack([np.bincount(rows, weights=new - old), np.bincount(rows)], axis=1)
        low, high = bootstrap_interval(sums, ratio) or (np.nan, np.nan)
        means = float(old.mean()), float(new.mean())
        own = np.bincount(rows, weights=old) / np.bincount(rows)  # the mean of each prompt
        within = float(np.sqrt(((old - own[rows]) ** 2).sum() / max(1, len(rows) - len(places))))
        found.append(Change(name, *means, means[1] - means[0], low, high, within, len(rows), len(places)))
    return found


def arguments(about: str | None, given: Sequence[str] | None = None, **defaults: float | str) -> argparse.Namespace:
    """What every example takes: the prepared folder, where results go, and its numbers.

    Args:
        about: The text of ``--help``.
        given: The command line; None: the process's own.
        **defaults: An option each.

    Raises:
        UserError: A folder that is not prepared, or a number that means nothing.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="as prepare.py made it")
    parser.add_argument("--out", type=Path, help="folder for numbers, pictures and the tuned generator")
    parser.add_argument("--seed", type=int, default=0)
    for name, value in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"default {value}")
    options = parser.parse_args(given)
    check_prepared(options.folder)
    for name in defaults:
        value = getattr(options, name)
        if isinstance(value, int) and value < 1:
            raise UserError(f"--{name} {value}: at least 1")
        if isinstance(value, float) and not 0 <= value < float("inf"):
            raise UserError(f"--{name} {value}: a number of at least 0")
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    return options


def read_generator(folder: Path) -> TinyPipeline:
    """The generator before it is tuned."""
    return read_pipeline(folder / "generator")


def tell_change(
    title: str, rewards: dict[str, Reward], before: TinyPipeline, after: TinyPipeline, started: float, out: Path | None
) -> None:
    """Compares a generator with what it was, tells the result, and writes the tuned one where a folder is given."""
    old, texts = pictures_for(before, prompts_of("val", PROMPTS))
    new, _ = pictures_for(after, prompts_of("val", PROMPTS))
    tell(title, compare(rewards, old, new, texts), started, out, old, new)
    if out is not None:
        write_pipeline(after, out / "generator")


def tell(title: str, changes: Sequence[Change], started: float, out: Path | None, *pictures: Tensor) -> None:
    """Prints the table, and writes it as JSON with rows of pictures as one PNG where a folder is given."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("", "before", "after", "change", "95 %", "within a prompt", "pictures", "prompts"):
        table.add_column(column, justify="left" if not column else "right")
    for one in changes:
        numbers = (f"{one.before:.2f}", f"{one.after:.2f}", f"{one.change:+.2f}", f"{one.low:+.2f} to {one.high:+.2f}")
        table.add_row(one.name, *numbers, f"{one.within:.2f}", str(one.pictures), str(one.prompts))
    console = Console(width=100)
    console.print(table)
    console.print(f"took {time.monotonic() - started:.0f} s", highlight=False)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        rows = [asdict(one) for one in changes]
        (out / "changes.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        sheet(pictures).save(out / "pictures.png")


def sheet(rows: Sequence[Tensor], *, columns: int = 16, zoom: int = 2) -> Image.Image:
    """Pictures in rows, one under the other, twice as large."""
    strips = [torch.cat(list(row[:columns]), dim=2) for row in rows]  # [3, 32, columns · 32]
    levels = (torch.cat(strips, dim=1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    picture = Image.fromarray(levels)
    size = (zoom * SIZE * columns, zoom * SIZE * len(rows))
    return picture.resize(size, Image.Resampling.NEAREST)
