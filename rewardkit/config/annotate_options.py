"""The schema of ``annotate``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rewardkit.config.options import option


@dataclass
class AnnotateOptions:
    """Asks multimodal models how good images are, and logs every answer; the same command goes on where it stopped."""

    images: str | None = option(None)
    """What is annotated: a folder of shards, or their URL; or a folder of images, with prompts=. Without it only the
    prompts are prepared (steps=)."""
    prompts: str | None = option(None)
    """With a folder of images: a JSONL, CSV or parquet file with a row for each prompt: `prompt`, and `id` or `images`
    (docs/annotate.md)."""
    out: str | None = option(None)
    """Folder of the annotation: its log, its figures, and the groups with the answers. The same folder goes on."""
    annotators: list[str] = option([])
    """Who is asked, separated by commas: MODEL@URL (an endpoint that speaks OpenAI's chat completions, up to /v1), the
    folder of a multimodal model in transformers' layout, or an evaluator's run or bundle. NAME=… before one gives it a
    name."""
    questions: str = option("visionprefer")
    """What is asked: the name of a question set, or a YAML file (docs/mllm.md)."""
    mode: str = option("joint", choices=("joint", "per_image"))
    """joint: all images of a prompt in one request. per_image: a request for each. Evaluators of rewardkit always see
    one."""
    repeats: int = option(1, at_least=1)
    """Times that everything is asked. Each second one shows the order before reversed, which position bias is measured
    by."""
    shuffle: bool = option(True)
    """Show images in an order drawn for each group and pair of repeats. Without it: as they lie in the group."""
    seed: int = option(0, at_least=0)
    """Seed of orders, and of the sampling."""
    temperature: float = option(0.0, at_least=0)
    """Of the sampling."""
    max_tokens: int = option(2048, at_least=1)
    """Longest answer, in tokens."""
    image_side: int | None = option(None, at_least=16)
    """Longest side of an image that is sent, pixels; larger ones are made smaller. Default: as they are."""
    image_format: str = option("keep", choices=("keep", "jpeg", "png"))
    """Kind of file that is sent. keep: JPEG, PNG and WebP as they are."""
    response_format: str = option("json_schema", choices=("json_schema", "json_object", "none"))
    """How a server is told of the answer's form. json_schema: it writes nothing else (OpenAI, vLLM, SGLang). none: the
    text of the request alone says it. Every answer is checked against the schema, whatever this says."""
    template: str | None = option(None)
    """A text file that is asked instead of rewardkit's own (rewardkit/annotate/templates/), with the same
    placeholders."""
    body: dict[str, Any] = option({})
    """More fields of each request, as servers have them, such as {top_p: 0.9}; null takes one out: {max_tokens: null,
    max_completion_tokens: 4096}."""
    steps: list[str] = option([], choices=("clean", "polish", "safety"))
    """What a chat model does to each prompt first, in this order. clean: style words out. polish: clear, consistent,
    fit for work. safety: prompts that are not safe are dropped, with the reason. The raw prompt is kept. The first
    annotator with an endpoint or in transformers' layout is asked."""
    concurrency: int = option(64, at_least=1, at_most=8192)
    """Calls in flight at most, of each endpoint."""
    requests_per_minute: float | None = option(None, above=0)
    """Calls in a minute at most, of each endpoint; retries count. Default: no limit."""
    timeout_s: float = option(300.0, above=0)
    """Seconds that a call may take, to the last byte of its answer."""
    retries: int = option(8, at_least=0)
    """Sendings of a call after the first, where no answer came (429, 5xx, cut connections, time outs)."""
    first_pause_s: float = option(1.0, above=0)
    """Seconds before the second sending, about; it doubles each time, to a minute. A server's Retry-After is kept."""
    repairs: int = option(2, at_least=0)
    """Times that an answer is asked for again that does not fit its schema; then it is recorded as invalid."""
    prices: dict[str, Any] = option({})
    """What a million tokens cost, for the report and the budget: {input: 2.5, output: 10}, or by annotator: {NAME:
    {input: 2.5, output: 10}}."""
    budget: float | None = option(None, above=0)
    """Most that all of the annotation may cost, earlier runs included, in the currency of prices=. A call that could
    pass it is not sent."""
    key_variable: str = option("OPENAI_API_KEY")
    """Environment variable with the key of the endpoints. Keys come from nowhere else, and are written nowhere."""
    key_variables: dict[str, str] = option({})
    """The same for single annotators: {NAME: VARIABLE}."""
    device: str = option("auto")
    """Of models on this machine: cpu, cuda, cuda:N, or auto."""
    dry_run: bool = option(False)
    """Count requests, tokens and cost, and stop; nothing is asked."""
    ask: bool = option(True)
    """Ask what is not asked yet. false: nothing is asked; groups are made of what lies in the log, so that other rules
    can be tried for nothing."""
    aggregate: str = option("mean", choices=("mean", "majority", "dawid_skene", "bradley_terry"))
    """Several annotators and repeats to one score of each image. mean: of the annotators' means. majority: the most
    frequent. dawid_skene: the likeliest, each annotator having its own errors. bradley_terry: utilities from who wins
    each pair, each annotator having a reliability and a favourite place."""
    overall: str = option("mean", choices=("mean", "weighted", "dominance", "none"))
    """Overall from the dimensions. weighted: with weights=. dominance: only pairs whose winner is at least as good on
    every dimension. A dimension without a score of one image is dropped from both of a pair."""
    weights: dict[str, float] = option({})
    """With overall=weighted: dimension to its weight, {prompt_following: 2, aesthetic: 1}; others count nothing."""
    tie_eps: float = option(0.0, at_least=0)
    """Two images whose scores differ by at most so much tie."""
    answers: str = option("annotators", choices=("annotators", "aggregated"))
    """Whose answers the groups hold: each annotator's with its rationales, or the aggregated ones. Comparisons are of
    the aggregated scores either way."""
    dimension_map: dict[str, str | None] = option({})
    """Dimension to that of people's labels, where it has another name: {aesthetic: beauty}; null: not compared."""
    bootstrap: int = option(1000, at_least=0)
    """Resamples of groups behind intervals."""
    shards: str = option("shards")
    """Folder of the groups, inside out=; one of an earlier run is replaced."""
