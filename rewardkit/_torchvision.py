"""Keeps ``import torchvision`` working where its compiled operators do not match the installed torch.

The package registry has no CPU build of torchvision, so a CPU build of torch meets a torchvision whose compiled
library cannot load; its Python part then fails on the missing operator ``torchvision::nms`` and takes lightning,
open_clip and timm down with it. None of them (nor rewardkit) calls those operators. A finder declares them just
before torchvision registers their shapes, and does nothing where the compiled library has loaded.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder

_OPERATORS = {
    "torchvision::nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "torchvision::qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


class _DeclareMissingOperators(MetaPathFinder):
    """Finds no module; declares the missing operators when torchvision is about to need them."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Declares each operator that torchvision's compiled library did not, once."""
        if fullname != "torchvision._meta_registrations":
            return
        import torch
        from torch import library

        for name, schema in _OPERATORS.items():
            if not torch._C._dispatch_has_kernel(name) and torch._C._jit_get_schemas_for_operator(name) == []:
                library.define(name, schema)


def install() -> None:
    """Registers the finder; safe to call more than once."""
    if not any(isinstance(finder, _DeclareMissingOperators) for finder in sys.meta_path):
        sys.meta_path.insert(0, _DeclareMissingOperators())
