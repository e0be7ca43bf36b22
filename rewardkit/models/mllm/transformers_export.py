"""An evaluator as a folder that transformers alone loads: a plain image-text-to-text model, heads in a file beside it.

Adapters are added into the weights, and the score token's row into the table of embeddings, so that the stock model
reads prompts as the evaluator does: its logits over a question's options are the evaluator's. What transformers has no
place for lies beside it: the dimension heads (``rewardkit_heads.safetensors``) and the questions.
"""

from __future__ import annotations

import copy
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from rewardkit.data.questions import QuestionSet
from rewardkit.data.questions_file import write_questions
from rewardkit.errors import UserError
from rewardkit.models.mllm.model import MLLMReward
from rewardkit.models.mllm.text import SCORE_TOKEN
from rewardkit.models.mllm.tuning import merged_state

HEADS_FILE, ABOUT_FILE = "rewardkit_heads.safetensors", "rewardkit.json"


def export_evaluator(folder: str | Path, model: MLLMReward, questions: Sequence[QuestionSet]) -> Path:
    """Writes what ``AutoModelForImageTextToText.from_pretrained(FOLDER)`` loads, with its processor.

    Args:
        folder: The folder to write; it appears complete or not at all.
        model: The evaluator; it stays as it is.
        questions: The sets that it answers.

    Raises:
        UserError: The folder exists.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        new = Path(scratch) / "new"
        new.mkdir()
        _write_base(new, model)
        model.processor.save_pretrained(new)
        heads = {f"head.{name}": tensor for name, tensor in model.head.state_dict().items()}
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in heads.items()}, new / HEADS_FILE)
        for one in questions:
            write_questions(one, new / "questions" / f"{one.name}.yaml")
        about = {
            "dimensions": list(model.dimensions),
            "scores_from": model.scores_from,
            "score_token": SCORE_TOKEN,
            "heads": HEADS_FILE,
            "rows": {} if model.rows is None else model.rows.settings,
        }
        (new / ABOUT_FILE).write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if folder.exists():
            raise UserError(f"{folder} exists already and is not overwritten; choose another folder")
        os.replace(new, folder)
    return folder


def _write_base(folder: Path, model: MLLMReward) -> None:
    """Configuration and weights; the model itself is not touched, and its weights are not copied twice."""
    base, token = model.base, model.score_token.token
    state = _with_score_token(base, merged_state(base), token, model.score_token.row)
    config = copy.deepcopy(base.config)
    rows = len(state[_name_of(base, base.get_input_embeddings())])
    config.get_text_config().vocab_size = rows
    if getattr(config, "vocab_size", None) is not None:
        config.vocab_size = rows
    with torch.device("meta"):
        plain: Any = type(base)(config)
    plain.generation_config = copy.deepcopy(base.generation_config)
    # Nothing was ever trained to write the score token; its row in the head is what it happens to be.
    plain.generation_config.suppress_tokens = [token]
    plain.save_pretrained(folder, state_dict=state)


def _with_score_token(base: Any, state: dict[str, Tensor], token: int, row: Tensor) -> dict[str, Tensor]:
    """The tensors with the score token's row in the embeddings; tables that end before it are made longer."""
    table_name, head_name = (f"{_name_of(base, part)}" for part in (base.get_input_embeddings(), base.lm_head))
    table, head = state[table_name], state[head_name]
    tied = base.lm_head.weight is base.get_input_embeddings().weight
    longer = _with_rows(table, token + 1)
    longer = longer.clone() if longer is table else longer  # the model keeps its own
    longer[token] = row.detach().to(longer)
    found = {**state, table_name: longer}
    found[head_name] = longer if tied else _with_rows(head, len(longer))
    return found


def _with_rows(table: Tensor, rows: int) -> Tensor:
    """A table ``[V, H]`` with at least so many rows; new ones are the mean of those that are there."""
    if len(table) >= rows:
        return table
    mean = table.float().mean(dim=0, keepdim=True).to(table)
    return torch.cat([table, mean.expand(rows - len(table), -1)])


def _name_of(base: Any, part: Any) -> str:
    """The name of a layer's weight in the base's state, adapters or not."""
    return next(f"{name}.weight" for name, module in base.named_modules() if module is part)
