"""Two processes under Lightning see together what one sees, in training and in validation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, os, sys
import rewardkit
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
        self.seen = {"train": [], "val": []}
    def training_step(self, batch, index):
        self.seen["train"].append([self.global_step, batch.keys, batch.denominators.comparisons.tolist()])
        return self.weight * batch.pixels.float().mean()
    def validation_step(self, batch, index):
        self.seen["val"] += [record.key for record in batch.records]
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)

ranks, train, val, out = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
torch.set_num_threads(1)
data = PreferenceData(train=[train], val=[val], transform=ImageTransform(8), tokenizer=Letters(),
                      dimensions=["overall", "aesthetic"], batch_groups=8, micro_groups=2, ranks=ranks, workers=1)
module = Module()
trainer = pl.Trainer(accelerator="cpu", devices=ranks, max_steps=5, max_epochs=-1, logger=False, num_sanity_val_steps=0,
                     strategy=DDPStrategy(process_group_backend="gloo") if ranks > 1 else "auto",
                     accumulate_grad_batches=data.accumulation, use_distributed_sampler=False,
                     enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
trainer.fit(module, datamodule=data)
trainer.validate(module, datamodule=data, verbose=False)
with open(f"{out}-{trainer.global_rank}.json", "w") as file:
    json.dump(module.seen, file)
"""


def run(ranks: int, folders: list[Path], out: Path) -> list[dict]:
    program = out.parent / "program.py"
    program.write_text(PROGRAM)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PL_", "SLURM"))}
    subprocess.run(
        [sys.executable, str(program), str(ranks), *map(str, folders), str(out)],
        check=True,
        timeout=300,
        capture_output=True,
        env=environment,
    )
    return [json.loads(Path(f"{out}-{rank}.json").read_text()) for rank in range(ranks)]


@pytest.mark.slow
def test_two_ranks_are_one(make_shards, group_of, tmp_path):
    # 7 shards, and an odd number of groups to validate on
    train = make_shards("train", [group_of(n) for n in range(20)], max_groups=3)
    val = make_shards("val", [group_of(n, start=1000) for n in range(7)])
    (one,) = run(1, [train, val], tmp_path / "one")
    two = run(2, [train, val], tmp_path / "two")

    def steps(seen: list) -> list:
        found: dict[int, list] = {}
        for step, keys, counts in seen:
            found.setdefault(step, [[], counts])[0].extend(keys)
            assert found[step][1] == counts
        return [found[step] for step in sorted(found)]

    together = [
        [a + b, counts] for (a, counts), (b, _) in zip(steps(two[0]["train"]), steps(two[1]["train"]), strict=True)
    ]
    assert together == steps(one["train"]) and len(together) == 5
    assert one["val"] == [f"g{1000 + n:05d}" for n in range(7)] * (len(one["val"]) // 7)
    assert sorted(two[0]["val"] + two[1]["val"]) == sorted(one["val"])
