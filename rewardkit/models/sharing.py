"""Puts a model on a hub: a copy without what is this machine's, a look for secrets in it, and one commit.

huggingface_hub does the talking; ``HF_ENDPOINT`` and ``HF_TOKEN`` are its own variables, and a token that
``hf auth login`` left is found by it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardkit.errors import RewardkitError, UserError
from rewardkit.models.bundle_card import Form, card_text
from rewardkit.models.bundle_record import RECORD

CARD = "README.md"
SIDE_RECORD = "rewardkit.json"
"""Beside the files of another library: dimensions, calibration and evaluation."""

_TEXT = (".json", ".md", ".txt", ".yaml", ".yml", ".model", "")
_TOKEN = re.compile(r"\b(?:hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16})\b")
_COMMON = {"localhost", "root", "user", "home", "ubuntu", "admin", "runner", "main"}
"""Names of machines that say nothing, and stand in many a text."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One file that would go out."""

    path: str
    size: int


def public_copy(
    source: Path,
    target: Path,
    *,
    name: str,
    record: Mapping[str, Any],
    form: Form,
    license_: str | None,
    places: Sequence[Path] = (),
) -> list[Outgoing]:
    """Copies a folder as it may go out: with the record that is given, the card written anew.

    Args:
        source: A bundle, or a folder of another library's.
        target: Must not exist.
        name: Of the repository; stands in the card.
        record: Of the bundle it is or comes from, without places of this machine; it replaces the bundle's own.
        form: What the folder is.
        license_: For the card; None states none.
        places: Folders of this machine that no file may tell, beside the home and the working folder.

    Returns:
        Its files, by path.

    Raises:
        UserError: A file would tell a secret or a place of this machine.
    """
    shutil.copytree(source, target, symlinks=False)
    told = {**record, **({"license": license_} if license_ else {})}
    if form == "bundle":
        _write_json(target / RECORD, told)
    else:
        kept = ("dimensions", "output", "calibration", "evaluation", "data", "license", "versions")
        _write_json(target / SIDE_RECORD, {key: told[key] for key in kept if key in told})
    (target / CARD).write_text(_card(target, told, name, form), encoding="utf-8")
    files = sorted(path for path in target.rglob("*") if path.is_file())
    problems = [f"{path.relative_to(target)}: {what}" for path in files for what in private_parts(path, places)]
    if problems:
        raise UserError(
            "this would go out and is this machine's or a secret, so nothing was sent: " + "; ".join(problems[:5])
        )
    return [Outgoing(path.relative_to(target).as_posix(), path.stat().st_size) for path in files]


def private_parts(path: Path, places: Sequence[Path] = ()) -> list[str]:
    """What in a text file is a secret or a place of this machine, each in a few words and never the secret itself.

    Args:
        path: The file.
        places: Folders of this machine, beside the home and the working folder.
    """
    if path.suffix not in _TEXT or path.stat().st_size > 50_000_000:
        return []
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return []
    found = []
    if _TOKEN.search(text) or any(secret in text for secret in _secrets()):
        found.append("an access token")
    for place in dict.fromkeys((str(Path.home()), os.getcwd(), *map(str, places))):
        if len(place) > 2 and re.search(rf"{re.escape(place)}(?=[/\\\s\"'`,\]]|$)", text, re.MULTILINE):
            found.append("a path of this machine")
            break
    host = socket.gethostname()
    if len(host) > 3 and host not in _COMMON and re.search(rf"\b{re.escape(host)}\b", text):
        found.append("the name of this machine")
    return found


def upload(folder: Path, repository: str, *, private: bool, update: bool, message: str) -> str:
    """Makes the repository, and puts the folder there in one commit.

    Args:
        folder: From ``public_copy``.
        repository: ``ORG/NAME``.
        private: Whether a new repository is private.
        update: Adds the commit to a repository that exists, or makes it.
        message: Of the commit.

    Returns:
        The address of the commit.

    Raises:
        UserError: The name is wrong, the repository exists and is not to be updated, or the token is missing or has no
            right to write there.
        RewardkitError: The hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi, errors
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # what it tries again is told once, at the end, where it fails for good
    api = HfApi()
    try:
        api.create_repo(repository, private=private, exist_ok=update)
        done = api.upload_folder(folder_path=str(folder), repo_id=repository, commit_message=message)
    except HFValidationError as error:
        raise UserError(f"hub={repository}: {str(error).splitlines()[0]}") from None
    except LocalTokenNotFoundError:
        raise UserError(_no_token(repository, "there is no access token")) from None
    except OfflineModeIsEnabled:
        raise UserError("HF_HUB_OFFLINE is set, so nothing can be sent; unset it, or take dry_run=true") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            why = "the access token is missing or wrong" if status == 401 else "the access token may not write there"
            raise UserError(_no_token(repository, why)) from None
        if status == 409 and not update:
            raise UserError(
                f"hub={repository} exists already and is not overwritten; choose another name, or add update=true to "
                "add a commit to it"
            ) from None
        said = error.server_message or str(error).splitlines()[0]
        raise RewardkitError(f"hub={repository}: {api.endpoint} refused (status {status}): {said}") from None
    # Its HTTP library is one or another by version; errors holds that library's base class.
    except (errors.HTTPError, OSError, RuntimeError) as error:  # type: ignore[attr-defined]
        cause = error.__cause__ or error
        raise RewardkitError(
            f"hub={repository}: {api.endpoint} cannot be reached, or the connection broke ({type(cause).__name__}). "
            "What was sent in part is no commit; run the same command again"
        ) from None
    return str(getattr(done, "commit_url", done))


def _card(folder: Path, record: Mapping[str, Any], name: str, form: Form) -> str:
    if record["model"]["kind"] != "mllm":
        return card_text(record, name, form=form)
    from rewardkit.data.questions import read_questions
    from rewardkit.models.mllm.card import evaluator_card

    sets = [read_questions(path) for path in sorted(folder.rglob("questions/*.yaml"))]
    return evaluator_card(record, name, sets)


def _secrets() -> Sequence[str]:
    """Access tokens that this process could send by mistake."""
    from huggingface_hub import get_token

    named = (value for key, value in os.environ.items() if re.search(r"TOKEN|SECRET|PASSWORD|API_KEY", key))
    return [secret for secret in (get_token(), *named) if secret and len(secret) >= 8]


def _no_token(repository: str, why: str) -> str:
    return (
        f"hub={repository}: {why}. Make one with the right to write to {repository.partition('/')[0]} in your hub's "
        "settings, then `hf auth login`, or set HF_TOKEN"
    )


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
