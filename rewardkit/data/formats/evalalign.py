r"""EvalAlign (arXiv 2406.16562; SAIS-FUXI/EvalAlign): conversations for tuning, and prompts to be judged.

::

    NAME.json      [{"id", "image", "conversations": [{"from": "human", "value": "<image>\n<question>"},
                                                      {"from": "gpt", "value": "<option>"}]}, …]
    test_alignment_prompt.json      [{"prompt_id", "prompt", "result_info": {slots}, "question_info": {…}}, …]
    test_faithfulness_prompt.json   [{"prompt_id", "prompt"}, …]
    images/MODEL/PROMPT_ID.png      or images/PROMPT_ID.png

The "gpt" turns are people's labels (EvalAlign#4). How they spell an option was not seen: a label, a label with its
text, and the text alone are read; a bare number counts only where the question lists the published options.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Any

from rewardkit.config.options import option
from rewardkit.data.questions import SLOT, Option, Question, QuestionSet, read_questions
from rewardkit.data.reading.fields import image_path, listed, optional_text, source_folder, text, the_file
from rewardkit.data.reading.format import ReadLog, Row, say_each
from rewardkit.data.reading.prompt_table import PromptTable
from rewardkit.data.reading.rows import columns_of, read_rows
from rewardkit.data.reading.statements import Rating, Said, Statement
from rewardkit.errors import UserError

IMAGES = (".jpg", ".jpeg", ".png", ".webp")
RATERS = ("annotator", "annotator_id", "rater", "by")
"""Fields of a conversation that may name who answered; the published layout has none."""

_ANSWER = re.compile(r"(-?[0-9]+)(?:\s*[.,:)]\s*|\s+|$)(.*)", re.DOTALL)


@dataclass
class EvalAlignOptions:
    """What can be asked of EvalAlign's files."""

    prompts: list[str] = option([])  # noqa: RUF009  (option makes a dataclass field)
    """Conversations: JSON files with `prompt_id` and `prompt` (test_alignment_prompt.json, …), by the image's name
    without its ending. The conversations do not hold the prompts; without this, a group has the text
    "[prompt ID]"."""
    images: str | None = option(None)
    """Folder of the images, inside the source. Default: the source; for prompts, `images` where there is one."""


class EvalAlignFormat:
    """See the module's docstring."""

    name = "evalalign"
    summary = "EvalAlign: LLaVA conversations with its questions, or its prompt files with a folder of images per model"
    options = EvalAlignOptions

    def matches(self, src: Path) -> bool:
        """A JSON file of prompt records, or of conversations whose first question is one of EvalAlign's."""
        try:
            file = the_file(src, ("*.json", "*.jsonl"), self.name)
            found = columns_of(file)
            if "conversations" in found:
                row = next(read_rows(file, ReadLog()))
                return bool(list(_turns(row, _matchers())))
            return "prompt_id" in found and ("result_info" in found or "faithfulness" in file.name)
        except Exception:
            return False

    def read(self, src: Path, options: EvalAlignOptions, log: ReadLog) -> Iterator[Said]:
        """See ``Format.read``."""
        file = the_file(src, ("*.json", "*.jsonl"), self.name)
        found = columns_of(file)
        rows = read_rows(file, log, name=file.relative_to(source_folder(src)).as_posix())
        if "conversations" in found or not found:  # Rows of a file that shows no fields say themselves what is wrong.
            keys = ("prompt_id", "id")
            prompts = (
                PromptTable(options.prompts, src, log, keys=keys, prompts=("prompt",)) if options.prompts else None
            )
            say = partial(_conversation, matchers=_matchers(), prompts=prompts, folder=options.images or "", log=log)
            yield from say_each(rows, log, say)
        elif not {"prompt_id", "prompt"} <= set(found):
            raise UserError(
                f"{file}: a record of format=evalalign has either image and conversations, or prompt_id and prompt; "
                f"the first has {', '.join(found)}"
            )
        else:
            yield from _prompt_records(rows, src, options.images, log)


@dataclass(frozen=True, slots=True)
class _Matcher:
    """Finds a question in the text of a turn.

    Attributes:
        pattern: Its stem, any spaces between the words; the groups are ``slot`` (where it has one) and ``rest``.
        published: The options as they are printed behind the stem, spaces made one.
    """

    question: Question
    pattern: re.Pattern[str]
    published: str


@cache
def _questions() -> QuestionSet:
    return read_questions("evalalign")


@cache
def _matchers() -> tuple[_Matcher, ...]:
    made = []
    for question in _questions().questions:
        stem = r"\s+".join(re.escape(word) for word in question.text.split())
        stem = stem.replace(re.escape(SLOT), "(?P<slot>.*?)")
        published = question.template.removeprefix("<image>").strip().removeprefix(question.text)
        pattern = re.compile(rf"{stem}(?P<rest>.*)", re.DOTALL)
        made.append(_Matcher(question, pattern, _one_spaced(published)))
    return tuple(made)


def _one_spaced(words: str) -> str:
    return " ".join(words.split())


def _conversation(
    row: Row, matchers: Sequence[_Matcher], prompts: PromptTable | None, folder: str, log: ReadLog
) -> list[Said]:
    """A record's answers, each on the dimension of its question."""
    image = image_path(row.values.get("image"))
    key = PurePosixPath(image).stem
    if prompts is None:
        log.notes["conversations whose prompt is not known (prompts= gives them): the text is “[prompt ID]”"] += 1
    shared: dict[str, Any] = {
        "file": row.file,
        "line": row.line,
        "folder": folder,
        "images": (image,),
        "group": key,
        "prompt": f"[prompt {key}]" if prompts is None else prompts[key],
        "by": next((by for name in RATERS if (by := optional_text(row.values, name))), ""),
    }
    return [
        Rating(**shared, dimension=question.dimension, value=said.value, slots=slots)
        for question, slots, said in _turns(row, matchers)
    ]


def _turns(row: Row, matchers: Sequence[_Matcher]) -> Iterator[tuple[Question, Mapping[str, str], Option]]:
    """Question, its slot, and the answer, for each human turn and the gpt turn behind it."""
    turns = listed(row.values, "conversations")
    if len(turns) % 2:
        raise ValueError(f"conversations has {len(turns)} turns; each human turn needs a gpt turn behind it")
    for n in range(0, len(turns), 2):
        asked, said = (_turn(turns[n + k], n + k, speaker) for k, speaker in enumerate(("human", "gpt")))
        asked = asked.replace("<image>", "").strip()
        for matcher in matchers:
            found = matcher.pattern.fullmatch(asked)
            if found:
                slots = {matcher.question.slot: found["slot"]} if matcher.question.slot else {}
                rest = _one_spaced(found["rest"])
                yield matcher.question, slots, _option(matcher.question, said, rest in ("", matcher.published))
                break
        else:
            raise ValueError(f"turn {n + 1} asks none of EvalAlign's {len(matchers)} questions: {asked[:80]!r}")


def _turn(turn: Any, number: int, speaker: str) -> str:
    if not isinstance(turn, dict) or not isinstance(turn.get("value"), str):
        raise ValueError(f'turn {number + 1} of conversations is {turn!r}; it must be {{"from", "value"}}')
    if turn.get("from") != speaker:
        raise ValueError(
            f"turn {number + 1} of conversations is from {turn.get('from')!r}; it must be from {speaker!r}"
        )
    return str(turn["value"])


def _option(question: Question, said: str, as_published: bool) -> Option:
    """The option that an answer names.

    Args:
        question: What was asked.
        said: The gpt turn.
        as_published: Whether the question listed the published options, or none; else a bare number says nothing.

    Raises:
        ValueError: It names none, or its number and its text name two.
    """
    answer = _one_spaced(said.replace("\u2212", "-").removesuffix("</s>"))
    labels = {option.label: option for option in question.options}
    numbered = _ANSWER.fullmatch(answer)
    if numbered:
        chosen, words = labels.get(numbered[1]), _plain(numbered[2])
        if chosen and words and words != _plain(chosen.text):
            raise ValueError(f"the answer {said!r} to {question.key}: option {chosen.label} says {chosen.text!r}")
        if chosen and not words and not as_published:
            raise ValueError(
                f"the answer {said!r} to {question.key} is a bare number, and the options that the question lists are "
                "not those published"
            )
    else:
        chosen = next((option for option in question.options if _plain(option.text) == _plain(answer)), None)
    if chosen is None:
        known = "; ".join(f"{option.label}, {option.text}" for option in question.options)
        raise ValueError(f"the answer {said!r} to {question.key} is none of its options: {known}")
    return chosen


def _plain(words: str) -> str:
    return _one_spaced(words).casefold().strip(" .")


def _prompt_records(rows: Iterator[Row], src: Path, images: str | None, log: ReadLog) -> Iterator[Said]:
    """Groups without labels: a prompt, and the images that are named by its id."""
    root = source_folder(src)
    folder = images if images is not None else "images" if (root / "images").is_dir() else ""
    if not (root / folder).is_dir():
        raise UserError(f"images={images}: there is no such folder in {root}")
    found = _images_by_stem(root / folder)
    if not found:
        raise UserError(
            f"{root / folder} holds no images: put each model's images in a folder of their own, named by prompt_id "
            "(images/MODEL/45.png), and say images=FOLDER"
        )
    models = {model for files in found.values() for model in files}
    seen: set[str] = set()
    say = partial(_prompt_record, found=found, models=models, folder=folder, seen=seen, log=log)
    yield from say_each(rows, log, say)
    strange = sum(len(files) for stem, files in found.items() if stem not in seen)
    if strange:
        log.notes["images that no prompt_id of the file names: not read"] += strange


def _images_by_stem(folder: Path) -> dict[str, dict[str, str]]:
    """Image name without ending, to model ("" where images lie in no folder) to path below the folder.

    Raises:
        UserError: A model has two images of one name.
    """
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for path in sorted((*folder.glob("*"), *folder.glob("*/*"))):
        if path.suffix.lower() not in IMAGES or path.name.startswith("."):
            continue
        model = "" if path.parent == folder else path.parent.name
        other = found[path.stem].get(model)
        if other is not None:
            raise UserError(f"{path} and {folder / other} are both the image of prompt {path.stem!r}; keep one")
        found[path.stem][model] = path.relative_to(folder).as_posix()
    return found


def _prompt_record(
    row: Row, found: Mapping[str, Mapping[str, str]], models: set[str], folder: str, seen: set[str], log: ReadLog
) -> list[Said]:
    key = optional_text(row.values, "prompt_id")
    if key is None:
        raise ValueError("prompt_id is missing or empty")
    if key in seen:
        raise ValueError(f"prompt_id {key!r} stands twice")
    prompt, slots = text(row.values, "prompt"), _slots(row, log)
    seen.add(key)
    files = found.get(key, {})
    if not files:
        raise ValueError(f"no image is named {key!r} (prompt_id)")
    for model in models - set(files):
        log.notes[f"prompts without an image of {model or 'the folder itself'}"] += 1
    return [
        Statement(
            file=row.file,
            line=row.line,
            folder=folder,
            prompt=prompt,
            id=key,
            group=key,
            images=tuple(files.values()),
            generators=tuple(model or None for model in files),
            slots=slots,
        )
    ]


def _slots(row: Row, log: ReadLog) -> dict[str, object]:
    """What the prompt says of objects, counts, …, and ``questions``: the keys of those that are asked of it."""
    slots = row.values.get("result_info") or {}
    if not isinstance(slots, dict) or not all(isinstance(value, str) for value in slots.values()):
        raise ValueError(f"result_info is {slots!r}; it must be an object of texts")
    # The alignment file is asked the six questions on alignment, the faithfulness file the five of every image.
    asked = [question for question in _questions().applicable(slots) if (question.slot is not None) == bool(slots)]
    given = row.values.get("question_info")
    if given is not None and given != {question.key: question.ask(slots) for question in asked}:
        log.notes[
            "records whose question_info differs from the published questions for their slots: it is not kept"
        ] += 1
    return {**slots, "questions": [question.key for question in asked]}
