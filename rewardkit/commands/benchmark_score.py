"""Opens the rewards of ``benchmark`` and scores with each what it has not scored yet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from rewardkit.benchmark.prompts import PromptSet
from rewardkit.benchmark.scorers import Judge, make_judge, make_scorers
from rewardkit.benchmark.state import ScoreLog
from rewardkit.benchmark.work import Images, Texts, score_tasks, tasks_of, wanted_of
from rewardkit.commands.open_model import find_device, open_model
from rewardkit.commands.validate_models import short_labels
from rewardkit.config.benchmark_options import BenchmarkOptions
from rewardkit.engine.train import quieten
from rewardkit.errors import UserError
from rewardkit.models.bundle_record import find_bundle, read_record
from rewardkit.models.load import LoadedReward
from rewardkit.models.mllm.scoring import LoadedEvaluator, find_questions


def open_judges(options: BenchmarkOptions) -> list[Judge]:
    """Every entry of ``model=``, on the CPU until it scores.

    Raises:
        UserError: One is none; an option that none of them takes.
    """
    quieten(None)
    find_device(options.device)
    loaded = [_open(name, options) for name in options.model]
    evaluators = [one for one in loaded if isinstance(one, LoadedEvaluator)]
    for name in ("questions", "base"):
        if getattr(options, name) is not None and not evaluators:
            raise UserError(f"{name}= is for evaluators, which answer questions; model= names none")
    if options.scale is not None:
        outputs = {output for one in loaded if isinstance(one, LoadedReward) for output in one.model.outputs}
        if options.scale not in outputs:
            raise UserError(
                f"scale={options.scale}: none of the rewards has it; they have {', '.join(sorted(outputs)) or 'none'}"
            )
    way: Any = options.answers
    return [
        make_judge(label, one, scale=_scale(one, options.scale), way=way, tokens=options.answer_tokens)
        for label, one in zip(short_labels(options.model), loaded, strict=True)
    ]


def _open(name: str, options: BenchmarkOptions) -> LoadedReward | LoadedEvaluator:
    bundle = find_bundle(Path(name))
    answers = bundle is not None and read_record(bundle)["model"]["kind"] == "mllm"
    loaded = open_model(name, device="cpu", base=options.base if answers else None)
    if isinstance(loaded, LoadedEvaluator) and options.questions is not None:
        return loaded.with_questions(find_questions(options.questions, loaded.sets, name))
    return loaded


def _scale(loaded: LoadedReward | LoadedEvaluator, scale: str | None) -> str | None:
    """The scale that is asked for, of a reward that has it."""
    return scale if isinstance(loaded, LoadedReward) and scale in loaded.model.outputs else None


def score_all(
    judges: Sequence[Judge],
    out: Path,
    prompts: PromptSet,
    images: Images,
    texts: Texts,
    options: BenchmarkOptions,
    console: Console,
) -> dict[str, ScoreLog]:
    """Scores what is lacking; the logs of all judges by label."""
    logs = {judge.label: ScoreLog(out, judge.made_with) for judge in judges}
    device = find_device(options.device)
    for scorer in make_scorers(judges):
        names = " + ".join(judge.label for judge in scorer.judges)
        tasks = tasks_of(scorer.judges, logs, images, wanted_of(scorer.judges[0], prompts, texts))
        planned = sum(len(folder.images) for folder in images.folders)
        console.print(
            f"{names}: {len(tasks)} of {planned} images to score", highlight=False, markup=False, soft_wrap=True
        )
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task(f"scoring with {names}", total=len(tasks))
            score_tasks(
                scorer,
                tasks,
                logs,
                images,
                device=device,
                batch_size=options.batch_size,
                workers=options.workers,
                progress=lambda done, task=task, bar=bar: bar.advance(task, done),  # type: ignore[misc]
            )
        for judge in scorer.judges:
            judge.loaded.model.to("cpu")
    return logs


def print_plan(
    judges: Sequence[Judge], out: Path, prompts: PromptSet, images: Images, texts: Texts, console: Console
) -> None:
    """What a run would score, generator by generator."""
    table = Table(
        title=Text(f"{prompts.name}: {len(prompts.prompts)} prompts"), title_justify="left", title_style="bold",
        box=SIMPLE_HEAD, show_edge=False,
    )  # fmt: skip
    table.add_column("text-to-image model", overflow="fold")
    for column in ("images", "missing", "stray"):
        table.add_column(column, justify="right")
    to_do: dict[str, dict[str, int]] = {}
    for judge in judges:
        table.add_column(Text(f"to score: {judge.label}"), justify="right", overflow="fold")
        log = ScoreLog(out, judge.made_with, writes=False)
        tasks = tasks_of([judge], {judge.label: log}, images, wanted_of(judge, prompts, texts))
        for task in tasks:
            mine = to_do.setdefault(judge.label, {})
            mine[task.generator] = mine.get(task.generator, 0) + 1
    for folder in images.folders:
        missing = len(prompts.prompts) - len({one.prompt for one in folder.images})
        counts = [to_do.get(judge.label, {}).get(folder.name, 0) for judge in judges]
        table.add_row(Text(folder.name), *map(str, (len(folder.images), missing, len(folder.stray), *counts)))
    console.print(table)
