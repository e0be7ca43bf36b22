"""``annotate``: asks multimodal models about images, logs every answer, and makes groups of what they said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from rewardkit.config.annotate_options import AnnotateOptions
from rewardkit.config.compose import COMMAND_LINE, Layer, compose, parse_overrides
from rewardkit.config.help import verb_help
from rewardkit.errors import EXIT_DONE, EXIT_FAILURE, UserError

if TYPE_CHECKING:
    from rewardkit.annotate.annotators import Annotator
    from rewardkit.annotate.log_file import LogFile
    from rewardkit.annotate.plan import Plan
    from rewardkit.annotate.requests import Questionnaire
    from rewardkit.commands.annotate_models import Named
    from rewardkit.commands.annotate_run import Annotation
    from rewardkit.data.questions import QuestionSet

SETTINGS_FILE = "annotation.json"
"""What decides the answers of an annotation; the same folder goes on with the same only."""

_USAGE = "annotate images=DIR [prompts=FILE] out=DIR annotators=MODEL@URL|DIR[,…]"


def help_text(arguments: list[str]) -> str:
    """Help from the schema."""
    return verb_help(_USAGE, AnnotateOptions)


def run(arguments: list[str]) -> int:
    """Asks what is not asked yet; exit code 1 where something could not be asked, or the budget is used up."""
    options = compose(AnnotateOptions, [Layer(COMMAND_LINE, parse_overrides(arguments))]).options
    if not options.out or not (options.images or options.prompts):
        raise UserError(f"images= (or prompts=) and out= are needed: python -m rewardkit {_USAGE}")
    from rewardkit.annotate.inputs import FolderGroups, open_groups
    from rewardkit.annotate.log import LOG_FILE
    from rewardkit.annotate.log_file import LogFile
    from rewardkit.commands.annotate_fold import check_rules, fold_log
    from rewardkit.commands.annotate_models import build_annotator, name_annotators, read_prices
    from rewardkit.commands.annotate_run import Annotation

    if not options.images and not options.steps:
        raise UserError("images= is missing; without images only prompts are prepared: steps=clean,polish,safety")
    named = name_annotators(options) if options.ask else []
    prices = read_prices(options.prices, budget=options.budget)
    questions = _questions(options)
    rules = check_rules(options, questions)
    asked = _questionnaires(options, questions)
    groups = open_groups(options.images, options.prompts)
    annotation = Annotation(options, groups, bool(options.images), asked, prices, request_settings(options))
    for note in groups.notes if isinstance(groups, FolderGroups) else ():
        print(f"note: {note}")
    if options.dry_run:
        return _estimate(annotation, named)
    if not options.ask and not (Path(options.out) / LOG_FILE).is_file():
        raise UserError(
            f"ask=false makes groups of what lies in a log, but {Path(options.out) / LOG_FILE} is not there"
        )
    with LogFile(Path(options.out)) as log:
        _same_settings(log, options, asked)
        annotators = [build_annotator(one, options, questions) for one in named]
        code = asyncio.run(_annotate(annotation, annotators, log)) if options.ask else EXIT_DONE
        if options.images and code in (EXIT_DONE, EXIT_FAILURE):
            fold_log(log.folder, groups, questions, options, rules, partly=code == EXIT_FAILURE)
        return code


async def _annotate(annotation: Annotation, annotators: Sequence[Annotator], log: LogFile) -> int:
    """Asks, and tells what came of it."""
    from rewardkit.annotate.annotators import Denied
    from rewardkit.commands.annotate_display import show_progress
    from rewardkit.commands.annotate_end import end
    from rewardkit.commands.annotate_run import start

    console = Console(stderr=True)
    run = start(annotation, annotators, log)
    denied = None
    try:
        with run.signals(console):
            async with show_progress(run, console):
                await run.all()
    except Denied as error:
        denied = error
    except asyncio.CancelledError:
        if not run.signal:
            raise
    finally:
        for annotator in annotators:
            await annotator.close()
    return end(run, denied)


def _estimate(annotation: Annotation, named: Sequence[Named]) -> int:
    """Prints what would be asked."""
    from rewardkit.annotate.budget import Price, price_of
    from rewardkit.annotate.estimate import estimate
    from rewardkit.annotate.log import LOG_FILE, read_log
    from rewardkit.commands.annotate_display import print_estimates

    options, folder = annotation.options, Path(str(annotation.options.out))
    done = {line.request for line in read_log(folder)} if (folder / LOG_FILE).is_file() else set()
    plans: dict[str, tuple[Named, Plan]] = {}
    writer = next((one for one in named if one.kind != "evaluator"), None)
    if writer is not None:
        plans = {step: (writer, annotation.plan_step(step, writer, annotation.groups)) for step in annotation.steps}
    if annotation.has_images:
        reasons = [one.kind != "evaluator" for one in named]
        plans |= {
            one.name: (one, annotation.plan(one, annotation.groups, reasons=gives))
            for one, gives in zip(named, reasons, strict=True)
        }
    found = {}
    for name, (one, plan) in plans.items():
        price = price_of(annotation.prices, one.name) if one.kind == "server" else Price(0.0, 0.0)
        found[name] = estimate(plan, done, max_side=options.image_side, max_tokens=options.max_tokens, price=price)
    print_estimates(found, budget=options.budget, priced=bool(annotation.prices))
    return EXIT_DONE


def _questions(options: AnnotateOptions) -> QuestionSet:
    from rewardkit.annotate.questionnaires import check_asked
    from rewardkit.data.questions import read_questions

    questions = read_questions(options.questions)
    check_asked(questions)
    return questions


def _questionnaires(options: AnnotateOptions, questions: QuestionSet) -> dict[bool, Questionnaire]:
    """What is asked, of annotators that give reasons and of those that do not."""
    from rewardkit.annotate.questionnaires import ImageQuestions

    own = {}
    if options.template is not None:
        path = Path(options.template)
        if not path.is_file():
            raise UserError(f"template={path}: there is no such file")
        own = {options.mode: path.read_text(encoding="utf-8")}
    return {
        reasons: ImageQuestions(questions, seed=options.seed, shuffle=options.shuffle, templates=own, rationale=reasons)
        for reasons in (True, False)
    }


def request_settings(options: AnnotateOptions) -> dict[str, Any]:
    """What changes an answer beside what is asked of whom; part of each request's id."""
    return {
        "seed": options.seed,
        "temperature": options.temperature,
        "image_side": options.image_side,
        "image_format": options.image_format,
        "body": options.body,
    }


def _same_settings(log: LogFile, options: AnnotateOptions, asked: dict[bool, Questionnaire]) -> None:
    """Notes the settings of a new annotation; an old one goes on with its own.

    Where nothing is asked, only the questions have to be those of the log.

    Raises:
        UserError: They differ; says in what.
    """
    now = {
        "questions": options.questions,
        "template": asked[True].template,
        "mode": options.mode,
        "shuffle": options.shuffle,
        "steps": sorted(options.steps),
        **request_settings(options),
    }
    file = log.folder / SETTINGS_FILE
    if not file.is_file():
        if not options.ask:  # another program's log
            return
        file.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return
    then = json.loads(file.read_text(encoding="utf-8"))
    compared = now if options.ask else ("questions",)
    differ = [f"{name} ({then.get(name)} then, {now[name]} now)" for name in compared if then.get(name) != now[name]]
    if differ:
        raise UserError(
            f"out={log.folder} holds an annotation that differs in {', '.join(differ)}; give the same options to go on "
            "with it, or another out="
        )
