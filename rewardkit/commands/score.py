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
from rich.table import Table

from rewardkit.config.compose import COMMAND_LINE, Layer, compose, parse_overrides
from rewardkit.config.help import verb_help
from rewardkit.config.messages import did_you_mean
from rewardkit.config.verbs import ScoreOptions
from rewardkit.errors import EXIT_DONE, EXIT_FAILURE, DataError, UserError

if TYPE_CHECKING:
    from rewardkit.models.load import LoadedReward

_IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_ERROR = "error"


def help_text(arguments: list[str]) -> str:
    """Help from the schema."""
    return verb_help("score model=MODEL prompt=TEXT images=FILE[,…] | model=MODEL input=FILE output=FILE", ScoreOptions)


def run(arguments: list[str]) -> int:
    """Scores what is given; exit code 1 where some image could not be read."""
    options = compose(ScoreOptions, [Layer(COMMAND_LINE, parse_overrides(arguments))]).options
    few, table = options.prompt is not None or bool(options.images), options.input is not None
    if few == table:
        raise UserError("give either prompt= and images=, or input= and output=; `score --help` explains both")
    from rewardkit.data.tables import check_ending

    if table:
        if options.output is None:
            raise UserError("name the file to write: output=FILE (.jsonl, .csv or .parquet)")
        source, target = Path(str(options.input)), Path(options.output)
        check_ending(source, "input")
        check_ending(target, "output")
        if not source.is_file():
            raise UserError(f"input={source}: there is no such file")
        if target.exists():
            raise UserError(f"output={target} exists already and is not overwritten; choose another file or delete it")
        return _score_table(options, source, target)
    if options.prompt is None or not options.images:
        raise UserError("both are needed: prompt=TEXT and images=FILE[,FILE…]")
    return _score_few(options)


def _open(options: ScoreOptions) -> LoadedReward:
    from rewardkit.commands.open_model import open_model
    from rewardkit.engine.train import quieten

    quieten(None)
    return open_model(options.model, device=options.device)


def _score_few(options: ScoreOptions) -> int:
    """Prints a table of a few images, best first."""
    paths = list(_image_files(options.images))
    model = _open(options)
    rows = [{"image": str(path), "prompt": options.prompt} for path in paths]
    scored = [row | _scores(model, [row], Path(), options)[0] for row in rows]
    shown = options.scale or model.output
    table = Table(title=f"{options.prompt!r} ({shown})", title_justify="left")
    table.add_column("image", overflow="fold")
    for dimension in model.dimensions:
        table.add_column(dimension, justify="right")
    best = model.dimensions[0]
    for row in sorted(scored, key=lambda r: (_ERROR in r, -r.get(best, 0.0))):
        cells = [row[_ERROR]] if _ERROR in row else [f"{row[d]:.4f}" for d in model.dimensions]
        table.add_row(row["image"], *cells)
    Console().print(table)
    return EXIT_FAILURE if any(_ERROR in row for row in scored) else EXIT_DONE


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


def _score_table(options: ScoreOptions, source: Path, target: Path) -> int:
    """Scores every row of a table, going on from what an interrupted run left."""
    from rewardkit.data.tables import read_rows, write_rows

    rows = list(read_rows(source))
    if not rows:
        raise UserError(f"input={source}: there are no rows")
    for needed in ("image", "prompt"):
        if needed not in rows[0]:
            raise UserError(
                f"input={source}: there is no column {needed!r}.{did_you_mean(needed, rows[0])} "
                f"The columns are {', '.join(rows[0])}; `image` and `prompt` are needed."
            )
    model = _open(options)
    clash = [d for d in (*model.dimensions, _ERROR) if d in rows[0]]
    if clash:
        raise UserError(f"input={source}: the column {clash[0]!r} would be overwritten; rename it")
    part = target.with_name(f"{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    done = _resume(part, _signature(options, source, model))
    if done:
        print(f"going on after row {len(done)} of {len(rows)} ({part})")
    done += _score_rest(model, rows[len(done) :], source.parent, options, part)
    columns = [*rows[0], *model.dimensions, _ERROR]
    write_rows(target, (row | scored for row, scored in zip(rows, done, strict=True)), columns)
    part.unlink()
    bad = [(n, scored[_ERROR]) for n, scored in enumerate(done, 1) if _ERROR in scored]
    print(f"scored {len(rows) - len(bad)} of {len(rows)} rows into {target} ({options.scale or model.output})")
    for number, reason in bad[:20]:
        print(f"  row {number}: {reason}")
    if len(bad) > 20:
        print(f"  … and {len(bad) - 20} more; see the column `{_ERROR}`")
    return EXIT_FAILURE if bad else EXIT_DONE


def _score_rest(
    model: LoadedReward, rows: list[dict[str, Any]], folder: Path, options: ScoreOptions, part: Path
) -> list[dict[str, Any]]:
    """Scores rows batch by batch and appends each batch to the part file."""
    scored: list[dict[str, Any]] = []
    console = Console()
    with part.open("a", encoding="utf-8") as file, Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("scoring", total=len(rows))
        for start in range(0, len(rows), options.batch_size):
            batch = rows[start : start + options.batch_size]
            found = _scores(model, batch, folder, options)
            file.writelines(json.dumps(row) + "\n" for row in found)
            file.flush()
            scored += found
            bar.advance(task, len(batch))
    return scored


def _scores(
    model: LoadedReward, rows: list[dict[str, Any]], folder: Path, options: ScoreOptions
) -> list[dict[str, Any]]:
    """Scores of each row, or its error."""
    results: list[dict[str, Any]] = [{} for _ in rows]
    good, images = [], []
    for n, row in enumerate(rows):
        try:
            if not isinstance(row["prompt"], str) or not isinstance(row["image"], str):
                raise DataError("image and prompt must be text")
            images.append(_pixels(folder / row["image"], model))
            good.append(n)
        except DataError as error:
            results[n] = {_ERROR: str(error)}
    if good:
        prompts = [rows[n]["prompt"] for n in good]
        scale: Any = options.scale
        for n, values in zip(good, model.score(images, prompts, output=scale).tolist(), strict=True):
            results[n] = dict(zip(model.dimensions, values, strict=True))
    return results


def _pixels(path: Path, model: LoadedReward) -> Any:
    """An image file at the model's size: uint8 ``[3, S, S]``.

    Raises:
        DataError: It cannot be read or decoded.
    """
    from rewardkit.data.images import decode_image, resize_uint8

    transform = model.model.transform
    try:
        file = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    return resize_uint8(decode_image(file, decode=transform.decode, size=transform.size), transform)


def _signature(options: ScoreOptions, source: Path, model: LoadedReward) -> str:
    """What a part file must have been made of to be gone on with."""
    digest = hashlib.sha256(source.read_bytes())
    digest.update(json.dumps([model.record["weights"]["sha256"], options.scale or model.output]).encode())
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
