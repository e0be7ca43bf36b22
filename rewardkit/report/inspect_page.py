"""Writes the page of ``data inspect``: one file that needs nothing else, readable in light and dark, wide or narrow."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import rewardkit
from rewardkit.data.index import ShardIndex
from rewardkit.data.inspect import DimensionCounts, Inspection
from rewardkit.errors import UserError
from rewardkit.metrics.group_agreement import Agreement
from rewardkit.report.figures import Figure
from rewardkit.report.inspect_charts import column_chart, number_chart, outcome_bar, share_bar
from rewardkit.report.inspect_counts import LabelCounts, Wins
from rewardkit.report.inspect_samples import draw_samples
from rewardkit.report.template import environment

PAGE = "inspect.html.j2"
"""The template."""

LISTED = 20
"""Rows of a table of generators, sizes, tags or sources."""


@dataclass(frozen=True, slots=True)
class DimensionRow:
    """One dimension of the page's tables."""

    name: str
    counts: DimensionCounts
    agreement: Agreement
    scale: str


@dataclass(frozen=True, slots=True)
class GeneratorRow:
    """One generator: its images, and its wins on each dimension (None where it was not compared)."""

    name: str
    images: int
    share: float
    wins: tuple[Wins | None, ...]


@dataclass(frozen=True, slots=True)
class CountRow:
    """One entry of a table of shares."""

    name: str
    count: int
    share: float


@dataclass(frozen=True, slots=True)
class CountTable:
    """The most common entries, and how many others there are."""

    title: str
    unit: str
    rows: tuple[CountRow, ...]
    others: int


def write_inspect_page(
    path: Path,
    index: ShardIndex,
    found: Inspection,
    agreement: Mapping[str, Agreement],
    labels: LabelCounts,
    *,
    context_length: int,
    samples: int,
    seed: int,
) -> None:
    """Writes the page, and replaces an older one.

    Args:
        path: The file.
        index: The shard set's.
        found: From ``inspect_shards``.
        agreement: Of each dimension.
        labels: What the same pass counted.
        context_length: Prompts of more tokens count as cut off.
        samples: Groups to show.
        seed: Of their draw.

    Raises:
        UserError: The file cannot be written.
    """
    page = render(index, found, agreement, labels, context_length=context_length, samples=samples, seed=seed)
    scratch = path.with_name(f".{path.name}.part-{os.getpid()}")
    try:
        scratch.write_text(page, encoding="utf-8", errors="replace")
        os.replace(scratch, path)
    except OSError as error:
        raise UserError(f"html={path} cannot be written: {error.strerror or error}") from error
    finally:
        scratch.unlink(missing_ok=True)


def render(
    index: ShardIndex,
    found: Inspection,
    agreement: Mapping[str, Agreement],
    labels: LabelCounts,
    *,
    context_length: int,
    samples: int,
    seed: int,
) -> str:
    """The page as HTML. Everything that came from the data is escaped by the template."""
    cards = draw_samples(index, samples, seed)
    return (
        environment()
        .get_template(PAGE)
        .render(
            name=index.name,
            version=rewardkit.__version__,
            index=index,
            found=found,
            images=found.sizes.total(),
            votes=sum(sum(counts.votes) for counts in found.dimensions.values()),
            raters=len({rater for counts in found.dimensions.values() for rater in counts.raters}),
            made=made_lines(index.made),
            dimensions=[
                DimensionRow(name, counts, agreement[name], _scale(index, name))
                for name, counts in sorted(found.dimensions.items())
            ],
            figures=_figures(index, found, labels),
            cut=int((found.prompt_tokens > context_length).sum()),
            context_length=context_length,
            generators=_generators(found, labels),
            generator_dimensions=sorted(name for name in labels.wins if labels.wins[name]),
            other_generators=max(0, len(found.generators) - LISTED),
            tables=_tables(found),
            samples=cards,
            pictures_missing=sum(picture.uri is None for card in cards for picture in card.pictures),
            seed=seed,
            outcome_bar=outcome_bar,
            share_bar=share_bar,
        )
    )


def made_lines(made: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How the index was made, as names and texts."""
    lines: list[tuple[str, str]] = []
    for name, value in made.items():
        if value is None or value == {} or value == []:
            continue
        if isinstance(value, dict):
            parts = (f"{key} {_plain(inner)}" for key, inner in value.items() if inner not in (None, {}, []))
            lines.append((str(name).replace("_", " "), ", ".join(parts) or "none"))
        else:
            lines.append((str(name).replace("_", " "), _plain(value)))
    return lines


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _scale(index: ShardIndex, name: str) -> str:
    scale = index.scales.get(name)
    return f"{scale.low:g} to {scale.high:g}" if scale else ""


def _figures(index: ShardIndex, found: Inspection, labels: LabelCounts) -> list[Figure]:
    """The distributions."""
    tokens = np.asarray(found.prompt_tokens)
    values, counts = np.unique(tokens, return_counts=True)
    figures = [
        Figure(
            "Prompt length",
            number_chart(dict(zip(values.tolist(), counts.tolist(), strict=True)), x_label="tokens", y_label="groups"),
            note=f"median {int(np.quantile(tokens, 0.5, method='lower'))}, longest {int(tokens.max())}",
        ),
        Figure("Candidates of a group", number_chart(found.candidates, x_label="images", y_label="groups")),
        Figure("Image size", _megapixels(index), note="mean of each group"),
    ]
    for name in sorted(labels.votes):
        figures.append(
            Figure(
                f"Votes on a comparison: {name}",
                number_chart(labels.votes[name], x_label="votes", y_label="comparisons"),
            )
        )
    for name in sorted(labels.ratings):
        total = int(labels.ratings[name].sum())
        if total:
            chart = column_chart(
                labels.labels(name), labels.ratings[name].tolist(), x_label="rating", y_label="answers"
            )
            figures.append(Figure(f"Ratings: {name}", chart, note=f"{total:,} answers"))
    return figures


def _megapixels(index: ShardIndex) -> Any:
    """Side of a square of as many pixels as a group's images have on average, in steps that are read easily."""
    sides = np.sqrt(np.asarray(index.pixels) / np.maximum(1, np.asarray(index.candidates)))
    values, counts = np.unique(np.rint(sides).astype(np.int64), return_counts=True)
    sizes = dict(zip(values.tolist(), counts.tolist(), strict=True))
    return number_chart(sizes, x_label="side of an equal square, pixels", y_label="groups")


def _generators(found: Inspection, labels: LabelCounts) -> list[GeneratorRow]:
    """The generators with most images; none where no image names one."""
    named = [(name, count) for name, count in found.generators.most_common() if name != "not recorded"]
    if not named:
        return []
    total = found.generators.total()
    dimensions = sorted(name for name in labels.wins if labels.wins[name])
    return [
        GeneratorRow(name, count, count / total, tuple(labels.wins[d].get(name) for d in dimensions))
        for name, count in found.generators.most_common(LISTED)
    ]


def _tables(found: Inspection) -> list[CountTable]:
    kinds: Sequence[tuple[str, str, Counter[str], int]] = (
        ("Image sizes", "images", found.sizes, found.sizes.total()),
        ("File types", "images", found.kinds, found.kinds.total()),
        ("Tags", "groups", found.tags, found.groups),
        ("Sources", "groups", Counter(found.sources), found.groups),
    )
    return [
        CountTable(
            title,
            unit,
            tuple(CountRow(name, count, count / max(1, total)) for name, count in counter.most_common(LISTED)),
            max(0, len(counter) - LISTED),
        )
        for title, unit, counter, total in kinds
        if counter
    ]
