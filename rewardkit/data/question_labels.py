"""What people answered as labels of questions: which questions a group is asked, and what was said to each.

A question's labels are the answers on its dimension (after ``data.dimension_map``) whose value is one of its options;
N/A is one where the question has it. An answer that is none of the options (a mean of 3.4) rates the candidate, and
chooses no option. The index is counted by the same rule (``question_counts.py``).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from rewardkit.data.comparisons import all_comparisons
from rewardkit.data.group import NOT_APPLICABLE, Answer, Group
from rewardkit.data.group_labels import LabelSpace
from rewardkit.data.questions import Question, QuestionSet
from rewardkit.errors import BadSample

LISTED = "questions"
"""The slot that names the questions (their keys) a prompt is asked in an evaluation, where its source says so."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What was said to one question of one image.

    Attributes:
        shares: Shares of the answers over ``question.options``, in their order (one 1.0 for a single answer); None:
            nobody answered.
        said: The option (its place) that the model learns to write; None: none.
        rationale: Text that it learns to write behind it.
    """

    shares: tuple[float, ...] | None = None
    said: int | None = None
    rationale: str | None = None


NOTHING_SAID = Answered()


def option_of(question: Question, value: float | str) -> int | None:
    """The place of the option that an answer's value names; None: none."""
    return next((n for n, option in enumerate(question.options) if option.value == value), None)


def answered(question: Question, answers: Sequence[Answer], *, rationales: bool) -> Answered:
    """What was said to a question of one candidate.

    ``said`` is the option that most chose; of several, the one nearest the mean of the numbers, and the first of
    equals. Its rationale is the first that somebody gave for it.

    Args:
        question: The question.
        answers: On its dimension, of one candidate.
        rationales: Whether rationales are learned.
    """
    chosen = [(option, answer) for answer in answers if (option := option_of(question, answer.value)) is not None]
    if not chosen:
        return NOTHING_SAID
    counts = [0] * len(question.options)
    for option, _ in chosen:
        counts[option] += 1
    numbers = [float(answer.value) for _, answer in chosen if answer.value != NOT_APPLICABLE]
    mean = sum(numbers) / len(numbers) if numbers else 0.0

    def distance(option: int) -> float:
        value = question.options[option].value
        return math.inf if value == NOT_APPLICABLE else abs(float(value) - mean)

    said = min(range(len(counts)), key=lambda option: (-counts[option], distance(option), option))
    reasons = (answer.rationale for option, answer in chosen if option == said and answer.rationale)
    shares = tuple(count / len(chosen) for count in counts)
    return Answered(shares, said, next(reasons, None) if rationales else None)


def asked_in_training(
    group: Group, questions: QuestionSet, space: LabelSpace, *, rationales: bool
) -> list[dict[str, Answered]]:
    """For each candidate the questions that its labels need, each with what was said.

    A candidate is asked a question that somebody answered, and one on whose dimension it was rated, compared or ranked,
    since its score is learned. One without any label is asked the first question that applies.

    Raises:
        BadSample: A label needs a question that does not apply to the prompt's slots, or none applies.
    """
    on = answers_on(group, space)
    labelled = _labelled(group, questions, space)
    asked = []
    for candidate in range(len(group.candidates)):
        found: dict[str, Answered] = {}
        for question in questions.questions:
            column = space.dimensions.index(question.dimension)
            said = answered(question, on.get((candidate, column), ()), rationales=rationales)
            if said.shares is not None:
                _check_slot(question, group)
            elif (candidate, column) not in labelled or not question.applies(group.slots):
                continue
            found[question.key] = said
        asked.append(found or {_first(group, questions).key: NOTHING_SAID})
    return asked


def asked_in_evaluation(
    group: Group, questions: QuestionSet, space: LabelSpace, *, said: bool, rationales: bool
) -> list[dict[str, Answered]]:
    """For each candidate all questions that apply to the prompt, each with what was said.

    Where the prompt's slots list questions, of those without an answer only the listed ones are asked.

    Args:
        group: The group.
        questions: The set.
        space: The model's dimensions.
        said: Whether the answers are written behind the questions; in the published form that would keep the options
            from being scored.
        rationales: Whether rationales are.

    Raises:
        BadSample: As in training.
    """
    on = answers_on(group, space)
    _labelled(group, questions, space)
    asked = []
    for candidate in range(len(group.candidates)):
        found = {}
        for question in questions.questions:
            column = space.dimensions.index(question.dimension)
            one = answered(question, on.get((candidate, column), ()), rationales=rationales)
            if one.shares is not None:
                _check_slot(question, group)
            elif not (question.applies(group.slots) and _is_listed(question, group)):
                continue
            found[question.key] = one if said else replace(one, said=None, rationale=None)
        if not found:
            raise BadSample(f"no question of {questions.name} applies to it")
        asked.append(found)
    return asked


def with_dimensions(group: Group, space: LabelSpace, kept: Collection[int]) -> Group:
    """The group without what was said on other dimensions of the model than some.

    Args:
        group: The group.
        space: The model's dimensions.
        kept: Their places among the model's.
    """
    names = {name for name in group.dimensions if space.column(name) in kept}
    return replace(
        group,
        comparisons=tuple(c for c in group.comparisons if c.dimension in names),
        rankings=tuple(r for r in group.rankings if r.dimension in names),
        answers=tuple(a for a in group.answers if a.dimension in names),
    )


def answers_on(group: Group, space: LabelSpace) -> Mapping[tuple[int, int], list[Answer]]:
    """The answers by candidate and place of the model's dimension."""
    found: dict[tuple[int, int], list[Answer]] = defaultdict(list)
    for answer in group.answers:
        column = space.column(answer.dimension)
        if column is not None:
            found[answer.candidate, column].append(answer)
    return found


def _labelled(group: Group, questions: QuestionSet, space: LabelSpace) -> set[tuple[int, int]]:
    """Candidate and dimension wherever a score is learned or measured: by a rating, a comparison or a ranking.

    Raises:
        BadSample: No question on such a dimension applies to the prompt's slots.
    """
    found = {place for place, answers in answers_on(group, space).items() if any(_is_number(a) for a in answers)}
    for comparison in all_comparisons(group):
        column = space.column(comparison.dimension)
        if column is not None:
            found |= {(comparison.first, column), (comparison.second, column)}
    for ranking in group.rankings:
        column = space.column(ranking.dimension)
        if column is not None:
            found |= {(n, column) for n, rank in enumerate(ranking.ranks) if rank is not None}
    for name in {space.dimensions[column] for _, column in found}:
        on = [question for question in questions.questions if question.dimension == name]
        if not any(question.applies(group.slots) for question in on):
            _check_slot(on[0], group)
    return found


def _check_slot(question: Question, group: Group) -> None:
    """A question that has labels has to be one that can be asked."""
    if not question.applies(group.slots):
        raise BadSample(
            f"it has labels on {question.dimension!r}, and question {question.key!r} asks of the slot "
            f"{question.slot!r}, which it lacks"
        )


def _is_listed(question: Question, group: Group) -> bool:
    """Whether the source's list of questions has this one; it does where there is no list."""
    listed = group.slots.get(LISTED)
    return not isinstance(listed, list) or question.key in listed


def _is_number(answer: Answer) -> bool:
    return answer.value != NOT_APPLICABLE


def _first(group: Group, questions: QuestionSet) -> Question:
    applicable = questions.applicable(group.slots)
    if not applicable:
        raise BadSample(f"no question of {questions.name} applies to it")
    return applicable[0]
