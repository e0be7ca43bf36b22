"""A benchmark's prompts, from a table of one's own or from published lists, and where the image of each has to lie.

Published lists (HPS v2's, DrawBench, EvalAlign's) are told by their names and layout (``published_prompts.py``); any
other table is read here: JSONL, CSV or parquet with a column ``prompt`` and, where it has them, ``id``, ``tags`` (an
object), ``style`` or ``category`` (tags too) and ``slots`` (phrases that an evaluator's questions ask of).
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardkit.benchmark.result import ALL
from rewardkit.benchmark.result_rows import Part
from rewardkit.config.messages import did_you_mean
from rewardkit.data.questions import QuestionSet
from rewardkit.data.tables import ENDINGS, read_rows
from rewardkit.errors import UserError
from rewardkit.metrics.answer_sets import is_evalalign
from rewardkit.metrics.evalalign_answers import SKILLS

MOST_VALUES = 40
"""A tag with more values than this parts nothing: it names prompts, and is left out of the parts."""

MAIN_TAGS = ("style", "aspect", "category")
"""Tags by which a set is parted in the first place, where it has them."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt.

    Attributes:
        key: Its name, different from all others of the set.
        text: What images are scored under.
        place: Place in its list, from 0.
        tags: Name to value.
        slots: Phrases of it, for questions that ask of one.
        stems: Where its image lies in a generator's folder, without the ending; the first that is there counts.
        aspect: ``faithfulness`` or ``alignment``: of EvalAlign's questions only those of this aspect are asked.
    """

    key: str
    text: str
    place: int
    tags: Mapping[str, str]
    slots: Mapping[str, Any]
    stems: tuple[str, ...]
    aspect: str | None = None

    def asked(self, questions: QuestionSet) -> list[str]:
        """Keys of the questions that an evaluator is asked about an image of this prompt."""
        keys = [question.key for question in questions.applicable(self.slots)]
        if self.aspect is None or not is_evalalign(questions):
            return keys
        return [key for key in keys if SKILLS[key].aspect == self.aspect]


@dataclass(frozen=True, slots=True)
class PromptSet:
    """All prompts of a benchmark.

    Attributes:
        name: Of the file or folder.
        kind: ``hpsv2``, ``drawbench``, ``evalalign`` or ``prompts``.
        prompts: In their order.
        files: That they were read from.
        notes: What a reader must know of them.
        apart: Values of the main tag that the numbers over all prompts leave out.
    """

    name: str
    kind: str
    prompts: tuple[Prompt, ...]
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    apart: frozenset[str] = frozenset()

    @property
    def main_tag(self) -> str:
        """The tag by which the set is parted in the first place, or ""."""
        names = {name for prompt in self.prompts for name in prompt.tags}
        return next((name for name in (*MAIN_TAGS, *sorted(names)) if name in names), "")

    def part_of(self, prompt: Prompt) -> str:
        """The prompt's value of the main tag, or ""."""
        return prompt.tags.get(self.main_tag, "")

    def without(self, value: str) -> PromptSet:
        """The set without the prompts of a value of the main tag."""
        kept = tuple(prompt for prompt in self.prompts if self.part_of(prompt) != value)
        return replace(self, prompts=kept, apart=self.apart - {value})

    def parts(self) -> list[tuple[Part, NDArray[np.bool_]]]:
        """All prompts, then every value of every tag, each with ``[P]``: which prompts belong to it."""
        main = self.main_tag
        inside = np.array([self.part_of(prompt) not in self.apart for prompt in self.prompts])
        found = [(Part(ALL, ALL, int(inside.sum())), inside)]
        names = dict.fromkeys(name for prompt in self.prompts for name in prompt.tags)
        for name in sorted(names, key=lambda one: one != main):
            values = np.array([prompt.tags.get(name, "") for prompt in self.prompts], dtype=object)
            known = [value for value in dict.fromkeys(values.tolist()) if value]
            if len(known) > MOST_VALUES:
                continue
            for value in known:
                of_all = not (name == main and value in self.apart)
                found.append((Part(name, value, int((values == value).sum()), of_all), values == value))
        return found


def read_table(file: Path) -> tuple[list[Prompt], list[str]]:
    """The prompts of a table, and what has to be said of them.

    Raises:
        UserError: The file is not of its ending's form, has no column ``prompt``, or a row cannot be used; says which.
    """
    rows = list(read_rows(file))
    if not rows:
        raise UserError(f"prompts={file}: there are no prompts in it")
    names = list(dict.fromkeys(name for row in rows for name in row))
    column = next((name for name in ("prompt", "Prompts") if name in names), None)  # DrawBench's own table says Prompts
    if column is None:
        raise UserError(
            f"prompts={file}: there is no column 'prompt'.{did_you_mean('prompt', names)} The columns are "
            f"{', '.join(names)}"
        )
    found = [_prompt(row, column, place, f"{file}, prompt {place + 1}") for place, row in enumerate(rows)]
    return found, [f"{file.name}: tag {name} has more than {MOST_VALUES} values, so it parts nothing"
                   for name in _too_many(found)]  # fmt: skip


def _prompt(row: Mapping[str, Any], column: str, place: int, where: str) -> Prompt:
    said = row.get("id", row.get("prompt_id"))
    id = f"{place:05d}" if said is None or said == "" else str(said)
    tags = {str(name): str(value) for name, value in _object(row.get("tags"), "tags", where).items() if value}
    for name in ("style", "category", "Category"):
        if row.get(name):
            tags.setdefault(name.lower(), str(row[name]))
    slots = {name: value for name, value in _object(row.get("slots"), "slots", where).items() if value is not None}
    return make_prompt(row[column], id, place, tags=tags, slots=slots, where=where, folder=tags.get("style"))


def make_prompt(
    text: Any,
    id: str,
    place: int,
    *,
    tags: Mapping[str, str],
    where: str,
    slots: Mapping[str, Any] | None = None,
    folder: str | None = None,
    bare: bool = True,
    key: str | None = None,
    aspect: str | None = None,
) -> Prompt:
    """A prompt, checked.

    Args:
        text: The prompt itself.
        id: By which its image is named.
        place: In its list.
        tags: See ``Prompt``.
        where: For messages.
        slots: See ``Prompt``.
        folder: Folder of the generator's folder in which its image may lie.
        bare: Whether its image may lie in the generator's folder itself.
        key: See ``Prompt``; default: the id.
        aspect: See ``Prompt``.

    Raises:
        UserError: It is no text, or its id is no name for a file.
    """
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"{where}: the prompt is {text!r}; it must be a text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"{where}: the prompt is not UTF-8 text") from None
    parts = id.split("/")
    if "\0" in id or any(part in ("", ".", "..") or len(part.encode()) > 200 for part in parts):
        raise UserError(f"{where}: the id {id!r} cannot name an image file; give it another")
    places = ([f"{folder}/{id}"] if folder else []) + ([id] if bare or not folder else [])
    return Prompt(
        key=key or id,
        text=text,
        place=place,
        tags=dict(tags),
        slots=dict(slots or {}),
        stems=tuple(unicodedata.normalize("NFC", stem) for stem in places),
        aspect=aspect,
    )


def check_keys(prompts: Sequence[Prompt]) -> None:
    """Raises UserError where two prompts have one name, so that nothing tells which of them an image is of."""
    seen: dict[str, Prompt] = {}
    for prompt in prompts:
        if prompt.key in seen:
            raise UserError(
                f"two prompts have the id {prompt.key!r}: {seen[prompt.key].text!r} and {prompt.text!r}; an image is "
                "named by its prompt's id, so that each needs its own"
            )
        seen[prompt.key] = prompt


def _object(value: Any, name: str, where: str) -> Mapping[str, Any]:
    """A cell that holds an object: a map, or JSON text of one; nothing where it is empty."""
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise UserError(f"{where}: {name} is no JSON object: {value!r}") from None
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: {name} is {value!r}; it must be an object, such as {{style: photo}}")
    return value


def _too_many(prompts: Sequence[Prompt]) -> Iterator[str]:
    for name in dict.fromkeys(name for prompt in prompts for name in prompt.tags):
        if len({prompt.tags.get(name) for prompt in prompts}) > MOST_VALUES:
            yield name


TABLES = ENDINGS
"""Endings of tables of prompts."""
