"""The schemas of the verbs other than ``fit`` and ``data``, and the table of all verbs."""

from __future__ import annotations

from dataclasses import dataclass

from rewardkit.config.options import option
from rewardkit.config.page_options import LeaderboardOptions
from rewardkit.config.protocols import NAMES
from rewardkit.config.schema import CacheOptions, EmbeddedOptions, RemoteOptions


@dataclass
class ValidateDataOptions:
    """What to validate on."""

    val: list[str] = option([])
    """Shard folders, on this machine or by URL, or `embedded`. Default: the validation data of the run, where model= is
    a run."""
    tune: list[str] = option([])
    """Shard folders that thresholds (pickapic, tie_calibrated) and the temperature (calibration) are tuned on; other
    data than data.val. Where model= names predictions tables: one table for each of them, in that order."""
    embedded: EmbeddedOptions = option(EmbeddedOptions())
    dimension_map: dict[str, str | None] = option({})
    """Data's dimension to the model's dimension; null drops its labels."""
    workers: int = option(1, at_least=0)
    """Worker processes that decode images."""
    batch_groups: int | None = option(None, at_least=1)
    """Groups in one forward pass. Default: 16; of an evaluator, which reads a row of tokens for each question, 4."""
    max_bad_fraction: float = option(0.01, at_least=0, at_most=1)
    """Stop when more than max(10, this share of the groups) cannot be read."""
    remote: RemoteOptions = option(RemoteOptions())


@dataclass
class ValidateOptions:
    """Scores validation data with one or more models and prints how well they agree with people."""

    model: list[str] = option([])
    """Runs, bundles or checkpoints, separated by commas; or predictions tables (.parquet), which are not scored
    again."""
    data: ValidateDataOptions = option(ValidateDataOptions())
    protocol: list[str] = option(["strict_micro"], choices=NAMES)
    """The rules that are counted by, separated by commas (docs/evaluation.md tells them all). `strict`, `half`,
    `imagereward`, `tie_calibrated` stand for their micro and macro forms, `all` for every one but the published
    forms."""
    bootstrap: int = option(2000, at_least=100)
    """Resamples of groups behind each 95 % interval."""
    out: str | None = option(None)
    """Folder for results.json, results.csv, report.html and the predictions tables, and of evaluators answers.csv and
    the answers tables. Default: nothing is written."""
    questions: str | None = option(None)
    """What evaluators are asked, instead of their own questions: the name of a set, or a YAML file."""
    answers: str = option("probabilities", choices=("probabilities", "generate"))
    """How evaluators answer: by the probabilities of each question's options, or by writing; a text that begins with no
    option counts as unparsed and is in no other measure."""
    answer_tokens: int = option(16, at_least=1)
    """Longest written answer of an evaluator, in tokens."""
    base: str | None = option(None)
    """Folder of an evaluator's base, where the model is an adapter alone and its base has moved."""
    device: str = option("auto")
    """cpu, cuda, cuda:N, or auto."""
    cache: CacheOptions = option(CacheOptions())


@dataclass
class ScoreOptions:
    """Scores images with a model: a few on the command line, or a whole file of them."""

    model: str | None = option(None)
    """A run, bundle or checkpoint."""
    prompt: str | None = option(None)
    """The prompt of all images given with images=."""
    images: list[str] = option([])
    """Image files or folders, separated by commas."""
    input: str | None = option(None)
    """A JSONL, CSV or parquet file with columns `image` and `prompt`; paths are relative to the file. For an evaluator
    also `slots`, where its questions ask of phrases of the prompt: an object, in CSV written as JSON."""
    output: str | None = option(None)
    """The file to write (.jsonl, .csv, .parquet or .json): the input's columns, a column for each dimension, and for an
    evaluator `answers`, with every question's (in CSV and parquet written as JSON)."""
    questions: str | None = option(None)
    """What an evaluator is asked, instead of its own questions: the name of a set, or a YAML file (docs/mllm.md)."""
    answers: str = option("probabilities", choices=("probabilities", "generate"))
    """How an evaluator answers. probabilities: by the probabilities of each question's options. generate: by writing; a
    text that begins with no option is told as unparsed and is in no score."""
    answer_tokens: int = option(16, at_least=1)
    """Longest written answer of an evaluator, in tokens."""
    slots: dict[str, str] = option({})
    """Phrases of the prompt given with prompt=, for an evaluator's questions that ask of one: {Object: "cat; hat"}."""
    base: str | None = option(None)
    """Folder of an evaluator's base, where the model is an adapter alone and its base has moved."""
    scale: str | None = option(None, choices=("cosine", "cosine100", "logit", "normalised"))
    """Output scale: cosine, cosine100 or logit of a CLIP, logit or normalised of a BLIP. Default: the bundle's own."""
    batch_size: int | None = option(None, at_least=1)
    """Images in one forward pass. Default: 32; of an evaluator, which reads a row of tokens for each question, 8."""
    device: str = option("auto")
    """cpu, cuda, cuda:N, or auto."""


@dataclass
class ExportOptions:
    """Writes a model in a form that others load."""

    model: str | None = option(None)
    """A run, bundle or checkpoint."""
    out: str | None = option(None)
    """Folder to write; must not exist. With hub= it may be left out."""
    to: str = option("bundle", choices=("bundle", "open_clip", "transformers"))
    """bundle: for rewardkit.load. open_clip: for open_clip.create_model. transformers: for CLIPModel, and of an
    evaluator for AutoModelForImageTextToText."""
    dimensions: list[str] = option([])
    """With to=open_clip or transformers: only these, a folder for each. Default: all of the model's."""
    form: str | None = option(None, choices=("adapter", "whole", "merged"))
    """Of an evaluator, with to=bundle. adapter: what training changed; it needs its base beside it. whole: all of the
    base, adapters beside it. merged: all of the base, adapters added into its weights. Heads go with each. Default: the
    form that the model has."""
    questions: list[str] = option([])
    """Of an evaluator: the question sets that go with it, names or YAML files; the first is what it is asked where
    nothing else is said. Default: those it has."""
    base: str | None = option(None)
    """Folder of an evaluator's base, where the model is an adapter alone and its base has moved."""
    hub: str | None = option(None)
    """Sends it to this repository of a model hub, ORG/NAME, with a card written from the run (docs/sharing.md). Needs a
    token: `hf auth login`, or HF_TOKEN. out= may then be left out."""
    license: str | None = option(None)
    """With hub=: the licence that the card states, by its short name (apache-2.0, cc-by-nc-4.0, other)."""
    private: bool = option(False)
    """With hub=: a new repository is private."""
    update: bool = option(False)
    """With hub=: adds a commit where the repository exists already. Without it such a repository is refused."""
    dry_run: bool = option(False)
    """With hub=: shows what would go out, file by file with sizes, and the card; sends nothing."""
    like: str | None = option(None)
    """With a checkpoint that lies in no run, as a ZeRO folder of another program: a run or bundle of the same model,
    which says what the weights are of."""


@dataclass
class ReportOptions:
    """Writes a run's report.html again from its files, or the pages and tables of a benchmark."""

    run: str | None = option(None)
    """The run's folder, or a benchmark's (its out=)."""
    against: str | None = option(None)
    """A second run, compared on the same validation data. Not of a benchmark."""
    page: LeaderboardOptions = option(LeaderboardOptions())


@dataclass
class RecipesListOptions:
    """Lists the recipes that ship with rewardkit."""


@dataclass
class RecipesCopyOptions:
    """Copies a recipe to a file of your own, to be edited."""

    out: str | None = option(None)
    """The file to write; must not exist. Default: NAME.yaml here."""


VERBS: dict[str, str] = {
    "fit": "train a reward model from a recipe",
    "validate": "preference accuracy of models on held-out data",
    "score": "score images with a model",
    "export": "write a model as a bundle, for open_clip or for transformers",
    "data": "convert, index, inspect, verify, split, merge and compare data; estimate flip rates; draw a dataset",
    "annotate": "ask multimodal models how good images are: scores with reasons, ready to train on",
    "benchmark": "rank text-to-image models by what reward models say of their images",
    "sweep": "search options of fit: many trials from one sweep file",
    "report": "write a run's report again",
    "recipes": "list, show and copy recipes",
}
"""Verb to what it does; each lives in ``rewardkit/commands/VERB.py``."""
