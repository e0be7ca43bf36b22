"""The arithmetic of the towers: the recipe's names of it, and what ``auto`` is on this machine."""

from __future__ import annotations

import torch

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
"""The recipe's names of precisions, and Lightning's."""


def find_precision(asked: str) -> str:
    """``auto`` as ``bf16`` where the machine computes in it, and as ``32`` where it would only imitate it.

    A CPU without bfloat16 of its own (before AVX-512) takes about ten times as long for a step in bf16 as in 32.
    """
    if asked != "auto":
        return asked
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "32"
    return "bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "32"
