"""Why rows of questions are not packed: what leaks from one sample into the next, and how little padding there is.

    python tools/bench/evaluator_packing.py [--images 8] [--json FILE] [--check]

Packing lays several samples behind each other in one row without padding. A random Qwen2.5-VL reads two images with
five questions each so, and the last states of the second image's rows are compared with those of the same rows read
alone, as a share of their largest number:

==============  ======================================================================================
safe            positions ``[4, 1, L]``, the first row restarting at 0 with each sample, no cache
three rows      positions ``[3, 1, L]``, as the model's own ``get_rope_index`` gives them
with a cache    four rows, ``use_cache`` left at its default
==============  ======================================================================================

Then padding: places of a batch that hold no token, in what is read of EvalAlign's five questions on images of one size
and of mixed sizes, with every row on its own and with a shared beginning. No packing can save more than those.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from evaluator_model import GRIDS, bench_model, faithfulness, noise, on_one_thread, questions, small_shape
from rounds import Figure, Report
from torch import Tensor

from rewardkit.models.mllm.base import encode_images, encoding_of, token_positions
from rewardkit.models.mllm.batch import QuestionBatch
from rewardkit.models.mllm.model import MLLMReward
from rewardkit.models.mllm.rows import QuestionRows

SHAPE = small_shape(width=64, layers=2, vision_width=32, vision_layers=2)
NOTHING = 1e-5
"""Differences below this are those of float arithmetic."""

SIZES = (144, 256, 576, 1024)
"""Image tokens of the mixed batch, in turns."""


def main() -> int:
    """Measures, prints and writes; exit code 1 where ``--check`` is given and the safe form leaks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8, help="in a batch")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--check", action="store_true", help="exit code 1 where the safe form leaks")
    asked = parser.parse_args()
    report = Report("packing", {"images": asked.images, "model": str(SHAPE), **on_one_thread()})
    model = bench_model(SHAPE)
    report.figures += leaks(model)
    for name, sizes in (("one size", [576] * asked.images), ("mixed sizes", (SIZES * asked.images)[: asked.images])):
        report.figures += padding(model, name, sizes)
    met = report.finish(asked.json)
    return 1 if asked.check and not met else 0


def leaks(model: MLLMReward) -> list[Figure]:
    """Largest differences of the second image's states."""
    rows = QuestionRows(model.processor, faithfulness(), model.dimensions)
    read = [rows.read(noise(144, seed), "", questions()) for seed in range(2)]
    batch = rows.collate(read)
    with torch.no_grad():
        alone = second_alone(model, batch)
        ways = {
            "safe": packed(model, batch, text_row=True, use_cache=False),
            "three rows": packed(model, batch, text_row=False, use_cache=False),
            "with a cache": packed(model, batch, text_row=True, use_cache=None),
        }
    scale = float(alone.abs().max())
    return [
        Figure(
            f"leak, {name}",
            "of the largest",
            [float((states - alone).abs().max()) / scale],
            -NOTHING if name == "safe" else None,
            digits=7,
        )
        for name, states in ways.items()
    ]


def second_alone(model: MLLMReward, batch: QuestionBatch) -> Tensor:
    """Last states of the second image's tokens, rows behind each other, each row by itself, ``[T, H]``."""
    encoded = encoding_of(encode_images(model.base, batch.images), batch.row_image)
    hidden = model.base.model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=positions_of(model, batch),
        mm_encoder_outputs={"image": encoded},
        use_cache=False,
    ).last_hidden_state
    second = batch.row_image == 1
    states: Tensor = hidden[second][batch.attention_mask[second].bool()]
    return states


def packed(model: MLLMReward, batch: QuestionBatch, *, text_row: bool, use_cache: bool | None) -> Tensor:
    """The same of one row that holds every row of the batch."""
    there = batch.attention_mask.bool()
    positions = positions_of(model, batch)[:, there].unsqueeze(1)  # [3, 1, L]
    if text_row:
        restarting = (batch.attention_mask.cumsum(dim=-1) - 1)[there]
        positions = torch.cat([restarting.view(1, 1, -1), positions])
    encoded = encoding_of(encode_images(model.base, batch.images), batch.row_image)
    said = model.base.model(
        input_ids=batch.input_ids[there].unsqueeze(0),
        attention_mask=None,
        position_ids=positions,
        mm_encoder_outputs={"image": encoded},
        **({} if use_cache is None else {"use_cache": use_cache}),
    )
    first = int(there[batch.row_image == 0].sum())
    states: Tensor = said.last_hidden_state[0, first:]
    return states


def positions_of(model: MLLMReward, batch: QuestionBatch) -> Tensor:
    """Of time, height and width, ``[3, R, L]``."""
    return token_positions(
        model.base, batch.input_ids, batch.attention_mask, batch.mm_token_type_ids, batch.images, batch.row_image
    )


def padding(model: MLLMReward, name: str, sizes: Sequence[int]) -> list[Figure]:
    """Shares of places without a token, and how many places a shared beginning leaves."""
    rows = QuestionRows(model.processor, faithfulness(), model.dimensions)
    assert all(size in GRIDS for size in sizes)
    batch = rows.collate([rows.read(noise(size, n), "", questions()) for n, size in enumerate(sizes)])
    lengths = batch.attention_mask.sum(dim=-1)
    rests = lengths - batch.shared[batch.row_image]
    alone = batch.input_ids.numel()
    shared = len(batch.shared) * int(batch.shared.max()) + len(rests) * int(rests.max())
    held = int(batch.shared.sum() + rests.sum())
    return [
        Figure(f"{name}: padding, rows alone", "of the places", [1 - int(lengths.sum()) / alone]),
        Figure(f"{name}: padding, shared beginning", "of the places", [1 - held / shared]),
        Figure(f"{name}: places, rows alone / shared beginning", "", [alone / shared]),
        Figure(f"{name}: places, packed rows / shared beginning", "", [int(lengths.sum()) / shared]),
    ]


if __name__ == "__main__":
    sys.exit(main())
