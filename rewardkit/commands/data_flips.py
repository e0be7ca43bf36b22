"""``data flips``: how often an annotator turns people's order round, and the line that a robust objective takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rewardkit.commands.data_display import print_tables, progress_display
from rewardkit.config.data_options import FlipsOptions
from rewardkit.config.messages import did_you_mean
from rewardkit.errors import EXIT_DONE, UserError

if TYPE_CHECKING:
    from rewardkit.data.index import ShardIndex
    from rewardkit.data.inspect import Table
    from rewardkit.data.matched_labels import Matched
    from rewardkit.metrics.flip_rate import FlipRate

KEY = "objective.robust.flip_rate"


def flips(options: FlipsOptions) -> int:
    """Prints the flip rate of each dimension.

    Raises:
        UserError: The two sets have no dimension, no group or no comparison in common, or an option is wrong.
    """
    from rewardkit.data.matched_labels import match_labels
    from rewardkit.data.open_index import open_index
    from rewardkit.metrics.flip_rate import flip_rate

    out = _out_path(options.out) if options.out else None
    ai, human = open_index(str(options.ai)), open_index(str(options.human))
    dimensions = _dimensions(ai, human, options.dimension_map)
    with progress_display("matching", len(ai)) as progress:
        matched = match_labels(ai, human, dimensions, progress=progress)
    _check_matched(matched, ai, options)
    found = {
        name: flip_rate(*votes.arrays(), noise=options.noise, draws=options.bootstrap)  # type: ignore[arg-type]
        for name, votes in matched.votes.items()
    }
    print_tables([_groups_table(matched), _rates_table(found), _ties_table(found)])
    for note in _notes(found):
        print(f"note: {note}")
    line = ready_line(found)
    print(line if line else f"{KEY}: no dimension has a rate below one half")
    if out:
        _write(out, options, dimensions, matched, found, line)
        print(f"wrote {out}")
    return EXIT_DONE


def ready_line(found: Mapping[str, FlipRate]) -> str:
    """The argument for ``fit``, quoted for a shell; empty where no dimension has a rate that a robust loss can take."""
    rates = ", ".join(f"{as_key(name)}: {rate.flip_rate:.4f}" for name, rate in found.items() if rate.usable)
    return f"{KEY}='{{{rates}}}'" if rates else ""


def as_key(name: str) -> str:
    """A dimension's name as a key of YAML."""
    return name if name.replace("_", "").isalnum() and not name[0].isdigit() else json.dumps(name)


def _out_path(name: str) -> Path:
    path = Path(name)
    if path.suffix != ".json":
        raise UserError(f"out={name}: its name must end in .json")
    if not path.parent.is_dir():
        raise UserError(f"out={name}: the folder {path.parent} does not exist")
    return path


def _dimensions(ai: ShardIndex, human: ShardIndex, given: Mapping[str, str | None]) -> dict[str, str]:
    """The annotator's dimension to the people's, for those that both judge."""
    for name, other in given.items():
        if name not in ai.dimensions:
            raise UserError(
                f"dimension_map names {name!r}, but the labels of ai= speak to {', '.join(ai.dimensions) or 'nothing'}."
                f"{did_you_mean(name, ai.dimensions)}"
            )
        if other is not None and other not in human.dimensions:
            raise UserError(
                f"dimension_map maps {name!r} to {other!r}, but the votes of human= speak to "
                f"{', '.join(human.dimensions) or 'nothing'}.{did_you_mean(other, human.dimensions)}"
            )
    wanted = {name: given.get(name, name) for name in ai.dimensions}
    both = {name: other for name, other in wanted.items() if other is not None and other in human.dimensions}
    if not both:
        raise UserError(
            f"the two sets have no dimension in common: ai= speaks to {', '.join(ai.dimensions) or 'nothing'}, human= "
            f"to {', '.join(human.dimensions) or 'nothing'}; name the pairs: dimension_map='{{ai_name: human_name}}'"
        )
    return both


def _check_matched(matched: Matched, ai: ShardIndex, options: FlipsOptions) -> None:
    if not matched.by_id + matched.by_images:
        raise UserError(
            f"none of the {len(ai):,} groups of {options.ai} is in {options.human}: {matched.other_images:,} have the "
            f"prompt of one there but not its images, {matched.other_prompt:,} its id but another prompt, "
            f"{matched.alone:,} neither. Both must hold the same image files (converted without resize=, or with the "
            "same)"
        )
    if not any(votes.group for votes in matched.votes.values()):
        raise UserError(
            f"{options.ai} and {options.human} share {matched.by_id + matched.by_images:,} groups, but no comparison "
            f"of {', '.join(matched.votes)} is judged in both"
        )


def _groups_table(matched: Matched) -> Table:
    from rewardkit.data.inspect import Table

    rows = [
        ("matched by id", matched.by_id),
        ("matched by prompt and images", matched.by_images),
        ("left out: other images", matched.other_images),
        ("left out: same id, other prompt", matched.other_prompt),
        ("left out: not in human", matched.alone),
    ]
    told = [(name, f"{count:,}") for name, count in rows if count]
    return Table("groups of ai", ("", ""), told)


def _rates_table(found: Mapping[str, FlipRate]) -> Table:
    from rewardkit.data.inspect import Table

    def told(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    rows = [
        (
            name,
            f"{f.comparisons:,}",
            f"{f.groups:,}",
            told(f.raw_disagreement),
            told(f.human_agreement),
            told(f.flip_rate),
            "-" if f.low is None or f.high is None else f"{f.low:.3f}–{f.high:.3f}",
            "-" if f.least is None or f.most is None else f"{f.least:.3f}–{f.most:.3f}",
            f.method,
        )
        for name, f in found.items()
    ]
    columns = ("dimension", "n", "groups", "raw", "people agree", "flip rate", "95 %", "bounds", "people's noise")
    title = "flip rate (raw: against people's majority, nothing corrected; docs/looking.md tells every column)"
    return Table(title, columns, rows)


def _ties_table(found: Mapping[str, FlipRate]) -> Table:
    from rewardkit.data.inspect import Table

    def share(count: int, of: int) -> str:
        return f"{count / of:.1%}" if of else "-"

    rows = [
        (
            name,
            f"{f.matched:,}",
            share(f.annotator_ties, f.matched),
            share(f.human_ties, f.matched),
            share(f.both_ties, f.matched),
            share(f.human_undecided, f.matched),
            f"{f.no_side:,}",
            f"{f.one_side_vote:,}",
        )
        for name, f in found.items()
    ]
    columns = ("dimension", "matched", "ai ties", "human ties", "both tie", "undecided", "no sided vote", "one")
    return Table("ties and votes (comparisons that both judged; ties flip nothing)", columns, rows)


def _notes(found: Mapping[str, FlipRate]) -> list[str]:
    """What a reader must know about single figures."""
    notes = []
    for name, f in found.items():
        if f.flip_rate is None:
            notes.append(f"{name}: no flip rate: {f.reason}")
            continue
        if f.method == "uncorrected":
            notes.append(
                f"{name}: no comparison has two sided votes of people, so their own noise is unknown and counts as the "
                "annotator's; the rate is an upper bound"
            )
        if f.flip_rate >= 0.5:
            notes.append(
                f"{name}: the annotator is no better than chance ({f.flip_rate:.3f}); no loss can be corrected for "
                "that, so the dimension is left out of the line. Is its scale the wrong way round?"
            )
        elif f.high is not None and f.high >= 0.5:
            notes.append(f"{name}: the interval reaches one half; these labels may tell nothing")
        if f.unclipped is not None and f.unclipped < 0:
            notes.append(f"{name}: estimated {f.unclipped:.3f}, which is given as 0")
    return notes


def _write(
    out: Path,
    options: FlipsOptions,
    dimensions: Mapping[str, str],
    matched: Matched,
    found: Mapping[str, FlipRate],
    line: str,
) -> None:
    record = {
        "ai": options.ai,
        "human": options.human,
        "bootstrap": options.bootstrap,
        "groups": {
            name: getattr(matched, name) for name in ("by_id", "by_images", "other_images", "other_prompt", "alone")
        },
        "dimensions": {
            name: {"human": dimensions[name], "only_ai": matched.votes[name].only_a, **asdict(f)}
            for name, f in found.items()
        },
        "line": line,
    }
    try:
        out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"out={out} cannot be written: {error.strerror or error}") from None
