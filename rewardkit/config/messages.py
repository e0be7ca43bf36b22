"""Messages about wrong keys and values: what, where, the nearest right thing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known words most like a wrong one, best first; dotted keys also match by their last part."""
    known = list(known)
    found = difflib.get_close_matches(word, known, n=count, cutoff=0.6)
    leaf = word.rsplit(".", 1)[-1]
    same_leaf = [k for k in known if k.rsplit(".", 1)[-1] == leaf]
    leaves: dict[str, str] = {}
    for k in known:
        leaves.setdefault(k.rsplit(".", 1)[-1], k)
    close_leaf = [leaves[m] for m in difflib.get_close_matches(leaf, leaves, n=count, cutoff=0.75)]
    return list(dict.fromkeys([*same_leaf, *found, *close_leaf]))[:count]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` Did you mean a, b?``, or nothing where no known word is near."""
    words = nearest(word, known)
    return f" Did you mean {' or '.join(repr(w) for w in words)}?" if words else ""
