"""The leaderboard of a benchmark: one HTML file that sorts, filters and opens the images behind each number.

It is written from ``benchmark.json`` and the predictions tables beside it. It has one script, its own, which the page's
security policy names by its hash: no other one runs, whatever stands in a prompt. All data of the script are a block of
JSON without ``<``, which it puts into the page as text alone.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from markupsafe import Markup

import rewardkit
from rewardkit.benchmark.result import ALL, BenchmarkResult, read_result
from rewardkit.benchmark.result import FILE as RESULT
from rewardkit.report.behind import Behind, look_behind
from rewardkit.report.board import Board, make_board, rank_name, written
from rewardkit.report.leaderboard_sections import sections
from rewardkit.report.results_page import Results
from rewardkit.report.template import environment, environment_lines, write_page
from rewardkit.report.win_matrix import win_matrices

FILE = "leaderboard.html"

MAX_NOTES = 20
"""Notes that the page repeats; they may name each image that cannot be read."""

_WIDE = 8
"""Of more columns, those over all prompts are shown first; the others by a filter."""


def write_leaderboard(folder: Path, *, images: int, megabytes: float) -> Path:
    """Writes ``leaderboard.html`` beside ``benchmark.json``, and replaces an older one.

    Args:
        folder: The benchmark's.
        images: Of each kind (best, around the median, worst) that a cell opens; 0 for none.
        megabytes: Of pictures (1,000,000 characters in the page) at most; 0 for none.

    Returns:
        The file.

    Raises:
        UserError: There is no benchmark, or a predictions table is gone.
        DataError: One of them is damaged.
    """
    result = read_result(folder)
    board = make_board(result)
    behind = look_behind(result, folder, board.opened, images=images, max_bytes=round(1e6 * megabytes))
    return write_page(folder / FILE, _render(result, board, behind))


def _render(result: BenchmarkResult, board: Board, behind: Behind) -> str:
    jinja = environment()
    assert jinja.loader is not None
    script = jinja.loader.get_source(jinja, "leaderboard.js")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    matrices, more_matrices = win_matrices(result)
    results = _results(result, board)
    notes = [*result.notes, *(f"{reward.label}: {note}" for reward in result.rewards for note in reward.notes)]
    more_notes = [f"{len(notes) - MAX_NOTES:,} more notes are in {RESULT}."] if len(notes) > MAX_NOTES else []
    return jinja.get_template("leaderboard.html.j2").render(
        title=results.title,
        kicker=results.kicker,
        results=results,
        environment=environment_lines(results.environment),
        version=rewardkit.__version__,
        board=board,
        start_part=board.columns[0].part if len(board.columns) > _WIDE and len(board.judges) > 1 else "",
        sources=list(dict.fromkeys(one.source for one in result.references if one.rewards)),
        notes=notes[:MAX_NOTES] + more_notes,
        matrices=matrices,
        more_matrices=more_matrices,
        behind=behind,
        script=Markup(script),
        digest=digest,
    )


def _results(result: BenchmarkResult, board: Board) -> Results:
    """All of the page but its table and its matrices."""
    provenance = dict(result.provenance)
    command = provenance.pop("command", ())
    images = sum(one.images for one in result.generators)
    missing = sum(len(one.missing) for one in result.generators)
    facts = [
        ("Generators", f"{len(result.generators):,}"),
        ("Prompts", f"{next((part.prompts for part in result.parts if part.tag == ALL), 0):,}"),
        ("Images", f"{images:,}"),
        ("Missing", f"{missing:,}"),
        ("Rewards", ", ".join(reward.label for reward in result.rewards)),
    ]
    label, headline, below = _first(result)
    return Results(
        title=result.prompt_set,
        kicker="rewardkit benchmark",
        label=label,
        headline=headline,
        below=below,
        facts=facts,
        sections=sections(result, board),
        commands=[command if isinstance(command, str) else " ".join(map(str, command))] if command else [],
        environment=provenance,
    )


def _first(result: BenchmarkResult) -> tuple[str, str, str]:
    """What the first reward puts first over all prompts: label, headline, and the line below it."""
    reward = result.rewards[0] if result.rewards else None
    cells = [
        cell
        for cell in result.cells
        if reward and cell.tag == ALL and (cell.reward, cell.dimension) == (reward.label, reward.dimensions[0])
    ]
    scored = [cell for cell in cells if cell.mean is not None]
    best = max(scored, key=lambda cell: cell.mean or 0.0, default=None)
    if reward is None or best is None:
        return "Nothing was scored", "", ""
    same = f"; not distinguishable from {', '.join(best.same_as)}" if best.same_as else ""
    rank = rank_name(best.rank, best.last_rank)
    below = f"{written(best.mean, reward.scale)} over {best.n:,} prompts, rank {rank} of {len(scored)}{same}"
    return f"Highest by {reward.label}, {reward.dimensions[0]}", best.generator, below
