"""rewardkit: reward models of human preference for text-to-image.

``rewardkit.load(BUNDLE).score(images, prompts)`` is the way in for users; training and evaluation go through
``python -m rewardkit VERB``. Importing this package imports no heavy library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rewardkit import _torchvision

if TYPE_CHECKING:
    from rewardkit.models.load import load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

_torchvision.install()


def __getattr__(name: str) -> Any:
    if name == "load":
        from rewardkit.models.load import load

        return load
    raise AttributeError(f"module 'rewardkit' has no attribute {name!r}")
