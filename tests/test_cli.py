"""The command line: help, dispatch, messages and exit codes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rewardkit import cli
from rewardkit.config.verbs import VERBS


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {verb} " in printed for verb in VERBS)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_each_verb_has_help_from_its_schema(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([verb, "--help"]) == 0
    assert f"python -m rewardkit {verb}" in capsys.readouterr().out


def test_fit_help_tells_each_key(capsys: pytest.CaptureFixture[str]) -> None:
    cli.run(["fit", "--help"])
    printed = capsys.readouterr().out
    for words in ("optim.warmup_steps=500", "bradley_terry", "Peak learning rate", "at least 1", "trainer.stop_after"):
        assert words in printed


def test_help_answers_at_once() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "rewardkit", "fit", "--help"]
    started = children_seconds()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "torch" not in {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert children_seconds() - started < 1.5  # of a processor, so that other work does not count; mostly 0.2


def children_seconds() -> float:
    """Seconds that finished children of this process had a processor."""
    times = os.times()
    return times.children_user + times.children_system


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["fti"], 2, "Did you mean 'fit'"),
        (["fit"], 2, "name a recipe"),
        (["fit", "recipe=hpsv2", "optim.lrr=1"], 2, "Did you mean 'optim.lr'"),
        (["fit", "recipe=hpsv2", "seed"], 2, "key=value"),
        (["recipes"], 2, "recipes needs an action"),
        (["recipes", "sho"], 2, "Did you mean 'show'"),
        (["recipes", "show"], 2, "recipe's name"),
        (["recipes", "copy", "hpsv2", "out=/proc/none/x.yaml"], 1, "No such|no such|permitted|denied"),
    ],
)
def test_mistakes(arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments) == code
    printed = capsys.readouterr().err
    assert any(word in printed for word in words.split("|")), printed
    assert "Traceback" not in printed


def test_recipes_show_prints_origins(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["recipes", "show", "hpsv2", "scale=paper", "optim.lr=1e-5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.strip().startswith("lr: 1") and line.endswith("# command line") for line in lines)
    assert any(line.strip().startswith("architecture: ViT-H-14") and "scale paper of hpsv2" in line for line in lines)


def test_recipes_copy_refuses_to_overwrite(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    target = f"{tmp_path}/a/mine.yaml"
    assert cli.run(["recipes", "copy", "hpsv2", f"out={target}"]) == 0
    assert cli.run(["recipes", "copy", "hpsv2", f"out={target}"]) == 2
    assert cli.run(["recipes", "show", target]) == 0
