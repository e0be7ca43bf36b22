"""An annotator behind an endpoint that speaks OpenAI's chat completions (vLLM, SGLang, a vendor), through ``openai``.

The client's own retries are off: what is sent, how often and when is decided in ``asking.py``, and logged.
"""

from __future__ import annotations

import asyncio
import base64
import email.utils
import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rewardkit.annotate.annotators import Call, Denied, NoAnswer, NotAsked, Reply
from rewardkit.annotate.images import ImageFormat, shown_image
from rewardkit.annotate.log import Mode
from rewardkit.annotate.requests import Turn
from rewardkit.data.remote_access import redacted

LONGEST_WAIT = 600.0
"""Seconds that a server may ask to wait (Retry-After) at most."""

AT_ONE_CLIENT = 64
"""Connections of one client: it looks through all of its own at each call, and thousands take long."""

MAX_TOLD = 300
"""Letters of a server's message that are repeated."""

_FILTERED = ("content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation")
"""Codes of a 400 that is a refusal."""

_NO_MONEY = ("insufficient_quota", "billing_hard_limit_reached")
"""Codes of a 429 that waiting does not cure."""


class ChatServer:
    """See the module's docstring; attributes as ``Annotator``.

    Args:
        name: Its name in this annotation.
        model: As the server knows it.
        url: The endpoint, up to ``/v1``.
        key: The key; never printed, logged or stored.
        key_variable: Where the key comes from, for messages.
        at_once: Calls in flight at most.
        timeout: Seconds for a call, from sending to the last byte of the answer.
        temperature: Of the sampling.
        max_tokens: Of an answer.
        response_format: ``json_schema``, ``json_object`` or ``none``: how the server is told of the form.
        max_side: See ``shown_image``.
        image_format: See ``shown_image``.
        body: More fields of a request, over those made here; None takes one out.
    """

    rationale = True
    tokens: Sequence[str] = ()
    paid = True

    def __init__(
        self,
        name: str,
        model: str,
        url: str,
        *,
        key: str | None,
        key_variable: str,
        at_once: int,
        timeout: float,
        temperature: float,
        max_tokens: int,
        response_format: str,
        max_side: int | None,
        image_format: ImageFormat,
        body: Mapping[str, Any],
    ) -> None:
        from httpx2 import Limits, create_ssl_context
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        self.name, self.model, self.at_once = name, model, at_once
        self._url, self._key, self._key_variable, self._timeout = url, key, key_variable, timeout
        self._format, self._max_side, self._image_format = response_format, max_side, image_format
        self._fixed = {"model": model, "temperature": temperature, "max_tokens": max_tokens}
        self._body = dict(body)
        limits = Limits(max_connections=AT_ONE_CLIENT, max_keepalive_connections=AT_ONE_CLIENT)
        tls = create_ssl_context()
        self._clients = [
            AsyncOpenAI(
                api_key=key or "none",
                base_url=url,
                timeout=timeout,
                max_retries=0,
                http_client=DefaultAsyncHttpxClient(limits=limits, timeout=timeout, verify=tls),
            )
            for _ in range(math.ceil(at_once / AT_ONE_CLIENT))
        ]
        self._free = self._clients * AT_ONE_CLIENT

    def mode(self, wanted: Mode) -> Mode:
        """As wanted."""
        return wanted

    async def close(self) -> None:
        """See ``Annotator``."""
        for client in self._clients:
            await client.close()

    async def answer(self, call: Call) -> Reply:
        """See ``Annotator``."""
        import openai

        body = await asyncio.to_thread(self._request_body, call)
        client = self._free.pop()
        try:
            async with asyncio.timeout(self._timeout):
                answer = await client.post(
                    "/chat/completions",
                    body=body,
                    options={"headers": {"Idempotency-Key": call.key}},
                    cast_to=object,
                )
        except openai.APIStatusError as error:
            return self._of_status(error)
        except (TimeoutError, openai.APITimeoutError):
            raise NoAnswer(f"no answer within {self._timeout:g} s", charged=True) from None
        except openai.APIConnectionError as error:
            cause = error.__cause__
            never = type(cause).__name__ in ("ConnectError", "ConnectTimeout", "PoolTimeout")
            told = str(cause or error) or type(cause or error).__name__
            raise NoAnswer(f"the connection failed: {self._safe(told)}", charged=not never) from None
        except ValueError as error:
            raise NoAnswer(f"the answer is no JSON: {self._safe(str(error))}", charged=True) from None
        except Exception as error:  # damaged in a way that has kinds of its own in each library on its way
            told = self._safe(f"{type(error).__name__}: {error}")
            raise NoAnswer(f"the answer cannot be read: {told}", charged=True) from None
        finally:
            self._free.append(client)
        return _reply(answer)

    def _request_body(self, call: Call) -> dict[str, Any]:
        body: dict[str, Any] = {**self._fixed, "seed": call.seed, "messages": [self._message(t) for t in call.turns]}
        if self._format == "json_schema":
            schema = {"name": "answer", "strict": True, "schema": call.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif self._format == "json_object":
            body["response_format"] = {"type": "json_object"}
        return {name: value for name, value in {**body, **self._body}.items() if value is not None}

    def _message(self, turn: Turn) -> dict[str, Any]:
        if turn.role == "assistant":
            return {"role": "assistant", "content": "".join(part for part in turn.parts if isinstance(part, str))}
        return {"role": "user", "content": [self._part(part) for part in turn.parts if part]}

    def _part(self, part: str | bytes) -> dict[str, Any]:
        if isinstance(part, str):
            return {"type": "text", "text": part}
        data, media = shown_image(part, max_side=self._max_side, format=self._image_format)
        return {"type": "image_url", "image_url": {"url": f"data:{media};base64,{base64.b64encode(data).decode()}"}}

    def _of_status(self, error: Any) -> Reply:
        """What an answer with an error's status means; a refusal is a reply, all else is raised."""
        status, code, told = error.status_code, _code(error), self._safe(_told(error))
        where = f"{self.name} ({redacted(self._url)})"
        if status in (401, 403):
            remedy = f"the key comes from the environment variable {self._key_variable}"
            raise Denied(
                f"{where} denies access ({status}: {told}); {remedy}" + ("" if self._key else ", which is not set")
            )
        if status == 404:
            raise Denied(f"{where} does not know the model {self.model!r}, or is no such endpoint (404: {told})")
        if status == 429 and code in _NO_MONEY:
            raise Denied(f"{where}: the account's quota is used up ({told}); run the same command when it is not")
        if status == 400 and code in _FILTERED:
            return Reply("", refusal=told or code)
        if status in (408, 409, 429) or status >= 500:
            raise NoAnswer(f"{status}: {told}", wait=_retry_after(error), busy=status in (429, 503))
        raise NotAsked(f"{status}: {told}")

    def _safe(self, text: str) -> str:
        """A text of the server's or the network's without the key and without secrets of URLs, on one line."""
        text = text.replace(self._key, "…") if self._key else text
        text = " ".join(redacted(text).split())
        return text[:MAX_TOLD] + ("…" if len(text) > MAX_TOLD else "")


def _reply(answer: Any) -> Reply:
    """The text of an answer.

    Raises:
        NoAnswer: It is not of the protocol.
    """
    if isinstance(answer, str | bytes):  # what does not call itself JSON is given as text
        try:
            answer = json.loads(answer)
        except ValueError:
            raise NoAnswer("the answer is no JSON", charged=True) from None
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        content = message.get("content")
        if isinstance(content, list):
            content = "".join(part.get("text", "") for part in content)
        if content is not None and not isinstance(content, str):
            raise TypeError("content")
        usage = answer.get("usage") or {}
        refusal, finish, model = message.get("refusal"), choice.get("finish_reason"), answer.get("model")
    except (KeyError, IndexError, TypeError, AttributeError):
        told = str(answer.get("error", ""))[:MAX_TOLD] if isinstance(answer, dict) else ""
        raise NoAnswer(f"the answer has no message {told}".strip(), charged=True) from None
    if refusal is None and finish == "content_filter":
        refusal = "the server's content filter stopped the answer"
    return Reply(
        text=content or "",
        refusal=str(refusal) if refusal else None,
        tokens_in=_count(usage, "prompt_tokens"),
        tokens_out=_count(usage, "completion_tokens"),
        model=model if isinstance(model, str) else None,
        finish=finish if isinstance(finish, str) else None,
    )


def _count(usage: Any, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _code(error: Any) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    inner = body.get("innererror")
    return str(body.get("code") or (inner.get("code") if isinstance(inner, dict) else "") or "")


def _told(error: Any) -> str:
    body = error.body
    said = body.get("message") if isinstance(body, dict) else body
    return str(said if said else error.message)


def _retry_after(error: Any) -> float:
    """Seconds that the server asks to wait, 0 where it does not say: seconds, milliseconds or a date."""
    headers = error.response.headers
    try:
        if headers.get("retry-after-ms"):
            return _bounded(float(headers["retry-after-ms"]) / 1000)
        said = headers.get("retry-after")
        if not said:
            return 0.0
        try:
            return _bounded(float(said))
        except ValueError:
            return _bounded(email.utils.parsedate_to_datetime(said).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0


def _bounded(seconds: float) -> float:
    return min(max(0.0, seconds), LONGEST_WAIT) if seconds == seconds else 0.0
