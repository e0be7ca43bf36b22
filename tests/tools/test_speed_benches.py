"""The benches of speed, in small: they run as commands do, what they compare is equal, and their figures fit
together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_run import TINY_TOWER

from rewardkit.data.datamodule import PreferenceData
from rewardkit.objectives.pairwise import PairwiseObjective
from rewardkit.objectives.weighted import WeightedObjective

BENCH = Path(__file__).parents[2] / "tools" / "bench"

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the benches read /proc")

TOWER = {**TINY_TOWER, "text_cfg": {**TINY_TOWER["text_cfg"], "context_length": 77}}  # type: ignore[dict-item]


@pytest.fixture(scope="module")
def bench() -> Iterator[SimpleNamespace]:
    sys.path.insert(0, str(BENCH))
    import decoding
    import framework
    import hpd_like
    import step_memory
    import training
    import validating
    import worker

    yield SimpleNamespace(
        decoding=decoding,
        framework=framework,
        hpd_like=hpd_like,
        memory=step_memory,
        training=training,
        validating=validating,
        worker=worker,
    )
    sys.path.remove(str(BENCH))


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tower") / "tiny.json"
    path.write_text(json.dumps(TOWER), encoding="utf-8")
    return path


def run(script: str, out: Path, *options: str) -> dict[str, Any]:
    """The figures of a bench by their names."""
    command = [sys.executable, str(BENCH / script), f"--json={out / 'figures.json'}", *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=out)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((out / "figures.json").read_text(encoding="utf-8"))
    return {figure["name"]: figure for figure in record["figures"]}


LOOP = """
import sys
sys.path.insert(0, sys.argv[1])
from worker import Channel, Pace
pace = Pace(Channel())
pace.begin()
while True:
    pace.stepped(6, 0.25)
"""


def test_a_loop_waits_until_it_is_asked(bench: SimpleNamespace, tmp_path: Path) -> None:
    worker = bench.worker.Worker([sys.executable, "-c", LOOP, str(BENCH)], tmp_path / "log")
    assert worker.answer() == {"ready": True}
    for warm, steps in ((0, 3), (2, 1)):
        told = worker.ask(warm=warm, steps=steps)
        assert (told["comparisons"], told["steps"], told["waited"]) == (6 * steps, steps, 0.25 * steps)
        assert told["seconds"] > 0
    worker.end()


def test_a_process_that_fails_ends_the_bench(bench: SimpleNamespace, tmp_path: Path) -> None:
    worker = bench.worker.Worker([sys.executable, "-c", "raise SystemExit('no such model')"], tmp_path / "log")
    with pytest.raises(SystemExit, match="no such model"):
        worker.answer()


def test_the_last_half_of_the_towers(bench: SimpleNamespace) -> None:
    # ViT-B/32 has 12 layers in each tower; the published lock of 20 groups of ViT-H/14 is counted in the same way.
    assert bench.training.last_half("ViT-B-32") == (7, 6)


def test_files_for_both_sides(bench: SimpleNamespace, tmp_path: Path) -> None:
    source, shards = bench.training.prepare(tmp_path, bench.hpd_like.Shape(3, 6, 32))
    pairs = json.loads((source / "train.json").read_text(encoding="utf-8"))
    assert len(pairs) == 18 and len({tuple(row["file_path"]) for row in pairs}) == 18
    assert all(sum(row["human_preference"]) == 1 and (source / row["file_path"][0]).is_file() for row in pairs)
    counts = json.loads((shards / "index.json").read_text(encoding="utf-8"))["counts"]
    assert (counts["groups"], counts["candidates"]) == (3, 12)


def test_far_pixels_are_found(bench: SimpleNamespace, tmp_path: Path) -> None:
    source = bench.hpd_like.make_source(tmp_path / "source", bench.hpd_like.Shape(1, side=256))
    pixels = bench.decoding.decode_all(bench.hpd_like.files_of(source), "exact")
    transform = bench.decoding.ImageTransform(bench.decoding.SIZE)
    theirs = bench.decoding.normalise(pixels, transform.mean, transform.std).numpy()
    assert bench.decoding.difference(pixels, theirs) == 0
    assert bench.decoding.difference(pixels // 2 * 2 + 1, theirs) == pytest.approx(0.5, abs=0.1)


def test_validating(bench: SimpleNamespace, tower: Path, tmp_path: Path) -> None:
    shards = bench.validating.write_shards(tmp_path / "shards", 4, 48)
    torch.manual_seed(0)
    model = bench.validating.build_clip_reward(architecture=tower).eval().requires_grad_(False)
    asked = SimpleNamespace(rounds=1, sample=10, batch=4)
    figures = {figure.name: figure for figure in bench.validating.measure(model, shards, asked)}
    assert figures["largest difference of logits"].met
    ratio = figures["validate / each comparison"].values[0]
    rates = [figures[name].values[0] for name in ("validate", "each comparison")]
    assert ratio == pytest.approx(rates[0] / rates[1])


def test_a_pairwise_step_learns_the_same(bench: SimpleNamespace, tower: Path) -> None:
    gradients = []
    for way in bench.memory.WAYS:
        torch.manual_seed(0)
        model = bench.memory.build_clip_reward(architecture=tower).train()

        class Noted(torch.optim.SGD):
            def step(self, closure: Any = None) -> None:
                gradients.append(torch.cat([p.grad.flatten() for g in self.param_groups for p in g["params"]]))

        bench.memory.step(model, Noted([p for p in model.parameters() if p.requires_grad]), 2, way)
    assert gradients[0].abs().max() > 0
    assert torch.allclose(gradients[0], gradients[1], atol=1e-6)


def test_the_bare_loop_has_the_loss_of_fit(bench: SimpleNamespace, tower: Path, tmp_path: Path) -> None:
    _, shards = bench.training.prepare(tmp_path, bench.hpd_like.Shape(2, 6, 32))
    torch.manual_seed(0)
    model = bench.validating.build_clip_reward(architecture=tower)
    data = PreferenceData(
        train=[shards],
        val=[],
        transform=model.transform,
        tokenizer=model.tokenizer,
        dimensions=model.dimensions,
        batch_groups=2,
    )
    batch = next(iter(data.train_dataloader()))
    objective = WeightedObjective({"bradley_terry": PairwiseObjective(model.dimensions)})
    loss = objective(
        model(batch), batch, batch.denominators, coefficients={"bradley_terry": bench.framework.COEFFICIENT}
    )
    assert len(batch.first) == 12
    assert loss.total.item() == pytest.approx(bench.framework.bare_loss(model, batch).item(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.skipif("REWARDKIT_PEERS" not in os.environ, reason="no folder of peers' environments is named")
def test_training_against_the_peer(tower: Path, tmp_path: Path) -> None:
    (tmp_path / "peers").symlink_to(Path(os.environ["REWARDKIT_PEERS"]).resolve())
    options = ["--rounds=1", "--steps=1", "--groups=8", "--batch-groups=2", "--side=32", f"--model={tower}"]
    figures = run("training.py", tmp_path, f"--out={tmp_path / 'out'}", "--cases=all:32", *options)
    assert figures["all, 32: ours / peer"]["median"] > 0 and figures["all, 32: waiting for data"]["median"] < 1
