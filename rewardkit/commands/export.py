"""``export``: a model as a bundle, a folder for open_clip, or a folder for transformers."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from rewardkit.config.compose import COMMAND_LINE, Layer, compose, parse_overrides
from rewardkit.config.help import verb_help
from rewardkit.config.verbs import ExportOptions
from rewardkit.errors import EXIT_DONE, UserError


def help_text(arguments: list[str]) -> str:
    """Help from the schema."""
    return verb_help("export model=RUN|BUNDLE|CHECKPOINT out=FOLDER to=bundle|open_clip|transformers", ExportOptions)


def run(arguments: list[str]) -> int:
    """Exports one model."""
    options = compose(ExportOptions, [Layer(COMMAND_LINE, parse_overrides(arguments))]).options
    if options.out is None:
        raise UserError("name the folder to write: out=FOLDER")
    out = Path(options.out)
    if out.exists():
        raise UserError(f"out={out} exists already and is not overwritten; choose another folder")
    from rewardkit.commands.open_model import bundle_of_file, open_model
    from rewardkit.engine.train import quieten
    from rewardkit.models.bundle import save_bundle
    from rewardkit.models.bundle_record import RECORD
    from rewardkit.models.load import LoadedReward

    quieten(None)
    out.parent.mkdir(parents=True, exist_ok=True)
    if _is_plain_bundle_of_checkpoint(options):  # straight into the bundle: a model that is opened is in memory twice
        bundle_of_file(Path(str(options.model)), out, like=options.like)
        print(f'wrote {out}; load it with rewardkit.load("{out}").score(images, prompts)')
        return EXIT_DONE
    loaded = open_model(options.model, device="cpu", base=options.base, like=options.like)
    if not isinstance(loaded, LoadedReward):
        from rewardkit.commands.export_evaluator import export as export_evaluator

        export_evaluator(loaded, options, out)
        return EXIT_DONE
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
        print(f'wrote {out}; load it with rewardkit.load("{out}").score(images, prompts)')
        return EXIT_DONE
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
        print(f"{dimension}: wrote {folder}; load it with {usage.format(folder)}")
    return EXIT_DONE


def _is_plain_bundle_of_checkpoint(options: ExportOptions) -> bool:
    """Whether a training's checkpoint is to be written as it is."""
    from rewardkit.commands.open_checkpoint import is_checkpoint

    chosen = options.form is not None or options.questions or options.dimensions or options.base is not None
    return options.model is not None and options.to == "bundle" and not chosen and is_checkpoint(Path(options.model))
