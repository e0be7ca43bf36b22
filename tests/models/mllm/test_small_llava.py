"""The small LLaVA of the demo: made alike from the same seed, saved and read back by transformers alone, evaluated."""

from __future__ import annotations

from pathlib import Path

import torch
from tiny_mllm import picture

from rewardkit.data.questions import read_questions
from rewardkit.models.mllm.model import MLLMReward
from rewardkit.models.mllm.published import read_base
from rewardkit.models.mllm.rows import QuestionRows
from rewardkit.models.mllm.small import question_texts
from rewardkit.models.mllm.small_llava import has_small_tower, small_llava

QUESTIONS = read_questions("embedded")
DIMENSIONS = tuple(question.dimension for question in QUESTIONS.questions)


def test_seed_decides_and_the_caller_keeps_its_random_numbers() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, again, other = (small_llava(question_texts([QUESTIONS]), seed=seed)[0] for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.lm_head.weight, again.lm_head.weight)
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)


def test_answers_alone_and_in_a_batch_alike_and_after_saving(tmp_path: Path) -> None:
    base, processor = small_llava(question_texts([QUESTIONS]), side=32)
    model = MLLMReward(base, processor, DIMENSIONS, scores_from="expected").eval()
    rows = QuestionRows(processor, QUESTIONS, DIMENSIONS)
    read = [rows.read(picture(n), f"prompt {n}", QUESTIONS.questions) for n in range(3)]
    with torch.no_grad():
        together = model(rows.collate(read))
        alone = torch.cat([model(rows.collate([one])).option_logits for one in read])
    torch.testing.assert_close(together.option_logits, alone, rtol=0, atol=1e-5)
    assert together.scores.std() > 0

    base.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded, with_it = read_base(tmp_path)
    assert has_small_tower(loaded)
    assert loaded.training and all(
        torch.equal(tensor, base.state_dict()[name]) for name, tensor in loaded.state_dict().items()
    )
    again = QuestionRows(with_it, QUESTIONS, DIMENSIONS).read(picture(0), "prompt 0", QUESTIONS.questions)
    assert again.rows == read[0].rows and torch.equal(again.image["pixel_values"], read[0].image["pixel_values"])
