"""``export``: a model as a bundle, a folder for open_clip, or a folder for transformers; to a folder or to a hub."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from rewardkit.config.compose import COMMAND_LINE, Layer, compose, parse_overrides
from rewardkit.config.help import verb_help
from rewardkit.config.verbs import ExportOptions
from rewardkit.errors import EXIT_DONE, UserError

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def help_text(arguments: list[str]) -> str:
    """Help from the schema."""
    return verb_help(
        "export model=RUN|BUNDLE|CHECKPOINT out=FOLDER|hub=ORG/NAME to=bundle|open_clip|transformers", ExportOptions
    )


def run(arguments: list[str]) -> int:
    """Exports one model."""
    options = compose(ExportOptions, [Layer(COMMAND_LINE, parse_overrides(arguments))]).options
    _check_hub(options)
    if options.out is None and options.hub is None:
        raise UserError("name the folder to write: out=FOLDER, or a hub's repository: hub=ORG/NAME")
    if options.out is not None and Path(options.out).exists():
        raise UserError(f"out={options.out} exists already and is not overwritten; choose another folder")
    with tempfile.TemporaryDirectory(prefix="rewardkit-") as scratch:
        out = Path(options.out) if options.out is not None else Path(scratch) / str(options.hub).rpartition("/")[2]
        record = _export(options, out, told=options.out is not None)
        if options.hub is not None:
            from rewardkit.commands.export_hub import share

            share(out, options, record)
    return EXIT_DONE


def _export(options: ExportOptions, out: Path, *, told: bool) -> dict[str, Any]:
    """Writes the folder.

    Args:
        options: Of ``export``.
        out: The folder.
        told: Whether it is said where it lies; a folder that is only sent lies nowhere.

    Returns:
        The model's record, as ``bundle.json`` has it.
    """
    say = print if told else _silent
    from rewardkit.commands.open_model import bundle_of_file, open_model
    from rewardkit.engine.train import quieten
    from rewardkit.models.bundle import save_bundle
    from rewardkit.models.bundle_record import RECORD, read_record
    from rewardkit.models.load import LoadedReward

    quieten(None)
    out.parent.mkdir(parents=True, exist_ok=True)
    if _is_plain_bundle_of_checkpoint(options):  # straight into the bundle: a model that is opened is in memory twice
        bundle_of_file(Path(str(options.model)), out, like=options.like)
        say(f'wrote {out}; load it with rewardkit.load("{out}").score(images, prompts)')
        return read_record(out)
    loaded = open_model(options.model, device="cpu", base=options.base, like=options.like)
    if not isinstance(loaded, LoadedReward):
        from rewardkit.commands.export_evaluator import export as export_evaluator

        export_evaluator(loaded, options, out, say)
        return loaded.record
    if options.form is not None or options.questions:
        name = "form" if options.form is not None else "questions"
        raise UserError(f"{name}= is for evaluators, which answer questions; {options.model} gives scores alone")
    if options.to == "bundle" and options.dimensions:
        raise UserError(
            "dimensions= chooses what is written to=open_clip or to=transformers; a bundle holds all of them"
        )
    if options.to == "bundle":
        source = Path(str(options.model))
        folder = source if (source / RECORD).is_file() else source / "bundle"
        if source.is_file():  # an ImageReward.pt
            bundle_of_file(source, out)
        elif not folder.is_dir():  # a CLIP's folder
            save_bundle(out, loaded.model)
        else:
            with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
                shutil.copytree(folder, Path(scratch) / "bundle").rename(out)
        say(f'wrote {out}; load it with rewardkit.load("{out}").score(images, prompts)')
        return loaded.record
    from rewardkit.models.clip import CLIPReward
    from rewardkit.models.export import export_open_clip, export_transformers

    if not isinstance(loaded.model, CLIPReward):
        raise UserError(
            f"to={options.to}: {options.to} has no class for this model, a BLIP with a reward's head; export "
            f"to=bundle, and load it with rewardkit.load (docs/blip.md says under which names its weights lie)"
        )

    export, usage = {
        "open_clip": (export_open_clip, 'open_clip.create_model("local-dir:{}")'),
        "transformers": (export_transformers, 'transformers.CLIPModel.from_pretrained("{}")'),
    }[options.to]
    for dimension, folder in export(out, loaded.model, dimensions=options.dimensions).items():
        say(f"{dimension}: wrote {folder}; load it with {usage.format(folder)}")
    return loaded.record


def _check_hub(options: ExportOptions) -> None:
    """Refuses what cannot be sent, before anything is written.

    Raises:
        UserError: ``hub`` is no ``ORG/NAME``, or an option is for it alone.
    """
    if options.hub is None:
        alone = [name for name in ("dry_run", "private", "update") if getattr(options, name)]
        alone += ["license"] if options.license is not None else []
        if alone:
            raise UserError(f"{alone[0]}= is for hub=ORG/NAME, and no hub is named")
    elif not _REPOSITORY.fullmatch(options.hub):
        raise UserError(f"hub={options.hub}: name a repository as ORG/NAME, of letters, digits, '-', '_' and '.'")


def _silent(line: str) -> None:
    """Says nothing."""


def _is_plain_bundle_of_checkpoint(options: ExportOptions) -> bool:
    """Whether a training's checkpoint is to be written as it is."""
    from rewardkit.commands.open_checkpoint import is_checkpoint

    chosen = options.form is not None or options.questions or options.dimensions or options.base is not None
    return options.model is not None and options.to == "bundle" and not chosen and is_checkpoint(Path(options.model))
