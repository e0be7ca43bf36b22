"""From the options of ``annotate`` to the annotators that it asks, their prices and their keys."""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardkit.config.annotate_options import AnnotateOptions
from rewardkit.config.messages import did_you_mean
from rewardkit.data.remote_access import redacted
from rewardkit.errors import UserError

if TYPE_CHECKING:
    from rewardkit.annotate.annotators import Annotator
    from rewardkit.annotate.budget import Price
    from rewardkit.annotate.log import Mode
    from rewardkit.data.questions import QuestionSet

_NAMED = re.compile(r"(?P<name>[^=@/\\]+)=(?P<rest>.+)", re.DOTALL)
_SERVER = re.compile(r"(?P<model>[^@]+(?:@[^@]+)*?)@(?P<url>https?://.+)")

FILES_BESIDE = 256
"""Open files that are not connections, at most."""


@dataclass(frozen=True, slots=True)
class Named:
    """One entry of ``annotators=``; can be planned for without being loaded.

    Attributes:
        name: In this annotation.
        kind: ``server``, ``model`` or ``evaluator``.
        model: As the server knows it, or the folder.
        url: Of a server.
    """

    name: str
    kind: str
    model: str
    url: str = ""

    def mode(self, wanted: Mode) -> Mode:
        """See ``Annotator``."""
        return "per_image" if self.kind == "evaluator" else wanted


def name_annotators(options: AnnotateOptions) -> list[Named]:
    """The entries of ``annotators=``.

    Raises:
        UserError: There is none, one is nothing that can be asked, or two have one name.
    """
    if not options.annotators:
        raise UserError(
            "name who is asked: annotators=MODEL@URL (an endpoint, such as my-model@http://localhost:8000/v1), or a "
            "folder of a model or an evaluator"
        )
    found = [_named(entry) for entry in options.annotators]
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"annotators: two are called {name!r}; give them names: annotators=NAME={name}@…")
    for option, given in (("key_variables", options.key_variables), ("prices", _by_name(options.prices))):
        for name in given:
            if name not in names:
                raise UserError(f"{option}: no annotator is called {name!r}.{did_you_mean(name, names)}")
    priced = _by_name(options.prices)
    for one in found:
        if options.budget is not None and priced and one.kind == "server" and one.name not in priced:
            told = f"prices has none for {one.name!r}; give {{input: 0, output: 0}} if it is free"
            raise UserError(f"budget={options.budget:g}: {told}")
    return found


def build_annotator(named: Named, options: AnnotateOptions, questions: QuestionSet) -> Annotator:
    """Loads a model, or makes the client of an endpoint.

    Raises:
        UserError: A package is missing, or the model does not fit.
        CheckpointError: A model's weights are damaged.
    """
    if named.kind == "server":
        return _server(named, options)
    from rewardkit.commands.open_model import find_device
    from rewardkit.engine.train import quieten

    quieten(None)
    device = str(find_device(options.device))
    if named.kind == "evaluator":
        from rewardkit.annotate.local_evaluator import LocalEvaluator

        return LocalEvaluator(named.name, Path(named.model), questions, device=device)
    from rewardkit.annotate.local_model import LocalModel

    return LocalModel(
        named.name,
        Path(named.model),
        device=device,
        temperature=options.temperature,
        max_tokens=options.max_tokens,
        max_side=options.image_side,
    )


def read_prices(prices: Mapping[str, Any], *, budget: float | None) -> dict[str, Price]:
    """The price table: annotator to price, "" for all others.

    Raises:
        UserError: A price is no number, one is missing, or there is a budget without prices.
    """
    from rewardkit.annotate.budget import Price

    if not prices:
        if budget is not None:
            raise UserError(f"budget={budget:g}: give also prices={{input: …, output: …}}, what a million tokens cost")
        return {}
    by_name = _by_name(prices)
    tables = by_name if by_name else {"": prices}
    found = {}
    for name, table in tables.items():
        where = f"prices.{name}" if name else "prices"
        if not isinstance(table, Mapping) or set(table) != {"input", "output"}:
            raise UserError(f"{where}: give both prices of a million tokens, {{input: 2.5, output: 10}}")
        for kind, value in table.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
                raise UserError(f"{where}.{kind} is {value!r}; it must be a number of at least 0")
        found[name] = Price(float(table["input"]), float(table["output"]))
    return found


def _by_name(prices: Mapping[str, Any]) -> Mapping[str, Any]:
    """The tables of single annotators; nothing where one table is for all."""
    return {} if set(prices) <= {"input", "output"} else prices


def _named(entry: str) -> Named:
    given = _NAMED.fullmatch(entry) if not Path(entry).exists() else None
    rest = given["rest"] if given else entry
    server = _SERVER.fullmatch(rest)
    if server:
        return Named(given["name"] if given else server["model"], "server", server["model"], server["url"])
    path = Path(rest)
    name = given["name"] if given else path.resolve().name
    kind = _kind_of_folder(path)
    if kind is None:
        raise UserError(
            f"annotators: {redacted(entry)!r} is neither MODEL@URL with http:// or https://, nor the folder of a model "
            "in transformers' layout (config.json), nor an evaluator's run or bundle"
        )
    return Named(name, kind, str(path))


def _kind_of_folder(path: Path) -> str | None:
    if not path.is_dir():
        return None
    from rewardkit.models.bundle_record import find_bundle

    if find_bundle(path) is not None:
        return "evaluator"
    return "model" if (path / "config.json").is_file() else None


def _server(named: Named, options: AnnotateOptions) -> Annotator:
    try:
        from rewardkit.annotate.chat_server import ChatServer

        variable = options.key_variables.get(named.name, options.key_variable)
        server = ChatServer(
            named.name,
            named.model,
            named.url,
            key=_key(variable),
            key_variable=variable,
            at_once=options.concurrency,
            timeout=options.timeout_s,
            temperature=options.temperature,
            max_tokens=options.max_tokens,
            response_format=options.response_format,
            max_side=options.image_side,
            image_format=options.image_format,  # type: ignore[arg-type]  # the schema allows these
            body=options.body,
        )
    except ImportError as error:
        raise UserError(f"an endpoint needs a package ({error}); `pip install 'rewardkit[annotate]'`") from None
    _permit_connections(options.concurrency, len(options.annotators))
    return server


def _key(variable: str) -> str | None:
    """The key that an environment variable holds.

    Raises:
        UserError: No header can carry it. What it is stays unsaid.
    """
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"the key in the environment variable {variable} holds characters that no key has")
    return key or None


def _permit_connections(concurrency: int, servers: int) -> None:
    """Raises the limit of open files where a process may have more; says so where it may not."""
    count = concurrency * servers
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + FILES_BESIDE
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        most = (hard - FILES_BESIDE) // servers
        raise UserError(f"concurrency={concurrency}: this machine permits {hard} open files; give at most {most}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
