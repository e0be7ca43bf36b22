"""An exported evaluator loads with transformers alone and answers the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_mllm import picture, questions
from transformers import AutoModelForImageTextToText, AutoProcessor

from rewardkit.data.questions import read_questions
from rewardkit.errors import UserError
from rewardkit.models.mllm.base import encode_images, encoding_of, token_positions
from rewardkit.models.mllm.generation import written_answers
from rewardkit.models.mllm.model import MLLMReward
from rewardkit.models.mllm.options import option_probabilities
from rewardkit.models.mllm.rows import QuestionRows
from rewardkit.models.mllm.transformers_export import ABOUT_FILE, HEADS_FILE, export_evaluator
from rewardkit.models.mllm.tuning import tune


@torch.no_grad()
def stock_probabilities(base: Any, batch: Any) -> torch.Tensor:
    """Option probabilities from the logits of a stock model, each row by itself, without the evaluator's code."""
    found = []
    for row in range(len(batch.row_asked)):
        length, image = int(batch.attention_mask[row].sum()), batch.row_image[row : row + 1]
        ids = batch.input_ids[row : row + 1, :length]
        types, mask = batch.mm_token_type_ids[row : row + 1, :length], torch.ones_like(ids)
        hidden = base.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=token_positions(base, ids, mask, types, batch.images, image),
            mm_encoder_outputs={"image": encoding_of(encode_images(base, batch.images), image)},
            use_cache=False,
        ).last_hidden_state
        logits = base.lm_head(hidden[0, batch.last_prompt[row]])
        tokens = batch.option_token[batch.row_asked[row]]
        found.append(logits[tokens.clamp(min=0)].masked_fill(tokens < 0, -torch.inf))
    return option_probabilities(torch.stack(found))


@torch.no_grad()
def test_transformers_alone_answers_the_same(evaluator: MLLMReward, tmp_path: Path) -> None:
    tune(evaluator, language="lora", projector="full")
    for name, parameter in evaluator.named_parameters():
        if ".lora_B." in name or name == "score_token.row":
            parameter.add_(0.05 * torch.randn_like(parameter))
    evaluator.eval()
    evaluator.rows = QuestionRows(evaluator.processor, questions(), evaluator.dimensions)
    before = {name: tensor.clone() for name, tensor in evaluator.state_dict().items()}
    folder = export_evaluator(tmp_path / "out", evaluator, [questions()])
    for name, tensor in evaluator.state_dict().items():
        assert torch.equal(tensor, before[name]), f"exporting changed {name}"
    stock = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True).eval()
    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    assert not any("lora" in name for name, _ in stock.named_parameters())
    rows = QuestionRows(processor, questions(), evaluator.dimensions)
    asked = questions().applicable({})
    batch = rows.collate([rows.read(picture(n, 84 + 9 * n, 60), "a cat", asked) for n in (1, 2)])
    ours = evaluator(batch)
    torch.testing.assert_close(
        stock_probabilities(stock, batch), option_probabilities(ours.option_logits), rtol=1e-5, atol=1e-5
    )
    heads = load_file(folder / HEADS_FILE)
    assert torch.equal(heads["head.ordinal.weight"], evaluator.head.ordinal.weight)
    assert read_questions(folder / "questions" / "evalalign.yaml") == questions() and (folder / ABOUT_FILE).is_file()
    assert stock.generation_config.suppress_tokens == [evaluator.score_token.token]
    plain = MLLMReward(stock, processor, evaluator.dimensions).eval()
    plain.score_token.row.copy_(evaluator.score_token.row)
    texts = written_answers(evaluator, rows, batch, most_tokens=3)
    assert "<|score|>" not in "".join(texts) and written_answers(plain, rows, batch, most_tokens=3) == texts


def test_tied_tables_stay_tied(qwen: tuple[Any, Any], dimensions: tuple[str, ...], tmp_path: Path) -> None:
    base, processor = qwen
    base.config.tie_word_embeddings = base.config.get_text_config().tie_word_embeddings = True
    evaluator = MLLMReward(type(base)(base.config), processor, dimensions).eval()
    folder = export_evaluator(tmp_path / "out", evaluator, [questions()])
    stock = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True)
    assert stock.lm_head.weight is stock.get_input_embeddings().weight
    assert torch.equal(stock.lm_head.weight[evaluator.score_token.token], evaluator.score_token.row)
    with pytest.raises(UserError, match="exists already"):
        export_evaluator(tmp_path / "out", evaluator, [questions()])
