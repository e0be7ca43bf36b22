"""``sweep backend=wandb``: the sweep is made on W&B's server, and an agent here runs what it proposes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rewardkit.commands.sweep_folder import open_folder, shared_arguments
from rewardkit.errors import EXIT_DONE
from rewardkit.sweeps.server import check_server, server_config, start_agent

if TYPE_CHECKING:
    from rich.console import Console

    from rewardkit.commands.sweep_folder import Planned

_ID = "wandb_sweep.json"
"""The server's name of the sweep, in the sweep's folder."""


def run_on_server(planned: Planned, console: Console) -> int:
    """Makes the sweep there, or joins it again, and runs its trials one after the other.

    The server keeps proposals, results and plots; the runs lie in the sweep's folder as with ``backend=local``.
    """
    check_server()
    with open_folder(planned) as root:
        shared = dict(planned.shared)
        loggers = list(shared.get("logger", ["csv"]))
        shared["logger"] = loggers if "wandb" in loggers else [*loggers, "wandb"]
        shared["run.dir"] = str(root / "runs")
        known = root / _ID
        sweep_id = json.loads(known.read_text(encoding="utf-8"))["id"] if known.is_file() else None
        console.print(f"sweep   {root}, on W&B's server", highlight=False, soft_wrap=True)
        start_agent(
            server_config(planned.sweep.config, shared_arguments(shared)),
            sweep_id=sweep_id,
            count=planned.options.count,
            keep=lambda made: known.write_text(json.dumps({"id": made}) + "\n", encoding="utf-8"),
        )
    return EXIT_DONE
