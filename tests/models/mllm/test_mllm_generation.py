"""Answers that are written: what the model would write, read only where they begin with an option."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_mllm import picture, questions

from rewardkit.errors import UserError
from rewardkit.models.mllm.answers import read_texts
from rewardkit.models.mllm.base import encode_images, encoding_of, token_positions
from rewardkit.models.mllm.generation import written_answers
from rewardkit.models.mllm.model import MLLMReward
from rewardkit.models.mllm.rows import QuestionRows
from rewardkit.models.mllm.scoring import LoadedEvaluator

SLOTS = {"Object": "elephant"}


@torch.no_grad()
def greedy_by_hand(model: MLLMReward, rows: QuestionRows, image: Any, key: str, tokens: int) -> str:
    """Greedy decoding of one question without padding, without a cache, reading everything again for each token."""
    read = rows.read(image, "a cat", [questions()[key]], SLOTS)
    batch, base, written = rows.collate([read]), model.base, list[int]()
    prompt = batch.input_ids[:1, : read.rows[0].prompt]
    encoded = encoding_of(encode_images(base, batch.images), torch.tensor([0]))
    end = rows.tokenizer.convert_tokens_to_ids(rows.parts.end)
    for _ in range(tokens):
        ids = torch.cat([prompt, torch.tensor([written], dtype=torch.int64)], dim=1)
        mask, types = torch.ones_like(ids), (ids == rows.image_token_id).long()
        positions = token_positions(base, ids, mask, types, batch.images, torch.tensor([0]))
        hidden = base.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            mm_encoder_outputs={"image": encoded},
            use_cache=False,
        ).last_hidden_state
        written.append(int(base.lm_head(hidden[0, -1]).argmax()))
        if written[-1] in (end, rows.tokenizer.eos_token_id):
            break
    return str(rows.tokenizer.decode(written, skip_special_tokens=True))


@pytest.mark.parametrize("style", ["characters", "published"])
def test_what_is_written_is_what_greedy_decoding_writes(evaluator: MLLMReward, style: Any) -> None:
    rows = QuestionRows(evaluator.processor, questions(), evaluator.dimensions, style=style)
    images = [picture(1), picture(2, 40, 90)]
    asked = questions().applicable(SLOTS)
    read = [rows.read(image, "a cat", asked, SLOTS) for image in images]
    found = written_answers(evaluator, rows, rows.collate(read), most_tokens=4)
    assert len(found) == len(images) * len(asked)
    places = {question.key: n for n, question in enumerate(asked)}
    for key in ("body", "Object"):
        for n, image in enumerate(images):
            wanted = greedy_by_hand(evaluator, rows, image, key, 4)
            assert found[n * len(asked) + places[key]] == wanted


def test_a_text_that_names_no_option_is_no_answer(qwen: tuple[Any, Any], dimensions: tuple[str, ...]) -> None:
    evaluator = MLLMReward(*qwen, dimensions)
    rows = QuestionRows(evaluator.processor, questions(), dimensions)
    read = rows.read(picture(1), "a cat", [questions()["body"], questions()["object"]])
    one, two = read_texts(rows, rows.collate([read]), ["3. fine", "I see 3 arms"])
    assert (one.outcome, one.answer, one.value, one.expected) == ("answered", "3", 3.0, 3.0)
    assert (two.outcome, two.answer, two.value, two.expected) == ("unparsed", None, None, None)
    na, _ = read_texts(rows, rows.collate([read]), ["N", "0"])
    assert (na.outcome, na.answer, na.value, na.expected) == ("answered", "-1", "NA", None)


def test_written_answers_score_what_they_are_worth(
    qwen: tuple[Any, Any], dimensions: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rewardkit.models.mllm import scoring

    loaded = LoadedEvaluator(MLLMReward(*qwen, dimensions), questions())
    texts = ["3", "N", "hm", "1", "0"]
    monkeypatch.setattr(scoring, "written_answers", lambda *a, **k: texts)
    scores, answers = loaded.score_and_answer([picture(1)], "a cat", answers="generate")
    assert [answer.text for answer in answers] == texts
    worth = dict(zip(dimensions, scores[0].tolist(), strict=True))
    assert (worth["body"], worth["object"], worth["common"]) == (3.0, 1.0, 0.0)
    assert all(value != value for name, value in worth.items() if name not in ("body", "object", "common"))
    with pytest.raises(UserError, match="answers='guess' is not one of probabilities, generate"):
        loaded.score([picture(1)], "a cat", answers="guess")  # type: ignore[arg-type]
