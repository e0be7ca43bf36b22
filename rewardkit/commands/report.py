"""``report``: writes a run's report.html again, alone or against another run; or what shows a benchmark."""

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
    return verb_help("report run=RUN|BENCHMARK [against=RUN]", ReportOptions)


def run(arguments: list[str]) -> int:
    """Writes the page and prints where it lies."""
    overrides = parse_overrides(arguments)
    options = compose(ReportOptions, [Layer(COMMAND_LINE, overrides)]).options
    if options.run is None:
        raise UserError("name a run or a benchmark: report run=runs/RECIPE/NAME, or run=OUT of `benchmark out=OUT`")
    root = Path(options.run)
    from rewardkit.benchmark.result import FILE

    if (root / FILE).is_file():
        _write_benchmark(root, options)
        return EXIT_DONE
    for_benchmarks = [key for key in overrides if key.startswith("page.")]
    if for_benchmarks:
        raise UserError(f"{for_benchmarks[0]} is of a benchmark's page, and {root} has no {FILE}; leave it out")
    layout = RunLayout(root)
    against = RunLayout(Path(options.against)) if options.against is not None else None
    from rewardkit.report.page import write_report

    print(write_report(layout, against=against, folders=_folders_of(layout.root)))
    return EXIT_DONE


def _write_benchmark(root: Path, options: ReportOptions) -> None:
    """The leaderboard and the tables for a paper; prints where they lie."""
    if options.against is not None:
        raise UserError(
            f"against= compares two runs, and {root} is a benchmark; `benchmark model=A,B` puts several rewards into "
            "one result"
        )
    from rewardkit.commands.benchmark_pages import write_pages

    for path in write_pages(root, options.page):
        print(path)


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
