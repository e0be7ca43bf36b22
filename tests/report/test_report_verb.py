"""``report`` on runs that a real, tiny ``fit`` made."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from rewardkit import cli
from rewardkit.config.layout import RunLayout

Fit = Callable[[int], RunLayout]


@pytest.fixture
def fit(tiny_fit: list[str]) -> Fit:
    """Makes a finished run of a seed."""
    (folder,) = (argument.partition("=")[2] for argument in tiny_fit if argument.startswith("run.dir="))

    def run(seed: int) -> RunLayout:
        assert cli.run(["fit", *tiny_fit, f"run.name=seed{seed}", f"seed={seed}"]) == 0
        return RunLayout(Path(folder) / "hpsv2" / f"seed{seed}")

    return run


@pytest.mark.slow
def test_fit_ends_with_a_report_and_the_verb_writes_it_again(fit: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    run, other = fit(0), fit(1)
    first = run.report.read_text(encoding="utf-8")
    summary = json.loads(run.summary.read_text(encoding="utf-8"))
    shown = re.search(r'<div class="big">(.*?)</div>', first)
    assert shown is not None
    assert shown[1] == f"{summary['accuracies']['overall']['value']:.3f}"
    assert all(f">{row['n_comparisons']:,}<" in first for row in summary["accuracies"].values())
    assert "data:image/jpeg;base64," in first and "picture not found" not in first
    assert "Held-out accuracy (strict_micro)" in first and "Learning rate" in first and "Throughput" in first

    run.report.unlink()
    capsys.readouterr()
    assert cli.run(["report", f"run={run.root}"]) == 0
    assert capsys.readouterr().out.strip() == str(run.report)
    assert run.report.read_text(encoding="utf-8") == first

    assert cli.run(["report", f"run={run.root}", f"against={other.root}"]) == 0
    assert "Against hpsv2/seed1" in run.report.read_text(encoding="utf-8")


def test_pictures_are_left_out_where_the_shards_are_gone(fit: Fit) -> None:
    run = fit(0)
    options = json.loads((run.root / "options.json").read_text(encoding="utf-8"))
    options["data.val"] = ["/nowhere/at/all"]
    (run.root / "options.json").write_text(json.dumps(options), encoding="utf-8")
    assert cli.run(["report", f"run={run.root}"]) == 0
    page = run.report.read_text(encoding="utf-8")
    assert "picture not found" in page and "pictures could not be shown" in page


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "name a run"),
        (["run=/nowhere"], 2, "there is no such folder"),
        (["run=."], 2, "not a run's folder"),
        (["rum=x"], 2, "Did you mean 'run'"),
    ],
)
def test_mistakes(arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["report", *arguments]) == code
    assert words in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["report", "--help"]) == 0
    assert "against" in capsys.readouterr().out
