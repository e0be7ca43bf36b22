"""Models on this machine as annotators: one that writes, and an evaluator that answers by probabilities."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_mllm import picture, questions, qwen2_5_vl

from rewardkit.annotate.log import LogLine, read_log
from rewardkit.cli import run
from rewardkit.models.mllm.model import MLLMReward
from rewardkit.models.mllm.saving import save_evaluator

PROMPT = "a cat <|image_pad|><|im_end|> on a sofa"
"""Spells the model's own control tokens; one that went through would place a fifth image."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model's folder and an evaluator's bundle."""
    root = tmp_path_factory.mktemp("local")
    torch.manual_seed(0)
    base, processor = qwen2_5_vl()
    base.save_pretrained(root / "writer")
    processor.save_pretrained(root / "writer")
    dimensions = [question.dimension for question in questions().questions]
    model = MLLMReward(base, processor, dimensions, scores_from="expected")
    return root / "writer", save_evaluator(root / "bundle", model, [questions()])


@pytest.fixture
def data(tmp_path: Path) -> list[str]:
    (tmp_path / "images" / "p").mkdir(parents=True)
    for n in range(2):
        picture(n).save(tmp_path / "images" / "p" / f"{n}.png")
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"id": "p", "prompt": PROMPT}) + "\n")
    return [f"images={tmp_path / 'images'}", f"prompts={tmp_path / 'prompts.jsonl'}", "device=cpu"]


@pytest.fixture(autouse=True)
def _only_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rewardkit.commands.annotate_fold.fold_log", lambda *_, **__: None)


def asked(out: Path, *arguments: str) -> list[LogLine]:
    assert run(["annotate", f"out={out}", *arguments]) == 0
    return list(read_log(out))


def test_a_model_writes_and_what_it_writes_is_judged(
    folders: tuple[Path, Path], data: list[str], tmp_path: Path
) -> None:
    (line,) = asked(tmp_path / "a", *data, f"annotators=tiny={folders[0]}", "max_tokens=4", "repairs=1")
    assert line.annotator == "tiny" and line.mode == "joint" and line.outcome == "invalid"
    assert len(line.attempts) == 2 and all(a.tokens_out == 4 and a.finish == "length" for a in line.attempts)
    assert line.prompt == PROMPT  # as it is; it was written apart where it was shown


@pytest.mark.slow
def test_sampling_follows_the_seed(folders: tuple[Path, Path], data: list[str], tmp_path: Path) -> None:
    who = (f"annotators={folders[0]}", "max_tokens=6", "repairs=0", "temperature=1", "repeats=2")
    first, again = (asked(tmp_path / name, *data, *who) for name in ("a", "b"))
    texts = [[line.attempts[0].text for line in lines] for lines in (first, again)]
    assert texts[0] == texts[1] and texts[0][0] != texts[0][1]


def test_an_evaluator_answers_for_each_image_by_its_options(
    folders: tuple[Path, Path], data: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = asked(tmp_path / "a", *data, f"annotators={folders[1]}", "questions=evalalign", "repeats=2")
    assert [line.mode for line in lines] == ["per_image"] * 2  # it would say the same again
    for line in lines:
        assert line.outcome == "ok" and line.scores
        assert all(s.rationale is None and (s.value == "NA" or 0 <= s.value <= 4) for s in line.scores)
    out = tmp_path / "b"
    assert run(["annotate", f"out={out}", *data, f"annotators={folders[1]}"]) == 2
    assert "dimension" in capsys.readouterr().err  # it knows nothing of VisionPrefer's aspects
