"""Scores rows of images and prompts with an evaluator, for ``score``: its answers to every question, and their sums."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rewardkit.commands.score_rows import ERROR, Row, check_texts, read_file
from rewardkit.config.verbs import ScoreOptions
from rewardkit.data.answer_table import QuestionAnswer
from rewardkit.data.question_gates import has_weights
from rewardkit.data.tables import NESTING
from rewardkit.errors import DataError, UserError
from rewardkit.models.mllm.answers import weighted_scores

if TYPE_CHECKING:
    from rewardkit.models.mllm.scoring import LoadedEvaluator

EVALUATOR_BATCH = 8
ANSWERS, SLOTS = "answers", "slots"


class EvaluatorScorer:
    """Asks an evaluator its questions.

    A row gets a column for each dimension that is asked about, one under the set's name where the set has weights, and
    ``answers``: question to its answer.

    Raises:
        UserError: An option that is for rewards without questions.
    """

    def __init__(self, model: LoadedEvaluator, options: ScoreOptions) -> None:
        if options.scale is not None:
            raise UserError(f"scale={options.scale}: an evaluator's scores have no other scale than its own")
        self._model = model
        self._way: Any = options.answers
        self._answer_tokens = options.answer_tokens
        asked = {question.dimension for question in model.questions.questions}
        self._dimensions = [name for name in model.dimensions if name in asked]
        self._weighted = model.questions.name if has_weights(model.questions) else None
        if self._weighted in self._dimensions:
            self._weighted = f"{self._weighted} (weighted)"
        self.columns = [*self._dimensions, *([self._weighted] if self._weighted else []), ANSWERS]
        self.aside: dict[str, Any] = {SLOTS: options.slots} if options.slots else {}
        written = "what is written is worth" if self._way == "generate" else f"{model.model.scores_from}"
        self.told = f"{model.questions.name}, {written}"
        self.batch_size = options.batch_size or EVALUATOR_BATCH
        self.made_with = [
            model.record["weights"]["sha256"],
            repr(model.questions),
            model.rows.settings,
            self._way,
            self._answer_tokens,
        ]

    def score(self, rows: Sequence[Row], folder: Path) -> list[Row]:
        """Scores and answers of each row, or its error."""
        try:
            return self._score(rows, folder)
        except DataError as error:  # one row cannot be asked; which one is found by asking each alone
            if len(rows) == 1:
                reason = str(error)
                return [{ERROR: reason.replace("image 0: ", f"{folder / str(rows[0]['image'])}: ", 1)}]
            return [found for row in rows for found in self.score([row], folder)]

    def _score(self, rows: Sequence[Row], folder: Path) -> list[Row]:
        for row in rows:
            check_texts(row)
        slots = [_slots(row.get(SLOTS)) for row in rows]
        scores, answers = self._model.score_and_answer(
            [read_file(folder / row["image"]) for row in rows],
            [row["prompt"] for row in rows],
            slots,
            answers=self._way,
            batch_size=len(rows),
            most_tokens=self._answer_tokens,
        )
        sums = weighted_scores(self._model.questions, answers) if self._weighted else {}
        found: list[Row] = []
        for n, values in enumerate(scores.tolist()):
            by_dimension = dict(zip(self._model.dimensions, values, strict=True))
            row = {name: _or_none(by_dimension[name]) for name in self._dimensions}
            if self._weighted:
                row[self._weighted] = sums[n].value
            found.append({**row, ANSWERS: {a.question: _plain(a) for a in answers if a.image == n}})
        return found

    def show(self, scored: Sequence[Row], console: Console) -> None:
        """A table of answers for each image."""
        console.print(f"{scored[0]['prompt']!r} ({self.told})", markup=False, highlight=False)
        for row in scored:
            if ERROR in row:
                console.print(f"\n{row['image']}: {row[ERROR]}", markup=False, highlight=False, soft_wrap=True)
                continue
            console.print()
            console.print(self._table(row))
            if self._weighted:
                value = row[self._weighted]
                console.print(f"{self._weighted}: {'not known' if value is None else f'{value:.4f}'}", highlight=False)
        for line in self.notes(scored):
            console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _table(self, row: Row) -> Table:
        table = Table(title=Text(row["image"]), title_justify="left")
        some_na = any(self._model.questions[key].has_na for key in row[ANSWERS])
        table.add_column("question", overflow="fold")
        table.add_column("answer", overflow="fold")
        for name in ("p", "expected", *(["p(N/A)"] if some_na else []), "score"):
            table.add_column(name, justify="right")
        for key, answer in row[ANSWERS].items():
            question = self._model.questions[key]
            probability = (answer.get("probabilities") or {}).get(answer["answer"])
            na = [answer["not_applicable"] if question.has_na else None] if some_na else []
            cells = (probability, answer["expected"], *na, row[question.dimension])
            style = None if answer["counts"] else "dim"
            table.add_row(Text(key), Text(self._in_words(key, answer)), *map(_number, cells), style=style)
        return table

    def _in_words(self, key: str, answer: Mapping[str, Any]) -> str:
        question = self._model.questions[key]
        if answer["outcome"] == "unparsed":
            said = f"unparsed: {answer['text']!r}"
        else:
            text = next(option.text for option in question.options if option.label == answer["answer"])
            said = answer["answer"] if text == answer["answer"] else f"{answer['answer']}. {text}"
        return said if answer["counts"] else f"({said}) does not count: needs {', '.join(question.needs)}"

    def notes(self, scored: Sequence[Row]) -> list[str]:
        """What was not asked, could not be read, or does not count, and what a weighted score lacks."""
        good = [row[ANSWERS] for row in scored if ERROR not in row]
        questions = self._model.questions
        lines = []
        skipped = [q.key for q in questions.questions if q.slot and not any(q.key in answers for answers in good)]
        if skipped and good:
            lines.append(f"not asked, since no prompt has the phrase that they ask of (slots): {', '.join(skipped)}")
        every = [answer for answers in good for answer in answers.values()]
        unparsed = sum(answer["outcome"] == "unparsed" for answer in every)
        if unparsed:
            lines.append(f"{unparsed} of {len(every)} written answers begin with no option; they are in no score")
        closed = sum(not answer["counts"] for answer in every)
        if closed:
            lines.append(
                f"{closed} of {len(every)} answers do not count: a question that they need was not answered yes"
            )
        if self._weighted and questions.terms:
            lines.append(f"{self._weighted} is without {', '.join(questions.terms)}, which no question asks")
        return lines

    def written(self, row: Row, target: Path) -> Row:
        """Answers as JSON text where the form has no nesting."""
        if target.suffix in NESTING:
            return row
        nested = {k: json.dumps(v, ensure_ascii=False) for k, v in row.items() if isinstance(v, dict)}
        return {**row, **nested}


def _plain(answer: QuestionAnswer) -> dict[str, Any]:
    """An answer as plain values, without what the row says already."""
    values = asdict(answer)
    for name in ("image", "question", "text" if answer.text is None else "probabilities"):
        del values[name]
    return values


def _slots(said: Any) -> Mapping[str, Any]:
    """A row's slots: a map, or JSON text of one; nothing where the cell is empty."""
    if said is None or said == "":
        return {}
    if isinstance(said, str):
        try:
            said = json.loads(said)
        except ValueError:
            raise DataError(f"slots is no JSON object: {said!r}") from None
    if not isinstance(said, dict):
        raise DataError(f"slots must be an object, not {said!r}")
    return said


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
