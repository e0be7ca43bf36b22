"""Grouped against pairs, at equal compute and at equal comparisons: what it is worth to encode each image once.

::

    python tools/studies/pairing.py OUT [--seeds 0,1,2] [--avt FOLDER] [--jobs 2] [--short] [--page PAGE.md]

One dimension is judged. A step of ``grouped`` reads B groups: each image is encoded once, and all comparisons of the
group count. ``pairs`` draws single comparisons, as the published trainers do, and encodes two images for each.

=====================  =================================================================================
grouped                B groups a step
pairs, equal compute   as many image encodings a step as grouped, hence fewer comparisons
pairs, equal labels    as many comparisons a step as grouped, hence more image encodings
=====================  =================================================================================

All take the same number of steps at the same rates. On the embedded dataset the whole demo tower is trained from
scratch with the objective of the recipe. On AVT-AI real towers stay frozen and a head is trained on their features, so
that encodings are counted, not paid. Results as ``objectives.py``.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from study_arguments import study_arguments
from study_data import FULL, ONLY_OVERALL, SHORT, avt, head_arguments, lean
from study_plots import plot_arms
from study_results import Arm, compare_arms, rows, sentences, write_page, write_results
from study_runs import Run, about, last_predictions, run_all

from rewardkit.data.index import ShardIndex

REFERENCE = "grouped"
NAMES = {
    "grouped": "grouped",
    "pairs_compute": "pairs, equal compute",
    "pairs_labels": "pairs, equal comparisons",
}
DIMENSIONS = {"embedded": "overall", "avt_ai": "appeal"}
SECONDS = {"embedded": 60.0, "avt_ai": 9.0}
"""One run on one core."""


@dataclass(frozen=True)
class Budget:
    """What a step of each arm reads.

    Attributes:
        groups: B.
        images: Of B groups, on average.
        comparisons: Of B groups, on average.
    """

    groups: int
    images: float
    comparisons: float

    def batch(self, arm: str) -> int:
        """``data.batch_groups``: groups, or comparisons."""
        sizes = {"grouped": self.groups, "pairs_compute": self.images / 2, "pairs_labels": self.comparisons}
        return round(sizes[arm])

    def encodings(self, arm: str) -> float:
        """Image encodings a step."""
        return self.images if arm == "grouped" else 2 * self.batch(arm)

    def labels(self, arm: str) -> float:
        """Comparisons a step."""
        return self.comparisons if arm == "grouped" else self.batch(arm)


@dataclass(frozen=True)
class Plan:
    """The trainings on one data set: (arm, seed, fold) each, and the budget of a step."""

    data: str
    budget: Budget
    steps: int
    runs: dict[tuple[str, int, str], Run]


def main() -> int:
    """Runs the study and writes what it found."""
    arguments = study_arguments(__doc__, seeds_of="weights and order")
    out: Path = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    seeds = [int(text) for text in arguments.seeds.split(",")][: 1 if arguments.short else None]
    plans = [_embedded(out, seeds, short=arguments.short)]
    if arguments.avt:
        plans.append(_avt(arguments.avt, out, seeds, short=arguments.short))
    total = sum(len(plan.runs) * SECONDS[plan.data] for plan in plans) / arguments.jobs
    print(f"{about(total)} in all where nothing is finished yet", flush=True)
    arms = []
    for plan in plans:
        run_all(list(plan.runs.values()), out, jobs=arguments.jobs, seconds=SECONDS[plan.data])
        folds = list(dict.fromkeys(fold for _, _, fold in plan.runs))
        tables = {
            arm: [[last_predictions(plan.runs[arm, seed, fold], out) for fold in folds] for seed in seeds]
            for arm in NAMES
        }
        arms += compare_arms(plan.data, DIMENSIONS[plan.data], tables, REFERENCE)
    _write(out, plans, arms, seeds, short=arguments.short, page=arguments.page)
    return 0


def _embedded(out: Path, seeds: Sequence[int], *, short: bool) -> Plan:
    size = SHORT if short else FULL
    groups, steps, train = (4, 3, size.train_groups) if short else (16, 250, 1024)
    budget = Budget(groups, 4 * groups, 6 * groups)
    shared = [
        "recipe=hpsv2",
        f"data.embedded.train_groups={train}",
        f"data.embedded.val_groups={size.val_groups}",
        "model.dimensions=[overall]",
        ONLY_OVERALL,
        f"optim.warmup_steps={max(1, steps // 10)}",
        f"trainer.max_steps={steps}",
        *lean(steps),
    ]
    return Plan("embedded", budget, steps, _runs("embedded", shared, budget, seeds, [""], out))


def _avt(folder: Path, out: Path, seeds: Sequence[int], *, short: bool) -> Plan:
    size = SHORT if short else FULL
    data = avt(folder, out, size)
    dimension = DIMENSIONS[data.name]
    index = ShardIndex.open(data.folds[0].train)
    groups = 6
    of_dimension = index.comparisons[:, index.dimensions.index(dimension)]
    budget = Budget(groups, groups * float(index.candidates.mean()), groups * float(of_dimension.mean()))
    runs = {}
    for fold in data.folds:
        shared = head_arguments(data, fold, train=fold.train, dimensions=[dimension], steps=size.steps)
        others = [name for name in index.dimensions if name != dimension]
        dropped = ", ".join(f"{name}: null" for name in others)
        shared = [a for a in shared if not a.startswith("data.batch_groups=")] + [
            f"data.dimension_map={{{dropped}}}",
            "objective.name=bradley_terry",
        ]
        runs.update(_runs(f"{data.name}-{fold.name}", shared, budget, seeds, [fold.name], out))
    return Plan(data.name, budget, size.steps, runs)


def _runs(
    name: str, shared: Sequence[str], budget: Budget, seeds: Sequence[int], folds: Sequence[str], out: Path
) -> dict[tuple[str, int, str], Run]:
    return {
        (arm, seed, fold): Run(
            f"pairing-{name}-{arm}-seed{seed}",
            (
                *shared,
                f"data.pairing={'grouped' if arm == 'grouped' else 'pairs'}",
                f"data.batch_groups={budget.batch(arm)}",
                f"seed={seed}",
                f"cache.dir={out / 'cache'}",
            ),
        )
        for arm in NAMES
        for seed in seeds
        for fold in folds
    }


def _write(
    out: Path, plans: Sequence[Plan], arms: Sequence[Arm], seeds: Sequence[int], *, short: bool, page: Path | None
) -> None:
    budgets = {
        plan.data: {
            arm: {"encodings": plan.steps * plan.budget.encodings(arm), "labels": plan.steps * plan.budget.labels(arm)}
            for arm in NAMES
        }
        for plan in plans
    }
    write_results(out, arms, {"study": "pairing", "short": short, "seeds": list(seeds), "budgets": budgets})
    panels = {f"{p.data}, {DIMENSIONS[p.data]}": [arm for arm in arms if arm.data == p.data] for p in plans}
    plot_arms(out / "pairing.png", "Grouped against pairs", panels, NAMES)
    text = [f"Seeds {', '.join(map(str, seeds))}." + (" A short run: its figures mean nothing." if short else ""), ""]
    text += ["![Accuracy of grouped and pairs](pairing.png)", ""]
    for plan in plans:
        told = [arm for arm in arms if arm.data == plan.data]
        text += [
            f"**{plan.data}, {DIMENSIONS[plan.data]}** ({plan.steps} steps; judged on {told[0].comparisons} "
            f"comparisons in {told[0].groups} groups)",
            "",
            *(f"- {sentence}" for sentence in sentences(told, NAMES)),
            "",
            *rows(told, NAMES),
            "",
            "| | image encodings | comparisons |",
            "|---|---|---|",
            *(
                f"| {NAMES[arm]} | {budget['encodings']:,.0f} | {budget['labels']:,.0f} |"
                for arm, budget in budgets[plan.data].items()
            ),
            "",
        ]
    (out / "results.md").write_text("\n".join(text), encoding="utf-8")
    if page:
        write_page(page, "results of pairing", "\n".join(text))
        shutil.copy(out / "pairing.png", page.parent)
    for line in text:
        if line.startswith(("**", "- ")):
            print(line)
    print(f"wrote {out / 'results.json'}, results.csv, results.md and the plot")


if __name__ == "__main__":
    raise SystemExit(main())
