"""``data ACTION``: from preferences as they lie on disk to shard sets, and what can be done with those."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from rewardkit.commands.data_display import progress_display
from rewardkit.config.compose import COMMAND_LINE, Layer, compose, parse_overrides
from rewardkit.config.data_options import (
    ConvertOptions,
    DemoOptions,
    FlipsOptions,
    IndexOptions,
    InspectOptions,
    LeaksOptions,
    MergeOptions,
    SplitOptions,
    VerifyOptions,
)
from rewardkit.config.help import key_help, verb_help
from rewardkit.config.messages import did_you_mean
from rewardkit.config.options import leaves
from rewardkit.errors import EXIT_DONE, EXIT_FAILURE, UserError

T = TypeVar("T")

SHOWN_PROBLEMS = 50
"""Problems that ``data verify`` prints; it always counts all."""

USAGE: Mapping[str, tuple[str, type]] = {
    "convert": ("data convert format=FORMAT src=PATH out=DIR", ConvertOptions),
    "index": ("data index src=DIR", IndexOptions),
    "inspect": ("data inspect src=DIR [html=FILE]", InspectOptions),
    "verify": ("data verify src=DIR", VerifyOptions),
    "split": ("data split src=DIR out=DIR [fraction=0.1 | folds=N]", SplitOptions),
    "merge": ("data merge src=DIR,DIR out=DIR", MergeOptions),
    "leaks": ("data leaks a=DIR b=DIR", LeaksOptions),
    "flips": ("data flips ai=DIR human=DIR", FlipsOptions),
    "demo": ("data demo out=DIR groups=N", DemoOptions),
}
"""Action to its usage and its schema."""


def help_text(arguments: list[str]) -> str:
    """Help of one action, or of all."""
    action = arguments[0] if arguments else ""
    if action not in USAGE:
        lines = [f"  python -m rewardkit {usage}" for usage, _ in USAGE.values()]
        return "\n".join(["usage:", *lines, "", "`python -m rewardkit data ACTION --help` lists an action's options."])
    usage, schema = USAGE[action]
    if action != "convert":
        return verb_help(usage, schema)
    from rewardkit.data.formats import FORMATS

    text = [verb_help(f"{usage} [key=value ...]", schema), "", "formats and their own options:"]
    for name, format in FORMATS.items():
        text += ["", f"format={name}: {format.summary}"]
        text += [line for leaf in leaves(format.options) for line in key_help(leaf, "  ")]
    return "\n".join(text)


def run(arguments: list[str]) -> int:
    """Runs one action; exit code 1 where ``verify`` finds damage or ``leaks`` finds something shared."""
    action = arguments[0] if arguments else ""
    if action not in USAGE:
        raise UserError(f"data needs an action: {', '.join(USAGE)}.{did_you_mean(action, USAGE)}")
    actions: dict[str, Callable[[dict[str, Any]], int]] = {
        "convert": _convert,
        "index": _index,
        "inspect": _inspect,
        "verify": _verify,
        "split": _split,
        "merge": _merge,
        "leaks": _leaks,
        "flips": _flips,
        "demo": _demo,
    }
    return actions[action](parse_overrides(arguments[1:]))


def _options(schema: type[T], given: Mapping[str, Any], *needed: str) -> T:
    """The action's options.

    Raises:
        ConfigError: A wrong key or value.
        UserError: A needed one is missing.
    """
    options = compose(schema, [Layer(COMMAND_LINE, dict(given))]).options
    missing = [name for name in needed if not getattr(options, name)]
    if missing:
        usage = next(usage for usage, known in USAGE.values() if known is schema)
        raise UserError(f"{', '.join(f'{name}=' for name in missing)} is missing: python -m rewardkit {usage}")
    return options


def _convert(given: dict[str, Any]) -> int:
    from rewardkit.commands import data_convert

    return data_convert.run(given, USAGE["convert"][0])


def _index(given: dict[str, Any]) -> int:
    from rewardkit.data.index_build import build_index
    from rewardkit.data.remote import is_url

    options = _options(IndexOptions, given, "src")
    if is_url(options.src):
        raise UserError(
            f"src={options.src}: an index is made from whole shards and lies beside them, so make it where they lie, "
            "and upload index.json and the folder index-… with the shards"
        )
    with progress_display("indexing") as progress:
        index = build_index(
            str(options.src),
            leave_out_bad=options.leave_out_bad,
            made={"action": "index"},
            progress=progress,
        )
    print(f"indexed {options.src}: {len(index):,} groups in {len(index.shards):,} shards")
    for bad in index.left_out[:SHOWN_PROBLEMS]:
        print(f"warning: left out {bad['shard']} {bad['key']}: {bad['reason']}", file=sys.stderr)
    if len(index.left_out) > SHOWN_PROBLEMS:
        print(f"… and {len(index.left_out) - SHOWN_PROBLEMS:,} more, named in index.json", file=sys.stderr)
    return EXIT_DONE


def _inspect(given: dict[str, Any]) -> int:
    from rewardkit.commands.data_look import inspect

    return inspect(_options(InspectOptions, given, "src"))


def _verify(given: dict[str, Any]) -> int:
    from rewardkit.data.verify import verify_shards

    options = _options(VerifyOptions, given, "src")
    with progress_display("verifying") as progress:
        found = verify_shards(str(options.src), workers=options.workers, progress=progress)
    for problem in found.problems[:SHOWN_PROBLEMS]:
        print(problem)
    if len(found.problems) > SHOWN_PROBLEMS:
        print(f"… and {len(found.problems) - SHOWN_PROBLEMS:,} more")
    verdict = f"{len(found.problems):,} problems" if found.problems else "all well"
    print(f"verified {options.src}: {found.groups:,} groups, {found.images:,} images: {verdict}")
    return EXIT_FAILURE if found.problems else EXIT_DONE


def _split(given: dict[str, Any]) -> int:
    from rewardkit.data.open_index import open_index
    from rewardkit.data.split import split_shards

    options = _options(SplitOptions, given, "src", "out")
    if options.fraction is not None and options.folds is not None:
        raise UserError("fraction= makes one split and folds= makes several; give one of them")
    out = Path(str(options.out))
    with progress_display("splitting") as progress:
        parts = split_shards(
            open_index(str(options.src)),
            out,
            by=options.by,  # type: ignore[arg-type]  # the schema allows these two
            fraction=0.1 if options.fraction is None else options.fraction,
            folds=options.folds,
            seed=options.seed,
            progress=progress,
        )
    for part in parts:
        print(f"wrote {out / part.path}: train {part.train:,} groups, val {part.val:,} groups")
    return EXIT_DONE


def _merge(given: dict[str, Any]) -> int:
    from rewardkit.data.index import ShardIndex
    from rewardkit.data.merge import merge_shards
    from rewardkit.data.remote import is_url

    options = _options(MergeOptions, given, "src", "out")
    if any(map(is_url, options.src)):
        raise UserError("data merge links or copies whole shards; copy those of a server to a disk first")
    with progress_display("merging") as progress:
        merged = merge_shards(
            [ShardIndex.open(src) for src in options.src],
            Path(str(options.out)),
            prefix=options.prefix,
            progress=progress,
        )
    print(f"wrote {options.out}: {len(merged):,} groups in {len(merged.shards):,} shards")
    return EXIT_DONE


def _leaks(given: dict[str, Any]) -> int:
    from rewardkit.commands.data_look import leaks

    return leaks(_options(LeaksOptions, given, "a", "b"))


def _flips(given: dict[str, Any]) -> int:
    from rewardkit.commands.data_flips import flips

    return flips(_options(FlipsOptions, given, "ai", "human"))


def _demo(given: dict[str, Any]) -> int:
    from rewardkit.data.demo import draw_groups
    from rewardkit.data.index_build import build_index
    from rewardkit.data.new_folder import new_folder
    from rewardkit.data.shard_writer import ShardWriter

    options = _options(DemoOptions, given, "out")
    out = Path(str(options.out))
    with new_folder(out) as folder, progress_display("drawing", options.groups) as progress:
        with ShardWriter(folder, "demo") as writer:
            for group, images in draw_groups(
                seed=options.seed,
                start=0,
                count=options.groups,
                split=options.split,  # type: ignore[arg-type]  # the schema allows these three
                answers=options.answers,
                workers=options.workers,
            ):
                writer.write(group, images)
                progress(writer.groups)
        made = {"action": "demo", "groups": options.groups, "seed": options.seed, "split": options.split}
        made |= {"answers": True} if options.answers else {}
        build_index(folder, made=made)
    print(f"wrote {out}: {options.groups:,} groups")
    return EXIT_DONE
