"""One rank and two ranks train the same: the same groups in each step, the same weights within float tolerance."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import replaced, tiny_arguments
from two_ranks import TwoRanks

from rewardkit import cli
from rewardkit.data.predictions import read_predictions
from rewardkit.engine.loggers import read_metrics

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("two_ranks")]

NOTE = """
import json, os
from pathlib import Path
from lightning.pytorch.callbacks import Callback

class Note(Callback):
    def on_train_batch_start(self, trainer, module, batch, index):
        name = f"{os.environ['REWARDKIT_RUN_NAME']}-{trainer.global_rank}.jsonl"
        with open(Path(__file__).with_name(name), "a") as file:
            file.write(json.dumps([trainer.global_step, batch.keys]) + "\\n")

def callbacks():
    return [Note()]
"""
"""Which groups a rank has in each step."""

TOLERANCE = 2e-5
"""Two ranks add the same gradients up in another order; AdamW divides by their size, so tiny ones move more."""


@pytest.fixture(scope="module")
def arguments(tiny_tower: Path, demo_folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two sources with weights, three steps an epoch; gradients clipped, and an average of the weights."""
    root = tmp_path_factory.mktemp("ranks-are-one")
    shutil.copytree(demo_folders[1], root / "few")
    mixed = [
        f"data.train={demo_folders[0]},{root / 'few'}",
        "data.weights={train: 3, few: 1}",
        "data.allow_overlap=true",
    ]
    (root / "note.py").write_text(NOTE, encoding="utf-8")
    mixed += ["data.epoch_groups=12", f"plugins={root / 'note.py'}"]
    more = ["optim.gradient_clip=1.0", "callbacks.ema.decay=0.8"]
    return replaced(tiny_arguments(tiny_tower, demo_folders, root / "runs"), *mixed, *more)


@pytest.fixture(scope="module")
def runs(arguments: list[str], two_ranks: TwoRanks) -> Path:
    """``one``, ``two``, and two that change: ``fewer`` from two ranks to one after step 4, ``more`` the other way."""
    on_two = [*arguments, "trainer.devices=2"]
    cut, on = "trainer.stop_after=4", "resume=auto"
    assert cli.run(["fit", *arguments, "run.name=one"]) == 0
    assert cli.run(["fit", *arguments, "run.name=more", cut]) == 0
    printed = two_ranks.fit([*on_two, "run.name=two"], [*on_two, "run.name=fewer", cut], [*on_two, "run.name=more", on])
    assert [text.count("Held-out preference accuracy") for text in printed] == [2, 0], printed
    assert cli.run(["fit", *arguments, "run.name=fewer", on]) == 0
    (folder,) = (a.removeprefix("run.dir=") for a in arguments if a.startswith("run.dir="))
    return Path(folder) / "hpsv2"


def checkpoint(run: Path) -> dict[str, Any]:
    read: dict[str, Any] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return read


def assert_close(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        if "in_proj_bias" not in name:  # the key's bias has gradient zero, and AdamW amplifies the noise of it
            torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=TOLERANCE, msg=lambda m, n=name: f"{n}: {m}")


def figures(run: Path, *names: str) -> dict[tuple[int, str], float]:
    return {(step, name): value for step, name, value in read_metrics(run / "metrics.csv") if name in names}


def test_one_rank_equals_two(runs: Path) -> None:
    one, two = (checkpoint(runs / name) for name in ("one", "two"))
    assert_close(one["state_dict"], two["state_dict"])
    tables = [read_predictions(runs / n / "predictions" / "00000008-val.parquet") for n in ("one", "two")]
    assert tables[0].labels.equals(tables[1].labels)
    assert tables[0].scores["key"].tolist() == tables[1].scores["key"].tolist()
    assert (tables[0].scores["score"] - tables[1].scores["score"]).abs().max() < 1e-3


def test_average_and_guards_of_two_ranks_are_those_of_one(runs: Path) -> None:
    """An average of weights, what guards see of each step (losses, spread, mean, margin), and what is logged of it."""
    one, two = (checkpoint(runs / name)["callbacks"] for name in ("one", "two"))
    assert one["EMA"]["updates"] == two["EMA"]["updates"] == 8
    assert_close(one["EMA"]["average"], two["EMA"]["average"])
    seen = [state["Guards"]["windows"] for state in (one, two)]
    assert {"loss", "loss/bradley_terry", "equal/bradley_terry", "score_spread", "score_mean", "margin"} <= set(seen[0])
    assert seen[0].keys() == seen[1].keys()
    for name, values in seen[0].items():
        assert len(values) == 8 and values == pytest.approx(seen[1][name], rel=1e-3, abs=1e-3), name
    names = ("train/loss", "train/score_spread", "train/score_mean", "train/margin", "train/gradient_norm")
    logged = [figures(runs / run, *names) for run in ("one", "two")]
    assert len(logged[0]) == 8 * len(names) and logged[0] == pytest.approx(logged[1], rel=1e-3, abs=1e-3)


def groups_of(run: Path) -> dict[int, list[str]]:
    """Step to its groups, those of rank 0 first."""
    found: dict[int, list[str]] = {}
    for file in sorted(run.parents[2].glob(f"{run.name}-*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            step, keys = json.loads(line)
            found.setdefault(step, []).extend(keys)
    return found


@pytest.mark.parametrize("name", ["fewer", "more"])
def test_a_run_goes_on_with_another_number_of_ranks(runs: Path, name: str) -> None:
    """In the second of three epochs of mixed sources: its steps hold the groups of a run that was not stopped."""
    steps = groups_of(runs / "one")
    assert list(steps) == list(range(8)) and {len(keys) for keys in steps.values()} == {4}
    assert len({tuple(keys) for keys in steps.values()}) == 8
    assert groups_of(runs / "two") == groups_of(runs / name) == steps
    whole, changed = checkpoint(runs / "one"), checkpoint(runs / name)
    assert_close(whole["state_dict"], changed["state_dict"])
    assert_close(whole["callbacks"]["EMA"]["average"], changed["callbacks"]["EMA"]["average"])
    losses = [figures(runs / run, "train/loss") for run in ("one", name)]
    assert len(losses[0]) == 8 and losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert len(list((runs / name / "predictions").glob("*-val.parquet"))) == 2


def test_parameters_that_no_term_reads_do_not_stop_two_ranks(
    tiny_fit: list[str], two_ranks: TwoRanks, tmp_path: Path
) -> None:
    """Bradley-Terry does not read sigma, so the rows that give it get no gradient on any rank."""
    short = ["trainer.max_steps=2", "trainer.validate_every=2", "optim.warmup_steps=1", "trainer.devices=2"]
    two_ranks.fit(replaced(tiny_fit, *short, "model.uncertainty=true", "run.name=two"))
    state = checkpoint(tmp_path / "runs" / "hpsv2" / "two")["state_dict"]
    unread = {name: tensor for name, tensor in state.items() if ".uncertainty." in name}
    assert unread and not any(tensor.any() for tensor in unread.values()), "sigma stays at 1"
