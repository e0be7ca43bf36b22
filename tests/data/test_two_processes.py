"""Two processes under Lightning see together what one sees, in training and validation; name a bad sample once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from two_ranks import TwoRanks

from rewardkit.data.bad_samples import ALWAYS_TOLERATED

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("two_ranks")]

PROGRAM = """
import lightning.pytorch as pl, torch
from lightning.pytorch.strategies import DDPStrategy
from rewardkit.data.datamodule import PreferenceData
from rewardkit.data.images import ImageTransform

class Letters:
    pad_id = 0
    def __call__(self, texts):
        return torch.tensor([[len(text) + 1, 2] for text in texts])

class Module(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = {"train": [], "val": [], "bad": []}
    def training_step(self, batch, index):
        self.seen["train"].append([self.global_step, batch.keys, batch.denominators.comparisons.tolist()])
        self.seen["bad"] += [report.key for report in batch.bad]
        return self.weight * batch.pixels.float().mean()
    def validation_step(self, batch, index):
        self.seen["val"] += [record.key for record in batch.records]
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)

ranks, steps, train, options, validate = arguments
data = PreferenceData(train=[train], transform=ImageTransform(8), tokenizer=Letters(), ranks=ranks,
                      dimensions=["overall", "aesthetic"],
                      **{"val": [], "batch_groups": 8, "micro_groups": 2, "workers": 1, **options})
module = Module()
trainer = pl.Trainer(accelerator="cpu", devices=ranks, max_steps=steps, max_epochs=-1, logger=False,
                     strategy=DDPStrategy(process_group_backend="gloo") if ranks > 1 else "auto",
                     accumulate_grad_batches=data.accumulation, use_distributed_sampler=False, num_sanity_val_steps=0,
                     enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
trainer.fit(module, datamodule=data)
if validate:
    trainer.validate(module, datamodule=data, verbose=False)
told = module.seen
"""


def on_one(*arguments: object) -> dict[str, Any]:
    """The same in this process."""
    space: dict[str, Any] = {"arguments": [1, *arguments]}
    exec(PROGRAM, space)
    found: dict[str, Any] = space["told"]
    return found


@pytest.fixture
def on_two(two_ranks: TwoRanks) -> Callable[..., list[Any]]:
    return lambda *arguments: two_ranks.run(PROGRAM, [2, *arguments])


def steps(seen: list[Any]) -> dict[int, Any]:
    """Step to its keys, in order, and its denominators, which all micro-batches agree on."""
    found: dict[int, Any] = {}
    for step, keys, counts in seen:
        found.setdefault(step, [[], counts])[0].extend(keys)
        assert found[step][1] == counts
    return found


def joined(ranks: list[Any]) -> dict[int, Any]:
    """The steps of both ranks, put together."""
    first, second = (steps(seen["train"]) for seen in ranks)
    assert first.keys() == second.keys() and all(first[n][1] == second[n][1] for n in first)
    return {n: [first[n][0] + second[n][0], first[n][1]] for n in first}


def test_two_ranks_are_one(make_shards: Any, group_of: Any, on_two: Callable[..., list[Any]]) -> None:
    # 7 shards, and an odd number of groups to validate on
    train = str(make_shards("train", [group_of(n) for n in range(20)], max_groups=3))
    val = {"val": [str(make_shards("val", [group_of(n, start=1000) for n in range(7)]))]}
    one = on_one(5, train, val, True)
    two = on_two(5, train, val, True)
    assert joined(two) == steps(one["train"]) and len(steps(one["train"])) == 5
    assert one["val"] == [f"g{1000 + n:05d}" for n in range(7)] * (len(one["val"]) // 7)
    assert sorted(two[0]["val"] + two[1]["val"]) == sorted(one["val"])


def test_a_bad_sample_is_named_once_by_all_ranks(
    make_shards: Any, group_of: Any, on_two: Callable[..., list[Any]], tmp_path: Path
) -> None:
    groups = [group_of(n) for n in range(16)]
    bad = {3, 8, 12}
    groups = [
        (group, [b"no picture"] * len(images) if n in bad else images) for n, (group, images) in enumerate(groups)
    ]
    train = str(make_shards("train", groups, max_groups=3))
    errors = tmp_path / "data_errors.jsonl"
    two = on_two(8, train, {"errors_path": str(errors), "max_bad_fraction": 0.0}, False)
    met = [set(seen["bad"]) for seen in two]
    assert met[0] & met[1], "in four epochs, both ranks met one"
    assert len(bad) < ALWAYS_TOLERATED
    lines = [json.loads(line) for line in errors.read_text(encoding="utf-8").splitlines()]
    assert sorted(line["key"] for line in lines) == sorted(met[0] | met[1]) == [f"g{n:05d}" for n in sorted(bad)]
