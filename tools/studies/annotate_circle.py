"""The full circle of ``annotate``: pictures, a simulated annotator, shards, ``fit recipe=vpscore``, the true law.

::

    python tools/studies/annotate_circle.py OUT [--groups 400] [--held-out 150] [--steps 150] [--seeds 2] [--page PAGE]
                                              [--labels-only]

Draws the embedded dataset, has a simulated model behind a chat server on this machine annotate its training groups
(noise 0.1, a bias of 0.2 for the image shown first; each group is shown twice, in both orders), and trains the same
small reward on those labels and on the people's votes that the pictures were drawn with. Both are held against what the
pictures are: the true utilities of held-out groups, which no label tells, and against people's votes on them.

What is finished in OUT is not run again. One thread. The numbers go to OUT/results.json, and between the marks of a
page.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from study_results import PROTOCOL, Arm, compare_arms, write_page, write_results
from study_runs import Run, last_predictions, rewardkit, run_all

from rewardkit.data.comparisons import is_decided
from rewardkit.data.demo import demo_utilities
from rewardkit.data.demo.voters import FAULT_DIMENSIONS
from rewardkit.data.matched_labels import votes_on_pairs
from rewardkit.data.open_index import open_index
from rewardkit.data.predictions import Predictions
from rewardkit.metrics.intervals import bootstrap_interval, ratio

HERE = Path(__file__).resolve().parent
PEOPLE, MACHINE = "people's votes", "annotate"
SEED_OF_PICTURES = 11
PARTS: Mapping[str, Sequence[str]] = {"overall": ("overall",), "the four aspects": FAULT_DIMENSIONS}


def main() -> int:
    """Draws, annotates, trains and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the study; what is finished in it is not run again")
    parser.add_argument("--groups", type=int, default=400, help="groups to annotate and train on")
    parser.add_argument("--held-out", type=int, default=150, help="groups held out")
    parser.add_argument("--steps", type=int, default=150, help="optimiser steps of each training")
    parser.add_argument("--seeds", type=int, default=2, help="trainings on each kind of labels")
    parser.add_argument("--labels-only", action="store_true", help="train nothing: the labels against the true law")
    parser.add_argument("--page", type=Path, default=None, help="page that the results are written into")
    asked = parser.parse_args()
    out: Path = asked.out.resolve()
    train, held_out = out / "train", out / "held-out"
    for folder, groups, split in ((train, asked.groups, "train"), (held_out, asked.held_out, "val")):
        if not folder.exists():
            rewardkit("data", "demo", f"out={folder}", f"groups={groups}", f"split={split}", f"seed={SEED_OF_PICTURES}")
    annotate(train, out / "annotation")
    data = {PEOPLE: train, MACHINE: out / "annotation" / "shards"}
    labels = labels_text(data)
    print(labels, flush=True)
    if asked.labels_only:
        if asked.page:
            write_page(asked.page, "annotate_circle", labels)
        return 0
    runs = {name: [training(name, folder, held_out, asked.steps, seed) for seed in range(asked.seeds)]
            for name, folder in data.items()}  # fmt: skip
    run_all([run for of in runs.values() for run in of], out, jobs=1, seconds=0.3 * asked.steps)
    tables = {name: [last_predictions(run, out) for run in of] for name, of in runs.items()}
    arms = compared(tables, held_out)
    facts = {"groups": asked.groups, "held out": asked.held_out, "steps": asked.steps, "seeds": asked.seeds}
    write_results(out, arms, facts)
    text = f"{labels}\n\n{page_text(arms, facts)}"
    print(text)
    if asked.page:
        write_page(asked.page, "annotate_circle", text)
    return 0


def labels_text(data: Mapping[str, Path]) -> str:
    """The labels themselves against the true law, on pairs that differ in truth; one without a side is one half."""
    lines = [
        "The labels against the true law (pairs of the training groups that differ in truth; a tie is one half; 95 % "
        "intervals over groups):",
        "",
        "| labels | dimensions | pairs | right | 95 % | ties and undecided |",
        "|---|---|---|---|---|---|",
    ]
    for name, folder in data.items():
        for part, dimensions in PARTS.items():
            sums = label_sums(folder, dimensions)
            right, pairs, ties = sums.sum(axis=0)
            low, high = bootstrap_interval(sums[:, :2], ratio) or (np.nan, np.nan)
            lines.append(
                f"| {name} | {part} | {pairs:,.0f} | {right / pairs:.3f} | {low:.3f}–{high:.3f} | {ties / pairs:.1%} |"
            )
    return "\n".join(lines)


def label_sums(folder: Path, dimensions: Sequence[str]) -> NDArray[np.float64]:
    """``[G, 3]``: what is right, pairs that differ in truth, and those without a side, by group."""
    truth, index, found = true_labels(folder), open_index(str(folder)), []
    for position in range(len(index)):
        group = index.record(position)
        votes = {d: votes_on_pairs(group, d, {n: n for n in range(len(group.candidates))}) for d in dimensions}
        sums = np.zeros(3)
        for i, j, dimension, gap in truth[group.id]:
            if dimension in votes and gap:
                first, tie, second = votes[dimension][i, j]
                sided = is_decided(first, tie, second)
                sums += (((first > second) == (gap > 0)) if sided else 0.5, 1, not sided)
        found.append(sums)
    return np.array(found)


def annotate(images: Path, out: Path) -> None:
    """Asks the simulated model about every group, twice; what is in the log already is not asked again."""
    sys.path.insert(0, str(HERE.parent))
    from annotator_server import Simulated, serve

    simulated = Simulated(noise=0.1, bias=0.2)
    simulated.learn(images)
    with serve(simulated):
        rewardkit("annotate", f"images={images}", f"out={out}", f"annotators=judge@{simulated.url}", "repeats=2")


def training(name: str, train: Path, held_out: Path, steps: int, seed: int) -> Run:
    """One training of the small VP-Score."""
    return Run(
        f"{'people' if name == PEOPLE else 'machine'}-{seed}",
        (
            "recipe=vpscore",
            "scale=demo",
            f"data.train={train}",
            f"data.val={held_out}",
            f"seed={seed}",
            "data.batch_groups=8",
            f"trainer.max_steps={steps}",
            f"trainer.validate_every={steps}",
            "data.workers=0",
            "evaluation.bootstrap=100",
        ),
    )


def compared(tables: Mapping[str, Sequence[Predictions]], held_out: Path) -> list[Arm]:
    """Both trainings on overall and on the aspects: against what the pictures are, and against people's votes."""
    truth = true_labels(held_out)
    law = {name: [as_truth(one, truth) for one in of] for name, of in tables.items()}
    found = []
    for kind, held_against in (("the true law", law), ("people's votes", tables)):
        for part, dimensions in PARTS.items():
            arms = {name: [[only(one, dimensions)] for one in of] for name, of in held_against.items()}
            found += compare_arms("embedded", f"{kind}, {part}", arms, PEOPLE)
    return found


def only(predictions: Predictions, dimensions: Sequence[str]) -> Predictions:
    """The rows of some dimensions."""
    scores, labels = (t[t["dimension"].isin(dimensions)] for t in (predictions.scores, predictions.labels))
    return Predictions(scores, labels)


def true_labels(held_out: Path) -> dict[str, list[tuple[int, int, str, float]]]:
    """Group's key to its pairs of candidates, each with the dimension and the difference of the true utilities."""
    index = open_index(str(held_out))
    found = {}
    for position in range(len(index)):
        group = index.record(position)
        made = group.provenance
        (utilities,) = demo_utilities(seed=made["seed"], start=made["index"], count=1, split=made["split"])
        found[group.id] = [
            (i, j, dimension, round(utilities[i][dimension] - utilities[j][dimension], 9))
            for i, j in combinations(range(len(utilities)), 2)
            for dimension in utilities[i]
        ]
    return found


def as_truth(predictions: Predictions, truth: Mapping[str, list[tuple[int, int, str, float]]]) -> Predictions:
    """The same scores beside the true order instead of votes; pairs without a difference are ties."""
    groups = predictions.scores[["group", "key"]].drop_duplicates("group")
    rows = [
        (number, dimension, i, j, float(gap > 0), float(gap == 0), float(gap < 0), 1.0)
        for number, key in groups.itertuples(index=False)
        for i, j, dimension, gap in truth[key]
    ]
    return replace(predictions, labels=pd.DataFrame(rows, columns=list(predictions.labels.columns)))


def page_text(arms: Sequence[Arm], facts: Mapping[str, int]) -> str:
    """The table of a page."""
    lines = [
        f"{facts['groups']} groups of 4 images to annotate and train on, {facts['held out']} held out, "
        f"{facts['steps']} steps of 8 groups, {facts['seeds']} seeds; {PROTOCOL}, 95 % intervals over groups and "
        "seeds.",
        "",
        "| held against | trained on | n | accuracy | 95 % | difference |",
        "|---|---|---|---|---|---|",
    ]
    for arm in arms:
        value = f"{arm.value:.3f} | {arm.low:.3f}–{arm.high:.3f}"
        lines.append(f"| {arm.condition} | {arm.name} | {arm.comparisons:,} | {value} | {_difference(arm)} |")
    return "\n".join(lines)


def _difference(arm: Arm) -> str:
    if arm.difference is None:
        return ""
    return f"{arm.difference:+.3f} ({arm.difference_low:+.3f} to {arm.difference_high:+.3f})"


if __name__ == "__main__":
    sys.exit(main())
