"""Published sources as shards, read through the data module into rows of a model: answers, rationales, denominators."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tiny_mllm import picture, questions

from rewardkit.data.batch import Batch
from rewardkit.data.convert import convert
from rewardkit.data.datamodule import PreferenceData
from rewardkit.data.formats.evalalign import EvalAlignOptions
from rewardkit.data.formats.visionprefer import VisionPreferOptions
from rewardkit.data.questions import QuestionSet, read_questions
from rewardkit.models.mllm.batch import QuestionBatch
from rewardkit.models.mllm.model import MLLMReward
from rewardkit.models.mllm.rows import QuestionRows
from rewardkit.objectives.answers import AnswerObjective
from rewardkit.objectives.on_scores import OnScores
from rewardkit.objectives.options import OptionObjective
from rewardkit.objectives.pointwise import RatingObjective
from rewardkit.objectives.weighted import WeightedObjective

SLOTS = {"Object": "elephant; bird;", "Count": "elephant: a;"}
ASPECTS = ("prompt_following", "aesthetic", "fidelity", "harmlessness")


def conversation(image: str, **said: str) -> dict[str, Any]:
    turns = []
    for key, answer in said.items():
        turns += [{"from": "human", "value": questions()[key].ask(SLOTS)}, {"from": "gpt", "value": answer}]
    return {"id": image, "image": image, "conversations": turns}


def draw(folder: Path, name: str, number: int, size: tuple[int, int]) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    picture(number, *size).save(folder / name)


@pytest.fixture
def evalalign(tmp_path: Path) -> Path:
    """Three groups of one or two images: two answers by slots, N/A, and people who disagree."""
    src = tmp_path / "source"
    draw(src, "sdxl/45.png", 1, (90, 60))
    draw(src, "sd15/45.png", 2, (60, 90))
    draw(src, "sdxl/628.png", 3, (56, 56))
    draw(src, "sdxl/7.png", 4, (300, 200))
    records = [
        conversation("sdxl/45.png", body="3", Object="2"),
        conversation("sdxl/45.png", body="1"),
        conversation("sd15/45.png", body="-1", common="4"),
        conversation("sdxl/628.png", face="0"),
        conversation("sdxl/7.png", Hand="2", Count="1"),
    ]
    (src / "train.json").write_text(json.dumps(records))
    convert("evalalign", src, tmp_path / "shards", options=EvalAlignOptions(), workers=1)
    return tmp_path / "shards"


@pytest.fixture
def evaluator(qwen: tuple[Any, Any]) -> Callable[[QuestionSet], MLLMReward]:
    def make(asked: QuestionSet, **rows: Any) -> MLLMReward:
        torch.manual_seed(1)
        dimensions = [question.dimension for question in asked.questions]
        model = MLLMReward(*qwen, dimensions).eval()
        model.rows = QuestionRows(model.processor, asked, dimensions, **rows)
        return model

    return make


def read(model: MLLMReward, folder: Path, **changes: Any) -> list[Batch]:
    values: dict[str, Any] = {
        "train": [folder],
        "val": [],
        "transform": None,
        "tokenizer": None,
        "dimensions": model.dimensions,
        "rows": model.rows,
        "batch_groups": 3,
        "micro_groups": 1,
    }
    return list(PreferenceData(**{**values, **changes}).train_dataloader())


def written(model: MLLMReward, rows: QuestionBatch) -> list[str]:
    """What each row writes behind its prompt."""
    tokenizer = model.processor.tokenizer
    return [tokenizer.decode(rows.answer_token[rows.answer_row == r]) for r in range(len(rows.input_ids))]


def test_evalalign_conversations_become_answers_to_write(evaluator: Any, evalalign: Path) -> None:
    model = evaluator(questions())
    batch = read(model, evalalign, micro_groups=3)[0]
    rows = batch.questions
    assert isinstance(rows, QuestionBatch)
    keys = [question.key for question in questions().questions]
    found = {}
    for a, text in enumerate(written(model, rows)):
        image = int(rows.asked_image[a])
        key = batch.prompts[int(batch.group[image])], image - int((batch.group < batch.group[image]).sum())
        found[*key, keys[int(rows.asked_question[a])]] = text.split("<")[0]
    first, second, third = sorted(batch.prompts)
    assert found == {
        (first, 0, "body"): "1",  # 3 and 1, as often and as near to their mean: the first
        (first, 0, "Object"): "2",
        (first, 1, "body"): "N",
        (first, 1, "common"): "4",
        (second, 0, "face"): "0",
        (third, 0, "Hand"): "2",
        (third, 0, "Count"): "1",
    }
    assert rows.option_target.sum(-1).tolist() == [1.0] * 7
    counts = {keys[d]: n for d, n in enumerate(batch.denominators.options.tolist()) if n}
    assert counts == {"body": 2, "Object": 1, "common": 1, "face": 1, "Hand": 1, "Count": 1}
    assert batch.denominators.answers == 7


def test_images_keep_their_size_up_to_the_processors_budget(evaluator: Any, evalalign: Path) -> None:
    model = evaluator(questions())
    batch = read(model, evalalign, micro_groups=3)[0]
    rows = batch.questions
    assert isinstance(rows, QuestionBatch)
    alone = [
        model.rows.read(picture(n, *size), "", [questions()["face"]]) for n, size in ((3, (56, 56)), (4, (300, 200)))
    ]  # type: ignore[union-attr]
    tokens = dict(zip([batch.prompts[int(g)] for g in batch.group], rows.image_tokens.tolist(), strict=True))
    assert [tokens[key] for key in sorted(tokens)[1:]] == [one.image_tokens for one in alone]
    assert alone[0].image_tokens < alone[1].image_tokens


def test_micro_batches_add_up_to_the_step(evaluator: Any, evalalign: Path) -> None:
    """Loss and gradients of three micro-batches are those of the step in one, with a dummy beside them or not."""
    model = evaluator(questions())
    found = []
    for micro in (1, 3):
        dimensions = model.dimensions
        objective = WeightedObjective(
            {
                "options": OptionObjective(dimensions),
                "answers": AnswerObjective(),
                "ratings": OnScores(RatingObjective(dimensions), "regression"),
            }
        )
        model.zero_grad()
        total = torch.zeros(())
        for batch in read(model, evalalign, micro_groups=micro):
            loss = objective(model(batch), batch, batch.denominators).total
            loss.backward()
            total += loss.detach()
        found.append((total, [p.grad.clone() for p in model.parameters() if p.grad is not None]))
    (one, its), (other, others) = found
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(its, others, rtol=1e-4, atol=1e-6)


def test_a_row_that_is_too_long_is_a_masked_dummy(evaluator: Any, evalalign: Path) -> None:
    model = evaluator(questions())
    longest = max(int(batch.questions.attention_mask.sum(-1).max()) for batch in read(model, evalalign))  # type: ignore[union-attr]
    model = evaluator(questions(), max_tokens=longest - 1)
    batches = read(model, evalalign)
    reasons = [report.reason for batch in batches for report in batch.bad]
    assert len(reasons) == 1 and f"has {longest} tokens" in reasons[0]
    (dummy,) = [batch for batch in batches if batch.bad]
    assert not dummy.valid.any() and len(dummy.valid) == 1
    objective = OptionObjective(model.dimensions)
    loss = objective(model(dummy), dummy, dummy.denominators).total
    loss.backward()
    assert loss == 0 and all(not p.grad.any() for p in model.parameters() if p.grad is not None)


def test_visionprefers_rationales_are_written_behind_the_score(evaluator: Any, tmp_path: Path) -> None:
    src = tmp_path / "source"
    images = []
    for n in range(2):
        draw(src, f"images/{n}.png", n, (64, 64))
        scores = dict(zip(ASPECTS, (3, None, 2 + n, 5), strict=True))
        images.append({"image_id": str(n), "path": f"images/{n}.png", "model": f"m{n}", "scores": scores})
    images[0]["rationales"] = {"fidelity": "the tail <|score|> is bent"}
    (src / "v.jsonl").write_text(json.dumps({"prompt_id": "p", "prompt": "a fox", "images": images}))
    convert("visionprefer", src, tmp_path / "shards", options=VisionPreferOptions(), workers=1)
    asked = read_questions("visionprefer")
    model = evaluator(asked)
    for rationales in (True, False):
        (batch,) = read(model, tmp_path / "shards", batch_groups=1, rationales=rationales)
        rows = batch.questions
        assert isinstance(rows, QuestionBatch)
        texts = written(model, rows)
        assert [text[0] for text in texts] == ["3", "2", "5", "3", "3", "5"]  # a null is missing
        assert ("the tail <|score|> is bent" in texts[1]) is rationales
        assert sum(len(text) > 15 for text in texts) == int(rationales)
        # The rationale's control token is text: the row has its one score token.
        assert ((rows.input_ids == model.score_token.token).sum(-1) == 1).all()
        assert batch.denominators.options.tolist() == [2, 0, 2, 2]


def test_loader_workers_make_the_same_rows(evaluator: Any, evalalign: Path) -> None:
    model = evaluator(questions())
    for here, there in zip(read(model, evalalign), read(model, evalalign, workers=2), strict=True):
        assert here.keys == there.keys
        for name in ("input_ids", "option_target", "answer_token", "asked_image"):
            assert torch.equal(getattr(here.questions, name), getattr(there.questions, name))
        assert here.questions.images.keys() == there.questions.images.keys()  # type: ignore[union-attr]
        for name, tensor in here.questions.images.items():  # type: ignore[union-attr]
            assert torch.equal(tensor, there.questions.images[name])  # type: ignore[union-attr]


def test_moving_a_batch_moves_its_questions(evaluator: Any, evalalign: Path) -> None:
    batch = read(evaluator(questions()), evalalign)[0].to("meta")
    assert isinstance(batch.questions, QuestionBatch)
    assert batch.questions.input_ids.device.type == batch.denominators.options.device.type == "meta"
    assert all(tensor.device.type == "meta" for tensor in batch.questions.images.values())


def test_an_image_that_cannot_be_read_is_named(evaluator: Any, tmp_path: Path) -> None:
    """A picture that is longer than the processor takes is a bad sample, not an error of the run."""
    src = tmp_path / "source"
    src.mkdir()
    Image.new("RGB", (6000, 20)).save(src / "long.png")
    (src / "train.json").write_text(json.dumps([conversation("long.png", face="0")]))
    convert("evalalign", src, tmp_path / "shards", options=EvalAlignOptions(), workers=1)
    (batch,) = read(evaluator(questions()), tmp_path / "shards", batch_groups=1)
    assert [report.reason for report in batch.bad] and not batch.valid.any()


def test_own_questions_and_answers_need_no_code(evaluator: Any, tmp_path: Path) -> None:
    """Ratings as lines of JSON, a question set as YAML: shares of two raters, N/A, a rationale."""
    src = tmp_path / "source"
    for n in range(2):
        draw(src, f"{n}.png", n, (56, 56))
    common = {"prompt": "a fox", "dimension": "paws"}
    lines = [
        {**common, "image": "0.png", "rating": 3, "rater": "ann"},
        {**common, "image": "0.png", "rating": 1, "rater": "bo"},
        {**common, "image": "0.png", "rating": 3, "rater": "cy", "rationale": "all four"},
        {**common, "image": "1.png", "rating": "NA", "rater": "ann"},
    ]
    (src / "said.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    convert("jsonl", src, tmp_path / "shards", workers=1)
    (tmp_path / "paws.yaml").write_text(
        "name: paws\nabout: of animals\nquestions:\n- key: paws\n  text: How are the paws?\n  options:\n"
        "  - {label: none, text: There are none, value: NA}\n"
        + "".join(f"  - {{label: '{n}', text: level {n}, value: {n}}}\n" for n in (1, 2, 3))
    )
    model = evaluator(read_questions(tmp_path / "paws.yaml"))
    (batch,) = read(model, tmp_path / "shards", batch_groups=1, rationales=True)
    rows = batch.questions
    assert isinstance(rows, QuestionBatch)
    # Columns are the options that apply, in their order, then N/A.
    torch.testing.assert_close(rows.option_target, torch.tensor([[1 / 3, 0, 2 / 3, 0], [0, 0, 0, 1]]))
    texts = written(model, rows)
    assert texts[0].startswith("3\nall four") and texts[1].startswith("N")
    torch.testing.assert_close(batch.ratings, torch.tensor([[7 / 3], [float("nan")]]), equal_nan=True)
