"""Checkpoints without what does not train: frozen weights come from where the run took them, and are compared."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from rewardkit.errors import CheckpointError
from rewardkit.models.stored.loading import FROZEN, digest_of_frozen, frozen_names, require_frozen


class FrozenWeights(Callback):
    """Leaves the model's frozen parameters out of checkpoints. Stands before the callback that writes these.

    Whoever goes on from such a checkpoint has them from ``model.pretrained``; a digest says whether they are the same.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.about: dict[str, Any] = {}

    def setup(self, trainer: pl.Trainer, module: Any, stage: str) -> None:
        """Looks at the frozen weights, before a strategy cuts them up."""
        self.names = [f"model.{name}" for name in frozen_names(module.model)]
        self.about = digest_of_frozen(module.model)
        module.strict_loading = False
        if hasattr(trainer.strategy, "exclude_frozen_parameters"):
            trainer.strategy.exclude_frozen_parameters = True

    def on_save_checkpoint(self, trainer: pl.Trainer, module: Any, checkpoint: dict[str, Any]) -> None:
        """Leaves them out."""
        state = checkpoint.get("state_dict", {})
        for name in self.names:
            state.pop(name, None)
        checkpoint[FROZEN] = self.about

    def on_load_checkpoint(self, trainer: pl.Trainer, module: Any, checkpoint: dict[str, Any]) -> None:
        """Compares what the checkpoint was written beside with what is there now.

        Raises:
            CheckpointError: The frozen weights are others, or a tensor that trains is missing.
        """
        require_frozen(self.about, checkpoint[FROZEN])
        if "state_dict" in checkpoint:
            expected = set(module.state_dict()) - set(self.names)
            differing = sorted(expected ^ (set(checkpoint["state_dict"]) - set(self.names)))
            if differing:
                raise CheckpointError(f"the checkpoint does not fit the model: {', '.join(differing[:10])}")
