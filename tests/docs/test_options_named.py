"""Every option that a page, a recipe's comment or a printed command names is one that the schema has."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from rewardkit.commands.data import USAGE
from rewardkit.config import verbs
from rewardkit.config.annotate_options import AnnotateOptions
from rewardkit.config.benchmark_options import BenchmarkOptions
from rewardkit.config.compose import COMMAND_LINE, Layer, compose, parse_overrides
from rewardkit.config.options import leaves, sections
from rewardkit.config.recipes import compose_fit
from rewardkit.config.schema import FitOptions
from rewardkit.config.sweep_options import SweepOptions
from rewardkit.data.formats import FORMATS
from rewardkit.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(path for path in sorted((REPOSITORY / "docs").rglob("*.md")) if path.name != "options.md"),
    *sorted((REPOSITORY / "recipes").glob("*.yaml")),
]
SCHEMAS = {
    "fit": FitOptions,
    "validate": verbs.ValidateOptions,
    "score": verbs.ScoreOptions,
    "export": verbs.ExportOptions,
    "report": verbs.ReportOptions,
    "sweep": SweepOptions,
    "annotate": AnnotateOptions,
    "benchmark": BenchmarkOptions,
}
ALL = (
    *SCHEMAS.values(),
    *(schema for _, schema in USAGE.values()),
    *(f.options for f in FORMATS.values() if f.options),
)
KEYS = {leaf.key for schema in ALL for leaf in leaves(schema)}
FREE = {leaf.key for schema in ALL for leaf in leaves(schema) if leaf.free}
SECTIONS = {name for schema in ALL for name in sections(schema) if name}
ROOTS = "|".join(sorted({name.split(".")[0] for name in SECTIONS}))
OF_A_LOADED_MODEL = {"model.dimensions", "model.calibration", "model.score_with_sigma", "model.score"}
GONE = {"CHANGELOG.md": {"objective.coefficient"}}
"""Options that a page says are no more."""


def named_options(text: str) -> set[str]:
    """Dotted options that a text names: set with ``=``, or alone between backticks. Words in capitals stand for any."""
    given = re.findall(rf"(?<![\w./-])((?:{ROOTS})\.\w[\w.]*)=", text)
    alone = re.findall(rf"`((?:{ROOTS})\.\w[\w.]*)`", text)
    return {name for name in (*given, *alone) if not re.search(r"\.(md|py|json|yaml|csv|safetensors)$|[A-Z]{2}", name)}


def is_option(name: str) -> bool:
    return name in KEYS | SECTIONS or name.rpartition(".")[0] in FREE


def commands(text: str) -> Iterator[list[str]]:
    """Words behind ``python -m rewardkit`` of every printed command that has no gap to be filled in."""
    whole = re.sub(r"^# ", "", text, flags=re.MULTILINE)  # comments at the head of a recipe
    whole = re.sub(r"\\\n\s*", "", whole)
    for command in re.findall(r"^(?:\$ )?python -m rewardkit (.*)$", whole, re.MULTILINE):
        words = shlex.split(re.split(r"\s{3,}| # ", command)[0])
        if not any(word in ("VERB", "...", "…") or "[" in word for word in words):
            yield words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_options_that_are_named_exist(page: Path) -> None:
    names = named_options(page.read_text(encoding="utf-8")) - OF_A_LOADED_MODEL - GONE.get(page.name, set())
    assert {name for name in names if not is_option(name)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_printed_commands_are_understood(page: Path) -> None:
    for verb, *words in commands(page.read_text(encoding="utf-8")):
        given = [word for word in words if "=" in word]
        if verb == "fit" and any(word.startswith("recipe=") for word in given):
            if "./" not in "".join(given):  # a recipe of the reader's own
                compose_fit(parse_overrides(given))
        elif verb == "sweep":
            own = {leaf.key for leaf in leaves(SweepOptions)}
            mine = [word for word in given if word.split("=")[0] in own]
            compose(SweepOptions, [Layer(COMMAND_LINE, parse_overrides(mine))])
            compose_fit({"recipe": "hpsv2", **parse_overrides([word for word in given if word not in mine])})
        elif verb in SCHEMAS:
            compose(SCHEMAS[verb], [Layer(COMMAND_LINE, parse_overrides(given))])
        elif verb == "data":
            known = {leaf.key for leaf in leaves(USAGE[words[0]][1])}
            for format in (word.removeprefix("format=") for word in given if word.startswith("format=")):
                known |= {leaf.key for leaf in leaves(FORMATS[format].options)} if FORMATS[format].options else set()
            assert {word.split("=")[0] for word in given} <= known, words
        else:
            assert verb == "recipes", verb


def test_a_name_that_is_no_option_is_found() -> None:
    text = (
        "`optim.rate`, fit optim.lr=1 objective.huber.delta=2 model.heads=x docs/data.md `objective.TERM.coefficient`"
    )
    assert {name for name in named_options(text) if not is_option(name)} == {"optim.rate", "model.heads"}
    assert is_option("data.dimension_map.appeal")
    [words] = commands("# python -m rewardkit fit recipe=hpsv2 \\\n#     optim.rate=1      a note")
    assert words == ["fit", "recipe=hpsv2", "optim.rate=1"]
    with pytest.raises(UserError, match=r"optim\.rate"):
        compose_fit(parse_overrides(words[1:]))
