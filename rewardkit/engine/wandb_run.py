"""A run on Weights & Biases: one curve over the optimiser step, however often the run is killed and continued.

W&B takes each step once, in rising order, and nothing can be taken back. So figures of a step are gathered and sent as
one row when a later step comes or a checkpoint stands behind them; rows that W&B has already are not sent again; and
rows that a kill kept from it are sent from ``metrics.csv`` when the run goes on.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from rewardkit.engine.disclosure import public_text
from rewardkit.engine.wandb_file import HEADER_BYTES, files_of, mend, read_records, step_of
from rewardkit.errors import RewardkitError, UserError
from rewardkit.report.metrics_log import read_metrics

DEFAULT_PROJECT = "rewardkit"
LATE_STEP = "late_step"
"""Axis of figures that come after the row of their step was sent, such as how long its checkpoint took."""

DATA_DIR = "WANDB_DATA_DIR"
"""Where W&B keeps files that wait to be uploaded: in the run's folder, not in the user's home, unless it is set."""

_FLUSH_S = 0.5
_LONGEST_WAIT_S = 5.0
_INIT_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class WandbValues:
    """How a run appears on W&B; None leaves a value to W&B's environment variables.

    Attributes:
        mode: ``auto``, ``online`` or ``offline``.
        named: Arguments of ``wandb.init``: project, entity, name, group, job_type, tags, notes.
        config: Options, their origins and the environment, fit to be seen.
        machine: Whether W&B may collect host name, paths, command line and packages.
        defaults: Values of ``named`` where neither it nor the environment says anything.
    """

    mode: str
    named: Mapping[str, Any]
    config: Mapping[str, Any]
    machine: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)


class WandbRun(Logger):
    """Sends what rank 0 logs to W&B, or to files for a later ``wandb sync``.

    Args:
        folder: The run's folder; W&B's own files and the run's id lie in ``wandb/`` inside it.
        values: How it appears.
        resumed_step: Step of the checkpoint that the run goes on from; 0 for a new run.
        metrics: The run's ``metrics.csv``, from which rows that W&B lacks are sent; it need not exist.
    """

    def __init__(self, folder: Path, values: WandbValues, *, resumed_step: int, metrics: Path) -> None:
        super().__init__()
        self.folder = folder
        self.values = values
        self.resumed_step = resumed_step
        self.metrics = metrics
        self.run: Any = None
        self.offline = False
        self.notes: list[str] = []
        self._step = 0
        self._row: dict[str, Any] = {}
        self._sent = 0
        self._had = 0
        self._late: dict[str, Any] = {}
        self._defined: set[str] = set()
        self._media = False
        self._read_to = HEADER_BYTES
        self._set_data_dir = False

    @property
    def name(self) -> str:
        """Short name."""
        return "wandb"

    @property
    def version(self) -> str:
        """The run's id on W&B, kept in the run's folder."""
        return self.run_id

    @property
    def run_id(self) -> str:
        """The id under which every attempt of this run goes on."""
        path = self.folder / "wandb" / "run_id"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text((os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4)) + "\n", encoding="utf-8")
        return path.read_text(encoding="utf-8").strip()

    def start(self) -> None:
        """Begins the run on W&B, or goes on with it, and sends the rows that it lacks.

        Raises:
            UserError: ``online`` without an API key.
            RewardkitError: ``online``, and the server does not answer.
        """
        import wandb

        if DATA_DIR not in os.environ:
            os.environ[DATA_DIR] = str((self.folder / "wandb" / "data").resolve())
            self._set_data_dir = True
        had = max((mend(path) for path in files_of(self.folder / "wandb", self.run_id)), default=0)
        mode = _mode(self.values.mode)
        try:
            self.run = self._init(mode)
        except (wandb.errors.CommError, wandb.errors.UsageError, wandb.errors.AuthenticationError) as error:
            if self.values.mode != "auto":
                raise RewardkitError(f"wandb.mode={mode}: W&B cannot be reached: {error}") from None
            self.notes.append(f"W&B cannot be reached ({error}); this run is kept for a later `wandb sync`")
            self.run = self._init("offline")
            mode = "offline"
        self.offline = mode == "offline"
        self._had = had if self.offline else max(0, self.run.starting_step - 1)
        self._sent = self._had
        self._send_missing()

    def _init(self, mode: str) -> Any:
        import wandb

        known = {"project": "WANDB_PROJECT", "name": "WANDB_NAME", "job_type": "WANDB_JOB_TYPE"}
        named = {key: value for key, value in self.values.named.items() if value}
        for key, value in self.values.defaults.items():
            if key not in named and not os.environ.get(known.get(key, "")):
                named[key] = value
        run = wandb.init(
            **named,
            id=self.run_id,
            mode=mode,  # type: ignore[arg-type]
            dir=self.folder,
            resume="allow" if mode == "online" else None,
            config=dict(self.values.config),
            settings=_settings(machine=self.values.machine),
        )
        run.define_metric(LATE_STEP, hidden=True)
        return run

    def _send_missing(self) -> None:
        """Sends the rows of ``metrics.csv`` up to the checkpoint that W&B does not have."""
        if not self.metrics.is_file():
            return
        rows: dict[int, dict[str, float]] = {}
        for step, name, value in read_metrics(self.metrics):
            if self._had < step <= self.resumed_step:
                rows.setdefault(step, {})[name] = value
        for step in sorted(rows):
            self._commit(step, rows[step])

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the options are in the run's config from its start."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Adds figures, or W&B's own media, to the row of their optimiser step."""
        assert step is not None, "metrics are logged with the optimiser step"
        if self.run is None or step <= self._had:
            return
        if step <= self._sent:
            for name in metrics.keys() - self._defined:
                self.run.define_metric(name, step_metric=LATE_STEP)
            self._defined |= metrics.keys()
            self._late |= {**metrics, LATE_STEP: step}
            return
        if step > self._step:
            self._send_row()
            self._step = step
        self._row |= metrics

    def wants(self, step: int) -> bool:
        """Whether what is logged for a step would be sent: the run is on, here, and W&B does not have the step."""
        return self.run is not None and step > max(self._had, self._sent)

    def log_media(self, media: Mapping[str, Any], *, step: int) -> None:
        """``log_metrics`` of what lies in files of its own; the next checkpoint waits until it is noted on the disk."""
        self.log_metrics(media, step=step)
        self._media = True

    @rank_zero_only
    def save(self) -> None:
        """Sends the row of the step, for the checkpoint that stands behind it."""
        if self.run is None:
            return
        self._send_row()
        if self._media or not self.metrics.is_file():
            self._wait_for_file()
        self._media = False

    @rank_zero_only
    def alert(self, title: str, text: str) -> None:
        """Tells the people who follow the run, by mail or chat as they have set it on W&B."""
        if self.run is not None:
            self.run.alert(title, public_text(text))

    @rank_zero_only
    def finish(self, *, exit_code: int, preempted: bool = False) -> None:
        """Ends this attempt. After a failure the row of the step is left out: it will be logged whole on resume."""
        if self.run is None:
            return
        if exit_code == 0 or preempted:
            self._send_row()
        self.run.summary.update({name: value for name, value in self._late.items() if name != LATE_STEP})
        if preempted:
            self.run.mark_preempting()
        self.run.finish(exit_code=exit_code)
        self.run = None
        if self._set_data_dir:
            os.environ.pop(DATA_DIR, None)

    def _send_row(self) -> None:
        if self._row:
            self._commit(self._step, self._row)
            self._row = {}

    def _commit(self, step: int, row: Mapping[str, Any]) -> None:
        self.run.log({**row, **self._late}, step=step, commit=True)
        self._late = {}
        self._sent = step

    def _wait_for_file(self) -> None:
        """Waits until the row that was sent last is in W&B's file, which is written by another process."""
        path = Path(self.run.settings.sync_file)
        give_up = time.monotonic() + _LONGEST_WAIT_S
        while time.monotonic() < give_up:
            for record, end in read_records(path, start=self._read_to) if path.is_file() else ():
                self._read_to = end
                if step_of(record) == self._sent:
                    return
            time.sleep(_FLUSH_S / 5)


def _mode(asked: str) -> str:
    """``online`` or ``offline``.

    Raises:
        UserError: ``online`` is asked for without a key.
    """
    import wandb

    if asked == "offline":
        return asked
    known = wandb.login(prompt=False, verify=False)
    if asked == "online" and not known:
        raise UserError(
            "wandb.mode=online: there is no API key. Run `wandb login` once or set WANDB_API_KEY; "
            "wandb.mode=offline writes files for a later `wandb sync`"
        )
    return "online" if known else "offline"


def _settings(*, machine: bool) -> Any:
    """W&B's settings: quiet, and unless asked otherwise without what it collects of the machine."""
    import wandb

    quiet: dict[str, Any] = {
        "silent": True,
        "init_timeout": _INIT_TIMEOUT_S,
        "x_transaction_log_flush_interval": _FLUSH_S,
        "save_code": False,
        "disable_job_creation": True,
    }
    if machine:
        return wandb.Settings(**quiet)
    return wandb.Settings(
        **quiet,
        console="off",
        disable_git=True,
        disable_code=True,
        x_disable_meta=True,
        x_save_requirements=False,
        label_disable=True,
        host="",
        email="",
        username="",
        program="",
        program_abspath="",
        program_relpath="",
        x_executable="",
    )


def wandb_runs(loggers: Sequence[Logger]) -> list[WandbRun]:
    """Those of a run's loggers that are W&B's: none or one."""
    return [logger for logger in loggers if isinstance(logger, WandbRun)]
