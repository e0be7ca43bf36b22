"""What a page shows of one validation of one set: tables, charts and disagreements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rewardkit.report.against import Gain
from rewardkit.report.answers import AnswerGain, AnswerSection
from rewardkit.report.disagreements import Disagreement, Thumbnails, surest_agreements, worst_disagreements
from rewardkit.report.evaluation import Evaluation, Row
from rewardkit.report.evaluation_figures import (
    MAX_DRAWN,
    annotator_figures,
    generator_figure,
    margin_figures,
    reliability_figures,
    score_figures,
    threshold_figures,
)
from rewardkit.report.figures import Figure
from rewardkit.report.interval_bars import share_axis
from rewardkit.report.scales import Axis

DISAGREEMENTS = 6
"""Shown of the headline dimension; of the others, ``OTHER_DISAGREEMENTS`` each."""
OTHER_DISAGREEMENTS = 2
AGREEMENTS = 4
"""Surest agreements shown, of the headline dimension."""

_PART_TITLES = {
    "source": "Source",
    "tag": "Tag",
    "margin": "People's margin",
    "votes": "Votes",
    "generator": "Generator",
    "generator_pair": "Pair of generators",
}


@dataclass(frozen=True, slots=True)
class PartTable:
    """The parts of one kind, for one dimension."""

    title: str
    rows: tuple[Row, ...]
    left_out: int


@dataclass(frozen=True, slots=True)
class Chapter:
    """Charts of one kind, one for each dimension that is drawn."""

    title: str
    lead: str
    figures: list[Figure]


@dataclass(frozen=True, slots=True)
class SetSection:
    """All that the page shows of one validation set.

    Attributes:
        suffix: Behind the titles, where there is more than one.
        anchor: Behind the ids of the page's sections.
        axis: Of its intervals.
        parts: (dimension, tables), the headline dimension first.
        sureness: Reliability, accuracy by threshold, model beside annotators.
        by_generator: Spread of the scores of each generator.
        disagreements: (dimension, disagreements), the headline dimension first.
        agreements: What the model is surest of and people say too, on the headline dimension.
        not_drawn: Dimensions that have no charts, since there are too many.
        gains: Of two runs: what one gains over the other.
        answers: Of an evaluator: its answers to its questions.
        answer_gains: Of two evaluators: what one gains over the other.
    """

    evaluation: Evaluation
    suffix: str
    anchor: str
    axis: Axis
    parts: list[tuple[str, list[PartTable]]]
    sureness: list[Chapter]
    scores: list[Figure]
    by_generator: Figure | None
    margins: list[Figure]
    disagreements: list[tuple[str, list[Disagreement]]]
    agreements: list[Disagreement]
    not_drawn: int
    gains: Sequence[Gain] = ()
    answers: AnswerSection | None = None
    answer_gains: Sequence[AnswerGain] = ()


def set_section(
    evaluation: Evaluation,
    *,
    suffix: str,
    anchor: str,
    thumbnails: Thumbnails,
    gains: Sequence[Gain] = (),
    answers: AnswerSection | None = None,
    answer_gains: Sequence[AnswerGain] = (),
) -> SetSection:
    """Works out tables, charts and pictures of one evaluation."""
    values = [
        value
        for row in evaluation.rows
        for value in (row.value, row.low, row.high, row.reachable, *row.baselines.values())
    ]
    disagreements, agreements = _pictured(evaluation, thumbnails)
    return SetSection(
        evaluation=evaluation,
        suffix=suffix,
        anchor=anchor,
        axis=share_axis(values),
        parts=_part_tables(evaluation),
        sureness=[chapter for chapter in _chapters(evaluation) if chapter.figures],
        scores=score_figures(evaluation),
        by_generator=generator_figure(evaluation),
        margins=margin_figures(evaluation),
        disagreements=disagreements,
        agreements=agreements,
        not_drawn=max(0, len(evaluation.rows) - MAX_DRAWN),
        gains=gains,
        answers=answers,
        answer_gains=answer_gains,
    )


def _chapters(evaluation: Evaluation) -> list[Chapter]:
    return [
        Chapter(
            "Model against annotators",
            "How often the model gives the verdict of the vote, and how often one annotator gives that of the others, "
            "by how clear the vote was. The band is the 95 % interval.",
            annotator_figures(evaluation),
        ),
        Chapter(
            "Accuracy against margin threshold",
            "Accuracy of the comparisons whose two scores are at least so far apart, and how many are left. A useful "
            "score is right more often where it is surer.",
            threshold_figures(evaluation),
        ),
        Chapter(
            "Reliability before and after temperature",
            "How sure the model is of the candidate it prefers, and how large a share of the votes agrees; on the "
            "dotted line it is as sure as it is right. The temperature of each half of the groups was fitted on the "
            "other half.",
            reliability_figures(evaluation),
        ),
    ]


def _pictured(
    evaluation: Evaluation, thumbnails: Thumbnails
) -> tuple[list[tuple[str, list[Disagreement]]], list[Disagreement]]:
    """Dimension to its worst disagreements, the headline dimension first; and the surest agreements of that one."""
    if evaluation.pairs is None or evaluation.predictions is None:
        return [], []
    first = evaluation.headline.name if evaluation.headline else ""
    names = sorted((row.name for row in evaluation.rows), key=lambda name: name != first)
    found, scores = [], evaluation.predictions.scores
    for name in names:
        count = DISAGREEMENTS if name == first else OTHER_DISAGREEMENTS
        worst = worst_disagreements(evaluation.pairs, scores, name, count=count, thumbnails=thumbnails)
        if worst:
            found.append((name, worst))
    agreed = surest_agreements(evaluation.pairs, scores, first, count=AGREEMENTS, thumbnails=thumbnails)
    return found, agreed


def _part_tables(evaluation: Evaluation) -> list[tuple[str, list[PartTable]]]:
    """Dimension to its tables of parts, the headline dimension first; kinds with a single part say nothing new."""
    first = evaluation.headline.name if evaluation.headline else ""
    found = []
    for name in sorted((row.name for row in evaluation.rows), key=lambda name: name != first):
        tables = []
        for kind, title in _PART_TITLES.items():
            rows = evaluation.parts.get(kind, {}).get(name, ())
            if len(rows) > 1:
                tables.append(PartTable(title, rows, evaluation.left_out.get((kind, name), 0)))
        if tables:
            found.append((name, tables))
    return found
