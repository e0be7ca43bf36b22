"""Options of evaluators that contradict each other are refused before anything is built, each with its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rewardkit.commands.check import check
from rewardkit.commands.find_questions import find_questions, keep_factors_of_questions, take_dimensions_of_questions
from rewardkit.config.compose import Composed
from rewardkit.config.recipes import compose_fit
from rewardkit.config.schema import FitOptions
from rewardkit.errors import ConfigError, UserError

RECIPE = """
about: an evaluator
model: {kind: mllm, architecture: small, questions: embedded}
objective: {name: [option]}
data: {train: [a], val: [b], dimension_map: {overall: null}}
optim: {warmup_steps: 0}
"""


def composed(folder: Path, recipe: str = RECIPE, **changed: Any) -> Composed[FitOptions]:
    path = folder / "mine.yaml"
    path.write_text(recipe, encoding="utf-8")
    made = compose_fit({"recipe": str(path), **{key.replace("__", "."): value for key, value in changed.items()}})
    take_dimensions_of_questions(made)
    keep_factors_of_questions(made)
    return made


def problems(folder: Path, **changed: Any) -> list[str]:
    made = composed(folder, **changed)
    try:
        check(made.options, made.origins)
    except ConfigError as error:
        return list(error.problems)
    return []


def test_dimensions_are_those_of_the_questions(tmp_path: Path) -> None:
    made = composed(tmp_path)
    assert made.options.model.dimensions == ["prompt_following", "aesthetic", "fidelity", "harmlessness"]
    assert made.origins["model.dimensions"] == "questions embedded"
    check(made.options, made.origins)


def test_some_of_the_questions_can_be_asked(tmp_path: Path) -> None:
    made = composed(tmp_path, model__mllm__ask=["fidelity"])
    assert made.options.model.dimensions == ["fidelity"]
    assert [question.key for question in find_questions(made.options).questions] == ["fidelity"]
    with pytest.raises(UserError, match="Did you mean 'fidelity'"):
        composed(tmp_path, model__mllm__ask=["fidelty"])


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ({"model__questions": "visionreward"}, {}),
        ({"model__mllm__ask": ["fidelity"]}, {"fidelity": 2.0}),
        ({"model__questions": "visionprefer"}, {"prompt_following": 1.5, "fidelity": 2.0}),
        ({}, {"prompt_following": 1.5, "fidelity": 2.0}),
    ],
)
def test_a_recipes_factors_are_those_of_its_own_questions(
    tmp_path: Path, asked: dict[str, Any], kept: dict[str, float]
) -> None:
    recipe = RECIPE.replace("[option]", "[option], option: {dimensions: {prompt_following: 1.5, fidelity: 2.0}}")
    made = composed(tmp_path, recipe=recipe, **asked)
    assert made.options.objective.option.dimensions == kept
    given = composed(tmp_path, recipe=recipe, **asked, objective__option__dimensions={"fidelity": 3.0})
    assert given.options.objective.option.dimensions["fidelity"] == 3.0


def test_a_question_is_asked_with_its_gate(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="counts only where"):
        composed(tmp_path, model__questions="visionreward", model__mllm__ask=["q22"])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model__questions": None}, "model.questions: an evaluator needs questions"),
        ({"model__architecture": "ViT-H-14"}, "model.architecture: an evaluator is auto"),
        ({"model__architecture": "auto"}, "model.pretrained: names no base"),
        ({"model__pretrained": "somewhere"}, "model.pretrained: a small model is made from nothing"),
        ({"model__mllm__dtype": "bfloat16"}, "model.mllm.dtype: a small model is float32"),
        ({"model__mllm__small__width": 40}, "multiple of 32"),
        ({"model__overall": "mean", "model__uncertainty": True}, "model.uncertainty: model.kind is mllm"),
        ({"transform__size": 224}, "transform.size: an evaluator's own processor"),
        ({"model__dimensions": ["fidelity", "overall"]}, "no question of embedded is on 'overall'"),
        ({"model__dimensions": ["fidelity"]}, "question 'aesthetic' of embedded is on 'aesthetic'"),
        ({"objective__name": ["ordinal"]}, "model.mllm.scores_from: no term"),
        ({"objective__name": ["ordinal"]}, "take ordinal"),
        ({"model__mllm__style": "published"}, "model.mllm.style: the published form learns whole labels"),
        (
            {
                "objective__name": ["option", "caption_contrast"],
                "model__mllm__vision": "frozen",
                "model__mllm__projector": "frozen",
            },
            "objective.name: caption_contrast brings",
        ),
        ({"model__mllm__lora__rank": 4}, "model.mllm.lora.rank: nothing reads it without model.mllm.language=lora"),
        ({"data__features": True}, "data.features: an evaluator's vision tower"),
        ({"trainer__compile": True}, "trainer.compile: a multimodal"),
        ({"data__pairing": "pairs"}, "objective.name: option learns from answers"),
        ({"model__gradient_checkpointing": True, "model__mllm__share_prefix": True}, "model.mllm.share_prefix"),
        ({"objective__option__coefficient": 0}, "objective.option.coefficient: 0 from the first"),
        ({"objective__option__dimensions": {"fidelty": 1}}, "objective.option.dimensions: there is no dimension"),
    ],
)
def test_what_contradicts_is_named(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    found = problems(tmp_path, **changed)
    assert any(said in problem for problem in found), found


def test_weights_in_half_precision_are_not_added_to(tmp_path: Path) -> None:
    changed = {"model__architecture": "auto", "model__pretrained": "x", "model__mllm__dtype": "float16"}
    assert any("float16 weights lose" in problem for problem in problems(tmp_path, **changed))
    lora = {"model__mllm__language": "lora", "model__mllm__projector": "frozen"}
    assert problems(tmp_path, **changed, **lora) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model.mllm.language": "lora"}, "model.mllm.language: only model.kind=mllm has it, but model.kind is clip"),
        ({"model.questions": "evalalign"}, "model.questions: only model.kind=mllm"),
        ({"objective.name": ["answer"]}, "answer learns answers to questions"),
        ({"objective.bradley_terry.scores": "ordinal"}, "objective.bradley_terry.scores: a clip has one kind"),
        ({"data.length_buckets": True}, "data.length_buckets: only model.kind=mllm reads it"),
    ],
)
def test_other_kinds_refuse_what_only_an_evaluator_has(changed: dict[str, Any], said: str) -> None:
    made = compose_fit({"recipe": "hpsv2", **changed})
    with pytest.raises(ConfigError, match=r"mllm|clip") as caught:
        check(made.options, made.origins)
    assert any(said in problem for problem in caught.value.problems), caught.value.problems
