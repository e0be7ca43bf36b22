"""Launch scripts parse, refuse what cannot work, and hand on what fit understands; the job has what its kind asks."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from rewardkit.config.compose import parse_overrides
from rewardkit.config.recipes import compose_fit

LAUNCH = Path(__file__).resolve().parents[2] / "tools" / "launch"
SCRIPTS = ("slurm.sbatch", "torchrun.sh")


def run(script: str, arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(LAUNCH / script), *arguments],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=30,
    )  # fmt: skip


def stub(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_parse_and_pass_shellcheck_where_it_is_installed(script: str) -> None:
    assert subprocess.run(["bash", "-n", str(LAUNCH / script)]).returncode == 0
    if shutil.which("shellcheck"):
        found = subprocess.run(["shellcheck", str(LAUNCH / script)], capture_output=True, text=True)
        assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_run_without_a_name_is_refused(script: str) -> None:
    done = run(script, ["recipe=hpsv2"], PYTHON="false")
    assert done.returncode == 2 and "run.name=NAME" in done.stderr


def test_several_machines_need_a_place_to_meet() -> None:
    done = run("torchrun.sh", ["recipe=hpsv2", "run.name=a"], NODES="2", DEVICES="1", PYTHON="false")
    assert done.returncode == 2 and "MASTER" in done.stderr


def test_torchrun_is_called_with_what_fit_understands(tmp_path: Path) -> None:
    python = stub(tmp_path, "python", 'printf "%s\\n" "$@"')
    done = run(
        "torchrun.sh", ["recipe=hpsv2", "run.name=a b"],
        NODES="2", DEVICES="4", MASTER="node:29400", PYTHON=str(python),
    )  # fmt: skip
    words = done.stdout.splitlines()
    assert done.returncode == 0 and words[:2] == ["-m", "torch.distributed.run"]
    assert {"--nnodes=2", "--nproc-per-node=4", "--rdzv-endpoint=node:29400", "--rdzv-id=a b"} <= set(words)
    options = compose_fit(parse_overrides(words[words.index("fit") + 1 :])).options
    assert (options.resume, options.trainer.nodes, options.trainer.devices) == ("auto", 2, "4")


@pytest.mark.parametrize(("code", "requeued"), [(0, False), (1, False), (75, True), (130, False)])
def test_slurm_puts_an_interrupted_run_back_and_no_other(tmp_path: Path, code: int, requeued: bool) -> None:
    stub(tmp_path, "srun", f'printf "%s\\n" "$@"; exit {code}')
    stub(tmp_path, "scontrol", 'echo "scontrol $*"')
    done = run(
        "slurm.sbatch", ["recipe=hpsv2", "run.name=a"],
        PATH=f"{tmp_path}:{os.environ['PATH']}", SLURM_JOB_NUM_NODES="2", SLURM_NTASKS_PER_NODE="8", SLURM_JOB_ID="7",
    )  # fmt: skip
    assert done.returncode == code
    assert ("scontrol requeue 7" in done.stdout) == requeued
    words = done.stdout.splitlines()
    options = compose_fit(parse_overrides(w for w in words[words.index("fit") + 1 :] if "=" in w)).options
    assert (options.resume, options.trainer.nodes, options.trainer.devices) == ("auto", 2, "8")


def test_slurm_signals_ranks_before_the_end_and_may_requeue() -> None:
    lines = (LAUNCH / "slurm.sbatch").read_text(encoding="utf-8").splitlines()
    asked = {line.removeprefix("#SBATCH --").split("=")[0] for line in lines if line.startswith("#SBATCH")}
    assert {"signal", "requeue", "ntasks-per-node", "open-mode"} <= asked
    assert "#SBATCH --signal=USR1@120" in lines, "without B: the ranks are signalled, not the shell"


def test_the_kubernetes_job_has_what_its_kind_asks_for() -> None:
    job: dict[str, Any] = yaml.safe_load((LAUNCH / "pytorchjob.yaml").read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("kubeflow.org/v1", "PyTorchJob")
    replicas = job["spec"]["pytorchReplicaSpecs"]
    assert set(replicas) == {"Master", "Worker"} and replicas["Master"]["replicas"] == 1
    options: Any = None
    for replica in replicas.values():
        assert replica["restartPolicy"] == "OnFailure"
        (container,) = replica["template"]["spec"]["containers"]
        assert container["name"] == "pytorch", "the operator looks for this name"
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        assert mounts == {volume["name"] for volume in replica["template"]["spec"]["volumes"]}
        assert container["resources"]["limits"]["nvidia.com/gpu"] == int(job["spec"]["nprocPerNode"])
        options = compose_fit(parse_overrides(container["args"])).options
    assert options.resume == "auto" and options.run.name
    assert options.trainer.nodes == sum(replica["replicas"] for replica in replicas.values())
    assert options.trainer.devices == job["spec"]["nprocPerNode"]
