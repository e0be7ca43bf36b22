"""The evaluator: shared encodings, batch-mates, padding, causality, heads without labels, checks of its input."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_mllm import picture, questions
from torch import Tensor

from rewardkit.data.question_labels import Answered
from rewardkit.errors import BadSample, UserError
from rewardkit.models.mllm.base import can_share_prefix
from rewardkit.models.mllm.batch import ImageRows, QuestionBatch
from rewardkit.models.mllm.heads import by_image
from rewardkit.models.mllm.model import MLLMOutput, MLLMReward
from rewardkit.models.mllm.rows import QuestionRows
from rewardkit.models.reward import RewardModel
from rewardkit.objectives.answers import AnswerObjective
from rewardkit.objectives.on_scores import OnScores
from rewardkit.objectives.options import OptionObjective
from rewardkit.objectives.pointwise import RatingObjective
from rewardkit.objectives.weighted import WeightedObjective

SLOTS = {"Object": "elephant", "Color": "red"}
EVERY = ("scores", "option_logits", "ordinal", "regression", "expected", "expected_answer", "not_applicable")


def maker(evaluator: MLLMReward, **options: Any) -> QuestionRows:
    return QuestionRows(evaluator.processor, questions(), evaluator.dimensions, **options)


def three(rows: QuestionRows) -> list[ImageRows]:
    """Images of three sizes with 7, 5 and 1 questions."""
    applicable = questions().applicable
    return [
        rows.read(picture(1, 90, 60), "an elephant", applicable(SLOTS), SLOTS),
        rows.read(picture(2, 40, 80), "dogs and cats at sea", applicable({})),
        rows.read(picture(3, 56, 56), "", [questions()["face"]]),
    ]


def same(a: MLLMOutput, b: MLLMOutput, tolerance: float = 1e-5) -> None:
    for name in EVERY:
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=0, atol=tolerance)


@torch.no_grad()
def test_all_questions_at_once_are_one_at_a_time(evaluator: MLLMReward) -> None:
    rows = maker(evaluator)
    together = evaluator(rows.collate(three(rows)))
    prompts = [
        ("an elephant", picture(1, 90, 60)),
        ("dogs and cats at sea", picture(2, 40, 80)),
        ("", picture(3, 56, 56)),
    ]
    place = 0
    for n, slots in enumerate([SLOTS, {}, {}]):
        for question in questions().applicable(slots) if n < 2 else [questions()["face"]]:
            prompt, image = prompts[n]
            alone = evaluator(rows.collate([rows.read(image, prompt, [question], slots)]))
            wide = together.option_logits[place]
            kept = torch.cat([wide[: len(alone.option_logits[0]) - 1], wide[-1:]])
            torch.testing.assert_close(alone.option_logits[0], kept, rtol=0, atol=1e-5)
            d = evaluator.dimensions.index(question.dimension)
            for matrix in ("ordinal", "regression", "expected"):
                a, b = getattr(alone, matrix)[0, d], getattr(together, matrix)[n, d]
                torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
            place += 1
    assert place == len(together.option_logits) and together.asked.sum() == place


@torch.no_grad()
def test_the_numbers_depend_on_image_prompt_and_question(evaluator: MLLMReward) -> None:
    rows = maker(evaluator)

    def states(image: int, prompt: str, key: str) -> Tensor:
        out = evaluator(rows.collate([rows.read(picture(image), prompt, [questions()[key]])]))
        return out.option_logits[0]

    first = states(1, "a cat", "face")
    for other in (states(2, "a cat", "face"), states(1, "a dog", "face"), states(1, "a cat", "body")):
        assert (first - other).abs().max() > 1e-3


@torch.no_grad()
def test_the_vision_tower_runs_once(evaluator: MLLMReward) -> None:
    rows, calls = maker(evaluator), []
    name = next(n for n in ("visual", "vision_tower", "vision_model") if hasattr(evaluator.base.model, n))
    getattr(evaluator.base.model, name).register_forward_hook(lambda *_: calls.append(1))
    for share in (True, False):
        evaluator.share_prefix = share
        evaluator(rows.collate(three(rows)))
    assert len(calls) == 2


@pytest.mark.parametrize("style", ["characters", pytest.param("published", marks=pytest.mark.slow)])
@torch.no_grad()
def test_sharing_padding_and_batch_mates_change_nothing(evaluator: MLLMReward, style: Any) -> None:
    rows = maker(evaluator, style=style)
    images = three(rows)
    evaluator.share_prefix = False
    plain = evaluator(rows.collate(images))
    for share in (True, False):
        evaluator.share_prefix = share
        for side in ("right", "left"):
            same(evaluator(rows.collate(images, side)), plain)  # type: ignore[arg-type]
        singles = [evaluator(rows.collate([image])) for image in images]
        for name in ("scores", "ordinal", "regression", "expected", "expected_answer", "not_applicable"):
            joined = torch.cat([getattr(single, name) for single in singles])
            torch.testing.assert_close(joined, getattr(plain, name), rtol=0, atol=1e-5)


def test_gradients_are_equal_with_a_shared_prefix(evaluator: MLLMReward) -> None:
    rows = maker(evaluator)
    answered = {key: Answered(said=1) for key in ("body", "face", "common")}
    batch = rows.collate([rows.read(picture(1), "a cat", answered), rows.read(picture(2), "dogs", answered)])

    def gradients(share: bool) -> dict[str, Tensor]:
        evaluator.share_prefix = share
        evaluator.zero_grad()
        out = evaluator(batch)
        options = torch.where(out.option_logits.isfinite(), out.option_logits, 0)
        loss = out.ordinal.sum() + out.regression.square().sum() + options.square().sum()
        (loss + torch.nn.functional.cross_entropy(out.answer_logits, batch.answer_token)).backward()
        return {name: p.grad.clone() for name, p in evaluator.named_parameters() if p.grad is not None}

    shared, plain = gradients(True), gradients(False)
    assert shared.keys() == plain.keys() and {"score_token.row", "head.ordinal.weight"} <= shared.keys()
    biggest = max(g.abs().max().item() for g in plain.values())
    for name in shared:
        torch.testing.assert_close(shared[name], plain[name], rtol=1e-3, atol=1e-5 * biggest, msg=name)


@torch.no_grad()
def test_an_answer_changes_no_other_head(evaluator: MLLMReward) -> None:
    rows = maker(evaluator)

    def with_answer(said: int) -> tuple[QuestionBatch, MLLMOutput]:
        answered = {key: Answered(said=said) for key in ("body", "face")}
        batch = rows.collate([rows.read(picture(1), "a cat", answered)])
        return batch, evaluator(batch)

    for share in (True, False):
        evaluator.share_prefix = share
        (one, a), (two, b) = with_answer(1), with_answer(4)
        assert not torch.equal(one.input_ids, two.input_ids)
        assert all(torch.equal(getattr(a, name), getattr(b, name)) for name in EVERY)
        assert not torch.equal(a.answer_logits[1], b.answer_logits[1]), "what follows the answer sees it"


@torch.no_grad()
def test_option_logits_are_those_of_the_whole_model(evaluator: MLLMReward) -> None:
    """Against the model's own forward with pixels, position by position; the score token put into its table."""
    rows = maker(evaluator)
    read = rows.read(picture(1), "a cat", {"face": Answered(said=3)})
    batch = rows.collate([read])
    base, inputs = evaluator.base, {"mm_token_type_ids": batch.mm_token_type_ids}
    if not hasattr(base.model, "get_rope_index"):
        inputs = {}
    logits = base(input_ids=batch.input_ids, attention_mask=batch.attention_mask, **batch.images, **inputs).logits[0]
    out = evaluator(batch)
    expected = logits[batch.last_prompt[0]][batch.option_token[0]]
    torch.testing.assert_close(out.option_logits[0], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(out.answer_logits, logits[batch.answer_place], rtol=0, atol=1e-5)


@torch.no_grad()
def test_published_labels_are_scored_whole(evaluator: MLLMReward) -> None:
    rows = maker(evaluator, style="published")
    read = rows.read(picture(1), "", [questions()["face"]])
    out = evaluator(rows.collate([read]))
    for column, row in enumerate(read.rows):
        batch = rows.collate([replace(read, rows=[row])])
        log_p = evaluator(batch).answer_logits.log_softmax(-1).gather(-1, batch.answer_token.unsqueeze(-1)).sum()
        torch.testing.assert_close(out.option_logits[0, column], log_p, rtol=0, atol=1e-5)
    assert len(read.rows[-1].ids) - read.rows[-1].prompt == 2, "-1 is two tokens"
    assert not out.ordinal.any(), "there is no score token to read"


def test_heads_without_labels_get_zeros_and_not_none(evaluator: MLLMReward) -> None:
    rows = maker(evaluator)
    out = evaluator(rows.collate([rows.read(picture(1), "", [questions()["face"]])]))
    nothing = torch.zeros(0, dtype=torch.long)
    assert out.answer_logits.shape == (0, evaluator.base.lm_head.weight.shape[0])
    (out.ordinal[nothing, nothing].sum() + out.answer_logits.sum() + 0 * out.regression.sum()).backward()
    for name, parameter in evaluator.head.named_parameters():
        assert parameter.grad is not None and not parameter.grad.any(), name
    assert evaluator.base.lm_head.weight.grad is not None and not evaluator.base.lm_head.weight.grad.any()


def test_heads_are_float32_in_half_precision(family: tuple[Any, Any], dimensions: tuple[str, ...]) -> None:
    evaluator = MLLMReward(family[0].to(torch.bfloat16), family[1], dimensions)
    rows = maker(evaluator)
    batch = rows.collate([rows.read(picture(1), "", {"face": Answered(said=1)})])
    for out in (evaluator(batch), torch.autocast("cpu", torch.bfloat16)(evaluator)(batch)):
        assert {getattr(out, name).dtype for name in (*EVERY, "answer_logits")} == {torch.float32}
    assert evaluator.head.ordinal.weight.dtype == torch.float32 == evaluator.score_token.row.dtype


def test_the_score_token_is_one_row_and_needs_no_place_in_the_table(evaluator: MLLMReward) -> None:
    table = evaluator.base.get_input_embeddings()
    assert evaluator.score_token.token >= len(table.weight), "the table was not made longer"
    rows = maker(evaluator)
    out = evaluator(rows.collate([rows.read(picture(1), "", [questions()["face"]])]))
    out.scores.sum().backward()
    assert evaluator.score_token.row.grad.abs().sum() > 0


def test_what_is_dropped_or_cut_is_told(evaluator: MLLMReward) -> None:
    rows = maker(evaluator)
    read = rows.read(picture(1), "", [questions()["face"]])
    batch = rows.collate([read])
    with pytest.raises(AssertionError, match="mm_token_type_ids was dropped"):
        evaluator(replace(batch, mm_token_type_ids=None))
    with pytest.raises(AssertionError, match="does not mark"):
        evaluator(replace(batch, mm_token_type_ids=torch.zeros_like(batch.input_ids)))
    with pytest.raises(AssertionError, match="one score token"):
        twice = batch.input_ids.clone()
        twice[0, -1] = rows.score_id
        evaluator(replace(batch, input_ids=twice))
    first = next(n for n, token in enumerate(read.rows[0].ids) if token == rows.image_token_id)
    read.rows[0].ids[first : first + 1] = []
    for name in ("prompt", "score"):
        setattr(read.rows[0], name, getattr(read.rows[0], name) - 1)
    read.image_tokens -= 1
    read.shared -= 1
    with pytest.raises(BadSample, match="places for images that have"):
        evaluator(rows.collate([read]))


def test_checkpointed_activations_give_the_same_gradients(evaluator: MLLMReward) -> None:
    rows = maker(evaluator)
    batch = rows.collate([rows.read(picture(1), "a", {"face": Answered(said=1), "body": Answered(said=2)})])

    def gradient() -> Tensor:
        evaluator.zero_grad()
        evaluator(batch).ordinal.sum().backward()
        return evaluator.score_token.row.grad.clone()

    evaluator.train()
    plain = gradient()
    evaluator.base.activation_checkpointing_enable()
    assert not can_share_prefix(evaluator.base), "no cache while activations are computed again"
    torch.testing.assert_close(gradient(), plain, rtol=1e-4, atol=1e-5)
    assert can_share_prefix(evaluator.eval().base)


@torch.no_grad()
def test_a_copy_has_a_score_token_of_its_own(evaluator: MLLMReward) -> None:
    rows = maker(evaluator)
    batch = rows.collate([rows.read(picture(1), "", [questions()["face"]])])
    other, before = copy.deepcopy(evaluator), evaluator(batch).scores
    other.score_token.row.add_(1)
    assert torch.equal(evaluator(batch).scores, before) and not torch.equal(other(batch).scores, before)


@pytest.mark.slow
def test_everything_trains_together_on_one_batch(qwen: tuple[Any, Any], dimensions: tuple[str, ...]) -> None:
    """Options, written answers, levels, ratings and pairs of one batch are learned by heart."""
    torch.manual_seed(0)
    evaluator = MLLMReward(*qwen, dimensions).train()
    rows = maker(evaluator)
    said = [{"face": 1, "common": 4}, {"face": 5, "common": 0}]  # in the published order; face's first is N/A
    images = [
        rows.read(picture(n), "", {key: Answered(_one(key, option), option) for key, option in answers.items()})
        for n, answers in enumerate(said)
    ]
    batch, face, common = rows.collate(images), dimensions.index("face"), dimensions.index("common")
    ratings = torch.full((2, len(dimensions)), float("nan"))
    ratings[:, face], ratings[:, common] = torch.tensor([0.0, 4.0]), torch.tensor([4.0, 0.0])
    counts = torch.zeros(len(dimensions))
    counts[[face, common]] = 2.0
    labels: Any = SimpleNamespace(questions=batch, ratings=ratings, first=torch.tensor([0]), second=torch.tensor([1]))
    step: Any = SimpleNamespace(options=counts, ratings=counts, answers=torch.tensor(4.0))
    objective = WeightedObjective(
        {
            "options": OptionObjective(dimensions),
            "answers": AnswerObjective(),
            "ratings": OnScores(RatingObjective(dimensions, slope=1.0), "regression"),
        }
    )
    optimiser = torch.optim.AdamW([*evaluator.parameters(), *objective.parameters()], lr=1e-3)
    for _ in range(90):
        out = evaluator(batch)
        pair = torch.nn.functional.softplus(out.expected[0, face] - out.expected[1, face])
        loss = objective(out, labels, step)
        optimiser.zero_grad()
        (loss.total + pair).backward()
        optimiser.step()
    assert out.option_logits.argmax(dim=-1).tolist() == [0, 4, 4, 0]
    assert (out.answer_logits.argmax(dim=-1) == batch.answer_token).all()
    torch.testing.assert_close(out.expected[:, face], torch.tensor([0.0, 4.0]), rtol=0, atol=0.3)
    predicted = objective.terms["ratings"].objective.predicted(out.regression)[:, [face, common]]
    torch.testing.assert_close(predicted, torch.tensor([[0.0, 4.0], [4.0, 0.0]]), rtol=0, atol=0.8)


def _one(key: str, option: int) -> tuple[float, ...]:
    return tuple(float(n == option) for n in range(len(questions()[key].options)))


def test_questions_on_one_dimension_are_averaged() -> None:
    values, image, dimension = (
        torch.tensor([1.0, 4.0, 5.0, 7.0]),
        torch.tensor([0, 0, 0, 1]),
        torch.tensor([2, 2, 0, 2]),
    )
    mean, asked = by_image(values, image, dimension, 2, 3)
    assert mean.tolist() == [[5.0, 0.0, 2.5], [0.0, 0.0, 7.0]]
    assert asked.tolist() == [[True, False, True], [False, False, True]]


@torch.no_grad()
def test_it_is_a_reward_model(evaluator: MLLMReward) -> None:
    assert isinstance(evaluator, RewardModel)
    images = torch.randint(0, 256, (3, 3, 56, 84), dtype=torch.uint8)
    with pytest.raises(UserError, match="no questions to score by"):
        evaluator.score(images, ["a cat"], torch.zeros(3, dtype=torch.long))
    rows = evaluator.rows = maker(evaluator)
    scores = evaluator.score(images, ["a cat", "dogs"], torch.tensor([1, 0, 1]))
    asked = questions().applicable({})
    read = [rows.read(image, prompt, asked) for image, prompt in zip(images, ["dogs", "a cat", "dogs"], strict=True)]
    torch.testing.assert_close(scores, evaluator(rows.collate(read)).scores)
    assert scores.shape == (3, len(evaluator.dimensions)) and (scores[:, :5] != 0).all()
