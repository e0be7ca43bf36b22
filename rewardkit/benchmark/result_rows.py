"""The rows of a benchmark's result that any set of prompts has; ``result.py`` puts them together."""

from __future__ import annotations

from dataclasses import dataclass


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
