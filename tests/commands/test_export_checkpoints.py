"""``export`` of checkpoints: frozen weights, averages, ZeRO folders of this program and of others, damage."""

from __future__ import annotations

import shutil
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rewardkit import cli
from rewardkit.commands.open_checkpoint import bundle_of_checkpoint
from rewardkit.errors import CheckpointError, UserError
from rewardkit.models.stored.opening import open_training


def fit(arguments: list[str], *more: str) -> int:
    return cli.run(["fit", *arguments, *more])


@pytest.fixture(scope="module")
def run(tiny_tower: Path, demo_folders: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step, of the embedded dataset's first dimension."""
    runs = tmp_path_factory.mktemp("runs")
    arguments = [
        "recipe=hpsv2", f"data.train={demo_folders[0]}", f"data.val={demo_folders[1]}", f"run.dir={runs}", "run.name=a",
        f"model.architecture={tiny_tower}", "transform.size=null", "data.batch_groups=2", "data.workers=0",
        "trainer.stop_after=1", "trainer.threads=1",
    ]  # fmt: skip
    assert fit(arguments) == 0
    return runs / "hpsv2" / "a"


def weights_in(run: Path) -> dict[str, Tensor]:
    stored = open_training(run / "checkpoints" / "last.ckpt")
    return {name: stored[name].detach().clone() for name in stored}


def write_zero(folder: Path, weights: dict[str, Tensor], *, stage: int, ranks: int, frozen: set[str]) -> None:
    """A ZeRO checkpoint as DeepSpeed writes it, of two groups of parameters, each with a length that nobody divides."""
    inner = folder / "global_step7"
    inner.mkdir(parents=True)
    (folder / "latest").write_text("global_step7", encoding="utf-8")
    named = {f"module.{name}": tensor for name, tensor in weights.items()}
    frozen = {f"module.{name}" for name in frozen}
    trained = [name for name in named if name not in frozen]
    groups = [trained[: len(trained) // 2], trained[len(trained) // 2 :]]
    vectors: list[list[Tensor]] = []  # group, rank
    for group in groups:
        if stage == 3:
            cut = [padded(named[name].reshape(-1), ranks).chunk(ranks) for name in group]
            vectors.append([torch.cat([parts[rank] for parts in cut]) for rank in range(ranks)])
        else:
            vectors.append(list(padded(torch.cat([named[name].reshape(-1) for name in group]), 2 * ranks).chunk(ranks)))
    for rank in range(ranks):
        part: dict[str, Any] = {"zero_stage": stage, "partition_count": ranks if stage == 3 else [ranks, ranks]}
        part["fp32_flat_groups" if stage == 3 else "single_partition_of_fp32_groups"] = [v[rank] for v in vectors]
        part["optimizer_state_dict" if stage == 3 else "base_optimizer_state"] = {"state": {}, "param_groups": []}
        name = f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
        torch.save({"optimizer_state_dict": part, "ds_version": "0.19.8"}, inner / name)
        cut_up = {n: padded(named[n].reshape(-1), ranks).chunk(ranks)[rank].clone() for n in frozen}
        states = {
            "module": {n: torch.empty(0) for n in named} if stage == 3 else {n: t.bfloat16() for n, t in named.items()},
            "buffer_names": [],
            "param_shapes": [OrderedDict((n, named[n].shape) for n in group) for group in groups],
            "frozen_param_shapes": OrderedDict((n, named[n].shape) for n in frozen) if stage > 1 else None,
            "frozen_param_fragments": cut_up if stage > 1 else None,
            "shared_params": {},
        }
        if stage < 3:
            states["module"] |= {n: named[n] for n in frozen}
        if stage == 3 or rank == 0:
            prefix = f"zero_pp_rank_{rank}_" if stage == 3 else ""
            torch.save(states, inner / f"{prefix}mp_rank_00_model_states.pt")


def padded(vector: Tensor, multiple: int) -> Tensor:
    return torch.cat([vector, torch.zeros(-len(vector) % multiple)])


@pytest.mark.parametrize(("stage", "ranks"), [(1, 3), (2, 1), (2, 4), (3, 1), (3, 3)])
def test_a_foreign_zero_folder(run: Path, tmp_path: Path, stage: int, ranks: int) -> None:
    """Of a training of plain towers by another program: float32 weights out of the parts, frozen ones too."""
    weights = {n.removeprefix("model."): t for n, t in weights_in(run).items() if n.startswith("model.")}
    frozen = {"clip.visual.conv1.weight", "clip.visual.ln_pre.bias"}
    write_zero(tmp_path / "zero", weights, stage=stage, ranks=ranks, frozen=frozen)
    with pytest.raises(UserError, match="like=RUN"):
        bundle_of_checkpoint(tmp_path / "zero", tmp_path / "out")
    assert cli.run(["export", f"model={tmp_path}/zero", f"like={run}", f"out={tmp_path}/out"]) == 0
    assert cli.run(["export", f"model={run}/checkpoints/last.ckpt", f"out={tmp_path}/own"]) == 0
    found, expected = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "own"))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_zero_folder_that_lacks_a_part_or_a_tensor(run: Path, tmp_path: Path) -> None:
    weights = {n.removeprefix("model."): t for n, t in weights_in(run).items() if n.startswith("model.")}
    write_zero(tmp_path / "zero", weights, stage=2, ranks=3, frozen=set())
    shutil.copytree(tmp_path / "zero", tmp_path / "two")
    (tmp_path / "two" / "global_step7" / "zero_pp_rank_1_mp_rank_00_optim_states.pt").unlink()
    with pytest.raises(CheckpointError, match="2 files of optim_states; 3 ranks wrote it"):
        bundle_of_checkpoint(tmp_path / "two", tmp_path / "out", like=str(run))
    write_zero(tmp_path / "less", dict(list(weights.items())[1:]), stage=2, ranks=2, frozen=set())
    with pytest.raises(CheckpointError, match=f"1 missing in the file: {next(iter(weights))}"):
        bundle_of_checkpoint(tmp_path / "less", tmp_path / "out", like=str(run))


def test_a_zero_folder_that_could_run_code_is_refused(run: Path, tmp_path: Path) -> None:
    weights = {n.removeprefix("model."): t for n, t in weights_in(run).items() if n.startswith("model.")}
    write_zero(tmp_path / "zero", weights, stage=2, ranks=1, frozen=set())
    torch.save(
        {"optimizer_state_dict": {"x": Path}}, tmp_path / "zero/global_step7/zero_pp_rank_0_mp_rank_00_optim_states.pt"
    )
    with pytest.raises(CheckpointError, match="could run code"):
        bundle_of_checkpoint(tmp_path / "zero", tmp_path / "out", like=str(run))


def test_frozen_weights_are_left_out_and_come_back(
    tiny_fit: list[str], run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    towers = {n.removeprefix("model.clip."): t for n, t in weights_in(run).items() if n.startswith("model.clip.")}
    save_file(towers, tmp_path / "towers.safetensors")
    more = [
        f"model.pretrained={tmp_path}/towers.safetensors",
        "model.unlocked_image_groups=1",
        "model.unlocked_text_layers=0",
    ]
    assert fit(tiny_fit, *more, "run.name=all", "trainer.checkpoint_frozen=true") == 0
    assert fit(tiny_fit, *more, "run.name=parts", "trainer.stop_after=3") == 0
    assert fit(tiny_fit, *more, "run.name=parts", "resume=auto") == 0
    whole, parts = (weights_in(tmp_path / "runs" / "hpsv2" / name) for name in ("all", "parts"))
    left_out = set(whole) - set(parts)
    assert "model.clip.visual.conv1.weight" in left_out and "model.head.image" in parts
    assert all(torch.equal(whole[name], tensor) for name, tensor in parts.items())
    for name in ("all", "parts"):
        checkpoint = tmp_path / "runs" / "hpsv2" / name / "checkpoints" / "last.ckpt"
        assert cli.run(["export", f"model={checkpoint}", f"out={tmp_path}/{name}"]) == 0
    found, expected = (load_file(tmp_path / name / "model.safetensors") for name in ("parts", "all"))
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    towers["visual.conv1.weight"] += 1
    save_file(towers, tmp_path / "towers.safetensors")
    capsys.readouterr()
    assert cli.run(["export", f"model={checkpoint}", f"out={tmp_path}/again"]) == 1
    assert "not what the run was started with" in capsys.readouterr().err
