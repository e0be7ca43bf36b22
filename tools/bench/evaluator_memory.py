"""Peak memory of a training step with logits of the answers' places alone, against logits of all places.

    python tools/bench/evaluator_memory.py [--tokens 144] [--vocabulary 151936] [--json FILE] [--check]

A random Qwen2.5-VL (``evaluator_model.py``) with a real vocabulary, one image, EvalAlign's five questions of
faithfulness as rows of their own, adapters trained. Measured is what a new process holds at most during a forward and a
backward, above what it held before: once as ``MLLMReward`` does it, once with the logits of all places, which
transformers computes where it is given ``labels``. Both learn the same answers.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from pathlib import Path

import torch
from evaluator_model import BENCH_SHAPE, bench_model, on_one_thread
from evaluator_training import backward, batch_of
from rounds import Figure, Report

from rewardkit.models.mllm.tuning import tune

DEMAND = 1.5
"""Least of all places / answers' places."""

WAYS = ("answers' places", "all places")

IGNORED = -100
"""Label of a place that transformers computes no loss for."""


def main() -> int:
    """Measures, prints and writes; exit code 1 where ``--check`` is given and the demand is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=144, help="image tokens")
    parser.add_argument("--vocabulary", type=int, default=151_936, help="tokens that have logits (Qwen2.5: 151,936)")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--check", action="store_true", help="exit code 1 where the demand is missed")
    asked = parser.parse_args()
    settings = {"tokens": asked.tokens, "vocabulary": asked.vocabulary, "model": str(BENCH_SHAPE), **on_one_thread()}
    report = Report("logits of a training step", settings)
    report.figures += memory(asked.tokens, asked.vocabulary)
    met = report.finish(asked.json)
    return 1 if asked.check and not met else 0


def memory(size: int, vocabulary: int) -> list[Figure]:
    """Peaks of both ways, each in a process of its own."""
    peaks = {}
    for way in WAYS:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            peaks[way] = pool.apply(peak_of_step, (size, vocabulary, way))
    figures = [Figure(f"logits of {way}", "MB", [peak / 1e6], digits=0) for way, peak in peaks.items()]
    return [*figures, Figure("all / answers'", "", [peaks[WAYS[1]] / peaks[WAYS[0]]], DEMAND)]


def peak_of_step(size: int, vocabulary: int, way: str) -> int:
    """Most resident bytes of a forward and a backward of one image's rows, above what was resident before."""
    on_one_thread()
    model = bench_model(BENCH_SHAPE, vocabulary)
    # The table and the head over tokens would have gradients of their own size, which hide what is measured.
    tune(model, language="lora", vision="frozen")
    model.train()
    batch = batch_of(model, size, 1, alone=True)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forgets the highest mark
    before = high_mark()
    if way == WAYS[1]:
        labels = torch.full_like(batch.input_ids, IGNORED)
        labels[batch.answer_row, batch.answer_place + 1] = batch.answer_token
        model.base(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            mm_token_type_ids=batch.mm_token_type_ids,
            labels=labels,
            **batch.images,
        ).loss.backward()
    else:
        backward(model, batch)
    return high_mark() - before


def high_mark() -> int:
    """Bytes that this process held at most since its mark was cleared."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


if __name__ == "__main__":
    sys.exit(main())
