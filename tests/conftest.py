"""Loads rewardkit before anything imports torchvision, and keeps tests on one thread each."""

from __future__ import annotations

import rewardkit  # noqa: F401  (see rewardkit/_torchvision.py)
