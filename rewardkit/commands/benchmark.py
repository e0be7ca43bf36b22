"""``benchmark``: which text-to-image model do people prefer, as far as reward models and evaluators can tell?"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from rewardkit.config.benchmark_options import BenchmarkOptions
from rewardkit.config.compose import COMMAND_LINE, Layer, compose, parse_overrides
from rewardkit.config.help import verb_help
from rewardkit.errors import EXIT_DONE, UserError

if TYPE_CHECKING:
    from rewardkit.benchmark.prompts import PromptSet
    from rewardkit.benchmark.work import Texts

WIDTH = 120
"""Of tables that are not printed on a terminal."""

APPENDED = "prompts.appended.jsonl"


def help_text(arguments: list[str]) -> str:
    """Help from the schema."""
    return verb_help("benchmark model=MODEL[,…] images=FOLDER[,…] prompts=PROMPTS out=FOLDER", BenchmarkOptions)


def run(arguments: list[str]) -> int:
    """Scores what is not scored yet, puts the result together, writes and prints it."""
    options = compose(BenchmarkOptions, [Layer(COMMAND_LINE, parse_overrides(arguments))]).options
    out = _check(options)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    if options.dry_run:
        return _run(options, out, console, arguments)
    from rewardkit.benchmark.state import held

    with held(out):
        return _run(options, out, console, arguments)


def _check(options: BenchmarkOptions) -> Path:
    """The result's folder; raises UserError where something that is needed is not given."""
    needed = {
        "model": "model=RUN|BUNDLE|CHECKPOINT[,…]",
        "images": "images=FOLDER[,…]",
        "prompts": "prompts=FOLDER|FILE",
        "out": "out=FOLDER",
    }
    lacking = [how for name, how in needed.items() if not getattr(options, name)]
    if lacking:
        raise UserError(f"still to be named: {', '.join(lacking)}")
    if options.append is not None and not isinstance(options.append, dict):
        options.append = str(options.append)
    return Path(str(options.out))


def _run(options: BenchmarkOptions, out: Path, console: Console, arguments: Sequence[str]) -> int:
    from rewardkit.benchmark.human import read_human
    from rewardkit.benchmark.images import with_variants
    from rewardkit.benchmark.state import remember, remembered
    from rewardkit.commands.benchmark_inputs import find_inputs, say
    from rewardkit.commands.benchmark_score import open_judges, score_all

    inputs = find_inputs(options, out)
    prompts, images, notes = inputs.prompts, inputs.images, list(inputs.notes)
    names = [folder.name for folder in images.folders]
    human = read_human(Path(options.human), names, prompts) if options.human else []
    unknown = dict.fromkeys(name for said in human for name in said.unknown)
    if unknown:
        notes.append(f"{options.human} names {', '.join([*unknown][:10])}, which this benchmark does not have")
    texts = _texts(options, prompts)
    variants = with_variants(images.folders) if options.append is not None else {}
    if options.append is not None and not options.dry_run:
        notes.append(_write_appended(out, prompts, texts, variants))
    judges = open_judges(options)
    say(notes, console)
    if options.dry_run:
        from rewardkit.commands.benchmark_score import print_plan

        print_plan(judges, out, prompts, images, texts, console)
        return EXIT_DONE
    remember(out, remembered(out) | {folder.name: folder.path for folder in images.folders})
    logs = score_all(judges, out, prompts, images, texts, options, console)
    from rewardkit.commands.benchmark_write import write_all

    return write_all(
        options, out, judges, logs, prompts, images, texts, variants, human, notes, console, arguments=arguments
    )


def _texts(options: BenchmarkOptions, prompts: PromptSet) -> Texts:
    from rewardkit.benchmark.variants import appended_texts
    from rewardkit.benchmark.work import Texts

    original = tuple(prompt.text for prompt in prompts.prompts)
    if options.append is None:
        return Texts(original)
    append: str | Mapping[str, Any] = options.append
    return Texts(original, tuple(appended_texts(append, prompts)))


def _write_appended(out: Path, prompts: PromptSet, texts: Texts, variants: Mapping[str, str]) -> str:
    """Writes the longer prompts; the note that says what they are for."""
    from rewardkit.benchmark.images import VARIANT
    from rewardkit.benchmark.published_prompts import write_appended

    assert texts.appended is not None, "something is appended"
    write_appended(out / APPENDED, prompts.prompts, texts.appended)
    told = f"the appended prompts are in {out / APPENDED}"
    if variants:
        return told
    return (
        f"{told}; images made from them go into MODEL{VARIANT} beside MODEL. There is no such folder yet, so only the "
        "wording is compared: the same images under both prompts"
    )
