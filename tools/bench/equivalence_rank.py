"""One rank of ``equivalence.py``: trains the cases that it is given, one after the other, under each strategy.

Started by ``equivalence.py``, with the ranks' variables of torchrun in its environment where there are two.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import rewardkit  # noqa: F401  (before anything imports torchvision; see rewardkit/_torchvision.py)

# isort: split
import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from rewardkit.callbacks.ema import EMA
from rewardkit.callbacks.preference_accuracy import PreferenceAccuracy
from rich.console import Console

from rewardkit.commands.build_data import build_data
from rewardkit.commands.build_model import build_model
from rewardkit.commands.build_module import build_module
from rewardkit.commands.find_questions import take_dimensions_of_questions
from rewardkit.config.compose import parse_overrides
from rewardkit.config.optim_options import TrainerOptions
from rewardkit.config.recipes import compose_fit
from rewardkit.engine.hardware import Hardware
from rewardkit.engine.train import make_trainer, quieten
from rewardkit.models.sharded import is_shared, whole_of, whole_parameters


class Record(Callback):
    """Notes loss and norm of the gradient of every step, over all ranks."""

    def __init__(self) -> None:
        self.loss: list[float] = []
        self.norm: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        """At the end of an optimiser step."""
        if (index + 1) % trainer.accumulate_grad_batches:
            return
        share = module.step.metrics["loss"].to(module.device)
        self.loss.append(float(trainer.strategy.reduce(share, reduce_op="sum")))
        self.norm.append(float(module.step.metrics["gradient_norm"]))


def main() -> int:
    """Trains each (case, strategy), and writes what came of it; an error is written too, and ends this rank."""
    torch.set_num_threads(1)
    quieten(None)
    jobs = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    for job in jobs:
        try:
            errors = Path(job["result"]).with_suffix(".bad.jsonl")
            found = train(job["options"], strategy=job["strategy"], ranks=job["ranks"], errors=errors)
        except Exception:
            Path(job["result"]).with_suffix(f".{os.environ.get('RANK', '0')}.error").write_text(traceback.format_exc())
            return 1
        if os.environ.get("RANK", "0") == "0":
            torch.save(found, job["result"])
    return 0


def train(arguments: list[str], *, strategy: str, ranks: int, errors: Path) -> dict[str, Any]:
    """Trains once; bad samples are named in ``errors``, by whichever ranks met them.

    Returns:
        ``loss`` and ``norm`` of each step; ``weights`` by name, and which were ``trained``; the ``average`` of weights
        that was validated, its ``scores`` and how many ``comparisons`` were counted; ``bad`` samples that were named.
    """
    composed = compose_fit(parse_overrides(arguments))
    take_dimensions_of_questions(composed)
    options = composed.options
    model = build_model(options)
    data = build_data(options, model, ranks=ranks, errors_path=errors, console=Console(quiet=True))
    record = Record()
    accuracy = PreferenceAccuracy(
        sets=data.val_names,
        dimensions=model.dimensions,
        dimension_map={},
        protocol="strict_micro",
        draws=10,
        folder=None,
    )
    average = EMA(decay=0.8)
    trainer = make_trainer(
        hardware=hardware(strategy, ranks, options.trainer),
        max_steps=options.trainer.max_steps,
        accumulation=data.accumulation,
        validate_every=options.trainer.max_steps,
        gradient_clip=options.optim.gradient_clip,
        loggers=[],
        callbacks=[record, average, accuracy],
    )
    module = build_module(options, model, data)
    trainer.fit(module, datamodule=data)
    assert not strategy.startswith(("zero3", "fsdp")) or any(is_shared(p) for p in module.parameters())
    weights = {name: whole_of(p).clone() for name, p in module.named_parameters()}
    first = trainer.is_global_zero
    with whole_parameters(module, here=first):
        exported = module.model.state_dict() if first else {}
        assert all(
            torch.equal(weights[f"model.{name}"], p) for name, p in exported.items() if f"model.{name}" in weights
        )
    predictions = accuracy.latest[0].predictions
    trainer.strategy.barrier()  # until every rank has named its own
    return {
        "loss": record.loss,
        "norm": record.norm,
        "weights": weights,
        "trained": [name for name, p in module.named_parameters() if p.requires_grad],
        "average": {f"model.{name}": tensor.clone() for name, tensor in average.state_dict()["average"].items()},
        "scores": torch.tensor(predictions.scores["score"].to_numpy()),
        "comparisons": len(predictions.labels),
        "bad": len(errors.read_text(encoding="utf-8").splitlines()) if errors.exists() else 0,
    }


def hardware(strategy: str, ranks: int, trainer: TrainerOptions) -> Hardware:
    """The strategy with limits so low that tiny models are cut up as large ones are."""
    name = strategy.removesuffix("_offload")
    made = Hardware(ranks, 1, name, trainer.precision, communication=trainer.communication)
    if not name.startswith("zero"):
        return made
    zero: dict[str, Any] = {
        "stage3_param_persistence_threshold": 0,
        "stage3_max_live_parameters": 0,
        "stage3_max_reuse_distance": 0,
        "reduce_bucket_size": 20_000,
        "allgather_bucket_size": 20_000,
    }
    if strategy != name:
        zero |= {"offload_optimizer": {"device": "cpu"}, "offload_param": {"device": "cpu"}}
    return replace(made, deepspeed={"zero_optimization": zero})


if __name__ == "__main__":
    sys.exit(main())
