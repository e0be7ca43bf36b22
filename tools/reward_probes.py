"""How easily a reward is fooled: moves of its scores under tricks that make no image better.

::

    python tools/reward_probes.py MODEL[,MODEL…] IMAGES [--probes noise,saturation] [--most 200] [--out FILE.json]

MODEL is a run, a bundle or a published file, as for `rewardkit score`; several make one ensemble (`--disagreement`).
IMAGES is a table with columns image and prompt (JSONL, CSV or parquet; paths relative to it), or a folder of shards.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from rewardkit.cli import explained
from rewardkit.commands.open_model import open_model
from rewardkit.data.index import ShardIndex
from rewardkit.data.tables import check_ending, read_rows
from rewardkit.errors import UserError
from rewardkit.rewards.probes import EPSILON, PROBES, Probe, probe_reward
from rewardkit.rewards.reward import Reward
from rewardkit.rewards.statistics import estimate_statistics


def main(arguments: Sequence[str] | None = None) -> int:
    """Probes one reward; exit codes as those of rewardkit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="or several, with commas")
    parser.add_argument("images", type=Path)
    parser.add_argument("--probes", help=f"of {', '.join(PROBES)}; default: all that are possible")
    parser.add_argument("--most", type=int, default=200, help="images to look at, the first ones")
    parser.add_argument("--epsilon", type=float, default=EPSILON, help="how far the gradient may move a pixel")
    parser.add_argument("--disagreement", type=float, default=0.0, help="penalty of an ensemble")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    given = parser.parse_args(arguments)
    return explained(lambda: _probe(given))


def _probe(given: argparse.Namespace) -> int:
    rows = list(_first(_rows_of(given.images), given.most))
    if len(rows) < 2:
        raise UserError(f"{given.images} has {len(rows)} images; a probe needs at least two")
    images, prompts = [row["image"] for row in rows], [row["prompt"] for row in rows]
    models = [open_model(name, device=given.device) for name in given.model.split(",")]
    reward: Any = models[0]
    if len(models) > 1:
        for model in models:
            if not model.calibration:
                model.calibration = estimate_statistics(model, images, prompts)
        reward = Reward(models, disagreement=given.disagreement)
    elif given.disagreement:
        raise UserError("--disagreement needs several models, with commas")
    probes = given.probes.split(",") if given.probes else None
    found = probe_reward(reward, images, prompts, probes=probes, epsilon=given.epsilon)
    show(found, given.model, Console(width=100))
    if given.out is not None:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        record = {"model": given.model, "images": str(given.images), "epsilon": given.epsilon}
        text = json.dumps(record | {"probes": [probe.as_row() for probe in found]}, indent=1)
        given.out.write_text(text + "\n", encoding="utf-8")
    return 0


def show(found: Sequence[Probe], model: str, console: Console) -> None:
    """One table for each dimension, the largest rise first; what pays is marked."""
    for dimension, probes in groupby(
        sorted(found, key=lambda one: (one.dimension, -one.change)), lambda p: p.dimension
    ):
        some = list(probes)
        unit = {"calibration": "its validation set's", "these images": "these images'"}[some[0].unit]
        title = f"{model}, {dimension}: change in standard deviations of {unit} scores"
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
        for column in ("probe", "change", "95 %", "rises", ""):
            table.add_column(column, justify="left" if column in ("probe", "") else "right")
        for one in some:
            interval = "" if one.low is None else f"{one.low:+.2f} to {one.high:+.2f}"
            table.add_row(
                one.probe, f"{one.change:+.2f}", interval, f"{one.rises:.0%}", "pays" if one.pays else "",
                style="bold" if one.pays else "",
            )  # fmt: skip
        console.print(table)
        console.print(f"{some[0].images} images of {some[0].prompts} prompts", highlight=False)


def _rows_of(source: Path) -> Iterator[Mapping[str, Any]]:
    """Images with their prompts, of a table or of shards."""
    if source.is_dir():
        index = ShardIndex.open(source)
        for position in range(len(index)):
            sample = index.sample(position)
            yield from ({"image": image, "prompt": sample.group.prompt} for image in sample.images)
        return
    check_ending(source, "images")
    if not source.is_file():
        raise UserError(f"{source}: there is no such file or folder")
    for number, row in enumerate(read_rows(source), 1):
        missing = [name for name in ("image", "prompt") if not row.get(name)]
        if missing:
            raise UserError(f"{source}, row {number}: no {' and no '.join(missing)}; both columns are needed")
        yield {"image": source.parent / str(row["image"]), "prompt": str(row["prompt"])}


def _first(rows: Iterable[Mapping[str, Any]], most: int) -> Iterator[Mapping[str, Any]]:
    for number, row in enumerate(rows):
        if number == most:
            return
        yield row


if __name__ == "__main__":
    raise SystemExit(main())
