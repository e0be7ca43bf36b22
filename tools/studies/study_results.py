"""What a study found: accuracies over seeds with intervals, differences, and when to say that there is none.

A draw of the bootstrap takes groups and seeds with replacement, the same groups and seeds for everything compared, so
that an interval holds both the accident of the prompts and that of the seeds. Three seeds are few for that; hence a
difference counts only if its 95 % interval leaves out 0 **and** all seeds agree on its sign.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rewardkit.data.predictions import Predictions
from rewardkit.metrics.intervals import interval_of
from rewardkit.metrics.judged_pairs import judged_pairs
from rewardkit.metrics.protocols import credit, find_protocol, sums_of_groups

PROTOCOL = "half_micro"
CHANCE = 0.5
"""Its accuracy of scores that know nothing."""
DRAWS = 2000

BETTER, WORSE, SAME, REFERENCE = "better", "worse", "no difference", "reference"

Floats = NDArray[np.float64]
Tables = Sequence[Predictions]
"""The held-out predictions of one training, or of the trainings of all folds."""


@dataclass(frozen=True)
class Arm:
    """One way to train, as it came out.

    Attributes:
        value: Accuracy, mean over the seeds.
        low: Lower end of its interval.
        high: Upper end.
        seeds: Each seed's.
        comparisons: Judged ones.
        groups: Theirs.
        difference: To the reference, mean over the seeds; None for the reference, as the next.
        difference_low: Lower end of the interval of the paired difference.
        difference_high: Upper end.
        difference_seeds: Each seed's.
        verdict: better, worse, no difference, or reference.
    """

    data: str
    condition: str
    name: str
    value: float
    low: float
    high: float
    seeds: tuple[float, ...]
    comparisons: int
    groups: int
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    difference_seeds: tuple[float, ...]
    verdict: str


def compare_arms(data: str, condition: str, arms: Mapping[str, Sequence[Tables]], reference: str) -> list[Arm]:
    """Accuracies of all arms, and their differences to one of them.

    Args:
        data: Name of the data.
        condition: Name of what is varied beside the arms.
        arms: Name to what each seed's training predicted; the same seeds and the same held-out groups for all.
        reference: The arm that the others are compared with.
    """
    tallies = {name: np.stack([_tally(tables) for tables in seeds]) for name, seeds in arms.items()}  # [S, G, 2]
    shape = tallies[reference].shape
    assert all(tally.shape == shape for tally in tallies.values()), "arms were judged on different groups"
    rng = np.random.default_rng(0)
    groups = rng.multinomial(shape[1], np.full(shape[1], 1 / shape[1]), size=DRAWS).astype(float)  # [draws, G]
    seeds = rng.integers(shape[0], size=(DRAWS, shape[0]))
    drawn = {name: _accuracy(np.einsum("dg,sgc->dsc", groups, tally)) for name, tally in tallies.items()}  # [draws, S]
    whole = {name: _accuracy(tally.sum(axis=1)) for name, tally in tallies.items()}  # [S]
    found = []
    for name, tally in tallies.items():
        low, high = _interval(drawn[name], seeds)
        gap = whole[name] - whole[reference]
        gap_low, gap_high = _interval(drawn[name] - drawn[reference], seeds)
        is_reference = name == reference
        found.append(
            Arm(
                data,
                condition,
                name,
                float(whole[name].mean()),
                low,
                high,
                tuple(whole[name].tolist()),
                int(tally[0, :, 1].sum()),
                shape[1],
                None if is_reference else float(gap.mean()),
                None if is_reference else gap_low,
                None if is_reference else gap_high,
                () if is_reference else tuple(gap.tolist()),
                REFERENCE if is_reference else verdict(gap, gap_low, gap_high),
            )
        )
    return found


def verdict(gap: Floats, low: float, high: float) -> str:
    """Whether a difference counts: its interval leaves out 0, and all seeds ``[S]`` agree on its sign."""
    if low > 0 and (gap > 0).all():
        return BETTER
    if high < 0 and (gap < 0).all():
        return WORSE
    return SAME


def sentences(arms: Sequence[Arm], names: Mapping[str, str]) -> list[str]:
    """What the arms of one condition say, in words.

    Args:
        arms: From ``compare_arms``.
        names: Arm to the name to print.
    """
    reference = next(arm for arm in arms if arm.verdict == REFERENCE)
    others = sorted((arm for arm in arms if arm.verdict != REFERENCE), key=lambda arm: -(arm.difference or 0))
    told = []
    if all(arm.low <= CHANCE for arm in arms):
        told.append(
            f"nothing here is above chance ({CHANCE:g}): what was learned does not hold on other prompts, so these "
            "figures cannot say which is better"
        )
    for kind, word in ((BETTER, "beats"), (WORSE, "is worse than")):
        for arm in others:
            if arm.verdict == kind and arm.difference is not None:
                told.append(
                    f"{names[arm.name]} {word} {names[reference.name]} by {abs(100 * arm.difference):.1f} points "
                    f"({_points(arm)})"
                )
    same = [names[arm.name] for arm in others if arm.verdict == SAME]
    if len(same) == 1 and len(others) == 1:
        told.append(f"no difference: {same[0]} cannot be told from {names[reference.name]}")
    elif same and len(same) == len(others):
        told.append(f"no difference: none of these can be told from {names[reference.name]}: {'; '.join(same)}")
    elif same:
        told.append(f"no difference to {names[reference.name]}: {'; '.join(same)}")
    return told


def rows(arms: Sequence[Arm], names: Mapping[str, str]) -> list[str]:
    """A Markdown table of the arms."""
    lines = [
        "| | accuracy | 95 % | seeds | to the reference | 95 % | |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm in arms:
        gap = "" if arm.difference is None else f"{100 * arm.difference:+.1f}"
        seeds = " ".join(f"{value:.3f}" for value in arm.seeds)
        interval = f"{arm.low:.3f}–{arm.high:.3f}"
        lines.append(
            f"| {names[arm.name]} | {arm.value:.3f} | {interval} | {seeds} | {gap} | {_points(arm)} | {arm.verdict} |"
        )
    return lines


def write_results(out: Path, arms: Sequence[Arm], facts: Mapping[str, object]) -> None:
    """Writes ``results.json`` and ``results.csv``."""
    record = {"protocol": PROTOCOL, "draws": DRAWS, **facts, "arms": [asdict(arm) for arm in arms]}
    (out / "results.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    with (out / "results.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(asdict(arms[0])))
        writer.writeheader()
        for arm in arms:
            told = asdict(arm)
            for name in ("seeds", "difference_seeds"):
                told[name] = " ".join(f"{value:.6f}" for value in told[name])
            writer.writerow(told)


def write_page(page: Path, mark: str, text: str) -> None:
    """Puts text between ``<!-- MARK -->`` and ``<!-- end of MARK -->`` of a page.

    Raises:
        SystemExit: The page lacks the marks.
    """
    whole = page.read_text(encoding="utf-8")
    start, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    if start not in whole or end not in whole:
        raise SystemExit(f"{page} has no {start} … {end}")
    before, rest = whole.split(start, 1)
    page.write_text(f"{before}{start}\n\n{text.strip()}\n\n{end}{rest.split(end, 1)[1]}", encoding="utf-8")


def _points(arm: Arm) -> str:
    if arm.difference_low is None or arm.difference_high is None:
        return ""
    return f"{100 * arm.difference_low:+.1f} to {100 * arm.difference_high:+.1f}"


def _tally(tables: Tables) -> Floats:
    """``[G, 2]``: credit and number of the judged comparisons of each held-out group, of all dimensions, by key."""
    rule = find_protocol(PROTOCOL)
    sums = []
    for predictions in tables:
        pairs = judged_pairs(predictions)
        names, tally = sums_of_groups(pairs, credit(pairs, rule), macro=False)
        sums.append(pd.DataFrame(tally, index=[str(name).rpartition("\n")[2] for name in names]))
    joined = pd.concat(sums).sort_index()
    assert joined.index.is_unique, "a group was held out twice"
    return joined.to_numpy(float)


def _accuracy(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] / sums[..., 1])


def _interval(drawn: Floats, seeds: NDArray[np.int64]) -> tuple[float, float]:
    """Of the mean over drawn seeds: ``[draws, S]`` values, ``[draws, S]`` seeds."""
    low, high = interval_of(np.take_along_axis(drawn, seeds, axis=1).mean(axis=1)) or (np.nan, np.nan)
    return low, high
