"""Real people's votes through every part: k-fold training on AVT-AI with real towers, and what it reached.

    python tools/real_votes.py AVT_FOLDER OUT [--folds 9] [--steps 40]

AVT_FOLDER holds ratings.csv, groups.jsonl and images/ of AVT-AI (27 prompts, 5 generators and photos, 55 raters). The
towers are EfficientNet-Lite0 and all-MiniLM-L6-v2, frozen, fetched by ``fetch_real_weights.py``; trained are the two
projections, the heads and the scale. Every step is the command that a person would type. Held-out predictions of all
folds are put together, so that each of the 27 prompts is judged once by a model that never saw it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from rewardkit.data.predictions import Predictions, merge_predictions, read_predictions, write_predictions
from rewardkit.metrics.breakdown import evaluation_rows

TOOLS = Path(__file__).parent
DIMENSIONS = ("appeal", "realism", "prompt_matching", "quality")
PROTOCOL = "half_micro"
TOWER = {
    "embed_dim": 256,
    "vision_cfg": {
        "timm_model_name": "tf_efficientnet_lite0",
        "timm_weights": "efficientnet_lite0/model.safetensors",
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": 224,
    },
    "text_cfg": {
        "hf_model_name": "all-MiniLM-L6-v2",
        "hf_tokenizer_name": "all-MiniLM-L6-v2",
        "hf_model_pretrained": True,
        "hf_proj_type": "linear",
        "hf_pooler_type": "mean_pooler",
        "context_length": 48,
    },
    # Of the packaged weights; timm's own entry for this architecture belongs to others.
    "preprocess_cfg": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
}
"""Frozen features of 1280 and 384 numbers, each with a linear map to a shared embedding of 256."""


def main() -> int:
    """Runs all folds and prints the table; the numbers also go to OUT/real_votes.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("avt", type=Path, help="folder of AVT-AI")
    parser.add_argument("out", type=Path, help="folder to write; steps that are done are not done again")
    parser.add_argument("--folds", type=int, default=9, help="parts that the prompts are split into")
    parser.add_argument("--run-folds", type=int, default=None, help="train only the first so many folds (a short test)")
    parser.add_argument("--steps", type=int, default=40, help="optimiser steps of each fold")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    run_folds = arguments.run_folds or arguments.folds
    tower = prepare(arguments.avt, arguments.out, folds=arguments.folds)
    for fold in range(run_folds):
        train_fold(arguments.out, tower, fold, steps=arguments.steps, seed=arguments.seed)
    predictions = joined(arguments.out, range(run_folds), arguments.steps)
    write_predictions(arguments.out / "held_out.parquet", predictions)
    rows = evaluation_rows(predictions, PROTOCOL, seed=arguments.seed)
    record = {
        "protocol": PROTOCOL,
        "folds": arguments.folds,
        "folds_run": run_folds,
        "steps": arguments.steps,
        "seed": arguments.seed,
        "prompts": int(predictions.scores["prompt"].nunique()),
        "rows": rows,
    }
    (arguments.out / "real_votes.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    Console(width=120).print(result_table(record))
    return 0


def prepare(avt: Path, out: Path, *, folds: int) -> Path:
    """Towers, shards and folds, each made once; returns the tower's JSON file."""
    out.mkdir(parents=True, exist_ok=True)
    weights = out / "weights"
    call(TOOLS / "fetch_real_weights.py", str(weights))
    tower = weights / "lite0_minilm.json"
    tower.write_text(json.dumps(TOWER, indent=1) + "\n", encoding="utf-8")
    if not (out / "shards").is_dir():
        rewardkit("data", "convert", "format=avt", f"src={avt}", f"out={out / 'shards'}")
    if not (out / "folds").is_dir():
        rewardkit("data", "split", f"src={out / 'shards'}", f"out={out / 'folds'}", "by=prompt", f"folds={folds}")
    return tower


def train_fold(out: Path, tower: Path, fold: int, *, steps: int, seed: int) -> None:
    """Trains on all prompts but those of one fold; a finished fold is not trained again."""
    rewardkit(
        "fit",
        "recipe=hpsv2",
        f"data.train={out / 'folds' / f'fold-{fold}' / 'train'}",
        f"data.val={out / 'folds' / f'fold-{fold}' / 'val'}",
        f"model.dimensions=[{', '.join(DIMENSIONS)}]",
        f"model.architecture={tower}",
        "model.unlocked_image_groups=0",
        "model.unlocked_text_layers=0",
        "transform.size=null",
        "objective.name=bradley_terry",
        "data.batch_groups=12",
        "data.micro_groups=null",
        "data.workers=0",
        "optim.lr=2e-3",
        "optim.head_lr=2e-3",
        "optim.weight_decay=0.05",
        f"optim.warmup_steps={max(1, steps // 10)}",
        f"trainer.max_steps={steps}",
        "trainer.validate_every=null",
        "trainer.precision=32",
        "trainer.threads=1",
        f"seed={seed}",
        f"run.dir={out / 'runs'}",
        f"run.name=fold-{fold}",
        "resume=auto",
    )


def joined(out: Path, folds: range, steps: int) -> Predictions:
    """The held-out predictions of all folds as one table; groups are numbered anew."""
    parts, first = [], 0
    for fold in folds:
        (path,) = (
            p
            for p in (out / "runs" / "hpsv2" / f"fold-{fold}" / "predictions").glob(f"{steps:08d}-*.parquet")
            if not p.name.endswith(".labels.parquet")
        )
        part = read_predictions(path)
        scores = part.scores.assign(group=part.scores["group"] + first, source="avt")
        labels = part.labels.assign(group=part.labels["group"] + first)
        parts.append(replace(part, scores=scores, labels=labels))
        first = int(scores["group"].max()) + 1
    return merge_predictions(parts)


def result_table(record: dict[str, Any]) -> Table:
    """What was reached on held-out prompts, beside the baselines."""
    table = Table(
        title=f"AVT-AI, {record['prompts']} held-out prompts in {record['folds']} folds, {record['protocol']}",
        title_justify="left",
    )
    for column in ("dimension", "accuracy", "95 %", "n", "balanced", "chance", "annotator", "generator", "position"):
        table.add_column(column, justify="left" if column == "dimension" else "right")
    for row in record["rows"]:
        table.add_row(
            row["dimension"],
            f"{row['value']:.3f}",
            f"{row['low']:.3f}–{row['high']:.3f}" if row["low"] is not None else "-",
            f"{row['comparisons']} in {row['groups']}",
            "-" if row["generator_balanced"] is None else f"{row['generator_balanced']:.3f}",
            *(f"{row[k]:.3f}" for k in ("chance", "annotator_agreement", "which_generator", "list_position")),
        )
    return table


def rewardkit(*arguments: str) -> None:
    """Runs one rewardkit command."""
    call("-m", "rewardkit", *arguments)


def call(*arguments: str | Path) -> None:
    """Runs one Python command and shows it; its failure ends the program with its exit code."""
    print("$ python " + " ".join(map(str, arguments)), flush=True)
    done = subprocess.run([sys.executable, *map(str, arguments)], check=False)
    if done.returncode:
        sys.exit(done.returncode)


if __name__ == "__main__":
    sys.exit(main())
