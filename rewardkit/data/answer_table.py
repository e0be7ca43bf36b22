"""The answers table: what an evaluator answered and what people did, side by side, on disk.

``NAME.answers.parquet`` stands beside ``NAME.parquet``, the predictions table, and is the one input of an evaluator's
measures, reports and aggregates. It has one row for each question that was asked of a candidate:

============== ============= ===============================================================================
group          int64         number of the group in this table, as in the predictions table
source         string        the data set it was read from
key            string        the sample's key in its shard
candidate      int32         place of the candidate in the group
question       string        the question's key
outcome        string        answered; unparsed: a written text that names no option, which is no answer
counts         bool          false where a question that this one needs was not answered yes
answer         string        label of the option that was chosen, or null
probabilities  list<float32> of the options that apply, in the question's order, and N/A last; null: none
expected       float32       expected worth of the options that apply, or null
text           string        what was written, or null
people         list<float64> the numbers that people gave
people_na      int32         how many people said N/A
generator      string        the model that made the image, or null
============== ============= ===============================================================================

The question set lies in the file's metadata.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rewardkit.data.group import NOT_APPLICABLE, Group
from rewardkit.data.question_gates import Said
from rewardkit.data.questions import QuestionSet, questions_of_record
from rewardkit.data.questions_file import record_of_questions
from rewardkit.errors import DataError, UserError

FORMAT_VERSION = "1"
_VERSION, _QUESTIONS = b"rewardkit.answers", b"rewardkit.questions"

ANSWERS = pa.schema(
    [
        ("group", pa.int64()),
        ("source", pa.string()),
        ("key", pa.string()),
        ("candidate", pa.int32()),
        ("question", pa.string()),
        ("outcome", pa.string()),
        ("counts", pa.bool_()),
        ("answer", pa.string()),
        ("probabilities", pa.list_(pa.float32())),
        ("expected", pa.float32()),
        ("text", pa.string()),
        ("people", pa.list_(pa.float64())),
        ("people_na", pa.int32()),
        ("generator", pa.string()),
    ]
)
"""Columns of ``NAME.answers.parquet``."""


@dataclass(frozen=True, slots=True)
class QuestionAnswer:
    """What an evaluator says to one question of one image.

    Attributes:
        image: The image's place in what was given.
        question: The question's key.
        dimension: Its dimension.
        outcome: ``unparsed`` where a written text names no option; it is then no answer, and above all no 0.
        answer: Label of the likeliest (or written) option as the question names it, N/A's own where it is that.
        value: What that option is worth, ``NA`` where it says that the question does not apply.
        probabilities: Label to probability, N/A's label among them; they sum to 1. None for written answers.
        expected: The expected worth of the options that apply; of a written answer its value, None where it is N/A.
        not_applicable: The probability that the question does not apply; 0 for a question without N/A. None for
            written answers.
        counts: False where a question that this one needs was not answered yes: the answer is then in no score.
        text: What was written; None for answers by probability.
    """

    image: int
    question: str
    dimension: str
    outcome: Literal["answered", "unparsed"]
    answer: str | None
    value: Said
    probabilities: dict[str, float] | None
    expected: float | None
    not_applicable: float | None
    counts: bool = True
    text: str | None = None


@dataclass(frozen=True, slots=True)
class AnswerTable:
    """The table in memory. See the module's docstring for the columns.

    Attributes:
        questions: The set that was asked.
        rows: One row for each question of each candidate.
    """

    questions: QuestionSet
    rows: pd.DataFrame


class AnswerRows:
    """Collects the rows of an answers table, group by group.

    Args:
        questions: The set that is asked.
        dimension_map: Data's dimension to the model's; None drops its labels. Not named means the same name.
    """

    def __init__(self, questions: QuestionSet, *, dimension_map: Mapping[str, str | None] | None = None) -> None:
        self._questions = questions
        self._map = dict(dimension_map or {})
        self._rows: dict[str, list[object]] = {name: [] for name in ANSWERS.names}

    def add(
        self, group: Group, answers: Sequence[Sequence[QuestionAnswer]], *, number: int, key: str, source: str
    ) -> None:
        """Adds a group.

        Args:
            group: The record.
            answers: Those of each candidate.
            number: The group's number in this table, different for every group.
            key: The sample's key.
            source: Name of the data set.
        """
        assert len(answers) == len(group.candidates), f"{len(answers)} lists of {len(group.candidates)} candidates"
        for n, (candidate, mine) in enumerate(zip(group.candidates, answers, strict=True)):
            for answer in mine:
                said = [
                    a.value
                    for a in group.answers
                    if a.candidate == n and self._map.get(a.dimension, a.dimension) == answer.dimension
                ]
                values = (
                    *(number, source, key, n, answer.question, answer.outcome, answer.counts, answer.answer),
                    *(self._columns(answer), answer.expected, answer.text),
                    *([float(value) for value in said if value != NOT_APPLICABLE], said.count(NOT_APPLICABLE)),
                    candidate.generator,
                )
                for name, value in zip(ANSWERS.names, values, strict=True):
                    self._rows[name].append(value)

    def table(self) -> AnswerTable:
        """The table of all groups added so far."""
        return AnswerTable(self._questions, pa.table(self._rows, schema=ANSWERS).to_pandas())

    def _columns(self, answer: QuestionAnswer) -> list[float] | None:
        """Probabilities of the options that apply in their order, N/A last (0 where the question has none)."""
        if answer.probabilities is None:
            return None
        options = self._questions[answer.question].options
        by_label = answer.probabilities
        applying = [by_label[option.label] for option in options if option.value != NOT_APPLICABLE]
        return [*applying, sum(by_label[option.label] for option in options if option.value == NOT_APPLICABLE)]


def answers_path(path: str | Path) -> Path:
    """Where the answers beside a predictions table lie: ``NAME.parquet`` to ``NAME.answers.parquet``."""
    return Path(path).with_suffix(".answers.parquet")


def write_answers(path: str | Path, table: AnswerTable) -> Path:
    """Writes ``NAME.answers.parquet`` beside the predictions table ``path``; it appears complete or not at all."""
    target = answers_path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    questions = json.dumps(record_of_questions(table.questions), ensure_ascii=False)
    try:
        made = pa.Table.from_pandas(table.rows[ANSWERS.names], schema=ANSWERS, preserve_index=False)
        made = made.replace_schema_metadata({_VERSION: FORMAT_VERSION.encode(), _QUESTIONS: questions.encode()})
        pq.write_table(made, scratch, compression="zstd")
        os.replace(scratch, target)
    finally:
        scratch.unlink(missing_ok=True)
    return target


def read_answers(path: str | Path) -> AnswerTable:
    """Reads the answers beside the predictions table ``path``.

    Raises:
        UserError: There are none.
        DataError: The file is damaged, or is no answers table.
    """
    file = answers_path(path)
    try:
        table = pq.read_table(file)
    except FileNotFoundError:
        raise UserError(f"there is no answers table {file}") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{file} cannot be read as a table: {error}") from None
    said = table.schema.metadata or {}
    missing = [name for name in ANSWERS.names if name not in table.column_names]
    if missing or _QUESTIONS not in said:
        raise DataError(f"{file} is no answers table: it lacks {', '.join(missing or ['its questions'])}")
    questions = questions_of_record(json.loads(said[_QUESTIONS]), str(file))
    return AnswerTable(questions, table.select(ANSWERS.names).cast(ANSWERS).to_pandas())


def merge_answers(parts: Sequence[AnswerTable]) -> AnswerTable:
    """One table of the parts that several ranks or sources made, sorted by group.

    Raises:
        DataError: The parts answer different questions.
    """
    assert parts, "nothing to merge"
    if any(part.questions != parts[0].questions for part in parts):
        raise DataError("answers to different question sets cannot stand in one table")
    rows = pd.concat([part.rows for part in parts], ignore_index=True)
    return AnswerTable(parts[0].questions, rows.sort_values("group", kind="stable", ignore_index=True))
