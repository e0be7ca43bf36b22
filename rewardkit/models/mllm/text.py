"""Text to tokens for an MLLM: its chat template, cut where untrusted text goes, and that text without control tokens.

Prompts, slots, questions and rationales are text, whatever they say: a prompt that spells ``<|image_pad|>`` must add no
image, and one that spells ``<|score|>`` no score token. So the template alone is read with control tokens in force, and
every text that goes into it is encoded by itself.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass
from typing import Any

from rewardkit.errors import BadSample, UserError

SCORE_TOKEN = "<|score|>"
"""Stands behind a question; the dimension heads read the state at it."""

MAX_TEXTS = 16_384
"""Texts whose tokens are remembered, in each process; about 10 MB at 150 tokens a text."""

_USER, _ASSISTANT = "rkUserTextrk", "rkAssistantTextrk"
"""Stand for the texts while the template is rendered; letters alone, so that no template escapes or strips them."""


@dataclass(frozen=True, slots=True)
class ChatParts:
    """A conversation of one image, one question and one answer, as text around its two texts.

    Attributes:
        head: Up to the user's text, with the image's place in it once.
        tail: Between the user's text and the answer.
        end: The control token that ends the answer: the template's, else the tokenizer's end of text; or empty.
    """

    head: str
    tail: str
    end: str


def add_score_token(tokenizer: Any) -> int:
    """The id of ``<|score|>``; it is added where the tokenizer lacks it (the model's embeddings stay as they are)."""
    if SCORE_TOKEN not in tokenizer.get_added_vocab():
        tokenizer.add_special_tokens({"extra_special_tokens": [SCORE_TOKEN]}, replace_extra_special_tokens=False)
    return int(tokenizer.convert_tokens_to_ids(SCORE_TOKEN))


def chat_parts(processor: Any) -> ChatParts:
    """The processor's chat template around one image with a text, and one answer.

    Raises:
        UserError: There is no template, or it does not place image, text and answer once each, in this order.
    """
    template = processor.chat_template or processor.tokenizer.chat_template
    if not template:
        raise UserError("the model's processor has no chat template; give a model whose processor has one")
    messages = [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": _USER}]},
        {"role": "assistant", "content": [{"type": "text", "text": _ASSISTANT}]},
    ]
    text = processor.apply_chat_template(messages, chat_template=template, tokenize=False)
    if text.count(_USER) != 1 or text.count(_ASSISTANT) != 1 or text.index(_USER) > text.index(_ASSISTANT):
        raise UserError("the chat template of the model's processor does not place a question and its answer once each")
    head, rest = text.split(_USER)
    tail, end = rest.split(_ASSISTANT)
    if head.count(processor.image_token) != 1:
        raise UserError(
            f"the chat template of the model's processor places an image as {head.count(processor.image_token)} "
            f"{processor.image_token} before the question; one is needed"
        )
    control = control_tokens(processor.tokenizer)
    found = re.match(r"\s*(" + "|".join(re.escape(t) for t in sorted(control, key=len, reverse=True)) + ")", end)
    return ChatParts(head, tail, found.group(1) if found else processor.tokenizer.eos_token or "")


def control_tokens(tokenizer: Any) -> dict[str, int]:
    """Text to id of every token that text must never become: all that were added to the vocabulary."""
    special = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
    return {text: int(number) for text, number in {**tokenizer.get_added_vocab(), **special}.items() if text}


def encode_template(tokenizer: Any, text: str) -> list[int]:
    """A piece of the template: control tokens in force, nothing added."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


class PlainText:
    """Untrusted text as tokens that say just that text; a control token that it spells is taken apart.

    It remembers ``MAX_TEXTS`` texts: every candidate of a group is asked the same questions under the same prompt.

    Args:
        tokenizer: Of the model; no token may be added to it afterwards.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._control = control_tokens(tokenizer)
        pattern = "|".join(re.escape(token) for token in sorted(self._control, key=len, reverse=True))
        self._spelled = re.compile(f"(?=(?:{pattern}))") if pattern else None
        self._known: dict[str, array[int]] = {}

    def __call__(self, text: str) -> list[int]:
        """The tokens of a text.

        Raises:
            BadSample: The tokenizer makes a control token of a part that cannot be taken apart.
        """
        if text not in self._known:
            if len(self._known) >= MAX_TEXTS:
                self._known.clear()
            self._known[text] = array("i", self._encoded(text))
        return self._known[text].tolist()

    def _encoded(self, text: str) -> list[int]:
        cuts = [match.start() + 1 for match in self._spelled.finditer(text)] if self._spelled else []
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True) if a < b]
        ids = [number for piece in pieces for number in _encode(self._tokenizer, piece)]
        made = set(ids) & set(self._control.values())
        if made:
            names = ", ".join(repr(token) for token, number in self._control.items() if number in made)
            raise BadSample(f"its text becomes the control token {names} of the model's tokenizer")
        return ids


def bos_before(tokenizer: Any, head: list[int]) -> list[int]:
    """The token that the tokenizer puts before every text, where the template has not written it itself."""
    bos = tokenizer.bos_token_id
    starts = list(tokenizer("")["input_ids"])
    return [bos] if bos is not None and starts[:1] == [bos] and head[:1] != [bos] else []


def bare_token(tokenizer: Any, character: str) -> int | None:
    """The one token that a character is with no space before it; None where it is several, or unknown.

    A template may end with a space ("Assistant: "). Written behind it, some characters would melt into the space and
    others not; so every option is its bare character, behind the same prompt.
    """
    before, both = _encode(tokenizer, "\n"), _encode(tokenizer, f"\n{character}")
    one = len(both) == len(before) + 1 and both[:-1] == before
    return both[-1] if one and both[-1] != tokenizer.unk_token_id else None


def tokens_behind(tokenizer: Any, tail: str, text: str) -> tuple[list[int], list[int]] | None:
    """Tokens of the template's tail and of a text behind it, as the tokenizer writes both together.

    Spaces at the end of the tail count as the text's, which they may melt into ("▁-", "1"). None where the tail's
    tokens still depend on the text.
    """
    short = tail.rstrip(" ")
    before, both = encode_template(tokenizer, short), encode_template(tokenizer, tail + text)
    return (before, both[len(before) :]) if both[: len(before)] == before else None


def _encode(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])
