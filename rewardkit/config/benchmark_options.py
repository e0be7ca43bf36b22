"""The schema of ``benchmark``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rewardkit.config.options import option
from rewardkit.config.page_options import LeaderboardOptions


@dataclass
class BenchmarkOptions:
    """Scores images of text-to-image models on the same prompts and ranks the models (docs/benchmark.md)."""

    model: list[str] = option([])
    """Reward models and evaluators, separated by commas: runs, bundles or checkpoints."""
    images: list[str] = option([])
    """Folders that hold a folder of images for each text-to-image model, or NAME=FOLDER for a single one. Models that
    out= holds already stay in the result; only their new and changed images are scored."""
    prompts: list[str] = option([])
    """The folder of HPS v2's, DrawBench's or EvalAlign's lists; or hpsv2, drawbench or evalalign where these lie beside
    the images; or a table of one's own (.jsonl, .csv, .parquet) with a column `prompt` and, where it has them, `id`,
    `tags`, `style`, `category`, `slots`."""
    out: str | None = option(None)
    """Folder for the result. The same command on the same folder goes on where it was interrupted."""
    generators: list[str] = option([])
    """Only these text-to-image models, by name, in this order. Default: all of images=, and those of out=."""
    human: str | None = option(None)
    """What people said: a table with columns `generator` and `value` (or `rank`), and where it has them `prompt` and
    `dimension`; or a JSON map of generator to value."""
    append: Any = option(None)
    """Text behind each prompt, or a map such as {anime: TEXT, photo: TEXT} by style: writes the longer prompts to
    prompts.appended.jsonl and compares images made from them, in folders MODEL+append, with those of MODEL."""
    published: str | None = option(None, choices=("v2", "v2.1"))
    """Show HPS v2's published table beside: of weights v2 or v2.1. Its numbers are only comparable with those of the
    same weights."""
    scale: str | None = option(None, choices=("cosine", "cosine100", "logit", "normalised"))
    """Scale of the scores, of rewards that have it. Default: 100 times the cosine of a CLIP, as HPS v2 prints it; a
    BLIP's own."""
    questions: str | None = option(None)
    """What evaluators are asked, instead of their own questions: the name of a set, or a YAML file (docs/mllm.md)."""
    answers: str = option("probabilities", choices=("probabilities", "generate"))
    """How evaluators answer: by the probabilities of each question's options, or by writing."""
    answer_tokens: int = option(16, at_least=1)
    """Longest written answer of an evaluator, in tokens."""
    base: str | None = option(None)
    """Folder of an evaluator's base, where the model is an adapter alone and its base has moved."""
    bootstrap: int = option(1000, at_least=100)
    """Resamples of prompts behind each 95 % interval."""
    page: LeaderboardOptions = option(LeaderboardOptions())
    batch_size: int | None = option(None, at_least=1)
    """Images in one forward pass. Default: 32; of an evaluator, which reads a row of tokens for each question, 8."""
    workers: int = option(2, at_least=0)
    """Processes that read and decode images; 0 does so in this one."""
    device: str = option("auto")
    """cpu, cuda, cuda:N, or auto."""
    dry_run: bool = option(False)
    """Say what would be scored and what is missing, and stop; nothing is written."""
