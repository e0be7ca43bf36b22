"""``report``: writes a run's report.html again, alone or against another run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rewardkit.config.compose import COMMAND_LINE, Layer, compose, parse_overrides
from rewardkit.config.help import verb_help
from rewardkit.config.layout import RunLayout
from rewardkit.config.verbs import ReportOptions
from rewardkit.errors import EXIT_DONE, RewardkitError, UserError

if TYPE_CHECKING:
    from rewardkit.data.remote_samples import RemoteSamples


def help_text(arguments: list[str]) -> str:
    """Help from the schema."""
    return verb_help("report run=RUN [against=RUN]", ReportOptions)


def run(arguments: list[str]) -> int:
    """Writes the page and prints where it lies."""
    options = compose(ReportOptions, [Layer(COMMAND_LINE, parse_overrides(arguments))]).options
    if options.run is None:
        raise UserError("name a run: report run=runs/RECIPE/NAME")
    layout = RunLayout(Path(options.run))
    against = RunLayout(Path(options.against)) if options.against is not None else None
    from rewardkit.report.page import write_report

    print(write_report(layout, against=against, folders=_folders_of(layout.root)))
    return EXIT_DONE


def _folders_of(root: Path) -> list[Path | RemoteSamples]:
    """The folders of a run's validation shards; none where its options cannot be read any more."""
    from rich.console import Console

    from rewardkit.commands.picture_folders import picture_folders
    from rewardkit.commands.run_options import options_of_run

    try:
        options = options_of_run(root)
    except RewardkitError:
        return []
    data = options.data
    return picture_folders(data.val, data.embedded, options.cache, data.remote, Console(stderr=True))
