"""Replays golden files through rewardkit and prints how far its numbers are from the published ones.

``python tools/parity/check.py [--strict] [FOLDER]``; the folder defaults to ``tests/golden``. Every ``*.json`` of it is
read; its README.md tells the schemas. Exit code 0: all that is covered agrees. 1: a mismatch, a malformed file, no
file, or with ``--strict`` a kind that is not covered. 2: a mistake on the command line.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark_parity import BENCHMARKS, benchmark_kind
from clip_parity import check_clip
from losses import COVERED, check_losses
from measure import Check, Malformed
from metrics_parity import COVERED as METRICS
from metrics_parity import check_metrics, check_test_set
from preprocess import check_edge_cases, check_preprocess

import rewardkit  # noqa: F401  (before torchvision and open_clip, see rewardkit/_torchvision.py)
from rewardkit.errors import RewardkitError

GOLDEN = Path(__file__).parents[2] / "tests" / "golden"


def check_file(path: Path) -> list[Check]:
    """Every kind of case in one golden file.

    Raises:
        Malformed: The file does not follow its schema.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Malformed(f"it is not readable JSON: {error}") from None
    if not isinstance(content, dict):
        raise Malformed(f"it holds a {type(content).__name__}, not an object")
    meta = content.get("meta", {})
    if not isinstance(meta, Mapping):
        raise Malformed("meta is not an object")
    try:
        if "weight_rule" in content:
            return check_clip(content)
        lists = {key: value for key, value in content.items() if isinstance(value, list)}
        return [check_kind(path.stem, key, cases, meta) for key, cases in lists.items()]
    except Malformed:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, RewardkitError) as error:
        raise Malformed(f"it does not follow its schema: {type(error).__name__}: {error}") from error


def check_kind(file: str, key: str, cases: list[Any], meta: Mapping[str, Any]) -> Check:
    """One list of cases; not covered where rewardkit has nothing for it."""
    if key in COVERED:
        return check_losses(key, cases, meta)
    if key in METRICS:
        return check_metrics(key, cases, meta)
    if key == "cases" and cases and isinstance(cases[0], dict) and "score_formula" in cases[0]:
        return check_test_set(cases, meta, file)
    if "patterns" in meta and key == "cases":
        return check_preprocess(cases, meta)
    if "patterns" in meta and key == "edge_cases":
        return check_edge_cases(cases, meta)
    benchmark = benchmark_kind(key, cases)
    if benchmark is not None:
        return BENCHMARKS[benchmark](cases, meta)
    return Check(file if key == "cases" else key, len(cases), covered=False)


def describe(name: str, check: Check) -> str:
    """One line of the table."""
    if not check.covered:
        return f"{name:<38} {check.kind:<28} {check.cases:>5}  {check.why}"
    state = f"{len(check.mismatches)} mismatches" if check.mismatches else "ok"
    return f"{name:<38} {check.kind:<28} {check.cases:>5}  {check.error:>13.3g}  {check.compared:>8}  {state}"


def main(arguments: list[str] | None = None) -> int:
    """Prints the table; returns the exit code."""
    parser = argparse.ArgumentParser(description="Replays golden files through rewardkit.")
    parser.add_argument("--strict", action="store_true", help="a kind that is not covered is a mismatch")
    parser.add_argument("folder", nargs="?", type=Path, default=GOLDEN, help="folder of golden files")
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        parser.error(f"there is no folder {options.folder}")
    files = sorted(options.folder.glob("*.json"))
    if not files:
        print(f"{options.folder} holds no golden file (*.json)")
        return 1
    print(f"{'file':<38} {'kind':<28} {'cases':>5}  {'largest error':>13}  {'compared':>8}")
    bad = uncovered = 0
    for path in files:
        try:
            checks = check_file(path)
        except Malformed as error:
            print(f"{path.name:<38} malformed: {error}")
            bad += 1
            continue
        if not checks:
            print(f"{path.name:<38} malformed: it holds no list of cases")
            bad += 1
        for check in checks:
            print(describe(path.name, check))
            for message in check.mismatches:
                print(f"    {message}")
            bad += len(check.mismatches)
            uncovered += not check.covered
    print(f"{len(files)} files, {bad} mismatches, {uncovered} kinds not covered")
    return 1 if bad or (options.strict and uncovered) else 0


if __name__ == "__main__":
    sys.exit(main())
