"""Tiny models of four families, as published folders, through ``fit``, ``export``, ``score`` and ``validate``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from answered_images import answered_group, write_answered
from tiny_mllm import FAMILIES, questions

import rewardkit
from rewardkit import cli
from rewardkit.models.mllm.scoring import LoadedEvaluator


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("answered")
    return write_answered(root / "train", first=10, groups=6), write_answered(root / "val", first=0, groups=4)


def run(*arguments: object) -> int:
    return cli.run([str(a) for a in arguments])


def fit(published: Path, shards: tuple[Path, Path], root: Path) -> Path:
    """A run of two steps with adapters on a published folder; every head has a term."""
    arguments = [
        *("fit", "recipe=evalalign", f"run.dir={root / 'runs'}", "run.name=one", "logger=csv"),
        *("model.architecture=auto", f"model.pretrained={published}", "model.questions=evalalign"),
        *("model.mllm.language=lora", "model.mllm.lora.rank=4", "model.mllm.vision=frozen"),
        *(f"data.train={shards[0]}", f"data.val={shards[1]}", "data.dimension_map={}"),
        *("data.batch_groups=2", "data.workers=0", "optim.lr=1e-2", "optim.warmup_steps=0"),
        "objective.name=answer,option,ordinal,mse,bradley_terry",
        *(f"objective.{term}.dimensions={{body: 1, object: 1}}" for term in ("ordinal", "mse")),
        *("trainer.max_steps=2", "trainer.checkpoint_every=2", "trainer.validate_every=2", "trainer.precision=32"),
        *("evaluation.bootstrap=100", "callbacks.throughput=null"),
    ]
    assert run(*arguments) == 0
    return root / "runs" / "evalalign" / "one"


@pytest.mark.slow
@pytest.mark.parametrize("name", list(FAMILIES))
def test_fit_export_score_validate(
    name: str, shards: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published = tmp_path / "published"
    base, processor = FAMILIES[name]()
    base.save_pretrained(published)
    processor.save_pretrained(published)
    done = fit(published, shards, tmp_path)
    record = json.loads((done / "bundle" / "bundle.json").read_text())
    assert record["model"]["form"] == "adapter" and record["evaluation"]
    assert (
        list(done.glob("predictions/*.answers.parquet")) and "Answers by question" in (done / "report.html").read_text()
    )
    group, images = answered_group(1)
    answers = {}
    for form in ("adapter", "whole", "merged"):
        out = tmp_path / form
        assert run("export", f"model={done}", f"out={out}", f"form={form}") == 0
        loaded = rewardkit.load(out)
        assert isinstance(loaded, LoadedEvaluator)
        answers[form] = loaded.score(images, group.prompt, [group.slots] * 2)
    assert torch.equal(answers["adapter"].nan_to_num(), answers["whole"].nan_to_num())
    torch.testing.assert_close(answers["merged"], answers["whole"], rtol=1e-5, atol=1e-5, equal_nan=True)
    assert run("export", f"model={done}", f"out={tmp_path / 'plain'}", "to=transformers") == 0
    picture = tmp_path / "one.png"
    picture.write_bytes(images[0])
    ask = ["score", f"prompt={group.prompt}", f"images={picture}", "slots={Object: elephant}"]
    assert run(*ask, f"model={tmp_path / 'merged'}", f"output={tmp_path / 'o.json'}") == 0
    scored = json.loads((tmp_path / "o.json").read_text())[0]
    asked = [question.key for question in questions().applicable({"Object": "elephant"})]
    assert list(scored["answers"]) == asked
    dimension = loaded.dimensions.index("body")
    assert scored["body"] == pytest.approx(answers["merged"][0, dimension].item(), abs=1e-5)
    assert run("validate", f"model={done}", "bootstrap=100", "data.workers=0", f"out={tmp_path / 'val'}") == 0
    measured = next(iter(json.loads((tmp_path / "val" / "answers.json").read_text()).values()))
    said = {(row["dimension"], row["metric"]): row["value"] for row in measured["measures"]["val"]}
    summary = json.loads((done / "summary.json").read_text())
    for row in summary["sets"]["val"]["answers"]:
        assert said[row["dimension"], row["metric"]] == pytest.approx(row["value"], abs=1e-4), row
    if name == "qwen2_5_vl":
        assert_a_checkpoint_scores_as_its_run(done, tmp_path / "of_checkpoint")
    capsys.readouterr()


def assert_a_checkpoint_scores_as_its_run(done: Path, out: Path) -> None:
    checkpoint = next(iter(sorted((done / "checkpoints").glob("*.ckpt"))))
    assert run("export", f"model={checkpoint}", f"out={out}") == 0
    group, images = answered_group(1)
    ours, theirs = (rewardkit.load(folder).score(images, group.prompt) for folder in (done, out))
    assert torch.equal(ours.nan_to_num(), theirs.nan_to_num())
