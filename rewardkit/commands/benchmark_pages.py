"""What shows a benchmark beside its numbers: the leaderboard, and the tables for a paper."""

from __future__ import annotations

from pathlib import Path

from rewardkit.config.page_options import LeaderboardOptions


def write_pages(out: Path, options: LeaderboardOptions) -> list[Path]:
    """Writes leaderboard.html, table.tex and table.md beside benchmark.json.

    Args:
        out: The benchmark's folder.
        options: What the leaderboard holds.

    Returns:
        The files.
    """
    from rewardkit.report.leaderboard import write_leaderboard
    from rewardkit.report.paper_tables import write_paper_tables

    page = write_leaderboard(out, images=options.images, megabytes=options.megabytes)
    return [page, *write_paper_tables(out)]
