"""Help texts of the program and of each verb, made from the schema's docstrings."""

from __future__ import annotations

import textwrap
from typing import Any

import yaml

from rewardkit.config.options import Leaf, leaves, sections
from rewardkit.config.verbs import VERBS

_WIDTH = 100


def program_help(version: str) -> str:
    """What ``python -m rewardkit --help`` prints."""
    verbs = "\n".join(f"  {name:<10} {text}" for name, text in VERBS.items())
    return f"""rewardkit {version}: reward models of human preference for text-to-image.

usage: python -m rewardkit VERB [key=value ...]
       python -m rewardkit VERB --help

verbs:
{verbs}

first steps:
  python -m rewardkit fit recipe=hpsv2           train a small model on an embedded dataset, in minutes
  python -m rewardkit recipes show hpsv2         every option of that recipe, and where its value comes from
  python -m rewardkit fit recipe=hpsv2 dry_run=true

Values are YAML; lists are [a, b] or a,b; null unsets. A run is continued with resume=auto run.name=NAME.
Exit codes: 0 done, 1 failure, 2 a mistake in what was given, 75 preempted and saved, 130 interrupted and saved."""


def verb_help(usage: str, schema: type) -> str:
    """What ``python -m rewardkit VERB --help`` prints: the schema's summary, then each key with its default."""
    texts = sections(schema)
    lines = [f"usage: python -m rewardkit {usage}", "", *_wrap(texts.get("", ""), "")]
    section = ""
    for leaf in leaves(schema):
        parent = leaf.key.rpartition(".")[0]
        if parent != section:
            section = parent
            lines += ["", *_wrap(f"{parent}: {texts.get(parent, '')}", "")]
        elif leaf.key == next(leaves(schema)).key:
            lines.append("")
        lines += key_help(leaf, "  ")
    return "\n".join(lines)


def key_help(leaf: Leaf, indent: str) -> list[str]:
    """A key with its default and what it may be, and its text below."""
    head = f"{indent}{leaf.key}={show_value(leaf.default)}   ({describe_kind(leaf)})"
    return [head, *_wrap(leaf.text, f"{indent}    ")]


def describe_kind(leaf: Leaf) -> str:
    """The type and limits of a key, in words."""
    limits = leaf.limits
    if "choices" in limits:
        return f"{'list of ' if leaf.kind.startswith('list') else ''}{' | '.join(limits['choices'])}"
    bounds = [
        f"{words} {limits[name]:g}"
        for name, words in (("at_least", "at least"), ("above", "above"), ("at_most", "at most"))
        if name in limits
    ]
    return ", ".join([leaf.kind, *bounds])


def show_value(value: Any) -> str:
    """A value as it would be typed on the command line."""
    if isinstance(value, str):
        return value
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True).strip()
    return text.removesuffix("...").strip()


def _wrap(text: str, indent: str) -> list[str]:
    paragraphs = " ".join(text.split())
    return textwrap.wrap(paragraphs, _WIDTH, initial_indent=indent, subsequent_indent=indent)
