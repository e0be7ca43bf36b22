"""The schemas of the actions of the verb ``data``."""

from __future__ import annotations

from dataclasses import dataclass

from rewardkit.config.options import option


@dataclass
class ConvertOptions:
    """Turns preferences as they lie on disk into a shard set. A format's own options are given beside these."""

    format: str | None = option(None)
    """How the source lies on disk (`data convert --help` lists all formats). It is never guessed."""
    src: str | None = option(None)
    """The annotation file, or the folder that holds it. Image paths are relative to that file."""
    out: str | None = option(None)
    """Folder to write; must not exist."""
    name: str | None = option(None)
    """Name of the shards (NAME-000000.tar). Default: the name of the folder out."""
    source: str | None = option(None)
    """Name under which evaluations list this data. Default: the name of the shards."""
    shard_groups: int = option(500, at_least=1)
    """Most groups in one shard."""
    shard_mb: int = option(256, at_least=1)
    """A shard is closed when it has grown to this many MiB."""
    max_candidates: int = option(16, at_least=2)
    """A group of more candidates is split into groups that together keep each comparison."""
    resize: str | None = option(None)
    """LONGEST_SIDE or LONGEST_SIDE,JPEG_QUALITY: images with a longer side are made smaller. Default: bytes as they
    came."""
    check: str = option("header", choices=("header", "decode"))
    """header: look at each image's header and end, which finds files that were cut off. decode: decode every image,
    which also finds damage in the middle, and takes many times longer."""
    outside: str = option("refuse", choices=("refuse", "allow"))
    """Whether images may lie outside the source's folder: absolute paths, `..`, and symbolic links that lead out."""
    max_bad_fraction: float = option(0.01, at_least=0, at_most=1)
    """Fail when more than max(10, this share), or more than half, of the rows or of the groups cannot be used."""
    part: str | None = option(None)
    """K/N: only the K-th of N parts of the groups, such as 3/64, for N machines; `data merge` joins the parts."""
    engine: str = option("processes", choices=("processes", "ray"))
    """processes: on this machine. ray: through Ray Data on a cluster whose nodes share the disk."""
    workers: int = option(2, at_least=1)
    """Processes that read, check and write."""


@dataclass
class IndexOptions:
    """Makes the index of a folder of shards, our own or somebody else's."""

    src: str | None = option(None)
    """Folder of .tar shards."""
    leave_out_bad: bool = option(False)
    """Leave out samples that cannot be used and name them in the index, instead of failing."""


@dataclass
class InspectOptions:
    """Shows what a shard set holds: labels and ties, agreement of annotators, sizes, generators, prompts, tags."""

    src: str | None = option(None)
    """Folder of shards with its index, on this machine or by URL."""
    context_length: int = option(77, at_least=1)
    """Prompts of more tokens than this (CLIP's BPE, start and end included) are counted as cut off."""
    html: str | None = option(None)
    """Also write a page to this .html file: the same with distributions, and samples with their votes. One file that
    needs nothing else."""
    samples: int = option(24, at_least=0, at_most=500)
    """Groups drawn at random for the page."""
    seed: int = option(0, at_least=0)
    """Another seed draws other groups."""


@dataclass
class VerifyOptions:
    """Reads every sample of a shard set, decodes every image and compares its sha256. Exit code 1 if any is bad."""

    src: str | None = option(None)
    """Folder of shards with its index, on this machine or by URL."""
    workers: int = option(2, at_least=1)
    """Threads that decode."""


@dataclass
class SplitOptions:
    """Splits a shard set in two by a hash, so that all groups of a prompt fall on the same side."""

    src: str | None = option(None)
    """Folder of shards with its index, on this machine or by URL."""
    out: str | None = option(None)
    """Folder to write; must not exist. It receives train/ and val/; with folds=, fold-0/train/, fold-0/val/ …"""
    by: str = option("prompt", choices=("prompt", "generator"))
    """prompt: hold prompts out. generator: hold generators out (their candidates leave the training groups)."""
    fraction: float | None = option(None, above=0, at_most=0.9)
    """Share that goes to val/. Default 0.1, where folds= is not given."""
    folds: int | None = option(None, at_least=2)
    """Instead of one split: this many, in which each prompt or generator is held out once."""
    seed: int = option(0, at_least=0)
    """Another seed gives another split."""


@dataclass
class MergeOptions:
    """Writes several shard sets as one."""

    src: list[str] = option([])
    """Folders of shards, separated by commas."""
    out: str | None = option(None)
    """Folder to write; must not exist."""
    prefix: bool = option(False)
    """Put each folder's name before its groups' ids, where two sets use the same ids."""


@dataclass
class LeaksOptions:
    """Looks for ids, prompts and images that stand in both of two sets, or nearly so. Exit code 1 if there are some."""

    a: str | None = option(None)
    """Folder of shards with its index (or its URL), or a list of prompts: .txt (one a line), .json or .jsonl (texts, or
    objects with prompt and id)."""
    b: str | None = option(None)
    """Likewise, for example the validation set."""
    prompts: str = option("near", choices=("near", "exact", "none"))
    """near: also prompts that are only similar. exact: only equal ones, also but for case and punctuation."""
    similarity: float = option(0.85, above=0.5, at_most=1)
    """Prompts are similar from this share of letters in common on (1 - insertions and deletions / letters of both)."""
    images: str = option("near", choices=("near", "exact", "none"))
    """near: also images of another size, format or quality; reads and decodes every image. exact: equal files, from the
    index alone. none: none."""
    distance: int = option(4, at_least=0, at_most=16)
    """Images are nearly equal when their perceptual hashes differ in at most this many of 64 bits."""
    workers: int = option(2, at_least=1)
    """Threads that decode images."""
    out: str | None = option(None)
    """File for all matches: .csv, .jsonl or .parquet."""


@dataclass
class FlipsOptions:
    """Estimates how often AI labels turn people's order round, from two label sets on the same images."""

    ai: str | None = option(None)
    """Folder of shards with the annotator's labels. A group's label on two images is the majority of its votes."""
    human: str | None = option(None)
    """Folder of shards with people's votes on the same images. Groups are matched by id and prompt, or else by prompt
    and images (equal files)."""
    dimension_map: dict[str, str | None] = option({})
    """The annotator's dimension to the people's; null leaves it out. Not named means the same name."""
    noise: str = option("auto", choices=("auto", "one_rate", "varying"))
    """How people disagree. one_rate: alike on all comparisons. varying: more on some than on others, which takes four
    or more votes on a comparison. auto: varying where most comparisons have so many, and at least 50 do."""
    bootstrap: int = option(1000, at_least=100)
    """Resamples of groups behind each 95 % interval."""
    out: str | None = option(None)
    """A .json file for all figures."""


@dataclass
class DemoOptions:
    """Draws the embedded dataset into a shard set of any size."""

    out: str | None = option(None)
    """Folder to write; must not exist."""
    groups: int = option(1000, at_least=1)
    """Number of groups; each has four candidates."""
    seed: int = option(0, at_least=0)
    """Another seed draws other groups."""
    split: str = option("all", choices=("all", "train", "val"))
    """train and val have no prompt in common; all draws from every prompt."""
    answers: bool = option(False)
    """Beside the votes, answers of three simulated raters on each image and dimension, 0 to 3."""
    workers: int = option(2, at_least=0)
    """Processes that draw; 0 draws in this one."""
