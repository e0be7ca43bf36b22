"""Ctrl-C and preemption: the step is finished, a checkpoint is written, and the run ends with its own exit code."""

from __future__ import annotations

import signal
from types import FrameType

import lightning.pytorch as pl
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.pytorch.callbacks import Callback

from rewardkit.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_PREEMPTED


class TrainingStopped(Exception):
    """Training ended early, on purpose, with everything saved.

    Args:
        step: The optimiser step that the checkpoint holds.
        exit_code: 0 for ``stop_after``, 75 for a preemption signal, 130 for Ctrl-C.
    """

    def __init__(self, step: int, exit_code: int) -> None:
        self.step = step
        self.exit_code = exit_code
        super().__init__(f"stopped after step {step}")


def started_by_rank_0(trainer: pl.Trainer) -> bool:
    """Whether this process is a rank that rank 0 has started itself, and that speaks to nobody.

    Such a rank ends with 0 where the run was stopped: when one of its own children ends with another code, Lightning
    kills all others, and rank 0 with them, before it can say how the run ended.
    """
    environment = getattr(trainer.strategy, "cluster_environment", None)
    return isinstance(environment, LightningEnvironment) and not trainer.is_global_zero


class Interruption(Callback):
    """Turns signals into a stop after the current optimiser step.

    SIGINT is Ctrl-C; SIGTERM and SIGUSR1 are what clusters send before they take a machine away. A second Ctrl-C ends
    at once and leaves the last checkpoint as it is. Use as a context manager around the whole fit: Lightning puts
    handlers of its own in place, and ours again at the start of training.
    """

    def __init__(self, *, stop_after: int | None = None) -> None:
        self.stop_after = stop_after
        self.received: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Interruption:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            self._previous[number] = signal.getsignal(number)
        self._install()
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Takes the signals back from Lightning, which would end without saving."""
        self._install()

    def reason_to_stop(self, trainer: pl.Trainer) -> int | None:
        """The exit code to stop with after this step, the same on every rank; None to go on."""
        code = None
        if self.received is not None:
            code = EXIT_INTERRUPTED if self.received == signal.SIGINT else EXIT_PREEMPTED
        if trainer.world_size > 1:
            # Ranks may be signalled a step apart, and one that left alone would leave the others waiting.
            anyone = trainer.strategy.reduce_boolean_decision(code is not None, all=False)
            code = (code or EXIT_PREEMPTED) if anyone else None
        if code is None and self.stop_after is not None and trainer.global_step >= self.stop_after:
            return EXIT_DONE
        return code

    def _install(self) -> None:
        for number in self._previous:
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number
