"""``data inspect`` and ``data leaks``: looking at what shard sets hold and share."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from rewardkit.commands.data_display import print_tables, progress_display
from rewardkit.config.data_options import InspectOptions, LeaksOptions
from rewardkit.errors import EXIT_DONE, EXIT_FAILURE, UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rewardkit.data.inspect import Table
    from rewardkit.data.leaks_found import Leaks, Match
    from rewardkit.metrics.group_agreement import Agreement

_SHOWN_LETTERS = 60


def inspect(options: InspectOptions) -> int:
    """Prints what a shard set holds, and writes it as a page where one is asked for."""
    from rewardkit.data.inspect import inspect_shards, tables
    from rewardkit.data.open_index import open_index
    from rewardkit.metrics.group_agreement import GroupAgreement
    from rewardkit.report.inspect_counts import LabelCounts
    from rewardkit.report.inspect_page import write_inspect_page

    page = _page_path(options.html) if options.html else None
    index = open_index(str(options.src))
    agreement, labels = GroupAgreement(), LabelCounts(index.scales)
    also = [agreement.add, labels.add] if page else [agreement.add]
    with progress_display("reading", len(index)) as progress:
        found = inspect_shards(index, also=also, progress=progress)
    agreed = agreement.found()
    made = tables(found, options.context_length)
    if agreed:
        made.insert(2, agreement_table(agreed))
    print_tables(made)
    if page:
        write_inspect_page(
            page,
            index,
            found,
            agreed,
            labels,
            context_length=options.context_length,
            samples=options.samples,
            seed=options.seed,
        )
        print(f"wrote {page}")
    return EXIT_DONE


def _page_path(name: str) -> Path:
    """The page's file, before any work.

    Raises:
        UserError: Its name or its folder will not do.
    """
    path = Path(name)
    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"html={name}: its name must end in .html")
    if not path.parent.is_dir():
        raise UserError(f"html={name}: the folder {path.parent} does not exist")
    return path


def agreement_table(agreed: Mapping[str, Agreement]) -> Table:
    """Agreement of annotators, one row for each dimension; columns that say nothing are left out."""
    from rewardkit.data.inspect import Table

    columns = (
        "dimension",
        "judged",
        "pairwise",
        "no ties",
        "1 vs rest",
        "(wrong)",
        "1 vs mean",
        "(wrong)",
        "majority",
        "alpha",
        "ordinal",
        "interval",
        "of",
        "W",
        "tie votes",
        "tie verdicts",
    )

    def told(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    rows = [
        (
            name,
            f"{a.judged:,}",
            told(a.pairwise),
            told(a.pairwise_without_ties),
            told(a.one_against_rest.dropped),
            told(a.one_against_rest.counted_wrong),
            told(a.one_against_mean.dropped),
            told(a.one_against_mean.counted_wrong),
            told(a.majority_share),
            told(a.alpha_choices),
            told(a.alpha_ordinal),
            told(a.alpha_interval),
            a.alpha_of or "-",
            told(a.w),
            told(a.tie_votes),
            told(a.tie_verdicts),
        )
        for name, a in agreed.items()
    ]
    said = [n for n in range(len(columns)) if n == 0 or any(row[n] not in ("0", "-") for row in rows)]
    return Table(
        "agreement (of comparisons with 2 or more votes; wrong: an undecided rest counts as wrong; docs/looking.md)",
        [columns[n] for n in said],
        [[row[n] for n in said] for row in rows],
    )


def leaks(options: LeaksOptions) -> int:
    """Prints what two sets share; exit code 1 if they share anything."""
    from rewardkit.data.leaks import find_leaks
    from rewardkit.data.leaks_out import match_writer
    from rewardkit.data.leaks_sides import open_side

    out = Path(options.out) if options.out else None
    with match_writer(out) if out else nullcontext(None) as sink:
        found = find_leaks(
            open_side(str(options.a)),
            open_side(str(options.b)),
            prompts=options.prompts,  # type: ignore[arg-type]  # the schema allows these three
            similarity=options.similarity,
            images=options.images,  # type: ignore[arg-type]
            distance=options.distance,
            workers=options.workers,
            sink=sink,
            display=progress_display,
        )
    _print_leaks(found, options)
    if out:
        print(f"wrote {out}: every match")
    return EXIT_FAILURE if found else EXIT_DONE


def _print_leaks(found: Leaks, options: LeaksOptions) -> None:
    from rewardkit.data.inspect import Table
    from rewardkit.data.leaks_found import KINDS

    rows = []
    for kind, shared in found.shared.items():
        share = f"{shared.in_b / shared.of_b:.1%}" if shared.of_b else "-"
        rows.append(
            (KINDS[kind], f"{shared.in_a:,}", f"{shared.in_b:,}", share, f"{shared.of_a:,}", f"{shared.of_b:,}")
        )
    title = "in both sets (each kind of prompt or image includes the kinds above it)"
    print_tables([Table(title, ("the same", "in a", "in b", "share of b", "of a", "of b"), rows)])
    for kind, shared in found.shared.items():
        if shared.examples:
            print(f"{KINDS[kind]}, for example")
        for match in shared.examples:
            print(f"  a {match.a_id}, b {match.b_id}: {_told(kind, match)}")
    for note in _notes(found, options):
        print(f"note: {note}")
    print("shared: " + ("yes" if found else "nothing"))
    if found.unreadable or found.looks.unreadable:
        print(
            f"warning: {found.unreadable:,} records and {found.looks.unreadable:,} images cannot be read "
            "(`data verify` names them)",
            file=sys.stderr,
        )


def _notes(found: Leaks, options: LeaksOptions) -> list[str]:
    """What the numbers mean, as far as they are not zero."""
    notes = []
    if "similar" in found.shared:
        notes.append(
            f"edited: similarity {options.similarity:g} or more, words added, dropped, moved or mistyped. similar: "
            "that similarity, but a word was swapped for another, as templates do; that alone is no leak"
        )
    if "near_image" in found.shared:
        notes.append(f"nearly equal: perceptual hashes differ in at most {options.distance} of 64 bits")
    if found.looks.flat:
        notes.append(f"{found.looks.flat:,} images of one flat colour were compared by their bytes only")
    if "image" not in found.shared and options.images != "none":
        notes.append("no images were compared: one side is a list of prompts")
    return notes


def _told(kind: str, match: Match) -> str:
    """What the match is, short enough for a table."""
    if kind == "id":
        return _cut(match.a) if match.a == match.b else f"{_cut(match.a)} | {_cut(match.b)}"
    if kind == "prompt":
        return _cut(match.a)
    if match.bits is not None:
        return f"{match.a} | {match.b} ({match.bits} bits)"
    if kind == "image":
        return f"{match.a} | {match.b}"
    score = f" ({match.similarity:.3f})" if match.similarity is not None else ""
    return f"{_cut(match.a)} | {_cut(match.b)}{score}"


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_LETTERS else line[: _SHOWN_LETTERS - 1] + "…"
