"""A multimodal model in a folder of transformers' layout as an annotator: it writes its answers on this machine."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from rewardkit.annotate.annotators import Call, NotAsked, Reply
from rewardkit.annotate.images import shown_image
from rewardkit.annotate.log import Mode
from rewardkit.annotate.requests import Turn
from rewardkit.data.image_files import decode_rgb
from rewardkit.errors import UserError
from rewardkit.models.mllm.published import read_base
from rewardkit.models.mllm.text import control_tokens


class LocalModel:
    """See the module's docstring; attributes as ``Annotator``.

    Args:
        name: Its name in this annotation.
        folder: Of the model and its processor.
        device: Where it computes.
        temperature: Of the sampling; 0 takes the likeliest token.
        max_tokens: Of an answer.
        max_side: See ``shown_image``.

    Raises:
        UserError: It is no such folder.
        CheckpointError: Its weights do not fit.
    """

    at_once = 1
    rationale = True
    paid = False

    def __init__(
        self, name: str, folder: Path, *, device: str, temperature: float, max_tokens: int, max_side: int | None
    ) -> None:
        self.name, self.model = name, str(folder)
        base, self._processor = read_base(folder, dtype=torch.float32 if device == "cpu" else torch.bfloat16)
        if not (self._processor.chat_template or self._processor.tokenizer.chat_template):
            raise UserError(f"annotators: the processor of {folder} has no chat template")
        self._base = base.to(device).eval()
        self._temperature, self._max_tokens, self._max_side = temperature, max_tokens, max_side
        self.tokens: Sequence[str] = tuple(control_tokens(self._processor.tokenizer))

    def mode(self, wanted: Mode) -> Mode:
        """As wanted."""
        return wanted

    async def close(self) -> None:
        """See ``Annotator``."""

    async def answer(self, call: Call) -> Reply:
        """See ``Annotator``."""
        return await asyncio.to_thread(self._answer, call)

    @torch.no_grad()
    def _answer(self, call: Call) -> Reply:
        try:
            rows = self._processor.apply_chat_template(
                [self._message(turn) for turn in call.turns],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            ).to(self._base.device)
        except ValueError as error:  # more than the model reads, or places of images that do not add up
            raise NotAsked(f"the model's processor does not take it: {' '.join(str(error).split())[:300]}") from None
        start = rows["input_ids"].shape[1]
        devices = [self._base.device] if self._base.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(call.seed)
            found = self._base.generate(**rows, generation_config=self._settings())
        new = found[0, start:]
        text = self._processor.tokenizer.decode(new, skip_special_tokens=True)
        finish = "length" if len(new) >= self._max_tokens else "stop"
        return Reply(str(text), tokens_in=start, tokens_out=len(new), model=self.model, finish=finish)

    def _settings(self) -> Any:
        """The folder's own settings, but for sampling and length."""
        settings = copy.deepcopy(self._base.generation_config)
        settings.max_new_tokens, settings.max_length = self._max_tokens, None
        settings.do_sample = self._temperature > 0
        settings.temperature = self._temperature if self._temperature > 0 else None
        if not settings.do_sample:
            settings.top_p = settings.top_k = None
        return settings

    def _message(self, turn: Turn) -> dict[str, Any]:
        return {"role": turn.role, "content": [self._part(part) for part in turn.parts if part]}

    def _part(self, part: str | bytes) -> dict[str, Any]:
        if isinstance(part, str):
            return {"type": "text", "text": part}
        data, _ = shown_image(part, max_side=self._max_side, format="keep")
        return {"type": "image", "image": Image.fromarray(decode_rgb(data))}
