"""Writes and reads the bundle of an evaluator.

::

    model.safetensors   head.* and score_token.row always; base.*: what training changed, or all of the base
    bundle.json         what the base is, which parts are in the file, dimensions, rows, versions
    base/               the base's configuration, where all of it is in the bundle
    processor/          tokenizer (with the score token), chat template, image processor
    questions/          every question set that it answers
    README.md           the card, for people

Three forms: ``adapter`` (the base stays where it is, and is named by its path and digest), ``whole``, and ``merged``
(whole, adapters added into the weights). A bundle without its heads does not load, in any of them.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from rewardkit.data.questions import QuestionSet, read_questions
from rewardkit.data.questions_file import write_questions
from rewardkit.errors import CheckpointError, UserError
from rewardkit.models.bundle_record import (
    FORMAT,
    FORMAT_VERSIONS,
    RECORD,
    WEIGHTS,
    digest_of,
    read_record,
    sha256_of,
    storable,
    versions,
    warn_of_versions,
)
from rewardkit.models.checkpoints import load_strictly, require_fit
from rewardkit.models.mllm.card import evaluator_card
from rewardkit.models.mllm.groups import HEADS
from rewardkit.models.mllm.model import MLLMReward
from rewardkit.models.mllm.tuning import LoraOptions, add_adapters, merged_state

Form = Literal["adapter", "whole", "merged"]

BASE, PROCESSOR, QUESTIONS = "base", "processor", "questions"


def save_evaluator(
    folder: str | Path,
    model: MLLMReward,
    questions: Sequence[QuestionSet] | None = None,
    *,
    form: Form | None = None,
    base_path: str | Path | None = None,
    rows: Mapping[str, Any] | None = None,
    calibration: Mapping[str, Mapping[str, Any]] | None = None,
    evaluation: Sequence[Mapping[str, Any]] = (),
    recipe: Mapping[str, Any] | None = None,
    data: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Writes a bundle; the folder appears complete or not at all, and replaces an older bundle of that name.

    Args:
        folder: Where it shall lie.
        model: The evaluator; it stays as it is.
        questions: The sets that it answers, at least one. None: that of the model's ``rows``.
        form: See the module's docstring. None: ``natural_form``.
        base_path: Of ``adapter``: the folder that the base was loaded from. None: the model's ``base_path``.
        rows: How rows are made: ``style``, ``prompt_for``, ``max_tokens`` of ``QuestionRows``. None: as the model's
            ``rows`` are.
        calibration: As of ``rewardkit.models.bundle.save_bundle``.
        evaluation: Likewise.
        recipe: Likewise.
        data: Likewise.

    Raises:
        UserError: No questions, or an ``adapter`` form without the base's folder.
    """
    form = natural_form(model) if form is None else form
    base_path = model.base_path if base_path is None else base_path
    made = model.rows
    questions = [made.questions] if questions is None and made is not None else list(questions or ())
    rows = made.settings if rows is None and made is not None else rows
    _check(form, base_path, questions)
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        new = Path(scratch) / "new"
        new.mkdir()
        tensors, tied = evaluator_tensors(model, form)
        save_file(tensors, new / WEIGHTS, metadata={"format": "pt"})
        record = {
            "format": FORMAT,
            "format_version": FORMAT_VERSIONS["mllm"],
            "model": _described(model, form, base_path),
            "dimensions": list(model.dimensions),
            "output": "logit",
            "preprocessing": {"processor": PROCESSOR},
            "rows": copy.deepcopy(dict(rows or {})),
            "questions": [f"{QUESTIONS}/{one.name}.yaml" for one in questions],
            "calibration": copy.deepcopy(dict(calibration or {})),
            "evaluation": [dict(row) for row in evaluation],
            "recipe": copy.deepcopy(dict(recipe or {})),
            "data": copy.deepcopy([dict(one) for one in data]),
            "versions": versions(),
            "weights": {
                "file": WEIGHTS,
                "sha256": sha256_of(new / WEIGHTS),
                "tensors": len(tensors),
                "parameters": sum(tensor.numel() for tensor in tensors.values()),
                "tied": tied,
            },
        }
        if form != "adapter":
            model.base.config.save_pretrained(new / BASE)
        model.processor.save_pretrained(new / PROCESSOR)
        for one in questions:
            write_questions(one, new / QUESTIONS / f"{one.name}.yaml")
        (new / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (new / "README.md").write_text(evaluator_card(record, folder.name, questions), encoding="utf-8")
        for file in (path for path in new.rglob("*") if path.is_file()):
            with file.open("rb") as written:
                os.fsync(written.fileno())
        if folder.exists():
            os.replace(folder, Path(scratch) / "old")
        os.replace(new, folder)
    return folder


def natural_form(model: MLLMReward) -> Form:
    """``adapter`` where training changed less than half of a base that lies in a folder, else ``whole``."""
    if model.base_path is None or model.trained is None:
        return "whole"
    changed = sum(model.base.get_parameter(name).numel() for name in model.trained)
    return "adapter" if 2 * changed < sum(p.numel() for p in model.base.parameters()) else "whole"


def evaluator_tensors(model: MLLMReward, form: Form) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Name to tensor on the CPU, tied tensors once, and second name to first name of each tie."""
    base = merged_state(model.base) if form == "merged" else model.base.state_dict()
    if form == "adapter":
        base = {name: base[name] for name in trained_names(model)}
    own = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(HEADS)}
    tensors: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    owner: dict[tuple[Any, ...], str] = {}
    for name, tensor in {**own, **{f"{BASE}.{name}": tensor for name, tensor in base.items()}}.items():
        place = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if tensor.numel() and owner.setdefault(place, name) != name:
            tied[name] = owner[place]
            continue
        tensors[name] = storable(tensor)
    return tensors, tied


def trained_names(model: MLLMReward) -> tuple[str, ...]:
    """Names of the base's parameters that training changed, as ``tune`` said; all of them where it said nothing."""
    return model.trained if model.trained is not None else tuple(name for name, _ in model.base.named_parameters())


def load_evaluator(
    folder: str | Path, *, base_path: str | os.PathLike[str] | None = None
) -> tuple[MLLMReward, list[QuestionSet], dict[str, Any]]:
    """Reads a bundle: the evaluator in eval mode on the CPU, its question sets, and the content of ``bundle.json``.

    Args:
        folder: The bundle.
        base_path: Where the base of an adapter lies now; None: where it lay.

    Raises:
        UserError: There is no bundle of an evaluator, or no base where it should be.
        CheckpointError: The weights are damaged, lack the heads, or do not fit; or the base is another one.
    """
    folder = Path(folder)
    record = read_record(folder)
    if record["model"]["kind"] != "mllm":
        raise UserError(f"{folder} is not the bundle of an evaluator")
    state = _weights(folder, record)
    lacking = [name for name in _head_names() if name not in state]
    if lacking:
        raise CheckpointError(
            f"the bundle {folder} lacks its heads ({', '.join(lacking)}): without them the model gives no scores. "
            "Export it again; an adapter that peft has saved by itself has no heads"
        )
    described = record["model"]
    processor = _pretrained("AutoProcessor", folder / PROCESSOR)
    with torch.random.fork_rng(devices=[]):  # Loading a model must not move the caller's random numbers.
        base = _base(folder, described, base_path)
        lora = None if described["lora"] is None else LoraOptions(**described["lora"])
        if lora is not None and described["form"] != "merged":
            add_adapters(base, lora)
        model = MLLMReward(base, processor, record["dimensions"], scores_from=described["scores_from"])
    source = str(folder / WEIGHTS)
    load_strictly(model.head, _part(state, "head."), source=f"{source} (head)")
    load_strictly(model.score_token, _part(state, "score_token."), source=f"{source} (score token)")
    given, own = _part(state, f"{BASE}."), base.state_dict()
    expected = own if described["form"] != "adapter" else {name: own[name] for name in described["trained"]}
    require_fit(expected, given, source=source)
    base.load_state_dict(given, strict=described["form"] != "adapter")
    model.lora = lora if described["form"] != "merged" else None
    model.trained = tuple(described["trained"]) if described["form"] == "adapter" else None
    model.share_prefix = described["share_prefix"]
    if described["form"] == "adapter":
        model.base_path = Path(base_path or described["base"]["path"])
    warn_of_versions(folder, record["versions"])
    questions = [read_questions(folder / file) for file in record["questions"]]
    return model.eval().requires_grad_(False), questions, record


def _check(form: str, base_path: str | Path | None, questions: Sequence[QuestionSet]) -> None:
    if form not in get_args(Form):
        raise UserError(f"an evaluator is exported as {', '.join(get_args(Form))}, not {form!r}")
    if not questions:
        raise UserError("an evaluator's bundle needs the questions that it answers")
    if form == "adapter" and (base_path is None or not Path(base_path).is_dir()):
        raise UserError(
            f"an adapter alone needs the folder of its base, and there is {base_path or 'none'}; export it whole or "
            "merged"
        )


def _described(model: MLLMReward, form: Form, base_path: str | Path | None) -> dict[str, Any]:
    described: dict[str, Any] = {
        "kind": "mllm",
        "family": model.base.config.model_type,
        "form": form,
        "dtype": str(model.base.dtype).removeprefix("torch."),
        "lora": None if model.lora is None else asdict(model.lora),
        "trained": list(trained_names(model)) if form == "adapter" else None,
        "scores_from": model.scores_from,
        "share_prefix": model.share_prefix,
    }
    if form == "adapter":
        assert base_path is not None
        described["base"] = {"path": str(Path(base_path).resolve()), "sha256": _digest(Path(base_path))}
    return described


def _digest(folder: Path) -> str:
    """Of the base's weights and configuration: an adapter on another base gives other scores, silently."""
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("config.json")])
    stats = [(path, path.stat()) for path in files]
    return _digest_of(tuple((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats))


@functools.lru_cache(maxsize=8)
def _digest_of(files: tuple[tuple[str, int, int], ...]) -> str:
    """Of files as they are now; a base of 26 GB is not read again at each validation."""
    return digest_of([Path(path) for path, _, _ in files])


def _weights(folder: Path, record: Mapping[str, Any]) -> dict[str, Tensor]:
    file = folder / record["weights"]["file"]
    if not file.is_file():
        raise CheckpointError(f"the bundle {folder} lacks its weights {file.name}")
    try:
        state = load_file(file)
    except SafetensorError as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from None
    state.update({name: state[owner] for name, owner in record["weights"]["tied"].items() if owner in state})
    if all(name in state for name in _head_names()) and sha256_of(file) != record["weights"]["sha256"]:
        raise CheckpointError(f"{file} is not the file that the bundle was made with; copy the bundle again")
    return state


def _base(folder: Path, described: Mapping[str, Any], base_path: str | os.PathLike[str] | None) -> Any:
    """The base: its weights where they lie elsewhere, else random ones that are loaded over."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    import rewardkit.models.mllm.small_vision  # noqa: F401  (AutoModel has to know the demo's tower)

    dtype = getattr(torch, described["dtype"])
    if described["form"] != "adapter":
        config = AutoConfig.from_pretrained(folder / BASE, local_files_only=True)
        return AutoModelForImageTextToText.from_config(config, dtype=dtype)
    path = Path(base_path or described["base"]["path"])
    if not path.is_dir():
        raise UserError(
            f"the bundle {folder} is an adapter, and its base is not at {path}; say where it is (base_path)"
        )
    found = _digest(path)
    if found != described["base"]["sha256"]:
        raise CheckpointError(
            f"the bundle {folder} is an adapter of another base than the one at {path}: its files' digest is {found}, "
            f"the bundle says {described['base']['sha256']}"
        )
    return AutoModelForImageTextToText.from_pretrained(path, dtype=dtype, local_files_only=True)


def _pretrained(name: str, folder: Path) -> Any:
    import transformers

    try:
        return getattr(transformers, name).from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} cannot be read: {error}") from None


def _head_names() -> tuple[str, ...]:
    heads = (f"head.{kind}.{value}" for kind in ("ordinal", "regression") for value in ("weight", "bias"))
    return (*heads, "score_token.row")


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
