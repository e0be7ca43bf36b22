"""Text features of open_clip models from token rows that are cut to the longest text of the batch.

open_clip adds all of its positional embedding, so it takes only full rows. A causal tower that pools at the end token
never looks behind it, so cutting the padding changes nothing and saves most of the cost of short prompts.
"""

from __future__ import annotations

from typing import Any

import open_clip
from open_clip.hf_model import HFTextEncoder
from open_clip.transformer import text_global_pool
from torch import Tensor, nn

from rewardkit.models.tokenizers import fill_padding


def encode_text(towers: nn.Module, tokens: Tensor, *, pad_id: int) -> Tensor:
    """Features of texts, before any normalisation.

    Args:
        towers: ``open_clip.CLIP`` or ``open_clip.CustomTextCLIP``.
        tokens: int64 ``[G, L]`` with L up to the context length.
        pad_id: What fills the rows behind the end of a text.

    Returns:
        ``[G, E]``, equal to ``towers.encode_text`` of the full rows.
    """
    inside = isinstance(towers, open_clip.CLIP)
    tower: Any = towers if inside else towers.text
    if isinstance(tower, HFTextEncoder):
        # transformers towers take any length and mask the padding themselves.
        return tower(tokens)  # type: ignore[no-any-return]
    pool, end_id = (tower.text_pool_type, tower.text_eos_id) if inside else (tower.pool_type, tower.eos_id)
    length, context = tokens.shape[1], int(tower.context_length)
    assert length <= context, f"{length} tokens in a row, but the text tower takes {context}"
    causal = tower.attn_mask is not None and getattr(tower, "cls_emb", None) is None
    if not causal or pool not in ("argmax", "eos", "first"):
        # Here padding takes part in the result, so it has to be there.
        full = fill_padding(tokens, context, pad_id)
        return towers.encode_text(full)  # type: ignore[operator, no-any-return]
    return _encode_causal(tower, tokens, pool=pool, end_id=end_id)


def _encode_causal(tower: Any, tokens: Tensor, *, pool: str, end_id: int | None) -> Tensor:
    """The forward pass of ``open_clip.CLIP.encode_text`` on rows of any length."""
    length = tokens.shape[1]
    dtype = tower.transformer.get_cast_dtype()
    x: Tensor = tower.token_embedding(tokens).to(dtype)  # [G, L, W]
    x = x + tower.positional_embedding[:length].to(dtype)
    x = tower.transformer(x, attn_mask=tower.attn_mask[:length, :length])
    x = tower.ln_final(x)
    x = text_global_pool(x, tokens, pool, eos_token_id=end_id)  # [G, W]
    projection = tower.text_projection
    if projection is None:
        return x
    return projection(x) if isinstance(projection, nn.Module) else x @ projection  # [G, E]
