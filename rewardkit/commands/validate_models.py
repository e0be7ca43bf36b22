"""What ``model=`` of ``validate`` names: models that score data, or predictions tables of models that did so before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rewardkit.errors import UserError

if TYPE_CHECKING:
    from rewardkit.data.answer_table import AnswerTable
    from rewardkit.data.predictions import Predictions

TABLE = ".parquet"
_SAYS_NOTHING = ("/", ".", "..", "bundle", "checkpoints", "predictions")


@dataclass
class Judge:
    """One entry of ``model=``.

    Attributes:
        name: As it was given.
        label: Short, and different from all others.
        sets: Name of each validation set to its predictions.
        tuning: Predictions on the tuning data, all sets in one table; None where nothing is tuned.
        answers: Of an evaluator: name of each validation set to its answers.
        answer_tuning: Of an evaluator: its answers on the tuning data.
    """

    name: str
    label: str
    sets: dict[str, Predictions] = field(default_factory=dict)
    tuning: Predictions | None = None
    answers: dict[str, AnswerTable] = field(default_factory=dict)
    answer_tuning: AnswerTable | None = None

    @property
    def is_table(self) -> bool:
        """Whether it is a predictions table, of which nothing is scored again."""
        return is_table(self.name)


def is_table(name: str) -> bool:
    """Whether an entry names a predictions table."""
    return name.endswith(TABLE)


def asks_questions(judge: Judge) -> bool:
    """Whether an entry is an evaluator's table or bundle, as far as its files tell without reading weights."""
    from rewardkit.data.answer_table import answers_path
    from rewardkit.models.bundle_record import find_bundle, read_record

    if judge.is_table:
        return answers_path(judge.name).is_file()
    bundle = find_bundle(Path(judge.name))
    return bundle is not None and bool(read_record(bundle)["model"]["kind"] == "mllm")


def short_labels(names: Sequence[str]) -> list[str]:
    """The shortest ends of some paths that tell them apart; the same path twice gets a number.

    Parts that every run has (``bundle``, ``checkpoints``) are left out, and a file is named with its folder.
    """
    parts = [_telling_parts(name) for name in names]
    labels = ["/".join(part[-(2 if Path(name).suffix else 1) :]) for part, name in zip(parts, names, strict=True)]
    for length in range(2, max(map(len, parts), default=0) + 1):
        twice = {label for label in labels if labels.count(label) > 1}
        if not twice:
            break
        labels = ["/".join(p[-length:]) if label in twice else label for p, label in zip(parts, labels, strict=True)]
    return [
        f"{label} ({labels[: n + 1].count(label)})" if labels[:n].count(label) else label
        for n, label in enumerate(labels)
    ]


def read_table_sets(judge: Judge) -> None:
    """Takes a table's sets out of it: one for each source that it was scored on.

    Raises:
        UserError: The file is missing.
        DataError: The file is damaged, or is no predictions table.
    """
    from rewardkit.data.predictions import Predictions, read_predictions

    table = read_predictions(judge.name)
    for source, scores in table.scores.groupby("source", sort=False):
        labels = table.labels[table.labels["group"].isin(scores["group"].unique())]
        judge.sets[str(source)] = Predictions(scores.reset_index(drop=True), labels.reset_index(drop=True))
    if not judge.sets:
        raise UserError(f"model={judge.name}: the predictions table is empty")
    if asks_questions(judge):
        from rewardkit.data.answer_table import AnswerTable, read_answers

        said = read_answers(judge.name)
        judge.answers = {
            str(source): AnswerTable(said.questions, rows.reset_index(drop=True))
            for source, rows in said.rows.groupby("source", sort=False)
        }


def take_tuning_tables(judges: Sequence[Judge], tune: Sequence[str]) -> list[str]:
    """Gives each judge that is a table its tuning table, in the order given.

    Returns:
        The other entries of ``data.tune``, which the models score.

    Raises:
        UserError: Not one tuning table for each table, or the same table to tune on and to apply to.
    """
    from rewardkit.data.predictions import read_predictions

    tables, folders = [name for name in tune if is_table(name)], [name for name in tune if not is_table(name)]
    of_tables = [judge for judge in judges if judge.is_table]
    if len(tables) != len(of_tables):
        raise UserError(
            f"data.tune names {len(tables)} predictions tables for {len(of_tables)} in model=; a table is tuned on a "
            "table of the same model: name one for each, in the same order"
        )
    for judge, name in zip(of_tables, tables, strict=True):
        if Path(name).resolve() == Path(judge.name).resolve():
            raise UserError(f"data.tune={name}: {TUNES_ON_ITSELF}")
        judge.tuning = read_predictions(name)
        if asks_questions(Judge(name, name)):
            from rewardkit.data.answer_table import read_answers

            judge.answer_tuning = read_answers(name)
    return folders


TUNES_ON_ITSELF = (
    "a threshold tuned on the data it is applied to flatters the model; name other data. The published forms that do "
    "so are tie_calibrated_micro_published and tie_calibrated_macro_published"
)


def joined(sets: Sequence[Predictions]) -> Predictions:
    """Several sets as one table; groups are numbered anew."""
    from rewardkit.data.predictions import merge_predictions

    parts, first = [], 0
    for part in sets:
        scores = part.scores.assign(group=part.scores["group"] + first)
        labels = part.labels.assign(group=part.labels["group"] + first)
        parts.append(replace(part, scores=scores, labels=labels))
        first = int(scores["group"].max()) + 1 if len(scores) else first
    return merge_predictions(parts)


def joined_answers(sets: Sequence[AnswerTable]) -> AnswerTable | None:
    """An evaluator's answers to several sets as one table; None where it gave none."""
    from rewardkit.data.answer_table import merge_answers

    return merge_answers(sets) if sets else None


def _telling_parts(name: str) -> list[str]:
    path = Path(name)
    found = [part for part in path.parts if part not in _SAYS_NOTHING]
    if not found:
        found = [part for part in path.resolve().parts if part not in _SAYS_NOTHING] or [name]
    return [*found[:-1], found[-1].removesuffix(TABLE).removesuffix(".ckpt")]
