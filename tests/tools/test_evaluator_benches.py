"""The evaluator's benches, in small: their arithmetic is that of the model, what they compare is equal, figures fit."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from rewardkit.models.mllm.scoring import LoadedEvaluator
from rewardkit.models.mllm.tuning import tune

BENCH = Path(__file__).parents[2] / "tools" / "bench"

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the benches read /proc")


@pytest.fixture(scope="module")
def bench() -> Iterator[SimpleNamespace]:
    sys.path.insert(0, str(BENCH))
    import evaluator_memory
    import evaluator_model
    import evaluator_packing
    import evaluator_scoring
    import evaluator_training

    yield SimpleNamespace(
        model=evaluator_model,
        scoring=evaluator_scoring,
        training=evaluator_training,
        memory=evaluator_memory,
        packing=evaluator_packing,
        tiny=evaluator_model.small_shape(width=32, layers=1, vision_width=16, vision_layers=1),
    )
    sys.path.remove(str(BENCH))


def test_a_shape_counts_what_the_model_has(bench: SimpleNamespace) -> None:
    shape = bench.model.small_shape(width=64, layers=2, vision_width=32, vision_layers=3)
    base = bench.model.bench_model(shape).base.model
    counted = {
        "language": sum(p.numel() for p in base.language_model.layers.parameters() if p.ndim > 1),
        "vision": sum(p.numel() for p in base.visual.blocks.parameters() if p.ndim > 1),
        "merger": sum(p.numel() for p in base.visual.merger.parameters() if p.ndim > 1),
    }
    assert counted == {name: getattr(shape, name) for name in counted}
    assert bench.model.QWEN2_5_VL_7B.language == pytest.approx(6.525e9, rel=1e-3)  # of 7.6e9 with its two tables


def test_the_arithmetic_of_the_gain(bench: SimpleNamespace) -> None:
    shape = bench.model.QWEN2_5_VL_7B
    # With nothing shared but no image either, one reading of a text is one call.
    assert shape.gain(0, 0, [100], 1) == pytest.approx(1)
    # Where the image is all that there is, five calls cost five times as much.
    assert shape.gain(100_000, 100_000, [1] * 5, 1) == pytest.approx(5, rel=1e-3)
    assert 1 < shape.gain(576, 589, [180] * 5, 2) < shape.gain(1500, 1513, [180] * 5, 2) < 5
    assert bench.model.vision_share(shape, 576) == pytest.approx(0.41, abs=0.01)
    assert bench.model.vision_share(bench.model.BENCH_SHAPE, 576) == pytest.approx(0.43, abs=0.01)


def test_scoring(bench: SimpleNamespace, tmp_path: Path) -> None:
    evaluator = LoadedEvaluator(bench.model.bench_model(bench.tiny), bench.model.faithfulness())
    notes: list[str] = []
    figures = {f.name: f for f in bench.scoring.measure(evaluator, bench.tiny, 144, 2, 2, notes)}
    gain = figures["144: gain (generate / all shared)"]
    assert gain.values == pytest.approx(
        [a / b for a, b in zip(figures["144: generate"].values, figures["144: all shared"].values, strict=True)]
    )
    assert "144 image tokens: 157 tokens are shared" in notes[0]
    bench.scoring.plot(tmp_path / "gain.png", {144: gain.values, 576: [2.0, 3.0]}, evaluator, 2)
    assert (tmp_path / "gain.png").stat().st_size > 5000


def test_a_way_that_says_something_else_is_found(bench: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator = LoadedEvaluator(bench.model.bench_model(bench.tiny), bench.model.faithfulness())
    forward = bench.scoring.forward
    monkeypatch.setattr(bench.scoring, "forward", lambda *a, **k: forward(*a, **k) + 1e-3)
    with pytest.raises(AssertionError, match="vision shared differs from generate by"):
        bench.scoring.measure(evaluator, bench.tiny, 144, 1, 1, [])


def test_training(bench: SimpleNamespace) -> None:
    model = bench.model.bench_model(bench.tiny)
    tune(model, language="lora", vision="frozen")
    figures = bench.training.steps(model.train(), "tiny", 144, 2, 1)
    assert [figure.name for figure in figures] == ["tiny: one question a row", "tiny: five an image", "tiny: gain"]
    assert figures[2].values == pytest.approx([figures[0].values[0] / figures[1].values[0]])
    ours = bench.training.gradients(model, bench.training.batch_of(model, 144, 1, alone=False))
    other = bench.training.gradients(model, bench.training.batch_of(model, 144, 2, alone=False))
    assert bench.training.largest_difference(ours, other) > 1e-3  # other images: the check can fail


def test_memory(bench: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.memory, "BENCH_SHAPE", bench.tiny)
    threads = torch.get_num_threads()
    try:
        few, all_places = (bench.memory.peak_of_step(144, 40_000, way) for way in bench.memory.WAYS)
    finally:
        torch.set_num_threads(threads)
    # 5 rows of about 340 places with 40 000 logits of 4 bytes are 270 MB, and their gradient as much.
    assert all_places > few + 2 * 250e6 > 0


def test_packing(bench: SimpleNamespace) -> None:
    model = bench.model.bench_model(bench.packing.SHAPE)
    leaks = {figure.name: figure for figure in bench.packing.leaks(model)}
    assert leaks["leak, safe"].met
    assert leaks["leak, three rows"].median > 0.01 and leaks["leak, with a cache"].median > 0.01
    figures = {figure.name: figure.median for figure in bench.packing.padding(model, "two", [144, 256])}
    assert 0 < figures["two: padding, shared beginning"] < 0.5
    assert figures["two: places, packed rows / shared beginning"] > 1
