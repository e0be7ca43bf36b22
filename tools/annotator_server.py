"""A chat-completions server on this machine whose model is simulated: it knows the faults of the embedded dataset.

    python tools/annotator_server.py [--port 8011] [--images SHARDS …] [--noise 0.1] [--bias 0.2]
                                     [--faults 429=0.05,500=0.02,malformed=0.05] [--delay 0.05]

For trying `annotate`, and for its tests, without a model. Of images of the embedded dataset (``data demo``, given with
``--images``) it answers as a rater would who knows their faults; of other images by their bytes. ``--noise`` is the
share of scores drawn at random, ``--bias`` the chance that the image shown first gets a point more. ``--faults`` are
shares of calls that go wrong: a status (429, 500 …), ``reset``, ``stall``, ``truncate`` (the body is cut off),
``malformed`` (no JSON), ``wrong_form`` (JSON of another form), ``refusal`` (in words), ``refusal_field`` (in the field
for it), ``drip`` (a byte now and then), ``html`` (a page instead of JSON), ``empty`` (no body), ``no_choices`` (an
error under the status 200), ``list`` (the content in parts). ``GET /stats`` tells what was asked and charged.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web

from rewardkit.data.demo.dataset import plan_group
from rewardkit.data.demo.raters import value_law
from rewardkit.data.demo.voters import utilities
from rewardkit.data.open_index import open_index

ASPECTS = ("prompt_following", "aesthetic", "fidelity", "harmlessness")
SCORES = (1, 2, 4, 5)
"""What a rater's values 0 … 3 become on the scale of 1 to 5; noise also gives a 3."""

WORDS = ("awful", "poor", "fair", "good", "excellent")

UNSAFE = ("naked", "nude", "gore", "blood")

Fault = Callable[["Asked"], str | None]


@dataclass(frozen=True)
class Asked:
    """One call that came in.

    Attributes:
        number: Of the call, from 0.
        key: Its Idempotency-Key.
        body: Its JSON.
    """

    number: int
    key: str
    body: Mapping[str, Any]


@dataclass
class Simulated:
    """The simulated model and what was asked of it.

    Attributes:
        truth: SHA-256 of an image to its fault levels, by dimension.
        noise: Share of scores drawn at random.
        bias: Chance that the image shown first gets a point more.
        seed: Of the answers.
        fault: What goes wrong with a call; None: nothing.
        delay: Seconds that an answer takes.
        stall_seconds: Seconds that a stalled one takes.
        retry_after: What a 429 says, seconds; "" for nothing.
        key: That must be given; None: any.
        remembers: Whether a key that was answered gets the same answer again, and is charged once.
        calls: Idempotency-Keys in the order they came.
        bodies: What they said, where ``keep_bodies`` is set.
        charged: Key to how often an answer was made for it.
        delivered: Keys whose answer was written to the end.
        answers: Key to its answer.
        in_flight: Calls now; ``most_in_flight``: the most there were.
        url: The endpoint.
    """

    truth: dict[str, Mapping[str, int]] = field(default_factory=dict)
    noise: float = 0.0
    bias: float = 0.0
    seed: int = 0
    fault: Fault = lambda asked: None
    delay: float = 0.0
    stall_seconds: float = 60.0
    retry_after: str = ""
    key: str | None = None
    remembers: bool = False
    calls: list[str] = field(default_factory=list)
    bodies: list[Mapping[str, Any]] = field(default_factory=list)
    keep_bodies: bool = False
    charged: Counter[str] = field(default_factory=Counter)
    delivered: list[str] = field(default_factory=list)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    in_flight: int = 0
    most_in_flight: int = 0
    url: str = ""

    def learn(self, folder: str | Path) -> None:
        """Learns what is wrong with the images of a shard set of the embedded dataset."""
        index = open_index(str(folder))
        for position in range(len(index)):
            group = index.record(position)
            made = group.provenance
            plan = plan_group(seed=made["seed"], index=made["index"], split=made["split"])
            for candidate, levels in zip(group.candidates, plan.levels, strict=True):
                self.truth[str(candidate.sha256)] = levels

    def score(self, image: bytes, dimension: str, place: int, draw: str) -> int:
        """What it says of an image: 1 … 5."""
        digest = hashlib.sha256(image).hexdigest()
        levels = self.truth.get(digest) or {d: int(digest[n], 16) % 4 for n, d in enumerate(ASPECTS)}
        rng = np.random.default_rng([self.seed, *hashlib.sha256(f"{digest}{dimension}{draw}".encode()).digest()])
        if rng.uniform() < self.noise:
            said = int(rng.integers(1, 6))
        else:
            law = value_law(utilities(levels)[dimension]) if dimension in levels else (0.25,) * 4
            said = SCORES[int(rng.choice(4, p=law))]
        return min(5, said + (place == 0 and rng.uniform() < self.bias))

    def answer(self, body: Mapping[str, Any]) -> str:
        """The text of an answer, in the form that is asked for."""
        text, images = _taken_apart(body["messages"][0]["content"])
        schema = (body.get("response_format") or {}).get("json_schema", {}).get("schema", {})
        form = schema.get("properties") or _form_of(text, len(images))
        if "prompt" in form or "safe" in form:
            return json.dumps(_prepared(_prompt_of(text), form))
        draw = f"{body.get('model')}{body.get('seed')}"
        joint = "image_1" in form
        said = {}
        for place, image in enumerate(images):
            cells = form[f"image_{place + 1}"]["properties"] if joint else form
            scores = {name: self.score(image, name, place, draw) for name in cells}
            said[f"image_{place + 1}"] = {
                name: {
                    "rationale": f"I find it {('awful', 'poor', 'fair', 'good', 'excellent')[score - 1]}.",
                    "score": score,
                }
                for name, score in scores.items()
            }
        return json.dumps(said if joint else said["image_1"])


def random_faults(shares: Mapping[str, float], seed: int = 0) -> Fault:
    """Faults that come at random, each with its share of the calls."""
    rng = random.Random(seed)

    def fault(asked: Asked) -> str | None:
        drawn = rng.random()
        for name, share in shares.items():
            drawn -= share
            if drawn < 0:
                return name
        return None

    return fault


@contextmanager
def serve(simulated: Simulated, port: int = 0) -> Iterator[Simulated]:
    """Serves in a thread until the end of the block; ``simulated.url`` is the endpoint."""
    ready, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def main() -> None:
        runner = await _start(simulated, port)
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield simulated
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=10)


async def _start(simulated: Simulated, port: int) -> web.AppRunner:
    async def chat(request: web.Request) -> web.StreamResponse:
        simulated.in_flight += 1
        simulated.most_in_flight = max(simulated.most_in_flight, simulated.in_flight)
        try:
            return await _chat(simulated, request)
        except ConnectionResetError:  # the client was killed, or gave up
            return web.Response(status=499)
        finally:
            simulated.in_flight -= 1

    async def stats(request: web.Request) -> web.Response:
        return web.json_response(
            {"calls": simulated.calls, "charged": dict(simulated.charged), "delivered": simulated.delivered}
        )

    app = web.Application(client_max_size=2**30)
    app.add_routes([web.post("/v1/chat/completions", chat), web.get("/stats", stats)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, backlog=4096)
    await site.start()
    simulated.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    return runner


async def _chat(simulated: Simulated, request: web.Request) -> web.StreamResponse:
    body = await request.json()
    asked = Asked(len(simulated.calls), request.headers.get("Idempotency-Key", ""), body)
    simulated.calls.append(asked.key)
    if simulated.keep_bodies:
        simulated.bodies.append(body)
    if simulated.key is not None and request.headers.get("Authorization") != f"Bearer {simulated.key}":
        return _error(
            401, "Incorrect API key provided: " + request.headers.get("Authorization", "")[7:], "invalid_api_key"
        )
    fault = simulated.fault(asked)
    if fault is not None and fault.partition(":")[0].isdigit():
        status, _, code = fault.partition(":")
        return _error(int(status), "this is a simulated failure", code or None, simulated.retry_after)
    if fault == "reset":
        assert request.transport is not None
        request.transport.abort()
        return web.Response()
    await asyncio.sleep(simulated.stall_seconds if fault == "stall" else simulated.delay)
    if simulated.remembers and asked.key in simulated.answers:
        made = simulated.answers[asked.key]
    else:
        made = simulated.answers[asked.key] = _completion(simulated, body, fault)
        simulated.charged[asked.key] += 1
    data = {"html": b"<html>busy</html>", "empty": b"", "no_choices": b'{"error": {"message": "busy"}}'}.get(
        str(fault), json.dumps(made).encode()
    )
    kind = "text/html" if fault == "html" else "application/json"
    response = web.StreamResponse(headers={"Content-Type": kind, "Content-Length": str(len(data))})
    await response.prepare(request)
    if fault == "drip":
        for n in range(len(data)):
            await response.write(data[n : n + 1])
            await asyncio.sleep(0.2)
    if fault == "truncate":
        await response.write(data[: len(data) // 2])
        assert request.transport is not None
        request.transport.close()
        return response
    await response.write(data)
    await response.write_eof()
    simulated.delivered.append(asked.key)
    return response


def _completion(simulated: Simulated, body: Mapping[str, Any], fault: str | None) -> dict[str, Any]:
    text = simulated.answer(body)
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if fault == "malformed":
        message["content"] = "Here you are: " + text[: len(text) // 2]
    elif fault == "wrong_form":
        message["content"] = text.replace('"score": ', '"score": 1')
    elif fault == "refusal":
        message["content"] = "I'm sorry, but I can't help with that."
    elif fault == "list":
        message["content"] = [{"type": "text", "text": text[:9]}, {"type": "text", "text": text[9:]}]
    elif fault == "refusal_field":
        message |= {"content": None, "refusal": "I cannot judge this image."}
    asked = sum(len(part.get("text", "")) for turn in body["messages"] for part in _parts(turn["content"]))
    usage = {"prompt_tokens": asked // 4 + 1, "completion_tokens": len(text) // 4 + 1}
    return {
        "id": "simulated",
        "object": "chat.completion",
        "created": 0,
        "model": f"{body['model']}-simulated",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {**usage, "total_tokens": sum(usage.values())},
    }


def _error(status: int, message: str, code: str | None = None, retry_after: str = "") -> web.Response:
    headers = {"Retry-After": retry_after} if retry_after and status == 429 else {}
    return web.json_response({"error": {"message": message, "code": code}}, status=status, headers=headers)


def _parts(content: Any) -> Sequence[Mapping[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _taken_apart(content: Any) -> tuple[str, list[bytes]]:
    """The text of a turn, and the files of its images."""
    parts = _parts(content)
    images = [p["image_url"]["url"].partition("base64,")[2] for p in parts if p["type"] == "image_url"]
    return "\n".join(p["text"] for p in parts if p["type"] == "text"), [base64.b64decode(image) for image in images]


def _form_of(text: str, images: int) -> dict[str, Any]:
    """The form where no schema tells it."""
    if not images:
        return {"safe": {}, "reason": {}} if '"safe"' in text else {"prompt": {}}
    one: dict[str, Any] = {name: {} for name in ASPECTS}
    return {f"image_{n + 1}": {"properties": one} for n in range(images)} if '"image_1"' in text else one


def _prompt_of(text: str) -> str:
    """The prompt that a request quotes: the one line that is a JSON string."""
    line = next(line for line in text.splitlines() if re.fullmatch(r'"(?:[^"\\]|\\.)*"', line))
    return str(json.loads(line))


def _prepared(prompt: str, form: Mapping[str, Any]) -> dict[str, Any]:
    if "safe" in form:
        found = [word for word in UNSAFE if word in prompt.lower()]
        return {"reason": f"It asks for {found[0]}." if found else "Nothing in it does harm.", "safe": not found}
    return {"prompt": prompt.partition(", 8k")[0]}


def main() -> None:
    """Serves until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8011)
    parser.add_argument("--images", nargs="*", default=[], help="shard folders of the embedded dataset")
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--bias", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that an answer takes")
    parser.add_argument("--faults", default="", help="NAME=SHARE,…")
    parser.add_argument("--stall-seconds", type=float, default=60.0)
    parser.add_argument("--remembers", action="store_true", help="honour Idempotency-Key")
    arguments = parser.parse_args()
    shares = {
        name: float(share) for name, _, share in (part.partition("=") for part in arguments.faults.split(",") if part)
    }
    simulated = Simulated(
        noise=arguments.noise,
        bias=arguments.bias,
        seed=arguments.seed,
        delay=arguments.delay,
        fault=random_faults(shares, arguments.seed),
        stall_seconds=arguments.stall_seconds,
        remembers=arguments.remembers,
    )
    for folder in arguments.images:
        simulated.learn(folder)

    async def forever() -> None:
        await _start(simulated, arguments.port)
        print(f"a simulated model answers at {simulated.url}", flush=True)
        await asyncio.Event().wait()

    with suppress(KeyboardInterrupt):
        asyncio.run(forever())


if __name__ == "__main__":
    main()
