"""Bundles of evaluators: the same numbers after a round trip, in every form; damaged ones told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_mllm import picture, questions

import rewardkit
from rewardkit.data.questions import read_questions, shipped_question_sets
from rewardkit.data.questions_file import write_questions
from rewardkit.errors import CheckpointError, UserError
from rewardkit.models.bundle_record import sha256_of
from rewardkit.models.mllm.groups import HEADS
from rewardkit.models.mllm.model import MLLMOutput, MLLMReward
from rewardkit.models.mllm.rows import QuestionRows
from rewardkit.models.mllm.saving import load_evaluator, save_evaluator
from rewardkit.models.mllm.scoring import LoadedEvaluator
from rewardkit.models.mllm.tuning import tune

EVERY = ("scores", "option_logits", "ordinal", "regression", "expected")


@torch.no_grad()
def answers(evaluator: MLLMReward) -> MLLMOutput:
    rows = QuestionRows(evaluator.processor, questions(), evaluator.dimensions)
    asked = questions().applicable({})
    return evaluator(rows.collate([rows.read(picture(n, 84 + 9 * n, 60), "a cat", asked) for n in (1, 2)]))


@torch.no_grad()
def adapted(evaluator: MLLMReward, language: Any = "lora") -> MLLMReward:
    """As after training: adapters, projector, heads and score token are not what they started as."""
    tune(evaluator, language=language, projector="full")
    for name, parameter in evaluator.named_parameters():
        if parameter.requires_grad and (name.startswith(HEADS) or ".lora_B." in name or parameter.ndim == 1):
            parameter.add_(0.05 * torch.randn_like(parameter))
    return evaluator.eval()


@pytest.fixture
def base_folder(family: tuple[Any, Any], tmp_path: Path) -> Path:
    family[0].save_pretrained(tmp_path / "published")
    return tmp_path / "published"


@pytest.mark.parametrize("form", ["adapter", "whole", "merged"])
def test_round_trip(evaluator: MLLMReward, base_folder: Path, tmp_path: Path, form: Any) -> None:
    before = answers(adapted(evaluator))
    folder = save_evaluator(
        tmp_path / "bundle", evaluator, [questions()], form=form, base_path=base_folder, rows={"max_tokens": 512}
    )
    again = answers(evaluator)
    state = torch.get_rng_state()
    loaded, sets, record = load_evaluator(folder)
    assert torch.equal(torch.get_rng_state(), state)
    after = answers(loaded)
    for name in EVERY:
        assert torch.equal(getattr(again, name), getattr(before, name)), "exporting left the model as it was"
        if form == "merged":
            torch.testing.assert_close(getattr(after, name), getattr(before, name), rtol=1e-5, atol=1e-5)
        else:
            assert torch.equal(getattr(after, name), getattr(before, name)), name
    assert sets == [questions()] and record["rows"] == {"max_tokens": 512}
    loaded_by_name = rewardkit.load(folder)
    assert isinstance(loaded_by_name, LoadedEvaluator) and loaded_by_name.questions == questions()
    assert loaded.dimensions == evaluator.dimensions and not any(p.requires_grad for p in loaded.parameters())
    names = set(load_file(folder / "model.safetensors"))
    assert set(HEADS) == {name.split(".")[0] + "." for name in names if name.startswith(HEADS)}
    inside = {name for name in names if name.startswith("base.")}
    if form == "adapter":
        assert all(".lora_" in n or not n.startswith("base.model.language_model") for n in inside)
        assert len(inside) < len(evaluator.base.state_dict()) / 2
    else:
        assert any("lora" in name for name in inside) == (form == "whole")


def test_a_bundle_is_saved_again_as_it_was_loaded(evaluator: MLLMReward, base_folder: Path, tmp_path: Path) -> None:
    first = save_evaluator(tmp_path / "one", adapted(evaluator), [questions()], form="adapter", base_path=base_folder)
    loaded, sets, _ = load_evaluator(first)
    second = save_evaluator(tmp_path / "two", loaded, sets, form="adapter", base_path=base_folder)
    assert sha256_of(first / "model.safetensors") == sha256_of(second / "model.safetensors")


def test_tied_tables_stay_tied(qwen: tuple[Any, Any], dimensions: tuple[str, ...], tmp_path: Path) -> None:
    base, processor = qwen
    base.config.tie_word_embeddings = base.config.get_text_config().tie_word_embeddings = True
    tied = type(base)(base.config)
    assert tied.lm_head.weight is tied.get_input_embeddings().weight
    evaluator = MLLMReward(tied, processor, dimensions).eval()
    loaded, _, record = load_evaluator(save_evaluator(tmp_path / "bundle", evaluator, [questions()]))
    assert record["weights"]["tied"] and loaded.base.lm_head.weight is loaded.base.get_input_embeddings().weight
    assert torch.equal(answers(loaded).option_logits, answers(evaluator).option_logits)


def test_half_precision_stays_what_it_is(qwen: tuple[Any, Any], dimensions: tuple[str, ...], tmp_path: Path) -> None:
    qwen[0].save_pretrained(tmp_path / "published")
    # Not .to(bfloat16), which would also cast the frequencies of positions.
    base = type(qwen[0]).from_pretrained(tmp_path / "published", dtype=torch.bfloat16)
    evaluator = MLLMReward(base, qwen[1], dimensions).eval()
    tune(evaluator, language="lora")
    loaded, _, _ = load_evaluator(save_evaluator(tmp_path / "bundle", evaluator, [questions()]))
    kinds = {name: parameter.dtype for name, parameter in evaluator.named_parameters()}
    assert kinds == {name: parameter.dtype for name, parameter in loaded.named_parameters()}
    assert {kinds[name] for name in kinds if name.startswith(HEADS) or "lora" in name} == {torch.float32}
    assert torch.equal(answers(loaded).scores, answers(evaluator).scores)


@pytest.fixture
def small(qwen: tuple[Any, Any], dimensions: tuple[str, ...], tmp_path: Path) -> tuple[MLLMReward, Path]:
    qwen[0].save_pretrained(tmp_path / "published")
    return adapted(MLLMReward(*qwen, dimensions)), tmp_path / "published"


def write(folder: Path, state: dict[str, torch.Tensor], *, digest: bool = True) -> None:
    """Other weights in a bundle, with their own digest in the record or not."""
    save_file(state, folder / "model.safetensors")
    record = json.loads((folder / "bundle.json").read_text())
    if digest:
        record["weights"]["sha256"] = sha256_of(folder / "model.safetensors")
    (folder / "bundle.json").write_text(json.dumps(record))


@pytest.mark.parametrize("form", ["adapter", "whole", "merged"])
@pytest.mark.parametrize("digest", [True, False])
def test_a_bundle_without_its_heads_does_not_load(
    small: tuple[MLLMReward, Path], tmp_path: Path, form: Any, digest: bool
) -> None:
    evaluator, base = small
    folder = save_evaluator(tmp_path / "bundle", evaluator, [questions()], form=form, base_path=base)
    state = load_file(folder / "model.safetensors")
    write(folder, {n: t for n, t in state.items() if not n.startswith("head.ordinal")}, digest=digest)
    with pytest.raises(CheckpointError, match=r"lacks its heads \(head.ordinal.weight, head.ordinal.bias\)"):
        load_evaluator(folder)
    write(folder, {n: t for n, t in state.items() if n != "score_token.row"}, digest=digest)
    with pytest.raises(CheckpointError, match=r"lacks its heads \(score_token.row\)"):
        load_evaluator(folder)


def test_what_does_not_fit_is_told(small: tuple[MLLMReward, Path], tmp_path: Path) -> None:
    evaluator, base = small
    folder = save_evaluator(tmp_path / "bundle", evaluator, [questions()], form="adapter", base_path=base)
    state = load_file(folder / "model.safetensors")
    name = next(n for n in state if ".lora_A." in n)
    write(folder, {n: t for n, t in state.items() if n != name})
    with pytest.raises(CheckpointError, match="missing in the file"):
        load_evaluator(folder)
    write(folder, {**state, "base.more": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="unexpected in the file"):
        load_evaluator(folder)
    write(folder, {**state, "score_token.row": state["score_token.row"] + 1}, digest=False)
    with pytest.raises(CheckpointError, match="not the file that the bundle was made with"):
        load_evaluator(folder)


def test_an_adapter_knows_its_base(small: tuple[MLLMReward, Path], tmp_path: Path) -> None:
    evaluator, base = small
    folder = save_evaluator(tmp_path / "bundle", evaluator, [questions()], form="adapter", base_path=base)
    moved = base.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="its base is not at"):
        load_evaluator(folder)
    loaded, _, _ = load_evaluator(folder, base_path=moved)
    assert torch.equal(answers(loaded).scores, answers(evaluator).scores)
    weights = load_file(moved / "model.safetensors")
    save_file({**weights, "lm_head.weight": weights["lm_head.weight"] + 1}, moved / "model.safetensors")
    with pytest.raises(CheckpointError, match="an adapter of another base"):
        load_evaluator(folder, base_path=moved)


def test_wrong_exports_are_told(small: tuple[MLLMReward, Path], tmp_path: Path) -> None:
    evaluator, _ = small
    with pytest.raises(UserError, match="needs the folder of its base, and there is none"):
        save_evaluator(tmp_path / "bundle", evaluator, [questions()], form="adapter")
    with pytest.raises(UserError, match="needs the questions"):
        save_evaluator(tmp_path / "bundle", evaluator, [])
    with pytest.raises(UserError, match="not 'half'"):
        save_evaluator(tmp_path / "bundle", evaluator, [questions()], form="half")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no bundle: it has no bundle"):
        load_evaluator(tmp_path)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("name", list(shipped_question_sets()))
def test_question_files_round_trip(name: str, tmp_path: Path) -> None:
    write_questions(read_questions(name), tmp_path / "set.yaml")
    assert read_questions(tmp_path / "set.yaml") == read_questions(name)
