"""Scoring five questions on an image in one reading, against a ``generate`` call for each question.

    python tools/bench/evaluator_scoring.py [--rounds 5] [--tokens 144,256,576,1024,1500] [--json FILE]
                                            [--plot FILE] [--check]

One random Qwen2.5-VL (``evaluator_model.py``), one image, EvalAlign's five questions of faithfulness, one thread. What
is compared, in turns, in seconds of processor time:

=============  ==========================================================================================
generate       five greedy calls, each with the image and one question, as EvalAlign's published code asks; two new
               tokens (the option and the end of the turn); image and questions are prepared beforehand
vision shared  one forward of all rows: the image through the vision tower once, through the language model five times
all shared     ``LoadedEvaluator.answers`` from the picture to probabilities: what the rows begin with is read once
=============  ==========================================================================================

The gain is generate / all shared. Preparing the image and the questions counts against it alone. That all say the same
is checked: the logits of the options at the first generated token.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from evaluator_model import (
    BENCH_SHAPE,
    GRIDS,
    QWEN2_5_VL_7B,
    Shape,
    bench_model,
    faithfulness,
    noise,
    on_one_thread,
    questions,
    vision_share,
)
from PIL import Image
from rounds import Figure, Report, processor_seconds
from torch import Tensor

from rewardkit.models.mllm.batch import QuestionBatch
from rewardkit.models.mllm.model import MLLMReward
from rewardkit.models.mllm.scoring import LoadedEvaluator

DEMANDS = {576: 2.0, 1500: 3.0}
"""Image tokens to the least gain."""


def main() -> int:
    """Measures, prints, plots and writes; exit code 1 where ``--check`` is given and a demand is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", default=",".join(map(str, GRIDS)), help=f"image tokens, of {list(GRIDS)}")
    parser.add_argument("--new-tokens", type=int, default=2, help="that each generate call writes")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--plot", type=Path, help=".png file for the curve")
    parser.add_argument("--check", action="store_true", help="exit code 1 where a demand is missed")
    asked = parser.parse_args()
    sizes = [int(text) for text in asked.tokens.split(",")]
    if unknown := [size for size in sizes if size not in GRIDS]:
        parser.error(f"--tokens {unknown[0]} is not one of {', '.join(map(str, GRIDS))}")
    settings = {"rounds": asked.rounds, "new_tokens": asked.new_tokens, "model": str(BENCH_SHAPE), **on_one_thread()}
    report = Report("five questions on one image", settings)
    evaluator = LoadedEvaluator(bench_model(BENCH_SHAPE), faithfulness())
    gains = {}
    for size in sizes:
        report.figures += measure(evaluator, BENCH_SHAPE, size, asked.rounds, asked.new_tokens, report.notes)
        gains[size] = report.figures[-1].values
    met = report.finish(asked.json)
    if asked.plot:
        plot(asked.plot, gains, evaluator, asked.new_tokens)
    return 1 if asked.check and not met else 0


def measure(
    evaluator: LoadedEvaluator, shape: Shape, size: int, rounds: int, new_tokens: int, notes: list[str]
) -> list[Figure]:
    """Figures of one image size, the gain last."""
    image = noise(size)
    rows = [evaluator.rows.collate([evaluator.rows.read(image, "", [q])], padding_side="left") for q in questions()]
    together = evaluator.rows.collate([evaluator.rows.read(image, "", questions())])
    assert together.image_tokens.tolist() == [size]
    check_equal(evaluator.model, rows, together)
    works: dict[str, Callable[[], object]] = {
        "generate": lambda: [generated(evaluator.model, row, new_tokens) for row in rows],
        "vision shared": lambda: forward(evaluator.model, together, share_prefix=False),
        "all shared": lambda: evaluator.answers([image], ""),
    }
    took = processor_seconds(works, rounds)
    shared, rests = text_tokens(together)
    notes.append(
        f"{size} image tokens: {shared} tokens are shared, {', '.join(map(str, rests))} follow. Vision is "
        f"{vision_share(shape, size):.2f} of the language model's arithmetic for the image "
        f"(Qwen2.5-VL-7B: {vision_share(QWEN2_5_VL_7B, size):.2f}). By arithmetic alone the gain is "
        f"{shape.gain(size, shared, rests, new_tokens):.2f}, for the 7B "
        f"{QWEN2_5_VL_7B.gain(size, shared, rests, new_tokens):.2f}."
    )
    return [
        *(Figure(f"{size}: {name}", "s", values) for name, values in took.items()),
        ratio(f"{size}: generate / vision shared", took["generate"], took["vision shared"]),
        ratio(f"{size}: gain (generate / all shared)", took["generate"], took["all shared"], DEMANDS.get(size)),
    ]


def ratio(name: str, above: list[float], below: list[float], demand: float | None = None) -> Figure:
    """Round by round."""
    return Figure(name, "", [a / b for a, b in zip(above, below, strict=True)], demand)


def generated(model: MLLMReward, row: QuestionBatch, new_tokens: int) -> Tensor:
    """One question as a user of transformers asks it; the logits of the first new token, ``[1, V]``."""
    with torch.no_grad():
        said = model.base.generate(
            input_ids=row.input_ids,
            attention_mask=row.attention_mask,
            mm_token_type_ids=row.mm_token_type_ids,
            **row.images,
            do_sample=False,
            min_new_tokens=new_tokens,
            max_new_tokens=new_tokens,
            return_dict_in_generate=True,
            output_logits=True,
        )
    first: Tensor = said.logits[0]
    return first


def forward(model: MLLMReward, rows: QuestionBatch, *, share_prefix: bool) -> Tensor:
    """Logits of the options ``[A, O + 1]``."""
    model.share_prefix = share_prefix
    with torch.no_grad():
        logits = model(rows).option_logits
    model.share_prefix = None
    assert logits is not None
    return logits


def check_equal(model: MLLMReward, rows: list[QuestionBatch], together: QuestionBatch) -> None:
    """All three ways give each option the same logit."""
    vision, everything = (forward(model, together, share_prefix=share) for share in (False, True))
    for n, row in enumerate(rows):
        columns = row.option_token[0]
        first = generated(model, row, 1)[0, columns.clamp(min=0)]
        exists = columns >= 0
        for name, found in (("vision shared", vision), ("all shared", everything)):
            here = torch.cat([found[n, : len(columns) - 1], found[n, -1:]])
            worst = float((here - first)[exists].abs().max())
            assert worst < 1e-4, f"{name} differs from generate by {worst}"


def text_tokens(together: QuestionBatch) -> tuple[int, list[int]]:
    """Tokens that the rows share, and those of each behind them."""
    shared = int(together.shared[0])
    return shared, (together.attention_mask.sum(dim=-1) - shared).tolist()


def plot(path: Path, gains: dict[int, list[float]], evaluator: LoadedEvaluator, new_tokens: int) -> None:
    """The gain over image tokens, with lowest and highest, what is demanded, and what arithmetic says of a 7B."""
    probe = evaluator.rows.collate([evaluator.rows.read(Image.new("RGB", (28, 28)), "", questions())])
    base, rests = text_tokens(probe)
    text = base - int(probe.image_tokens[0])
    sizes = sorted(gains)
    medians = [statistics.median(gains[size]) for size in sizes]
    below = [m - min(gains[size]) for m, size in zip(medians, sizes, strict=True)]
    above = [max(gains[size]) - m for m, size in zip(medians, sizes, strict=True)]
    canvas, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    axes.errorbar(sizes, medians, yerr=[below, above], color="#0072b2", marker="o", capsize=3, label="measured")
    axes.plot(
        sizes,
        [QWEN2_5_VL_7B.gain(size, size + text, rests, new_tokens) for size in sizes],
        color="#d55e00",
        linestyle="--",
        label="Qwen2.5-VL-7B, by arithmetic",
    )
    wanted = [size for size in sizes if size in DEMANDS]
    axes.plot(wanted, [DEMANDS[size] for size in wanted], "_", color="#000000", markersize=14, label="demanded")
    axes.set_xlabel("image tokens")
    axes.set_ylabel("times as fast as five generate calls")
    axes.set_ylim(bottom=0)
    axes.grid(color="#eeeeee")
    axes.legend(frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, dpi=100)
    plt.close(canvas)


if __name__ == "__main__":
    sys.exit(main())
