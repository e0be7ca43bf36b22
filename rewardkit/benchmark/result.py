"""``benchmark.json``: all that a benchmark found, as frozen dataclasses that are written and read again.

A **generator** is a text-to-image model; a **reward** is a reward model or an evaluator that scored its images. Numbers
of the whole set of prompts stand under the tag ``""`` and the value ``""``; those of a part under the prompt's tag and
its value (``style``, ``anime``).

Images and the scores of single images are not here. They are in the predictions tables that ``Reward.predictions``
names (relative to the folder of ``benchmark.json``; one table for each reward; columns in
``rewardkit/data/predictions.py``), one row for each image and dimension:

========= =====================================================================================================
group     number of the prompt in the set, from 0, the same in every table of the benchmark
key       name of the prompt: ``anime/00000``, ``alignment/45``, or its id
candidate number of the image among those of its prompt; images of all generators are counted
generator name of the text-to-image model
score     on the scale that ``Reward.scale`` names
tags      JSON object of the prompt's tags
prompt    the text
shard     the image's file, relative to ``Generator.folder``; ``offset`` is 0 and ``length`` the file's bytes
========= =====================================================================================================

``image_file`` puts folder and file together. A row is there only for an image that was scored; what is missing is in
``Generator.missing``. Answers of evaluators stand beside, as ``rewardkit/data/answer_table.py`` says, and join by
``group`` and ``candidate``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from rewardkit.errors import DataError, UserError

T = TypeVar("T")

FORMAT_VERSION = 1
FILE = "benchmark.json"
ALL = ""
"""Tag and value of the numbers over all prompts."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A prompt of which a generator has no image that can be scored.

    Attributes:
        prompt: The prompt's key.
        part: Value of the set's main tag (a style), or "".
        place: The prompt's place in its list, from 0.
        reason: ``no image``, or why its file cannot be read.
    """

    prompt: str
    part: str
    place: int
    reason: str


@dataclass(frozen=True, slots=True)
class Generator:
    """A text-to-image model.

    Attributes:
        name: Its name.
        folder: Absolute path of its images when they were scored.
        images: Images that were found and can be read.
        prompts: Prompts of which there is one or more.
        missing: The others, in the order of the prompts.
        stray: Files of the folder that belong to no prompt, the first hundred.
        strays: How many there are.
        variant_of: The generator of which this is the variant with appended prompts, or None.
    """

    name: str
    folder: str
    images: int
    prompts: int
    missing: tuple[Missing, ...] = ()
    stray: tuple[str, ...] = ()
    strays: int = 0
    variant_of: str | None = None


@dataclass(frozen=True, slots=True)
class Reward:
    """A reward model or an evaluator.

    Attributes:
        label: Short, different from all others; how the rest of the result names it.
        source: As it was given to ``model=``.
        kind: ``clip``, ``blip`` or ``mllm`` (an evaluator).
        dimensions: What it judges, ``overall`` first where it has it.
        scale: What a score is: ``cosine100`` (100 times the cosine), ``cosine``, ``logit`` or ``normalised``; of an
            evaluator what its model's ``scores_from`` says, or ``written``.
        predictions: Its predictions table, relative to the folder of ``benchmark.json``.
        weights_sha256: Of its weights.
        questions: Of an evaluator: name of its question set.
        notes: What a reader must know of its numbers.
    """

    label: str
    source: str
    kind: str
    dimensions: tuple[str, ...]
    scale: str
    predictions: str
    weights_sha256: str = ""
    questions: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """Prompts over which numbers are counted: all, or those with a value of a tag.

    Attributes:
        tag: Name of the tag; "" for all prompts.
        value: Its value; "" for all prompts.
        prompts: How many.
        of_all: Whether the numbers over all prompts include it (DrawBench beside HPS v2's styles is counted apart).
    """

    tag: str
    value: str
    prompts: int
    of_all: bool = True


@dataclass(frozen=True, slots=True)
class Cell:
    """What a reward says of a generator on a part of the prompts.

    Attributes:
        reward: Label.
        dimension: Of the reward.
        tag: Of the part.
        value: Of the part.
        generator: Name.
        mean: Mean over prompts of the mean over their images; None where there is no score.
        low: Lower end of its 95 % interval (bootstrap over prompts).
        high: Upper end.
        rank: One more than the number of generators that are distinguishably better; None without a score.
        last_rank: The rank at worst: generators that have a score less those that are distinguishably worse.
        same_as: Generators that it cannot be told apart from, best first.
        n: Prompts with a score.
        missing: Prompts without.
    """

    reward: str
    dimension: str
    tag: str
    value: str
    generator: str
    mean: float | None
    low: float | None
    high: float | None
    rank: int | None
    last_rank: int | None
    same_as: tuple[str, ...]
    n: int
    missing: int


@dataclass(frozen=True, slots=True)
class WinRate:
    """Two generators under one reward, on the prompts of a part that both have.

    Attributes:
        reward: Label.
        dimension: Of the reward.
        tag: Of the part.
        value: Of the part.
        first: The one generator.
        second: The other.
        prompts: Prompts with both.
        difference: Mean of first minus second; None without a prompt in common.
        low: Lower end of its 95 % interval (the same prompts drawn for both).
        high: Upper end.
        win_rate: Share of the prompts on which the first scores higher, equal scores counting one half.
        win_low: Lower end of its 95 % interval.
        win_high: Upper end.
        distinguishable: Whether the interval of the difference does not hold 0.
    """

    reward: str
    dimension: str
    tag: str
    value: str
    first: str
    second: str
    prompts: int
    difference: float | None
    low: float | None
    high: float | None
    win_rate: float | None
    win_low: float | None
    win_high: float | None
    distinguishable: bool


@dataclass(frozen=True, slots=True)
class PublishedStyle:
    """One style as HPS v2's tables have it.

    Attributes:
        mean: Mean of the means of groups of 80 prompts (DrawBench: plain mean).
        std: Population deviation of these means; None for DrawBench.
        low: Lower end of the mean's 95 % interval (bootstrap over prompts).
        high: Upper end.
        n: Prompts with a score.
        planned: Prompts.
    """

    mean: float | None
    std: float | None
    low: float | None
    high: float | None
    n: int
    planned: int


@dataclass(frozen=True, slots=True)
class Published:
    """A generator's row of HPS v2's table, by the published aggregation.

    Attributes:
        reward: Label.
        dimension: Of the reward.
        generator: Name.
        styles: Style to numbers, in the published order; ``drawbench`` may stand last.
        average: Mean of all scores of the four styles; of DrawBench alone, its mean.
        low: Lower end of its 95 % interval.
        high: Upper end.
        n: Prompts with a score.
        planned: Prompts.
    """

    reward: str
    dimension: str
    generator: str
    styles: Mapping[str, PublishedStyle]
    average: float | None
    low: float | None
    high: float | None
    n: int
    planned: int


@dataclass(frozen=True, slots=True)
class Reference:
    """A row of a published table: not measured here.

    Attributes:
        generator: As it is published.
        version: Which table: ``HPS v2`` or ``HPS v2.1``.
        styles: Style to the published mean.
        average: The published average.
        source: Where it is published.
        rewards: Labels of the rewards whose numbers it may be compared with; none: it was asked for all the same.
    """

    generator: str
    version: str
    styles: Mapping[str, float]
    average: float
    source: str
    rewards: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two rewards, or a reward and people, agree.

    Attributes:
        reward: Label.
        dimension: Of the reward.
        other: Label of the second reward; "" are people.
        other_dimension: Its dimension, or people's.
        level: ``generators``: of the order of the generators' means. ``prompts``: of the generators' images of one
            prompt, averaged over prompts.
        metric: ``spearman``, ``kendall``, or ``pairs``: share of the pairs of generators in the same order, where
            neither side has a tie.
        value: None where it is undefined.
        low: Lower end of the 95 % interval (bootstrap over prompts; the generators are given).
        high: Upper end.
        generators: How many both have.
        prompts: Prompts behind it.
        note: What a reader must know of it.
    """

    reward: str
    dimension: str
    other: str
    other_dimension: str
    level: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    generators: int
    prompts: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class HumanValue:
    """What people said of a generator.

    Attributes:
        dimension: What they judged.
        generator: Name.
        value: Higher is better; of ranks, minus the rank.
        n: Values behind the mean.
    """

    dimension: str
    generator: str
    value: float
    n: int


@dataclass(frozen=True, slots=True)
class BestOf:
    """A point of a curve: the image that a reward scores highest of n of a prompt's images.

    Attributes:
        generator: Name.
        reward: Label of the reward that chooses.
        dimension: By which it chooses.
        judge: Label of the reward that judges the chosen image.
        judge_dimension: On which dimension.
        n: Images that one is chosen of; 1 is a random one.
        value: The judge's mean score of the chosen one.
        low: Lower end of its 95 % interval (bootstrap over prompts).
        high: Upper end.
        ceiling: The judge's mean score of its own favourite of the n.
        prompts: Prompts behind it: those with as many images as the longest curve has.
        left_out: Prompts with fewer.
    """

    generator: str
    reward: str
    dimension: str
    judge: str
    judge_dimension: str
    n: int
    value: float | None
    low: float | None
    high: float | None
    ceiling: float | None
    prompts: int
    left_out: int


@dataclass(frozen=True, slots=True)
class Skill:
    """One question of EvalAlign over a generator's images; see ``rewardkit/metrics/evalalign_scores.py``.

    Attributes:
        average: Mean of the scores (0 to 4 on faithfulness, 0 to 2 on alignment); None where nothing was scored.
        low: Lower end of its 95 % interval (bootstrap over prompts).
        high: Upper end.
        normalised: The average as a share of the best score.
        score: Sum of the scores.
        n_scored: Answers that are a score.
        n_na: Answers that the question does not apply.
        n_invalid: Answers that cannot be read.
        n_missing: Planned questions without an answer.
        n_planned: Questions that were to be asked.
    """

    average: float | None
    low: float | None
    high: float | None
    normalised: float | None
    score: int
    n_scored: int
    n_na: int
    n_invalid: int
    n_missing: int
    n_planned: int


@dataclass(frozen=True, slots=True)
class Aspect:
    """EvalAlign's faithfulness or alignment of a generator.

    Attributes:
        reward: Label of the evaluator.
        generator: Name.
        aspect: ``faithfulness`` or ``alignment``.
        average_micro: Sum of the scores over their number (faithfulness: the published ``avg_score``, 0 to 4).
        average_low: Lower end of its 95 % interval (bootstrap over prompts).
        average_high: Upper end.
        total_average: Sum of the scores over planned images (alignment: the published ``total_avgerage``).
        normalised_macro: Mean of the skills' shares of the best score, in [0, 1]; the number that ranks.
        low: Lower end of its 95 % interval.
        high: Upper end.
        rank: By ``normalised_macro``, as that of ``Cell``.
        last_rank: Likewise.
        same_as: Likewise.
        skills: Key of the question to its numbers.
        images: Planned images.
        missing: Prompts of which nothing was answered.
        published: The published program's own result, key by key in its spelling, from the same answers; it counts
            what cannot be read as 0.
    """

    reward: str
    generator: str
    aspect: str
    average_micro: float | None
    average_low: float | None
    average_high: float | None
    total_average: float | None
    normalised_macro: float | None
    low: float | None
    high: float | None
    rank: int | None
    last_rank: int | None
    same_as: tuple[str, ...]
    skills: Mapping[str, Skill]
    images: int
    missing: tuple[str, ...]
    published: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class BothAspects:
    """EvalAlign's two aspects in one number.

    Attributes:
        reward: Label of the evaluator.
        generator: Name.
        average_of_the_two: The paper's form; its two halves have different scales.
        normalised: Mean of both ``normalised_macro``, in [0, 1].
        normalised_macro_over_skills: Mean over the skills of both.
    """

    reward: str
    generator: str
    average_of_the_two: float | None
    normalised: float | None
    normalised_macro_over_skills: float | None


@dataclass(frozen=True, slots=True)
class Variant:
    """Prompts with and without an appended text, paired by prompt; ``difference`` is with minus without.

    Attributes:
        generator: Name, of the images made from the original prompts.
        variant: Name of the folder with the images made from the appended prompts; "" where ``compared`` is
            ``wording``.
        compared: ``images``: the variant's images against the original ones, both under the original prompt.
            ``wording``: the same images under the appended against the original prompt. ``both``: the variant's images
            under the appended prompt against the original images under the original one.
        reward: Label.
        dimension: Of the reward.
        tag: Of the part.
        value: Of the part.
        prompts: Prompts with both.
        difference: Mean difference.
        low: Lower end of its 95 % interval (bootstrap over prompts).
        high: Upper end.
        win_rate: Share of the prompts on which the appended side scores higher, equal scores counting one half.
        win_low: Lower end of its 95 % interval.
        win_high: Upper end.
    """

    generator: str
    variant: str
    compared: str
    reward: str
    dimension: str
    tag: str
    value: str
    prompts: int
    difference: float | None
    low: float | None
    high: float | None
    win_rate: float | None
    win_low: float | None
    win_high: float | None


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """All of ``benchmark.json``.

    Attributes:
        prompt_set: Name of the set of prompts.
        kind: ``hpsv2``, ``drawbench``, ``evalalign`` or ``prompts`` (one's own).
        main_tag: The tag that parts the set (``style``, ``aspect``), or "".
        generators: In the order given.
        rewards: In the order given.
        parts: All prompts first, then the values of the tags.
        cells: Every reward, dimension, part and generator, best generator first.
        win_rates: Every two generators.
        published: HPS v2's table; only of the kinds ``hpsv2`` and ``drawbench``.
        references: Rows of published tables, not measured here.
        agreements: Of every two rewards.
        human: Of rewards with people.
        human_values: What people said.
        best_of: Where prompts have several images.
        aspects: EvalAlign's numbers.
        both_aspects: The same in one number.
        variants: What appended prompts change.
        notes: What a reader must know of all of it.
        provenance: Command, time, versions, files of the prompts with their sha256, number of resamples.
    """

    prompt_set: str
    kind: str
    main_tag: str
    generators: tuple[Generator, ...]
    rewards: tuple[Reward, ...]
    parts: tuple[Part, ...]
    cells: tuple[Cell, ...] = ()
    win_rates: tuple[WinRate, ...] = ()
    published: tuple[Published, ...] = ()
    references: tuple[Reference, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    human: tuple[Agreement, ...] = ()
    human_values: tuple[HumanValue, ...] = ()
    best_of: tuple[BestOf, ...] = ()
    aspects: tuple[Aspect, ...] = ()
    both_aspects: tuple[BothAspects, ...] = ()
    variants: tuple[Variant, ...] = ()
    notes: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)


def image_file(result: BenchmarkResult, generator: str, shard: str) -> Path:
    """The image of a row of a predictions table.

    Args:
        result: The benchmark.
        generator: The row's ``generator``.
        shard: The row's ``shard``.
    """
    folder = next(one.folder for one in result.generators if one.name == generator)
    return Path(folder) / shard


def write_result(folder: str | Path, result: BenchmarkResult) -> Path:
    """Writes ``benchmark.json``; it is the old one or the whole new one."""
    path = Path(folder) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{FILE}.{os.getpid()}.tmp")
    record = {"format": FORMAT_VERSION, **asdict(result)}
    scratch.write_text(json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(scratch, path)
    return path


def read_result(folder: str | Path) -> BenchmarkResult:
    """Reads what ``write_result`` wrote.

    Args:
        folder: The benchmark's, or ``benchmark.json`` itself.

    Raises:
        UserError: There is none.
        DataError: It is damaged, or of another format.
    """
    path = Path(folder) if Path(folder).name == FILE else Path(folder) / FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != FORMAT_VERSION:
            raise DataError(
                f"{path} has format {record['format']}, this rewardkit reads {FORMAT_VERSION}; run the benchmark again "
                "with the same out=, which scores nothing twice"
            )
        return _of_record(BenchmarkResult, record)
    except FileNotFoundError:
        raise UserError(f"there is no {path}; `benchmark out={path.parent}` writes it") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no {FILE}: {error!r}") from None


def _of_record(kind: type[T], record: Mapping[str, Any]) -> T:
    """A dataclass of this module from its plain values."""
    types = get_type_hints(kind)
    needed = [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]  # type: ignore[arg-type]
    lacking = [name for name in needed if name not in record]
    if lacking:
        raise KeyError(f"{kind.__name__} without {lacking[0]}")
    return kind(**{name: _value(types[name], record[name]) for name in types if name in record})


def _value(kind: Any, value: Any) -> Any:
    origin, inside = get_origin(kind), get_args(kind)
    if origin is tuple:
        return tuple(_value(inside[0], entry) for entry in value)
    if origin is Mapping and is_dataclass(inside[1]):
        return {key: _of_record(inside[1], entry) for key, entry in value.items()}  # type: ignore[arg-type]
    return _of_record(kind, value) if is_dataclass(kind) else value  # type: ignore[arg-type]
