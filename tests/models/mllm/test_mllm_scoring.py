"""Scores and answers for users: question sets of their own, missing ones, mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_mllm import picture, questions

from rewardkit.data.questions import Option, Question, QuestionSet, read_questions
from rewardkit.errors import DataError, UserError
from rewardkit.models.mllm.answers import weighted_scores
from rewardkit.models.mllm.model import MLLMReward
from rewardkit.models.mllm.saving import save_evaluator
from rewardkit.models.mllm.scoring import LoadedEvaluator

MINE = """
name: mine
about: questions that nobody has seen
questions:
- key: cats
  text: How many cats?
  dimension: fidelity
  options:
  - {label: few, text: one or two, value: 1}
  - {label: many, text: three or more, value: 3}
  - {label: none, text: there is no cat, value: NA}
- key: colour
  text: Is it {slot}?
  dimension: prompt_following
  slot: colour
  options:
  - {label: "yes", text: it is, value: 1}
  - {label: "no", text: it is not, value: 0}
"""


@pytest.fixture
def loaded(family: tuple[Any, Any], tmp_path: Path) -> LoadedEvaluator:
    (tmp_path / "mine.yaml").write_text(MINE, encoding="utf-8")
    model = MLLMReward(*family, ("overall", "fidelity", "prompt_following"), scores_from="expected")
    sets = [read_questions(tmp_path / "mine.yaml")]
    return LoadedEvaluator.read(save_evaluator(tmp_path / "bundle", model, sets, rows={"max_tokens": 200}))


def test_unseen_questions_are_answered(loaded: LoadedEvaluator) -> None:
    images = [picture(1), picture(2, 40, 90), picture(3)]
    slots = [{"colour": "red"}, {}, {"colour": "none"}]
    found = loaded.answers(images, "a cat", slots, batch_size=2)
    assert [(a.image, a.question) for a in found] == [(0, "cats"), (0, "colour"), (1, "cats"), (2, "cats")]
    for answer in found:
        assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert answer.answer == max(answer.probabilities, key=lambda label: answer.probabilities[label])
    first = found[0].probabilities
    assert set(first) == {"few", "many", "none"} and found[0].not_applicable == pytest.approx(first["none"])
    by_hand = (first["few"] + 3 * first["many"]) / (first["few"] + first["many"])
    assert found[0].expected == pytest.approx(by_hand, abs=1e-5) and found[1].not_applicable == 0
    scores = loaded.score(images, "a cat", slots)
    assert scores.isnan().tolist() == [[True, False, False], [True, False, True], [True, False, True]]
    assert scores[0, 1].item() == pytest.approx(found[0].expected, abs=1e-5)
    torch.testing.assert_close(loaded.score(images, "a cat", slots, batch_size=1), scores, equal_nan=True)


def test_files_tensors_and_pictures_score_alike(loaded: LoadedEvaluator, tmp_path: Path) -> None:
    import numpy as np

    picture(1).save(tmp_path / "a.png")
    tensor = torch.from_numpy(np.array(picture(1))).permute(2, 0, 1)
    data = (tmp_path / "a.png").read_bytes()
    scores = loaded.score([picture(1), tmp_path / "a.png", str(tmp_path / "a.png"), data, tensor], "a cat")
    torch.testing.assert_close(scores, scores[:1].expand_as(scores), equal_nan=True)
    assert loaded.score([], []).shape == (0, 3)


def test_mistakes_are_told(loaded: LoadedEvaluator, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="1 images, 2 prompts"):
        loaded.score([picture(1)], ["a", "b"])
    with pytest.raises(UserError, match=r"image 0 \(nowhere.png\) cannot be read"):
        loaded.score(["nowhere.png"], "a")
    with pytest.raises(
        DataError, match=r"image 1: its row of question 'cats' has \d+ tokens, and the longest row is 200"
    ):
        loaded.score([picture(1), picture(2)], ["a", "word " * 300])
    with pytest.raises(UserError, match=r"tensor of torch.float32"):
        loaded.score(torch.zeros(1, 3, 30, 30), "a")
    with pytest.raises(
        UserError, match=r"questions=yours: the bundle .* has mine, rewardkit has .*evalalign, .* it is no file"
    ):
        LoadedEvaluator.read(tmp_path / "bundle", "yours")
    with pytest.raises(UserError, match="but the model judges"):
        LoadedEvaluator.read(tmp_path / "bundle", questions())


def yes_or_no(key: str, *needs: str) -> Question:
    options = (Option("yes", "yes", 1.0), Option("no", "no", -1.0))
    return Question(key, f"Is it {key}?", options, "overall", f"Is it {key}?", needs=needs, weight=1.0)


def test_a_question_behind_a_gate_counts_only_where_the_gate_was_answered_yes(
    qwen: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gated = QuestionSet("gated", "", (yes_or_no("face"), yes_or_no("smiling", "face"), yes_or_no("bright")))
    loaded = LoadedEvaluator(MLLMReward(*qwen, ("overall",), scores_from="expected"), gated)
    forward = MLLMReward.forward

    def face_is(answer: str) -> None:
        def answers(self: MLLMReward, batch: Any) -> Any:
            out = forward(self, batch)
            assert out.option_logits is not None
            out.option_logits[batch.asked_question == 0] = torch.tensor([[9.0, 0.0, -torch.inf]])
            if answer == "no":
                out.option_logits[batch.asked_question == 0] = torch.tensor([[0.0, 9.0, -torch.inf]])
            return out

        monkeypatch.setattr(MLLMReward, "forward", answers)

    face_is("yes")
    scores, answers = loaded.score_and_answer([picture(1), picture(2)], "a cat")
    assert [answer.counts for answer in answers] == [True] * 6
    mean = sum(float(answers[n].expected or 0) for n in range(3)) / 3
    assert scores[0, 0].item() == pytest.approx(mean, abs=1e-5)
    face_is("no")
    without, answers = loaded.score_and_answer([picture(1), picture(2)], "a cat")
    assert [answer.counts for answer in answers] == [True, False, True] * 2
    mean = sum(float(answers[n].expected or 0) for n in (0, 2)) / 2
    assert without[0, 0].item() == pytest.approx(mean, abs=1e-5)
    sums = weighted_scores(gated, answers)
    assert sums[1].value == -1.0 + float(answers[5].value or 0)
