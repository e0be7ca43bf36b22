"""A training step of five questions an image against one question a row.

    python tools/bench/evaluator_training.py [--rounds 5] [--images 2] [--tokens 144,576] [--json FILE] [--check]

One random Qwen2.5-VL (``evaluator_model.py``), EvalAlign's five questions of faithfulness with an answer each, one
thread. A step is a forward, the losses of options and written answers, a backward, and AdamW. What is compared, in
turns, in seconds of processor time:

==================  =====================================================================================
one question a row  each question is a sample with the image in it, as EvalAlign and LLaVA train
five an image       the image once, what its rows begin with once
==================  =====================================================================================

once with everything trained, once with adapters in the language model and the vision tower frozen. Both give the same
gradients; that is checked.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from evaluator_model import BENCH_SHAPE, bench_model, faithfulness, noise, on_one_thread, questions
from rounds import Figure, Report, processor_seconds
from torch import Tensor

from rewardkit.data.question_labels import Answered
from rewardkit.models.mllm.batch import QuestionBatch
from rewardkit.models.mllm.model import MLLMReward
from rewardkit.models.mllm.rows import QuestionRows
from rewardkit.models.mllm.tuning import tune
from rewardkit.objectives.answers import AnswerObjective
from rewardkit.objectives.options import OptionObjective

DEMAND = 1.5
"""Least gain of a step."""


@dataclass(frozen=True)
class Counted:
    """Denominators of a batch that is a whole optimiser step."""

    options: Tensor
    answers: Tensor


def main() -> int:
    """Measures, prints and writes; exit code 1 where ``--check`` is given and a demand is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=2, help="in a step")
    parser.add_argument("--tokens", default="144,576", help="image tokens")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--check", action="store_true", help="exit code 1 where a demand is missed")
    asked = parser.parse_args()
    settings = {"rounds": asked.rounds, "images": asked.images, "model": str(BENCH_SHAPE), **on_one_thread()}
    report = Report("training on five questions an image", settings)
    for language, vision in (("full", "full"), ("lora", "frozen")):
        model = bench_model(BENCH_SHAPE)
        tune(model, language=language, vision=vision)
        for size in map(int, asked.tokens.split(",")):
            name = f"{size} tokens, {'all trains' if language == 'full' else 'adapters'}"
            report.figures += steps(model.train(), name, size, asked.images, asked.rounds)
    met = report.finish(asked.json)
    return 1 if asked.check and not met else 0


def steps(model: MLLMReward, name: str, size: int, images: int, rounds: int) -> list[Figure]:
    """Seconds of both ways, and the gain."""
    batches = {"one question a row": batch_of(model, size, images, alone=True),
               "five an image": batch_of(model, size, images, alone=False)}  # fmt: skip
    worst = largest_difference(*(gradients(model, batch) for batch in batches.values()))
    assert worst < 1e-3, f"gradients differ by {worst} of the largest"
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    took = processor_seconds({way: partial(step, model, optimizer, batch) for way, batch in batches.items()}, rounds)
    gain = [a / b for a, b in zip(*took.values(), strict=True)]
    return [*(Figure(f"{name}: {way}", "s", v) for way, v in took.items()), Figure(f"{name}: gain", "", gain, DEMAND)]


def step(model: MLLMReward, optimizer: torch.optim.Optimizer, batch: QuestionBatch) -> None:
    """A whole optimiser step."""
    backward(model, batch)
    optimizer.step()
    optimizer.zero_grad()


def batch_of(model: MLLMReward, size: int, images: int, *, alone: bool) -> QuestionBatch:
    """The five questions of some images, in one sample for each image or (``alone``) in one for each question."""
    rows = QuestionRows(model.processor, faithfulness(), model.dimensions)
    answers = {q.key: Answered(one_hot(n % len(q.options), len(q.options)), n % len(q.options))
               for n, q in enumerate(questions())}  # fmt: skip
    samples = [{key: said} for key, said in answers.items()] if alone else [answers]
    return rows.collate([rows.read(noise(size, n), "", sample) for n in range(images) for sample in samples])


def one_hot(place: int, length: int) -> tuple[float, ...]:
    """Shares of a single answer."""
    return tuple(float(n == place) for n in range(length))


def backward(model: MLLMReward, batch: QuestionBatch) -> None:
    """A forward, the losses and a backward; one question a row shares nothing."""
    alone = len(batch.asked_image) == len(batch.image_tokens)
    model.share_prefix = not alone
    labels = Labels(batch)
    counted = Counted(batch.asked_dimension.bincount(minlength=len(model.dimensions)).float(),
                      torch.tensor(float(len(batch.row_asked))))  # fmt: skip
    output = model(batch)
    loss = OptionObjective(model.dimensions)(output, labels, counted).total
    (loss + AnswerObjective()(output, labels, counted).total).backward()


@dataclass(frozen=True)
class Labels:
    """What the objectives read of a batch."""

    questions: QuestionBatch


def gradients(model: MLLMReward, batch: QuestionBatch) -> dict[str, Tensor]:
    """Of every parameter that trains."""
    backward(model, batch)
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def largest_difference(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """Of two sets of gradients, relative to the largest entry of all."""
    assert ours.keys() == theirs.keys()
    scale = max(float(value.abs().max()) for value in theirs.values())
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours) / scale


if __name__ == "__main__":
    sys.exit(main())
