"""What of a run's values may leave the machine: nothing that says where it ran or opens a door.

Absolute paths keep their last part only, URLs lose user, password, query and fragment. What a person wrote otherwise
(names, prompts, relative names) stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

HIDDEN = "…"
"""Stands for the part of a path that was left out."""

LOCAL_KEYS = ("run.dir", "cache.dir", "plugins", "resume", "dry_run", "trainer.nvme_path", "wandb")
"""Options of ``fit`` that are about this machine and are left out whole."""

_URL = re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"<>()\[\]{},;]+")
_PATH = re.compile(
    r"""(?<![\w:/\\.~…-])               # not in the middle of a name, a URL or a relative path
    (?:~[\w.-]*|\.\.|\.|[A-Za-z]:)?     # ~, ~user, .., a drive
    [/\\](?:[^\s'"<>:;,()\[\]{}/\\]+[/\\])*  # folders
    ([^\s'"<>:;,()\[\]{}/\\]*)          # the last part
    """,
    re.VERBOSE,
)


def public_text(text: str) -> str:
    """A text without absolute paths and without what a URL says beside its place."""
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(public_url(match.group()))
        return f"\0{len(kept) - 1}\0"

    hidden = _PATH.sub(_last_part, _URL.sub(keep, text))
    return re.sub("\0([0-9]+)\0", lambda match: kept[int(match.group(1))], hidden)


def public_url(url: str) -> str:
    """A URL without user, password, query and fragment; of ``file:`` only the last part."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return f"{HIDDEN}/{parts.path.rstrip('/').rpartition('/')[2]}"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def public_value(value: Any) -> Any:
    """The same of every text in lists and maps, keys of maps included; a whole path may hold spaces."""
    if isinstance(value, str):
        is_path = re.match(r"(?:~|\.\.?|[A-Za-z]:)?[/\\]", value) is not None
        if is_path and "\n" not in value:
            last = re.split(r"[/\\]", value.rstrip("/\\"))[-1]
            return f"{HIDDEN}/{last}" if last not in ("", "..", ".", "~") else HIDDEN
        return public_text(value)
    if isinstance(value, Mapping):
        return {public_value(key): public_value(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [public_value(entry) for entry in value]
    return value


def public_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options by their dotted keys as nested maps, without those that are about this machine.

    Args:
        values: Dotted key to value, or to where it was set.
    """
    nested: dict[str, Any] = {}
    for key, value in values.items():
        if any(key == local or key.startswith(f"{local}.") for local in LOCAL_KEYS):
            continue
        *parents, leaf = key.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[leaf] = public_value(value)
    return nested


def _last_part(match: re.Match[str]) -> str:
    """``/home/me/data`` to ``…/data``; a lone slash is no path."""
    whole, last = match.group(), match.group(1)
    if len(whole) < 2:
        return whole
    return f"{HIDDEN}/{last}" if last else HIDDEN
