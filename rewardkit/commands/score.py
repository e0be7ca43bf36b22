"""``score``: images under one prompt on the command line, or a whole table of images and prompts.

A table is scored in batches over any mix of prompts. What is done is kept beside the output (``OUTPUT.part``), so an
interrupted run goes on where it was; images that cannot be read get an error in their row and none stops the rest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress

from rewardkit.config.compose import COMMAND_LINE, Layer, compose, parse_overrides
from rewardkit.config.help import verb_help
from rewardkit.config.messages import did_you_mean
from rewardkit.config.verbs import ScoreOptions
from rewardkit.errors import EXIT_DONE, EXIT_FAILURE, UserError

if TYPE_CHECKING:
    from rewardkit.commands.score_rows import Scorer

_IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def help_text(arguments: list[str]) -> str:
    """Help from the schema."""
    return verb_help("score model=MODEL prompt=TEXT images=FILE[,…] | model=MODEL input=FILE output=FILE", ScoreOptions)


def run(arguments: list[str]) -> int:
    """Scores what is given; exit code 1 where some image could not be read."""
    options = compose(ScoreOptions, [Layer(COMMAND_LINE, parse_overrides(arguments))]).options
    few, table = options.prompt is not None or bool(options.images), options.input is not None
    if few == table:
        raise UserError("give either prompt= and images=, or input= and output=; `score --help` explains both")
    from rewardkit.data.tables import WRITTEN, check_ending

    target = None if options.output is None else Path(options.output)
    if target is not None:
        check_ending(target, "output", WRITTEN)
        if target.exists():
            raise UserError(f"output={target} exists already and is not overwritten; choose another file or delete it")
    if table:
        return _score_table(options, Path(str(options.input)), target)
    if options.prompt is None or not options.images:
        raise UserError("both are needed: prompt=TEXT and images=FILE[,FILE…]")
    return _score_few(options, target)


def _open(options: ScoreOptions) -> Scorer:
    from rewardkit.commands.open_model import open_model
    from rewardkit.commands.score_answers import EvaluatorScorer
    from rewardkit.commands.score_rows import RewardScorer
    from rewardkit.engine.train import quieten
    from rewardkit.models.load import LoadedReward

    quieten(None)
    model = open_model(options.model, device=options.device, questions=options.questions, base=options.base)
    if not isinstance(model, LoadedReward):
        return EvaluatorScorer(model, options)
    given = [name for name, at in (("answers", options.answers != "probabilities"), ("slots", options.slots)) if at]
    if given:
        raise UserError(f"{given[0]}= is for evaluators, which answer questions; {options.model} gives scores alone")
    return RewardScorer(model, options)


def _score_few(options: ScoreOptions, target: Path | None) -> int:
    """Prints the scores of a few images, and writes them where asked to."""
    from rewardkit.commands.score_rows import ERROR
    from rewardkit.data.tables import write_rows

    paths = list(_image_files(options.images))
    scorer = _open(options)
    rows = [{"image": str(path), "prompt": options.prompt, **scorer.aside} for path in paths]
    scored = [row | scorer.score([row], Path())[0] for row in rows]
    scorer.show(scored, Console())
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        columns = list(dict.fromkeys(["image", "prompt", *scorer.columns, ERROR]))
        write_rows(target, [scorer.written(row, target) for row in scored], columns)
        print(f"wrote {target}")
    return EXIT_FAILURE if any(ERROR in row for row in scored) else EXIT_DONE


def _image_files(names: Sequence[str]) -> Iterator[Path]:
    """Files as given, and the images of folders in the order of their names."""
    for name in names:
        path = Path(name)
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in _IMAGE_ENDINGS)
            if not inside:
                raise UserError(f"images={name}: the folder holds no images")
            yield from inside
        elif path.is_file():
            yield path
        else:
            raise UserError(f"images={name}: there is no such file or folder")


def _score_table(options: ScoreOptions, source: Path, target: Path | None) -> int:
    """Scores every row of a table, going on from what an interrupted run left."""
    from rewardkit.commands.score_rows import ERROR
    from rewardkit.data.tables import WRITTEN, check_ending, read_rows, write_rows

    if target is None:
        raise UserError(f"name the file to write: output=FILE ({', '.join(WRITTEN)})")
    if options.slots:
        raise UserError("slots= belongs to prompt=; in a table each row has its own, in a column `slots`")
    check_ending(source, "input")
    if not source.is_file():
        raise UserError(f"input={source}: there is no such file")
    rows = list(read_rows(source))
    if not rows:
        raise UserError(f"input={source}: there are no rows")
    for needed in ("image", "prompt"):
        if needed not in rows[0]:
            raise UserError(
                f"input={source}: there is no column {needed!r}.{did_you_mean(needed, rows[0])} "
                f"The columns are {', '.join(rows[0])}; `image` and `prompt` are needed."
            )
    scorer = _open(options)
    clash = [d for d in (*scorer.columns, ERROR) if d in rows[0]]
    if clash:
        raise UserError(f"input={source}: the column {clash[0]!r} would be overwritten; rename it")
    part = target.with_name(f"{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    done = _resume(part, _signature(source, scorer))
    if done:
        print(f"going on after row {len(done)} of {len(rows)} ({part})")
    done += _score_rest(scorer, rows[len(done) :], source.parent, part)
    columns = [*rows[0], *scorer.columns, ERROR]
    both = (row | scored for row, scored in zip(rows, done, strict=True))
    write_rows(target, (scorer.written(row, target) for row in both), columns)
    part.unlink()
    bad = [(n, scored[ERROR]) for n, scored in enumerate(done, 1) if ERROR in scored]
    print(f"scored {len(rows) - len(bad)} of {len(rows)} rows into {target} ({scorer.told})")
    for line in scorer.notes(done):
        print(line)
    for number, reason in bad[:20]:
        print(f"  row {number}: {reason}")
    if len(bad) > 20:
        print(f"  … and {len(bad) - 20} more; see the column `{ERROR}`")
    return EXIT_FAILURE if bad else EXIT_DONE


def _score_rest(scorer: Scorer, rows: list[dict[str, Any]], folder: Path, part: Path) -> list[dict[str, Any]]:
    """Scores rows batch by batch and appends each batch to the part file."""
    scored: list[dict[str, Any]] = []
    console = Console()
    with part.open("a", encoding="utf-8") as file, Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("scoring", total=len(rows))
        for start in range(0, len(rows), scorer.batch_size):
            batch = rows[start : start + scorer.batch_size]
            found = scorer.score(batch, folder)
            file.writelines(json.dumps(row) + "\n" for row in found)
            file.flush()
            scored += found
            bar.advance(task, len(batch))
    return scored


def _signature(source: Path, scorer: Scorer) -> str:
    """What a part file must have been made of to be gone on with."""
    digest = hashlib.sha256(source.read_bytes())
    digest.update(json.dumps(scorer.made_with).encode())
    return digest.hexdigest()


def _resume(part: Path, signature: str) -> list[dict[str, Any]]:
    """The rows that an interrupted run has scored; a part file of something else is refused."""
    if part.is_file():
        lines = part.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]  # the last may be cut off
        if whole and whole[0].strip() == signature:
            part.write_text("".join(whole), encoding="utf-8")
            return [json.loads(line) for line in whole[1:]]
        raise UserError(f"{part} is left from another input or model; delete it to start again")
    part.write_text(f"{signature}\n", encoding="utf-8")
    return []
