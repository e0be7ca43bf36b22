"""The score token as one trainable row, outside the embedding table.

The table of the base model keeps its size and its values, so that a base stays the one that was published, and nothing
else of it is trained for one token's sake (HPSv3 and VideoAlign train the whole table).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class ScoreToken(nn.Module):
    """What the score token is embedded as. It starts as the mean of the table.

    Args:
        embedding: The base model's input embeddings; they give the row while this module is attached.
        token: Id of the score token, which may lie behind the end of the table.
    """

    def __init__(self, embedding: nn.Embedding, token: int) -> None:
        super().__init__()
        self.token = token
        self.row = nn.Parameter(embedding.weight.detach().float().mean(dim=0))  # [H]
        # Bound through the embedding's hooks alone; a reference as a child would make its weights ours.
        embedding.register_forward_pre_hook(self._before)
        embedding.register_forward_hook(self._after)

    def forward(self, ids: Tensor, embedded: Tensor) -> Tensor:
        """Embeddings ``[R, L, H]`` with the row where ``ids`` ``[R, L]`` are the score token."""
        return torch.where((ids == self.token).unsqueeze(-1), self.row.to(embedded.dtype), embedded)

    def _before(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """Looks up another row in the score token's place: its own may not exist."""
        ids = inputs[0]
        self._ids = ids
        return (ids.masked_fill(ids == self.token, 0), *inputs[1:])

    def _after(self, module: nn.Module, inputs: tuple[Any, ...], embedded: Tensor) -> Tensor:
        ids, self._ids = self._ids, None
        return self(ids, embedded)
