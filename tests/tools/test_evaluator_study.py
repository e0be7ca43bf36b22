"""The study of an evaluator on AVT-AI: its parts make a model that is asked as any other, its recipe is one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_mllm import LLAMA, picture, questions

from rewardkit.commands.find_questions import find_questions, take_dimensions_of_questions
from rewardkit.config.compose import parse_overrides
from rewardkit.config.recipes import compose_fit
from rewardkit.models.mllm.model import MLLMReward
from rewardkit.models.mllm.published import read_base
from rewardkit.models.mllm.rows import QuestionRows
from rewardkit.models.mllm.small import question_texts, train_tokenizer
from rewardkit.models.mllm.tuning import tune

STUDIES = Path(__file__).parents[2] / "tools" / "studies"
FETCHED = os.environ.get("REWARDKIT_REAL_WEIGHTS")


@pytest.fixture(scope="module")
def study() -> Iterator[SimpleNamespace]:
    sys.path.insert(0, str(STUDIES))
    import evaluator_avt
    import lite0_llava

    yield SimpleNamespace(avt=evaluator_avt, llava=lite0_llava)
    sys.path.remove(str(STUDIES))


@pytest.fixture(scope="module")
def weights(study: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights where the real ones would lie."""
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("weights")
    (folder / "efficientnet_lite0").mkdir()
    body = study.llava.timm.create_model("tf_efficientnet_lite0")
    save_file(body.state_dict(), folder / "efficientnet_lite0" / "model.safetensors")
    tokenizer = train_tokenizer(question_texts([questions()]), specials=(), chat_template="")
    language = LlamaForCausalLM(LlamaConfig(**LLAMA, vocab_size=len(tokenizer), tie_word_embeddings=True))
    language.bfloat16().save_pretrained(folder / "SmolLM2-135M-Instruct")
    tokenizer.save_pretrained(folder / "SmolLM2-135M-Instruct")
    return folder


@pytest.fixture(scope="module")
def model(study: SimpleNamespace, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> MLLMReward:
    base, processor = read_base(study.llava.assemble(weights, tmp_path_factory.mktemp("base") / "llava"))
    return MLLMReward(base, processor, [question.dimension for question in asked().questions])


def asked() -> Any:
    return find_questions(options())


def options() -> Any:
    composed = compose_fit(parse_overrides([f"recipe={STUDIES / 'evaluator_avt.yaml'}", "model.pretrained=x"]))
    take_dimensions_of_questions(composed)
    return composed.options


def test_the_parts_stay_what_they_were(study: SimpleNamespace, weights: Path, model: MLLMReward) -> None:
    from safetensors.torch import load_file

    tower = load_file(weights / "efficientnet_lite0" / "model.safetensors")
    ours = model.base.model.vision_tower.body.state_dict()
    assert len(ours) == 294  # without the classifier
    assert all(torch.equal(value, tower[name]) for name, value in ours.items())
    words = load_file(weights / "SmolLM2-135M-Instruct" / "model.safetensors")["model.embed_tokens.weight"]
    table = model.base.get_input_embeddings().weight
    assert torch.equal(table[: len(words)], words.float()) and model.base.lm_head.weight is table
    said = torch.cat(list(model.base.model.get_image_features(torch.randn(2, 3, 288, 288)).pooler_output))
    sizes = [float(values.detach().square().mean().sqrt()) for values in (said, table)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.3)


def test_it_is_asked_as_any_other(model: MLLMReward) -> None:
    assert tune(model, language="lora")
    model.train()
    assert not any(module.training for module in model.base.model.vision_tower.modules())
    rows = QuestionRows(model.processor, asked(), model.dimensions, prompt_for=["prompt_matching"])
    read = [rows.read(picture(n, 200, 100 + n), "a red car", asked().questions) for n in range(2)]
    both, alone = model(rows.collate(read)), model(rows.collate(read[1:]))
    assert both.scores.shape == (2, 4) and read[0].image_tokens == 81
    torch.testing.assert_close(both.scores[1:], alone.scores, rtol=0, atol=1e-4)  # no statistics of batch-mates
    both.scores.sum().backward()
    assert model.base.model.multi_modal_projector.linear_1.weight.grad is not None


def test_the_recipe_is_one(tmp_path: Path) -> None:
    made = options()
    assert made.model.dimensions == ["appeal", "realism", "prompt_matching", "quality"]
    assert {len(question.options) for question in asked().questions} == {5}
    text = (STUDIES / "evaluator_avt.yaml").read_text(encoding="utf-8").splitlines()
    for above, line in pairwise(text):
        if line.startswith("  ") and not line.rstrip().endswith(":") and "#" not in line:
            assert above.strip().startswith("#"), f"no comment above {line}"


def test_a_finished_fold_is_found(study: SimpleNamespace, tmp_path: Path) -> None:
    run = study.avt.training(tmp_path, tmp_path / "folds-3" / "fold-1", steps=60, seed=0)
    assert run.layout(tmp_path).root.parent == tmp_path / "runs" / "evaluator_avt"
    assert not run.layout(tmp_path).is_finished
    run.layout(tmp_path).root.mkdir(parents=True)
    run.layout(tmp_path).summary.touch()
    study.avt.train(run, tmp_path)  # without data, it would fail


def test_what_is_told(study: SimpleNamespace) -> None:
    pair = {"dimension": "appeal", "value": 0.6, "low": 0.5, "high": 0.7, "comparisons": 9, "groups": 3}
    pair |= {"generator_balanced": None, "chance": 0.5, "annotator_agreement": 0.8, "which_generator": 0.9}
    said = {"dimension": "appeal", "metric": "srcc", "value": 0.25, "low": None, "high": None}
    record = {"prompts": 3, "images": 15, "folds": 2, "steps": 1, "seed": 0}
    lines = study.avt.told(record | {"pairs": [pair | {"list_position": 0.5}], "answers": [said]})
    assert "| appeal | 0.600 | 0.500 to 0.700 | 9 in 3 |  | 0.500 | 0.800 | 0.900 | 0.500 |" in lines
    assert "| appeal | 0.250 () |  |  |  |  |  |" in lines


@pytest.mark.slow
@pytest.mark.skipif(FETCHED is None, reason="REWARDKIT_REAL_WEIGHTS is not set")
def test_the_language_model_was_read_right() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path(str(FETCHED)) / "SmolLM2-135M-Instruct"
    if not folder.is_dir():
        pytest.skip("SmolLM2 has not been fetched")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    language = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    said = language.generate(**ids, max_new_tokens=8, do_sample=False)
    assert "Paris" in tokenizer.decode(said[0])
