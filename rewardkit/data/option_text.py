"""Which of a question's options a text names that somebody wrote: a person, or a model that generates.

The name stands at the beginning of the text ("Answer:", brackets or stars before it may stand) and ends there, or the
text names nothing: "I see 3 arms", "3.5" and "2 or 3" answer no question. Published programs take the first run of
digits anywhere and 0, the worst score, where there is none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_BEFORE = r"""
    (?: < \|? /? \w+ \|? > \s* )*                      # special tokens: <s>, <|assistant|>
    (?: (?: the \s+ | my \s+ )? (?: answer | score | option ) (?: \s+ is )? \s* :? \s* )?
    [*_"'(\[]*                                         # **3**, "3", (3)
"""
_LETTER = r" (?! \s+ \w )"
"""Behind a name of one letter: "A cat" is not the option A, "A. A cat" is."""
_BEHIND = r"""
    (?! [A-Za-z_\d] | [.,] \d                          # 3rd, 3.5
      | \s* (?: [-\u2013/] | to\b | or\b | and\b ) \s* -? (?: {names} ) (?! \w ) )    # 2-3, 2/4, 2 or 3
"""
_MINUS = "\u2212"


def option_named(text: str, names: Sequence[str]) -> int | None:
    """The place of the name that a text begins with; None: of none.

    Full-width digits and signs are read as plain ones, U+2212 as a minus. Letters may be of either case where that
    leaves no doubt between two names.

    Args:
        text: What was written.
        names: Of the options, all different.
    """
    plain = [_plain(name) for name in names]
    alternatives = "|".join(
        re.escape(name) + (_LETTER if len(name) == 1 and name.isalpha() else "")
        for name in sorted(plain, key=len, reverse=True)
    )
    number = r"\d+" if all(name.lstrip("-").isdigit() for name in plain) else alternatives
    pattern = _BEFORE + f"(?P<name> {alternatives} )" + _BEHIND.format(names=number)
    found = re.match(pattern, _plain(text), re.VERBOSE | re.IGNORECASE)
    if found is None:
        return None
    said = found["name"]
    if said in plain:
        return plain.index(said)
    alike = [n for n, name in enumerate(plain) if name.lower() == said.lower()]
    return alike[0] if len(alike) == 1 else None


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).replace(_MINUS, "-").strip()
