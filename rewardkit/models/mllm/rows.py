"""From an image, its prompt and the questions of a set to rows of tokens.

::

    user: image, the prompt (for questions that see it), question and options, <|score|>    assistant: one character

The published form has the question word for word as published, no score token, and whole labels as answers ("-1").
Nothing is ever cut off: a row that is too long is a bad sample that says what made it long.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from PIL import Image
from torch import Tensor

from rewardkit.config.messages import did_you_mean
from rewardkit.data.question_labels import NOTHING_SAID, Answered
from rewardkit.data.questions import Question, QuestionSet
from rewardkit.errors import BadSample, UserError
from rewardkit.models.mllm.batch import AskedQuestion, ImageRows, QuestionBatch, Row, Side, collate_rows
from rewardkit.models.mllm.options import OptionColumn, option_columns, question_text
from rewardkit.models.mllm.text import (
    PlainText,
    add_score_token,
    bare_token,
    bos_before,
    chat_parts,
    encode_template,
    tokens_behind,
)

Style = Literal["characters", "published"]

_NOT_OF_THE_IMAGE = ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids")


class QuestionRows:
    """Makes rows of a question set for one processor.

    Args:
        processor: Of the model; ``<|score|>`` is added to its tokenizer where it lacks it.
        questions: The set.
        dimensions: The model's dimensions; every question's has to be among them.
        max_tokens: The longest row.
        style: ``characters``, or ``published``.
        prompt_for: Which questions see the prompt: ``all``, ``none``, or their keys. Published forms never add it.

    Attributes:
        settings: ``max_tokens``, ``style`` and ``prompt_for``, as plain values: what a bundle keeps.

    Raises:
        UserError: An option that is not one token, a question without a place among the dimensions, a key that the set
            lacks, a template that does not fit.
    """

    def __init__(
        self,
        processor: Any,
        questions: QuestionSet,
        dimensions: Sequence[str],
        *,
        max_tokens: int = 2048,
        style: Style = "characters",
        prompt_for: Literal["all", "none"] | Collection[str] = "all",
    ) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.questions = questions
        self.dimensions = tuple(dimensions)
        self.max_tokens = max_tokens
        self.style: Style = style
        self.score_id = add_score_token(self.tokenizer)
        self.image_token_id = int(self.tokenizer.convert_tokens_to_ids(processor.image_token))
        self.pad_id = _pad_id(self.tokenizer)
        self.parts = chat_parts(processor)
        keys = [question.key for question in questions.questions]
        self.settings: dict[str, Any] = {
            "max_tokens": max_tokens,
            "style": style,
            "prompt_for": prompt_for if isinstance(prompt_for, str) else sorted(prompt_for),
        }
        self._sees_prompt = set(keys) if prompt_for == "all" else set() if prompt_for == "none" else set(prompt_for)
        for key in self._sees_prompt - set(keys):
            raise UserError(f"prompt_for names {key!r}, no question of {questions.name}.{did_you_mean(key, keys)}")
        self._text = PlainText(self.tokenizer)
        # The published form's labels bring the spaces before them.
        tail = self.parts.tail.rstrip(" ") if style == "published" else self.parts.tail
        self._tail, self._end = (encode_template(self.tokenizer, text) for text in (tail, self.parts.end))
        self._place = {key: n for n, key in enumerate(keys)}
        self.columns = {question.key: option_columns(question) for question in questions.questions}
        self._check_dimensions()
        self._answers = {key: self._answer_tokens(key) for key in keys}

    def read(
        self,
        image: Image.Image | Tensor,
        prompt: str,
        asked: Sequence[Question] | Mapping[str, Answered],
        slots: Mapping[str, Any] | None = None,
    ) -> ImageRows:
        """All questions of one image.

        Args:
            image: A picture, or uint8 ``[3, H, W]``.
            prompt: The prompt that it was made from; untrusted.
            asked: The questions, or key to what was said.
            slots: Phrases of the prompt, for questions that name one.

        Raises:
            BadSample: A row is longer than ``max_tokens``, a text cannot be written without control tokens, an answer
                is none of its question's.
        """
        answered = asked if isinstance(asked, Mapping) else {question.key: NOTHING_SAID for question in asked}
        if not answered:
            raise BadSample("no question of the set applies to it")
        self._check_answered(answered)
        head, tensors = self._head(image)
        places = head.count(self.image_token_id)
        questions = [self.questions[key] for key in answered]
        rows = [
            row
            for n, (question, said) in enumerate(zip(questions, answered.values(), strict=True))
            for row in self._rows(question, said, head, prompt, slots or {}, n)
        ]
        found = [self._asked(question, said) for question, said in zip(questions, answered.values(), strict=True)]
        return ImageRows(tensors, places, shared_tokens(rows), found, rows)

    def caption(self, text: str) -> list[int]:
        """Tokens of a caption, written as behind another word; raises ``BadSample`` as ``read`` does."""
        return self._text(f" {text}")

    def collate(self, images: Sequence[ImageRows], padding_side: Side = "right") -> QuestionBatch:
        """Several images' rows as one batch (see ``collate_rows``)."""
        return collate_rows(images, pad_id=self.pad_id, image_token_id=self.image_token_id, padding_side=padding_side)

    def _head(self, image: Image.Image | Tensor) -> tuple[list[int], dict[str, Tensor]]:
        """Tokens of the template up to the user's text, the image's places among them, and the image's tensors."""
        picture = image.convert("RGB") if isinstance(image, Image.Image) else image
        try:
            made = self.processor(
                text=[self.parts.head], images=[picture], return_tensors="pt", add_special_tokens=False
            )
        except ValueError as error:  # such as a picture that is 300 times as long as wide
            raise BadSample(f"the model's processor does not take the image: {error}") from None
        ids = made["input_ids"][0].tolist()
        tensors = {name: value for name, value in made.items() if name not in _NOT_OF_THE_IMAGE}
        return [*bos_before(self.tokenizer, ids), *ids], tensors

    def _rows(
        self, question: Question, said: Answered, head: list[int], prompt: str, slots: Mapping[str, Any], asked: int
    ) -> list[Row]:
        """The row of a question; in the published form one for each option, if none was said."""
        shown, text = self._texts(question, prompt, slots)
        body = self._text(shown + text)
        mark = [] if self.style == "published" else [self.score_id]
        ids = [*head, *body, *mark, *self._tail]
        score = len(head) + len(body) if mark else -1
        answers = self._answers[question.key]
        rows = []
        if said.said is not None:
            column = next(n for n, c in enumerate(self.columns[question.key]) if c.place == said.said)
            written = [*answers[column], *self._rest(said.rationale)]
            rows.append(Row([*ids, *written], len(ids), score, len(written), True, -1, asked))
        elif self.style == "published":
            rows += [Row([*ids, *a], len(ids), score, len(a), False, n, asked) for n, a in enumerate(answers)]
        else:
            rows.append(Row(ids, len(ids), score, 0, False, -1, asked))
        for row in rows:
            self._check(row, question, shown, len(body))
        return rows

    def _texts(self, question: Question, prompt: str, slots: Mapping[str, Any]) -> tuple[str, str]:
        """The prompt as it is shown (or nothing), and the question."""
        if question.slot is not None and question.slot not in slots:
            raise BadSample(f"question {question.key!r} asks of the slot {question.slot!r}, which it lacks")
        if self.style == "published":
            text = question.ask(slots).replace("<image>", "", 1)
            return "", text.removeprefix("\n") if self.parts.head.endswith("\n") else text
        shown = f"Prompt: {prompt}\n" if question.key in self._sees_prompt else ""
        phrase = None if question.slot is None else str(slots[question.slot])
        return shown, question_text(question, self.columns[question.key], phrase)

    def _rest(self, rationale: str | None) -> list[int]:
        """What is learned behind the option: the rationale, and the end of the turn."""
        return [*(self._text(f"\n{rationale}") if rationale else []), *self._end]

    def _check_answered(self, answered: Mapping[str, Answered]) -> None:
        """Answers come from data: each has to be one of its question's."""
        for key, said in answered.items():
            if key not in self._place:
                raise BadSample(f"it is asked {key!r}, which is no question of {self.questions.name}")
            options = len(self.questions[key].options)
            if said.said is not None and not 0 <= said.said < options:
                raise BadSample(f"its answer to {key!r} is option {said.said}, and there are 0 to {options - 1}")
            if said.shares is not None and (len(said.shares) != options or min(said.shares) < 0):
                raise BadSample(f"its answers to {key!r} are {list(said.shares)}; {options} shares from 0 are needed")

    def _check(self, row: Row, question: Question, shown: str, body: int) -> None:
        """What must hold of every row; ``shown`` is its prompt, ``body`` the tokens of prompt and question."""
        image, answer = row.ids.count(self.image_token_id), len(row.ids) - row.prompt
        if len(row.ids) > self.max_tokens:
            prompt, rest = len(self._text(shown)), row.prompt - image - body
            raise BadSample(
                f"its row of question {question.key!r} has {len(row.ids)} tokens, and the longest row is "
                f"{self.max_tokens}: {image} of the image, {prompt} of the prompt, {body - prompt} of question and "
                f"options, {answer} of the answer, {rest} of the template"
            )
        marks = row.ids.count(self.score_id)
        assert marks == (0 if self.style == "published" else 1), f"{marks} score tokens in a row"
        assert image > 0, "a row without an image"

    def _asked(self, question: Question, said: Answered) -> AskedQuestion:
        columns = self.columns[question.key]
        tokens = [-1 if self.style == "published" else ids[0] for ids in self._answers[question.key]]
        target = [0.0] * len(columns) if said.shares is None else [said.shares[c.place] for c in columns]
        if not question.has_na:
            tokens, target = [*tokens, -1], [*target, 0.0]
        return AskedQuestion(
            self._place[question.key],
            self.dimensions.index(question.dimension),
            tokens,
            [c.value for c in columns if c.value is not None],
            target,
        )

    def _answer_tokens(self, key: str) -> list[list[int]]:
        """Tokens of each column's answer: its one character, or its published label."""
        columns = self.columns[key]
        if self.style == "characters":
            return [[self._character(key, column)] for column in columns]
        found = [self._label(key, column) for column in columns]
        for a, one in zip(columns, found, strict=True):
            for b, other in zip(columns, found, strict=True):
                if a is not b and other[: len(one)] == one:
                    raise UserError(
                        f"question {key!r} cannot be scored by its published labels: {b.label!r} begins with "
                        f"{a.label!r}; ask it by characters"
                    )
        return found

    def _character(self, key: str, column: OptionColumn) -> int:
        token = bare_token(self.tokenizer, column.character)
        if token is None:
            raise UserError(
                f"question {key!r}: the option {column.character!r} is not one token in this model's tokenizer"
            )
        return token

    def _label(self, key: str, column: OptionColumn) -> list[int]:
        found = tokens_behind(self.tokenizer, self.parts.tail, column.label)
        if found is None or not found[1]:
            raise UserError(
                f"question {key!r}: the label {column.label!r} changes the tokens of this model's chat template before "
                "it; ask it by characters"
            )
        return found[1]

    def _check_dimensions(self) -> None:
        for question in self.questions.questions:
            if question.dimension not in self.dimensions:
                raise UserError(
                    f"question {question.key!r} of {self.questions.name} is on {question.dimension!r}, but the model "
                    f"judges {', '.join(self.dimensions)}; add it to model.dimensions"
                )


def shared_tokens(rows: Sequence[Row]) -> int:
    """How many tokens all rows of an image begin with, short of what any head reads."""
    most = min((row.score if row.score >= 0 else row.prompt - 1) for row in rows)
    first = rows[0].ids
    return next((n for n in range(most) if any(row.ids[n] != first[n] for row in rows[1:])), most)


def _pad_id(tokenizer: Any) -> int:
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    if pad is None:
        raise UserError("the model's tokenizer has neither a padding token nor an end token")
    return int(pad)
