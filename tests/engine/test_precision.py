"""What ``trainer.precision=auto`` is, on machines that compute in bfloat16 and on those that do not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from rewardkit.engine.precision import PRECISIONS, find_precision


@pytest.mark.parametrize("asked", list(PRECISIONS))
def test_what_is_asked_for_is_taken(asked: str) -> None:
    assert find_precision(asked) == asked


@pytest.mark.parametrize(("native", "found"), [(True, "bf16"), (False, "32")])
def test_a_cpu(native: bool, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace(_is_mkldnn_bf16_supported=lambda: native))
    assert find_precision("auto") == found


@pytest.mark.parametrize(("native", "found"), [(True, "bf16"), (False, "32")])
def test_a_gpu(native: bool, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: native)
    assert find_precision("auto") == found


def test_this_machine_takes_one_of_them() -> None:
    assert find_precision("auto") in ("bf16", "32")
