"""Real people's ratings through an evaluator of real weights: SmolLM2-135M looks through EfficientNet-Lite0 at AVT-AI.

::

    python tools/studies/evaluator_avt.py OUT --avt FOLDER [--folds 3] [--steps 60] [--seed 0] [--page PAGE.md]

The model is ``lite0_llava.py``, the training ``evaluator_avt.yaml``, what is asked ``avt_questions.yaml``: four
questions with options 1 to 5, the shares of about 24 people's ratings as targets, and their preferences between images
of a prompt. Prompts are held out in folds; held-out answers of all folds are put together, so that each of the 27
prompts is judged once by a model that never saw it. What is finished in OUT is not run again. One thread.

The numbers go to OUT/results.json and OUT/results.md, and between the marks of a page.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lite0_llava
from study_results import PROTOCOL, write_page
from study_runs import Run, execute, rewardkit

from rewardkit.data.answer_table import AnswerTable, merge_answers, read_answers
from rewardkit.data.predictions import Predictions, merge_predictions, read_predictions, write_predictions
from rewardkit.metrics.answer_rows import answer_rows
from rewardkit.metrics.answer_sets import answers_of_table
from rewardkit.metrics.breakdown import evaluation_rows

HERE = Path(__file__).resolve().parent
RECIPE = HERE / "evaluator_avt.yaml"
SOURCE = "avt"
MEASURES = ("srcc", "plcc", "qwk", "mae", "option_accuracy")
"""Of answers, in the page's table."""


@dataclass(frozen=True)
class HeldOut:
    """What all folds said of what they had not seen."""

    predictions: Predictions
    answers: AnswerTable


def main() -> int:
    """Trains the folds and writes what they reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the study; what is finished in it is not run again")
    parser.add_argument("--avt", type=Path, required=True, help="folder of AVT-AI")
    parser.add_argument("--folds", type=int, default=3, help="parts of the prompts, each held out once")
    parser.add_argument("--steps", type=int, default=60, help="optimiser steps of each fold")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path, default=None, help="page that the results are written into")
    asked = parser.parse_args()
    out: Path = asked.out.resolve()
    folds = prepare(asked.avt.resolve(), out, asked.folds)
    runs = [training(out, fold, steps=asked.steps, seed=asked.seed) for fold in folds]
    for run in runs:
        train(run, out)
    found = held_out(runs, out)
    write_predictions(out / "held_out.parquet", found.predictions)
    record = {
        "folds": asked.folds,
        "steps": asked.steps,
        "seed": asked.seed,
        "prompts": int(found.predictions.scores["prompt"].nunique()),
        "images": len(found.predictions.scores[["group", "candidate"]].drop_duplicates()),
        "pairs": evaluation_rows(found.predictions, PROTOCOL, seed=asked.seed),
        "answers": answer_rows(answers_of_table(found.answers), seed=asked.seed),
    }
    (out / "results.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    text = "\n".join(told(record))
    (out / "results.md").write_text(text + "\n", encoding="utf-8")
    if asked.page:
        write_page(asked.page, "results of evaluator_avt", text)
    print(text)
    return 0


def prepare(avt: Path, out: Path, folds: int) -> list[Path]:
    """The model's folder, the shards and their folds, each made once; the folds' folders."""
    sys.path.append(str(HERE.parent))
    from fetch_real_weights import LANGUAGE_MODEL, TOWERS
    from fetch_real_weights import main as fetch

    (out / "logs").mkdir(parents=True, exist_ok=True)
    if fetch([str(out / "weights"), "--only", f"{TOWERS[0]},{LANGUAGE_MODEL}"]):
        sys.exit(1)
    lite0_llava.assemble(out / "weights", out / "base")
    if not (out / "shards").is_dir():
        rewardkit("data", "convert", "format=avt", f"src={avt}", f"out={out / 'shards'}", f"name={SOURCE}")
    split = out / f"folds-{folds}"
    if not split.is_dir():
        rewardkit("data", "split", f"src={out / 'shards'}", f"out={split}", "by=prompt", f"folds={folds}")
    return [split / f"fold-{n}" for n in range(folds)]


def training(out: Path, fold: Path, *, steps: int, seed: int) -> Run:
    """One fold's."""
    arguments = (
        f"recipe={RECIPE}",
        f"data.train={fold / 'train'}",
        f"data.val={fold / 'val'}",
        f"model.pretrained={out / 'base'}",
        f"optim.warmup_steps={max(1, steps // 10)}",
        f"trainer.max_steps={steps}",
        f"trainer.validate_every={steps}",
        f"trainer.checkpoint_every={max(1, steps // 3)}",
        "trainer.precision=bf16",
        "trainer.threads=1",
        "logger=[csv]",
        f"evaluation.protocol={PROTOCOL}",
        "callbacks.best_bundle=null",
        f"seed={seed}",
    )
    return Run(f"{fold.parent.name}-{fold.name}-{steps}", arguments)


def train(run: Run, out: Path) -> None:
    """Runs a fold in this process, which knows the vision tower; a finished one is not run again."""
    if run.layout(out).is_finished:
        print(f"{run.name} is finished", flush=True)
        return
    print(f"$ python -m rewardkit {' '.join(run.command(out))}", flush=True)
    code, took = execute(run, out)
    if code:
        sys.exit(f"{run.name} failed with exit code {code}; see {out / 'logs'}")
    print(f"{run.name} took {took / 60:.1f} minutes", flush=True)


def held_out(runs: Sequence[Run], out: Path) -> HeldOut:
    """The last validations of all folds as one table each; groups are numbered anew."""
    predictions, answers, first = [], [], 0
    for run in runs:
        tables = run.layout(out).predictions.glob("*.parquet")
        (*_, last) = sorted(path for path in tables if path.name.count(".") == 1)
        part, said = read_predictions(last), read_answers(last)
        scores, labels = (t.assign(group=t["group"] + first) for t in (part.scores, part.labels))
        predictions.append(replace(part, scores=scores.assign(source=SOURCE), labels=labels))
        rows = said.rows
        answers.append(replace(said, rows=rows.assign(group=rows["group"] + first, source=SOURCE)))
        first = int(scores["group"].max()) + 1
    return HeldOut(merge_predictions(predictions), merge_answers(answers))


def told(record: dict[str, Any]) -> list[str]:
    """What was reached, in Markdown."""
    lines = [
        f"{record['prompts']} prompts with {record['images']} images, held out in {record['folds']} folds; "
        f"{record['steps']} steps each, seed {record['seed']}.",
        "",
        f"**Which of two images of a prompt people prefer** (`{PROTOCOL}`; intervals over prompts)",
        "",
        "| | accuracy | 95 % | n | between generators' pairs | chance | one person | which generator | listed first |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in record["pairs"]:
        beside = (row[k] for k in ("chance", "annotator_agreement", "which_generator", "list_position"))
        lines.append(
            f"| {row['dimension']} | {row['value']:.3f} | {interval(row)} | {row['comparisons']} in {row['groups']} | "
            f"{number(row['generator_balanced'])} | {' | '.join(number(value) for value in beside)} |"
        )
    lines += ["", "**What people rate an image** (each image's answers against all of its ratings)", ""]
    lines += [f"| | {' | '.join(MEASURES)} | most frequent |", f"|---|{'---|' * (len(MEASURES) + 1)}"]
    for question in dict.fromkeys(row["dimension"] for row in record["answers"]):
        by_metric = {row["metric"]: row for row in record["answers"] if row["dimension"] == question}
        cells = [f"{number(m['value'])} ({interval(m)})" if (m := by_metric.get(k)) else "" for k in MEASURES]
        most = (by_metric.get("option_accuracy") or {}).get("most_frequent")
        lines.append(f"| {question} | {' | '.join(cells)} | {number(most)} |")
    return lines


def interval(row: dict[str, Any]) -> str:
    """``0.51 to 0.62``; nothing where there is none."""
    return "" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"


def number(value: float | None) -> str:
    """Three digits; nothing where there is none."""
    return "" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    raise SystemExit(main())
