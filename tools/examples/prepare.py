"""What the examples need: a reward to tune on, another one to judge with, and a generator that knows how to draw.

::

    python tools/examples/prepare.py FOLDER [--reward-steps 400] [--generator-steps 300]

Both rewards are ``fit recipe=hpsv2`` on the embedded dataset at 32 px, from different seeds, and on different drawings
of the dataset: what one overrates, the other need not. What is there is kept, so an interrupted preparation goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tiny_generator import build_pipeline, pictures_of, pretrain, write_pipeline
from torch import Tensor

from rewardkit import cli
from rewardkit.data.demo_shards import demo_shards
from rewardkit.errors import UserError
from rewardkit.models.bundle_record import RECORD

TOWER = {
    "embed_dim": 64,
    "vision_cfg": {
        "timm_model_name": "test_byobnet",
        "timm_pool": "avg",
        "timm_proj": "linear",
        "image_size": 32,
    },
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
"""The tower of the demo recipe, at 32 px."""

REWARDS = {"reward": 1, "judge": 2}
"""Name to seed."""

PICTURES, REAL = 2400, 1000
"""Real pictures that the generator is trained on, and of them those that are kept for examples."""


def read_pictures(folder: Path) -> tuple[Tensor, list[str]]:
    """Real pictures uint8 ``[N, 3, 32, 32]`` and their captions."""
    captions = json.loads((folder / "captions.json").read_text(encoding="utf-8"))
    return load_file(folder / "pictures.safetensors")["pictures"], captions


def bundle_of(folder: Path, name: str) -> Path:
    """Where the bundle of one of the rewards lies."""
    return folder / "runs" / "hpsv2" / name / "bundle"


def check_prepared(folder: Path) -> None:
    """Refuses a folder that lacks something.

    Raises:
        UserError: With what is missing and the command that makes it.
    """
    networks = [folder / "generator" / name / "config.json" for name in ("unet", "words")]
    records = [bundle_of(folder, name) / RECORD for name in REWARDS]
    for path in (*networks, *records, folder / "pictures.safetensors", folder / "captions.json"):
        if not path.is_file():
            raise UserError(
                f"{folder} is not prepared: {path} is missing. Make it: python tools/examples/prepare.py {folder}"
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepares a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--groups", type=int, default=1500, help="of the embedded dataset to train on")
    parser.add_argument("--reward-steps", type=int, default=400)
    parser.add_argument("--generator-steps", type=int, default=300)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    return prepare(
        given.folder, groups=given.groups, reward_steps=given.reward_steps, generator_steps=given.generator_steps
    )


def prepare(folder: Path, *, groups: int, reward_steps: int, generator_steps: int) -> int:
    """Draws the dataset, trains both rewards and the generator; each where it is not there yet. Gives the exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    tower = folder / "tower.json"
    tower.write_text(json.dumps(TOWER), encoding="utf-8")
    for name, seed in REWARDS.items():
        code = cli.run(_fit_arguments(folder, tower, name, seed, groups, reward_steps))
        if code:
            return code
    if not (folder / "generator").is_dir():
        start = time.monotonic()
        shards = demo_shards(folder / "cache", split="train", groups=groups, seed=REWARDS["reward"])
        pictures, captions = pictures_of(shards, most=PICTURES)
        pipeline = build_pipeline()
        losses = pretrain(pipeline, pictures, captions, steps=generator_steps)
        save_file({"pictures": pictures[:REAL]}, folder / "pictures.safetensors")
        (folder / "captions.json").write_text(json.dumps(captions[:REAL]), encoding="utf-8")
        write_pipeline(pipeline, folder / "generator.part")
        (folder / "generator.part").rename(folder / "generator")
        last = sum(losses[-20:]) / len(losses[-20:])
        print(f"generator: loss {last:.3f} after {generator_steps} steps, {time.monotonic() - start:.0f} s")
    return 0


def _fit_arguments(folder: Path, tower: Path, name: str, seed: int, groups: int, steps: int) -> list[str]:
    return [
        "fit", "recipe=hpsv2", f"seed={seed}", f"run.dir={folder / 'runs'}", f"run.name={name}",
        f"data.embedded.train_groups={groups}", "data.embedded.val_groups=150", f"data.embedded.seed={seed}",
        f"cache.dir={folder / 'cache'}",
        f"model.architecture={tower}", "transform.size=null", "data.batch_groups=16", "data.workers=0",
        f"trainer.max_steps={steps}", f"trainer.validate_every={steps}", f"trainer.checkpoint_every={steps}",
        "trainer.precision=32", "trainer.threads=1", "evaluation.bootstrap=200", "resume=auto",
    ]  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(cli.explained(main))
