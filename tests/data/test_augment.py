"""Augmentation: all candidates of a group alike, never against a prompt, and independent of workers and of resuming."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_run import DEMO_DIMENSIONS

from rewardkit.data.augment import Augmentation, may_flip, shifted
from rewardkit.data.batch import Batch
from rewardkit.data.datamodule import PreferenceData
from rewardkit.data.index import ShardIndex
from rewardkit.models.clip import build_clip_reward


@pytest.mark.parametrize(
    ("text", "may"),
    [
        ("a cat on a mat", True),
        ("bright, upright furniture", True),
        ("a dog left of a tree", False),
        ("the RIGHT hand", False),
        ('a shop that sells "bread"', False),
        ("a neon sign", False),
        ("three cats and 2 dogs", False),
        ("кот слева", False),
        ("", True),
    ],
)
def test_texts_that_a_mirror_would_make_untrue(text: str, may: bool) -> None:
    assert may_flip(["a plain prompt", text]) is may


def test_a_shift_moves_and_repeats_the_edge() -> None:
    pixels = torch.arange(9, dtype=torch.uint8).reshape(1, 1, 3, 3)
    moved = shifted(pixels, across=1, down=-1)
    assert moved.tolist() == [[[[3, 3, 4], [6, 6, 7], [6, 6, 7]]]] and moved.dtype == torch.uint8
    assert shifted(pixels, across=-2, down=0).tolist() == [[[[2, 2, 2], [5, 5, 5], [8, 8, 8]]]]
    assert shifted(pixels, across=0, down=0) is pixels


def test_all_candidates_alike_and_a_function_of_epoch_and_position(demo_folders: tuple[Path, Path]) -> None:
    group = replace(ShardIndex.open(demo_folders[0]).sample(0).group, prompt="a cat", slots={})
    pixels = torch.randint(0, 256, (1, 3, 20, 20), dtype=torch.uint8).expand(4, -1, -1, -1)
    before = pixels.clone()
    augment = Augmentation(flip=True, shift=0.2, seed=7)
    shown = [augment(pixels, group, epoch=e, position=p) for e in range(6) for p in range(6)]
    assert torch.equal(pixels, before)
    assert all(torch.equal(s[0], s[k]) for s in shown for k in range(4))
    assert torch.equal(shown[8], augment(pixels, group, epoch=1, position=2))
    assert len({s.numpy().tobytes() for s in shown}) > 25
    only_flip = Augmentation(flip=True, shift=0.0, seed=7)
    flipped = [torch.equal(only_flip(pixels, group, epoch=0, position=p), pixels.flip(-1)) for p in range(200)]
    assert 70 < sum(flipped) < 130
    sided = replace(group, prompt="a cat left of a dog")
    assert all(torch.equal(only_flip(pixels, sided, epoch=0, position=p), pixels) for p in range(20))
    captioned = replace(group, slots={"captions": ["a cat", "a cat on the right", "a", "b"]})
    assert all(torch.equal(only_flip(pixels, captioned, epoch=0, position=p), pixels) for p in range(20))


def batches(tower: Path, folders: tuple[Path, Path], *, workers: int = 0, steps_done: int = 0, on: bool = True,
            pairing: str = "grouped") -> tuple[list[Batch], list[Batch]]:  # fmt: skip
    model = build_clip_reward(architecture=tower, dimensions=DEMO_DIMENSIONS)
    data = PreferenceData(
        train=[folders[0]],
        val=[folders[1]],
        transform=model.transform,
        tokenizer=model.tokenizer,
        dimensions=model.dimensions,
        batch_groups=4,
        micro_groups=2,
        workers=workers,
        pairing=pairing,
        augmentation=Augmentation(flip=True, shift=0.1, seed=1) if on else None,
    )
    data.steps_done = steps_done
    return list(data.train_dataloader()), list(data.val_dataloader()[0])


def test_workers_and_resuming_change_nothing(tiny_tower: Path, demo_folders: tuple[Path, Path]) -> None:
    whole, val = batches(tiny_tower, demo_folders)
    plain, plain_val = batches(tiny_tower, demo_folders, on=False)
    assert any(not torch.equal(a.pixels, b.pixels) for a, b in zip(whole, plain, strict=True))
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(val, plain_val, strict=True)), (
        "validations are as they are"
    )
    assert all(torch.equal(a.target, b.target) for a, b in zip(whole, plain, strict=True))
    with_workers, _ = batches(tiny_tower, demo_folders, workers=2)
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(whole, with_workers, strict=True))
    resumed, _ = batches(tiny_tower, demo_folders, steps_done=2)
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(whole[4:], resumed, strict=True))
    next_epoch, _ = batches(tiny_tower, demo_folders, steps_done=6)
    shown = {int(p): b.pixels[b.group == n] for b in whole for n, p in enumerate(b.positions)}
    again = {int(p): b.pixels[b.group == n] for b in next_epoch for n, p in enumerate(b.positions)}
    assert any(not torch.equal(shown[p], again[p]) for p in shown), "each epoch draws anew"


def test_single_comparisons_are_augmented_too(tiny_tower: Path, demo_folders: tuple[Path, Path]) -> None:
    on, _ = batches(tiny_tower, demo_folders, pairing="pairs")
    off, _ = batches(tiny_tower, demo_folders, pairing="pairs", on=False)
    assert any(not torch.equal(a.pixels, b.pixels) for a, b in zip(on, off, strict=True))
