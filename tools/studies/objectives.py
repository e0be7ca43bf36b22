"""Which objective is best when labels are many ties, flipped, sparse or clean: a study on known laws and real votes.

::

    python tools/studies/objectives.py OUT [--seeds 0,1,2] [--avt FOLDER] [--jobs 2] [--short] [--page PAGE.md]

Heads for several dimensions are trained on features of frozen towers, on labels of a condition (``study_labels.py``),
and judged on held-out votes that nobody touched. Every training is a run of ``python -m rewardkit fit``, kept in
OUT/runs; a study that was stopped goes on where it was. Results: OUT/results.json, results.csv, results.md and a plot
for each data set. FOLDER is AVT-AI's; without it only the embedded dataset is studied.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from study_arguments import study_arguments
from study_data import FULL, SHORT, Fold, Size, StudyData, avt, embedded, head_arguments
from study_labels import FLIPPED, LabelSet, law_of_demo, law_of_people, write_first_groups, write_label_sets
from study_plots import plot_arms
from study_results import Arm, compare_arms, rows, sentences, write_page, write_results
from study_runs import Run, about, last_predictions, rewardkit, run_all

REFERENCE = "bradley_terry_half"
ESTIMATED = "estimated"
"""Stands for the flip rates that ``data flips`` estimates."""

ARMS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    REFERENCE: ("Bradley-Terry, ties half", ("objective.name=bradley_terry", "objective.bradley_terry.ties=half")),
    "bradley_terry_drop": (
        "Bradley-Terry, ties dropped",
        ("objective.name=bradley_terry", "objective.bradley_terry.ties=drop"),
    ),
    "rao_kupper": ("Rao-Kupper, learned", ("objective.name=rao_kupper", "objective.rao_kupper.learned=true")),
    "davidson": ("Davidson, learned", ("objective.name=davidson", "objective.davidson.learned=true")),
    "thurstone": ("Thurstone", ("objective.name=thurstone",)),
    "cdpo": (f"cDPO, flip rate {FLIPPED:g}", ("objective.name=cdpo", f"objective.cdpo.flip_rate={FLIPPED}")),
    "robust": (f"robust, flip rate {FLIPPED:g}", ("objective.name=robust", f"objective.robust.flip_rate={FLIPPED}")),
    "robust_estimated": ("robust, flip rate estimated", ("objective.name=robust", ESTIMATED)),
    "plackett_luce": ("Plackett-Luce", ("objective.name=plackett_luce",)),
    "huber": ("Huber on scores", ("objective.name=huber",)),
    "ordinal": ("ordinal on scores", ("objective.name=ordinal",)),
}
"""Name to the name that is printed, and to the arguments of ``fit``."""

_ANY = (REFERENCE, "bradley_terry_drop", "rao_kupper", "davidson", "thurstone", "cdpo")
ARMS_OF: Mapping[str, tuple[str, ...]] = {
    "clean": (*_ANY, "robust"),
    "ties": (*_ANY[:-1], "plackett_luce", "huber", "ordinal"),
    "flipped": (*_ANY, "robust", "robust_estimated"),
    "sparse": _ANY,
}
"""Condition to the objectives that its labels allow. Scores and rankings there are in ``ties`` only."""

SHORT_ARMS: Mapping[str, tuple[str, ...]] = {
    "ties": (REFERENCE, "rao_kupper", "ordinal"),
    "flipped": (REFERENCE, "robust_estimated"),
}
"""Likewise for a short run."""

TITLES: Mapping[str, str] = {
    "clean": "clean: one vote a comparison",
    "ties": "ties: scores 1 to 5, 70 % of comparisons tie",
    "flipped": "flipped: 20 % of sided votes turned round",
    "sparse": "sparse: 10 % of the comparisons, one dimension a group",
}
SECONDS = {"embedded": 12.0, "avt_ai": 8.0}
"""One run on one core."""
TOWER_SECONDS = 300.0
START_SECONDS = 30.0
"""Drawing, labelling and importing."""


@dataclass(frozen=True)
class Trained:
    """One training of a study, and where it belongs."""

    run: Run
    condition: str
    arm: str
    seed: int
    fold: str


def main() -> int:
    """Runs the study and writes what it found."""
    arguments = study_arguments(__doc__, seeds_of="labels, order and heads")
    out: Path = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    seeds = [int(text) for text in arguments.seeds.split(",")][: 1 if arguments.short else None]
    size = SHORT if arguments.short else FULL
    arms_of = SHORT_ARMS if arguments.short else ARMS_OF
    print(_estimate(size, arms_of, seeds, arguments.jobs, with_avt=arguments.avt is not None), flush=True)
    studied = [embedded(out, size), *([avt(arguments.avt, out, size)] if arguments.avt else [])]
    arms, facts = [], {}
    for data in studied:
        labels = _labels(data, out, size, list(arms_of), seeds)
        rates = _estimated_rates(data, out, size, seeds)
        trained = _trainings(data, labels, rates, size, arms_of, seeds, out)
        run_all([one.run for one in trained], out, jobs=arguments.jobs, seconds=SECONDS[data.name])
        arms += _results(data, trained, arms_of, seeds, out)
        facts[data.name] = _facts(labels, rates, list(arms_of))
    _write(out, arms, facts, list(arms_of), seeds, short=arguments.short, page=arguments.page)
    return 0


def _estimate(
    size: Size, arms_of: Mapping[str, Sequence[str]], seeds: Sequence[int], jobs: int, *, with_avt: bool
) -> str:
    runs = len(seeds) * sum(map(len, arms_of.values()))
    avt_runs = runs * size.folds if with_avt else 0
    seconds = (runs * SECONDS["embedded"] + avt_runs * SECONDS["avt_ai"]) / jobs
    seconds += START_SECONDS + (TOWER_SECONDS if size is FULL else 0)
    return f"{runs + avt_runs} runs and a tower: {about(seconds)} in all where nothing is finished yet"


def _labels(
    data: StudyData, out: Path, size: Size, conditions: Sequence[str], seeds: Sequence[int]
) -> dict[tuple[str, int], dict[str, LabelSet]]:
    """(fold, seed) to condition to the labels that are trained on."""
    write = partial(
        write_label_sets,
        law=law_of_demo if data.name == "embedded" else law_of_people,
        dimensions=data.dimensions,
        conditions=conditions,
    )
    return {
        (fold.name, seed): write(fold.train, _label_folder(data, fold, size, out) / f"seed-{seed}", seed=seed)
        for fold in data.folds
        for seed in seeds
    }


def _label_folder(data: StudyData, fold: Fold, size: Size, out: Path) -> Path:
    return out / "labels" / data.name / (fold.name or f"{size.train_groups}-groups")


def _estimated_rates(data: StudyData, out: Path, size: Size, seeds: Sequence[int]) -> dict[tuple[str, int], str]:
    """(fold, seed) to what ``data flips`` says of the flipped labels, against people's votes on some of the groups."""
    found = {}
    for fold in data.folds:
        folder = _label_folder(data, fold, size, out)
        people = write_first_groups(fold.train, folder / "people", size.people_groups)
        for seed in seeds:
            file = folder / f"seed-{seed}" / "flips.json"
            if not file.is_file():
                rewardkit(
                    "data", "flips", f"ai={folder / f'seed-{seed}' / 'flipped'}", f"human={people}", f"out={file}"
                )
            record = json.loads(file.read_text(encoding="utf-8"))["dimensions"]
            rates = {d: told["flip_rate"] for d, told in record.items()}
            # A dimension whose rate is not known, or not below one half, is told the mean of the others.
            known = [rate for rate in rates.values() if rate is not None and rate < 0.5]
            mean = sum(known) / len(known)
            told = {d: rate if rate is not None and rate < 0.5 else mean for d, rate in rates.items()}
            found[fold.name, seed] = "{" + ", ".join(f"{d}: {rate:.4f}" for d, rate in told.items()) + "}"
    return found


def _trainings(
    data: StudyData,
    labels: Mapping[tuple[str, int], Mapping[str, LabelSet]],
    rates: Mapping[tuple[str, int], str],
    size: Size,
    arms_of: Mapping[str, Sequence[str]],
    seeds: Sequence[int],
    out: Path,
) -> list[Trained]:
    """Every training of one data set."""
    found = []
    for seed in seeds:
        for condition, arms in arms_of.items():
            for arm in arms:
                for fold in data.folds:
                    train = labels[fold.name, seed][condition].folder
                    given = [
                        f"objective.robust.flip_rate={rates[fold.name, seed]}" if argument == ESTIMATED else argument
                        for argument in ARMS[arm][1]
                    ]
                    shared = head_arguments(data, fold, train=train, dimensions=data.dimensions, steps=size.steps)
                    name = "-".join(filter(None, (data.name, condition, arm, fold.name, f"seed{seed}")))
                    run = Run(name, (*shared, *given, f"seed={seed}", f"cache.dir={out / 'cache'}"))
                    found.append(Trained(run, condition, arm, seed, fold.name))
    return found


def _results(
    data: StudyData, trained: Sequence[Trained], arms_of: Mapping[str, Sequence[str]], seeds: Sequence[int], out: Path
) -> list[Arm]:
    found = []
    for condition, arms in arms_of.items():
        tables = {
            arm: [
                [
                    last_predictions(t.run, out)
                    for t in trained
                    if (t.condition, t.arm, t.seed) == (condition, arm, seed)
                ]
                for seed in seeds
            ]
            for arm in arms
        }
        found += compare_arms(data.name, condition, tables, REFERENCE)
    return found


def _facts(
    labels: Mapping[tuple[str, int], Mapping[str, LabelSet]],
    rates: Mapping[tuple[str, int], str],
    conditions: Sequence[str],
) -> dict[str, object]:
    """What was trained on: means over folds and seeds."""
    sets = list(labels.values())
    return {
        "labels": {
            condition: {
                "comparisons": sum(one[condition].comparisons for one in sets) / len(sets),
                "groups": sum(one[condition].groups for one in sets) / len(sets),
                "ties": sum(one[condition].ties for one in sets) / len(sets),
            }
            for condition in conditions
        },
        "estimated flip rates": sorted(set(rates.values())),
    }


def _write(
    out: Path,
    arms: Sequence[Arm],
    facts: Mapping[str, object],
    conditions: Sequence[str],
    seeds: Sequence[int],
    *,
    short: bool,
    page: Path | None,
) -> None:
    names = {name: printed for name, (printed, _) in ARMS.items()}
    write_results(out, arms, {"study": "objectives", "short": short, "seeds": list(seeds), "data": facts})
    text = [f"Seeds {', '.join(map(str, seeds))}." + (" A short run: its figures mean nothing." if short else ""), ""]
    for data, known in facts.items():
        of_data = {c: [arm for arm in arms if (arm.data, arm.condition) == (data, c)] for c in conditions}
        picture = f"objectives-{data}.png"
        plot_arms(out / picture, f"Objectives on {data}", {TITLES[c]: told for c, told in of_data.items()}, names)
        text += [f"### {data}", "", f"![Accuracy of each objective on {data}]({picture})", ""]
        for condition, told in of_data.items():
            label = known["labels"][condition]  # type: ignore[index]
            text += [
                f"**{TITLES[condition]}** ({label['comparisons']:.0f} comparisons in {label['groups']:.0f} groups, "
                f"{label['ties']:.0%} ties; judged on {told[0].comparisons} in {told[0].groups})",
                "",
                *(f"- {sentence}" for sentence in sentences(told, names)),
                "",
                *rows(told, names),
                "",
            ]
        estimated = known["estimated flip rates"]  # type: ignore[index]
        if estimated:
            text += ["Flip rates that `data flips` estimated for *flipped*:", "", *(f"- {r}" for r in estimated), ""]
    (out / "results.md").write_text("\n".join(text), encoding="utf-8")
    if page:
        write_page(page, "results of objectives", "\n".join(text))
        for data in facts:
            shutil.copy(out / f"objectives-{data}.png", page.parent)
    for line in text:
        if line.startswith(("**", "- ", "###")):
            print(line)
    print(f"wrote {out / 'results.json'}, results.csv, results.md and the plots")


if __name__ == "__main__":
    raise SystemExit(main())
