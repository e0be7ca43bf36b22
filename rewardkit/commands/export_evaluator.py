"""``export`` of an evaluator: as a bundle in one of its forms, or as a folder for transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardkit.config.verbs import ExportOptions
from rewardkit.data.questions import QuestionSet
from rewardkit.errors import UserError
from rewardkit.models.mllm.saving import save_evaluator
from rewardkit.models.mllm.scoring import find_questions
from rewardkit.models.mllm.small_llava import has_small_tower
from rewardkit.models.mllm.transformers_export import export_evaluator

if TYPE_CHECKING:
    from rewardkit.models.mllm.scoring import LoadedEvaluator


def export(loaded: LoadedEvaluator, options: ExportOptions, out: Path, say: Callable[[str], None] = print) -> None:
    """Writes it, and says what loads it.

    Raises:
        UserError: A form that it cannot have, or an option that is for other models.
    """
    if options.dimensions:
        raise UserError("dimensions= is for exports of CLIPs; an evaluator keeps all of its dimensions")
    sets = _sets(loaded, options)
    if options.to == "open_clip":
        raise UserError("to=open_clip: open_clip has no class for an evaluator; export to=bundle or to=transformers")
    if options.to == "transformers":
        if options.form is not None:
            raise UserError("form= is for to=bundle; to=transformers writes the merged weights")
        export_evaluator(out, loaded.model, sets)
        say(f'wrote {out}; load it with transformers.AutoModelForImageTextToText.from_pretrained("{out}")')
        if has_small_tower(loaded.model.base):
            say("its vision tower is rewardkit's: import rewardkit.models.mllm.small_vision before loading it")
        return
    has = loaded.record["model"]["form"]
    form: Any = options.form or has
    _check_form(form, has)
    save_evaluator(
        out,
        loaded.model,
        sets,
        form=form,
        rows=loaded.record["rows"],
        calibration=loaded.calibration,
        evaluation=loaded.record["evaluation"],
        recipe=loaded.record["recipe"],
    )
    say(f'wrote {out} ({form}); load it with rewardkit.load("{out}").answers(images, prompts)')


def _sets(loaded: LoadedEvaluator, options: ExportOptions) -> list[QuestionSet]:
    """The question sets that go with the export; each has to fit the model."""
    if not options.questions:
        return loaded.sets
    sets = [find_questions(name, loaded.sets, str(options.model)) for name in options.questions]
    for one in sets:
        loaded.with_questions(one)
    return sets


def _check_form(form: str, has: str) -> None:
    if form == "adapter" and has != "adapter":
        raise UserError(
            f"form=adapter: this model holds all of its base ({has}), and does not know where the base lies alone; "
            "export an adapter from a run or a bundle that is one"
        )
    if form == "whole" and has == "merged":
        raise UserError("form=whole: the adapters of this model are merged into its weights, and cannot be taken out")
