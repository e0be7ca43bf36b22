"""``export`` of an evaluator: its forms, what they need, other questions, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_mllm import picture, questions, qwen2_5_vl

import rewardkit
from rewardkit import cli
from rewardkit.models.mllm.model import MLLMReward
from rewardkit.models.mllm.rows import QuestionRows
from rewardkit.models.mllm.scoring import LoadedEvaluator
from rewardkit.models.mllm.tuning import tune
from rewardkit.models.save import save_reward


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a published base and an adapter on it, as a run leaves it."""
    root = tmp_path_factory.mktemp("evaluator")
    base, processor = qwen2_5_vl()
    base.save_pretrained(root / "published")
    dimensions = [question.dimension for question in questions().questions]
    torch.manual_seed(0)
    model = MLLMReward(base, processor, dimensions, scores_from="expected")
    tune(model, language="lora", projector="frozen")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name or name.startswith(("head.", "score_token.")):
                parameter.add_(0.05 * torch.randn_like(parameter))
    model.base_path = root / "published"
    model.rows = QuestionRows(processor, questions(), dimensions, max_tokens=700, prompt_for=["common"])
    save_reward(root / "run" / "bundle", model, evaluation=[{"set": "val", "value": 0.5}])
    return root


def run(*arguments: object) -> int:
    return cli.run([str(a) for a in arguments])


def scores(path: Path) -> torch.Tensor:
    loaded = rewardkit.load(path)
    assert isinstance(loaded, LoadedEvaluator)
    return loaded.score([picture(1), picture(2, 40, 90)], "a cat").nan_to_num(-9)


def form_of(path: Path) -> str:
    return str(json.loads((path / "bundle.json").read_text())["model"]["form"])


def test_a_run_keeps_what_it_changed_and_exports_in_every_form(folder: Path, tmp_path: Path) -> None:
    ours, model = scores(folder / "run"), f"model={folder / 'run'}"
    assert form_of(folder / "run" / "bundle") == "adapter"
    size = (folder / "run" / "bundle" / "model.safetensors").stat().st_size
    for form, exact in (("adapter", True), ("whole", True), ("merged", False)):
        out = tmp_path / form
        assert run("export", model, f"out={out}", f"form={form}") == 0
        assert form_of(out) == form and (out / "README.md").is_file()
        assert ((out / "model.safetensors").stat().st_size > 2 * size) == (form != "adapter")
        again = scores(out)
        assert torch.equal(again, ours) if exact else torch.allclose(again, ours, atol=1e-5)
        loaded = rewardkit.load(out)
        assert isinstance(loaded, LoadedEvaluator) and loaded.rows.settings == {
            "max_tokens": 700,
            "style": "characters",
            "prompt_for": ["common"],
        }
        assert loaded.record["evaluation"] == [{"set": "val", "value": 0.5}]
    assert run("export", f"model={tmp_path / 'whole'}", f"out={tmp_path / 'later'}", "form=merged") == 0
    assert torch.equal(scores(tmp_path / "later"), scores(tmp_path / "merged"))
    assert run("export", f"model={tmp_path / 'merged'}", f"out={tmp_path / 'copy'}") == 0
    assert form_of(tmp_path / "copy") == "merged"


def test_a_base_that_moved_is_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapter, record = tmp_path / "adapter", folder / "run"
    assert run("export", f"model={record}", f"out={adapter}") == 0
    said = json.loads((adapter / "bundle.json").read_text())
    said["model"]["base"]["path"] = str(tmp_path / "gone")
    (adapter / "bundle.json").write_text(json.dumps(said))
    assert run("export", f"model={adapter}", f"out={tmp_path / 'out'}") == 2
    assert "its base is not at" in capsys.readouterr().err
    base = f"base={folder / 'published'}"
    assert run("export", f"model={adapter}", f"out={tmp_path / 'out'}", base, "form=merged") == 0
    assert torch.allclose(scores(tmp_path / "out"), scores(record), atol=1e-5)


def test_other_questions_go_with_it(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nabout: mine\nquestions:\n- {key: cats, text: How many cats, dimension: body,\n"
        "  options: [{label: '1', text: one, value: 1}, {label: '2', text: two, value: 2}]}\n"
    )
    ask = ["export", f"model={folder / 'run'}", f"out={tmp_path / 'out'}"]
    assert run(*ask, f"questions={tmp_path / 'mine.yaml'},evalalign") == 0
    loaded = rewardkit.load(tmp_path / "out")
    assert isinstance(loaded, LoadedEvaluator)
    assert [one.name for one in loaded.sets] == ["mine", "evalalign"] and loaded.questions.name == "mine"
    assert {a.question for a in loaded.answers([picture(1)], "a cat")} == {"cats"}
    other = rewardkit.load(tmp_path / "out", questions="evalalign")
    assert isinstance(other, LoadedEvaluator) and other.questions == questions()
    assert run("export", f"model={folder / 'run'}", f"out={tmp_path / 'no'}", "questions=visionprefer") == 2
    assert "but the model judges" in capsys.readouterr().err and not (tmp_path / "no").exists()


def test_to_transformers(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run("export", f"model={folder / 'run'}", f"out={out}", "to=transformers") == 0
    assert "AutoModelForImageTextToText.from_pretrained" in capsys.readouterr().out
    assert (out / "config.json").is_file() and (out / "rewardkit_heads.safetensors").is_file()


def test_what_cannot_be_is_told(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["export", f"model={folder / 'run'}", f"out={tmp_path / 'out'}"]
    assert run("export", f"model={folder / 'run'}", f"out={tmp_path / 'merged'}", "form=merged") == 0
    merged = ["export", f"model={tmp_path / 'merged'}", f"out={tmp_path / 'out'}"]
    for arguments, told in (
        ([*ask, "to=open_clip"], "open_clip has no class for an evaluator"),
        ([*ask, "to=transformers", "form=adapter"], "form= is for to=bundle"),
        ([*ask, "dimensions=body"], "dimensions= is for exports of CLIPs"),
        ([*merged, "form=adapter"], "does not know where the base lies alone"),
        ([*merged, "form=whole"], "cannot be taken out"),
    ):
        assert run(*arguments) == 2
        assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_bundle_without_its_heads_is_refused_by_the_verbs(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("export", f"model={folder / 'run'}", f"out={tmp_path / 'b'}") == 0
    weights = tmp_path / "b" / "model.safetensors"
    save_file({n: t for n, t in load_file(weights).items() if not n.startswith("head.")}, weights)
    assert run("export", f"model={tmp_path / 'b'}", f"out={tmp_path / 'out'}") == 1
    assert "lacks its heads" in capsys.readouterr().err
