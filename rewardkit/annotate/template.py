"""The texts of requests: templates filled in strictly, and text of prompts made harmless.

A template is a text with ``{{name}}`` where a value goes. Every place must have a value and every value a place, and a
value is never read as a template: a prompt that spells ``{{count}}`` stays as it is.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from rewardkit.errors import UserError

TEMPLATES = Path(__file__).parent / "templates"

IMAGES = "images"
"""The place where the images go; a text is cut there (``around_images``)."""

_PLACE = re.compile(r"\{\{([^{}]*)\}\}")

_CONTROL = re.compile(r"<(?=[|｜/!]*[A-Za-z_|｜])|\[(?=/?[A-Z_]+\])|(?<=[|｜])>")
"""Where control tokens of chat templates begin or end: ``<|im_end|>``, ``</s>``, ``<image>``, ``[INST]`` …"""


def shipped_template(name: str) -> str:
    """The text of a template that comes with rewardkit."""
    return (TEMPLATES / f"{name}.txt").read_text(encoding="utf-8")


def render(template: str, values: Mapping[str, str], *, where: str) -> str:
    """A template with its values.

    Args:
        template: The text.
        values: Name to value.
        where: What the template is, for messages.

    Raises:
        UserError: A place without a value, a value without a place, or braces that are left over.
    """
    places = _PLACE.findall(template)
    unknown = [place for place in places if place not in values]
    unused = [name for name in values if name not in places]
    left = _PLACE.sub("", template)
    if unknown:
        raise UserError(f"{where}: {{{{{unknown[0]}}}}} is no placeholder; there are {', '.join(values)}")
    if unused:
        raise UserError(f"{where}: {{{{{unused[0]}}}}} stands nowhere; the text needs it")
    if "{{" in left or "}}" in left:
        raise UserError(f"{where}: braces are left over ({'{{' if '{{' in left else '}}'}); a place is {{{{name}}}}")
    return _PLACE.sub(lambda found: values[found.group(1)], template)


def around_images(template: str, values: Mapping[str, str], *, where: str) -> tuple[str, str]:
    """A template's text before and behind its images; raises as ``render``, and where they have not just one place."""
    if template.count(f"{{{{{IMAGES}}}}}") != 1:
        raise UserError(f"{where}: {{{{{IMAGES}}}}} must stand in it once, where the images go")
    before, behind = template.split(f"{{{{{IMAGES}}}}}")
    joined = render(f"{before}\0{behind}", values, where=where)
    first, _, second = joined.partition("\0")
    return first.rstrip(), second.lstrip()


def quoted(text: str, tokens: Iterable[str] = ()) -> str:
    """Untrusted text as one JSON string, in which no control token of a chat is left whole.

    A control token gets a space behind its first character, which a reader looks over and no tokenizer takes for the
    token.

    Args:
        text: Of a prompt.
        tokens: More texts that must not stand in it whole: a local model's own control tokens.
    """
    text = written_apart(text.replace("\0", " "), tokens)
    return json.dumps(text, ensure_ascii=False)


def written_apart(text: str, tokens: Iterable[str] = ()) -> str:
    """A text in which no control token of a chat is left whole; see ``quoted``."""
    text = _CONTROL.sub(lambda found: f"{found.group()} " if found.group() != ">" else " >", text)
    for token in sorted((token for token in tokens if len(token) > 1), key=len, reverse=True):
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def template_hash(*parts: str) -> str:
    """Names a version of fixed text: 16 hex digits of the SHA-256 of its parts."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]
