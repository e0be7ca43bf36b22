"""Writes docs/options.md: every key of every verb, with its type, its default and its text, from the schema.

::

    python tools/docs/write_options.py            writes the page
    python tools/docs/write_options.py --check    exit code 1 where the page is not current
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from rewardkit.config import data_options, verbs
from rewardkit.config.annotate_options import AnnotateOptions
from rewardkit.config.benchmark_options import BenchmarkOptions
from rewardkit.config.help import describe_kind, show_value
from rewardkit.config.options import Leaf, leaves, sections
from rewardkit.config.schema import FitOptions
from rewardkit.config.sweep_options import SweepOptions

PAGE = Path(__file__).resolve().parents[2] / "docs" / "options.md"

SCHEMAS: dict[str, type] = {
    "fit": FitOptions,
    "validate": verbs.ValidateOptions,
    "score": verbs.ScoreOptions,
    "export": verbs.ExportOptions,
    "data convert": data_options.ConvertOptions,
    "data index": data_options.IndexOptions,
    "data inspect": data_options.InspectOptions,
    "data verify": data_options.VerifyOptions,
    "data split": data_options.SplitOptions,
    "data merge": data_options.MergeOptions,
    "data leaks": data_options.LeaksOptions,
    "data flips": data_options.FlipsOptions,
    "data demo": data_options.DemoOptions,
    "annotate": AnnotateOptions,
    "benchmark": BenchmarkOptions,
    "sweep": SweepOptions,
    "report": verbs.ReportOptions,
    "recipes list": verbs.RecipesListOptions,
    "recipes copy": verbs.RecipesCopyOptions,
}
"""Each command, in the order of the page, and its schema."""

_INTRODUCTION = """\
<!-- Written by tools/docs/write_options.py from the schema in rewardkit/config/; `make docs` writes it again. -->

# Options

Every key of every verb: `python -m rewardkit VERB key=value …`. The same texts stand in `python -m rewardkit VERB
--help`. Values are YAML; a list is `[a, b]` or `a,b`; `null` unsets. For `fit`, the layers are: the defaults here, then
the recipe, then its scale, then the command line; `python -m rewardkit recipes show NAME` prints the outcome with the
origin of each value.
"""


def options_page() -> str:
    """The whole page as Markdown."""
    lines = [_INTRODUCTION]
    for command, schema in SCHEMAS.items():
        lines += [f"## {command}", ""]
        lines += _section_tables(schema)
    return "\n".join(lines).rstrip() + "\n"


def _section_tables(schema: type) -> Iterator[str]:
    """The schema's summary, and one table for each of its sections."""
    texts = sections(schema)
    by_section: dict[str, list[Leaf]] = {"": []}
    for leaf in leaves(schema):
        by_section.setdefault(leaf.key.rpartition(".")[0], []).append(leaf)
    for section, members in by_section.items():
        if section:
            yield from (f"### {section}", "")
        yield from (_one_line(texts.get(section, "")), "")
        if members:
            yield "| key | value | default | what it does |"
            yield "|---|---|---|---|"
            yield from (_row(leaf) for leaf in members)
            yield ""


def _row(leaf: Leaf) -> str:
    default = show_value(leaf.default)
    cells = (f"`{leaf.key}`", describe_kind(leaf), f"`{default}`" if default else "", leaf.text)
    return f"| {' | '.join(_one_line(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def main(arguments: list[str]) -> int:
    """Writes or checks the page; returns the exit code."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    page = options_page()
    if arguments:
        current = PAGE.is_file() and PAGE.read_text(encoding="utf-8") == page
        if not current:
            print(f"{PAGE.name} is not what the schema says; run: python {Path(__file__).name}", file=sys.stderr)
        return 0 if current else 1
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page, encoding="utf-8")
    print(f"wrote {PAGE.relative_to(PAGE.parents[1])}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
