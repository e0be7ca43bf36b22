"""Reads a bundle and scores with it: what ``rewardkit.load`` is.

Nothing is fetched, nothing is unpickled, and every tensor has to fit; the weights' sha256 is checked first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rewardkit.config.overall import OVERALL
from rewardkit.data.images import ImageTransform
from rewardkit.errors import CheckpointError, UserError
from rewardkit.models.architecture import build_towers, read_architecture
from rewardkit.models.blip_bundle import blip_of_record
from rewardkit.models.bundle import parts_of
from rewardkit.models.bundle_record import find_bundle, read_record, sha256_of, warn_of_versions
from rewardkit.models.checkpoints import load_strictly
from rewardkit.models.clip import CLIPReward
from rewardkit.models.heads import make_head
from rewardkit.models.kinds import Reward
from rewardkit.models.normalised import normalised_scores
from rewardkit.models.overall import DerivedOverallHead
from rewardkit.models.pictures import Picture, as_list, normalised_pixels
from rewardkit.models.tokenizers import read_tokenizer
from rewardkit.models.uncertainty import UncertaintyHead

if TYPE_CHECKING:
    from rewardkit.models.mllm.scoring import LoadedEvaluator

_PROMPTS_AT_ONCE = 256


def load(
    path: str | os.PathLike[str],
    device: str | torch.device = "cpu",
    *,
    questions: str | os.PathLike[str] | None = None,
    base: str | os.PathLike[str] | None = None,
) -> LoadedReward | LoadedEvaluator:
    """Loads a bundle.

    Args:
        path: The bundle's folder, or a run's folder that holds one as ``bundle/``.
        device: Where the model shall compute.
        questions: Of an evaluator: what it is asked. The name of one of the bundle's sets or of a set that ships, or a
            YAML file. None: the bundle's first set.
        base: Of an evaluator that is an adapter: where its base lies now. None: where it lay.

    Returns:
        A ``LoadedEvaluator`` for the bundle of an evaluator, else a ``LoadedReward``. Both have ``dimensions``,
        ``calibration``, ``record`` and ``score(images, prompts)``.

    Raises:
        UserError: There is no bundle, or no such question set; ``questions`` or ``base`` for another kind of model.
        CheckpointError: The bundle is damaged: weights that are not those it was made with, or that do not fit.
    """
    folder = find_bundle(Path(path)) or Path(path)
    kind = read_record(folder)["model"]["kind"]
    if kind == "mllm":
        from rewardkit.models.mllm.scoring import LoadedEvaluator

        return LoadedEvaluator.read(folder, questions, base_path=base, device=device)
    if questions is not None or base is not None:
        raise UserError(f"{folder} is a {kind}; questions= and base= are for evaluators, which answer questions")
    return load_reward(folder, device)


def load_reward(folder: Path, device: str | torch.device = "cpu") -> LoadedReward:
    """Loads the bundle of a CLIP or a BLIP; errors as those of ``load``."""
    record = read_record(folder)
    weights = folder / record["weights"]["file"]
    if not weights.is_file():
        raise CheckpointError(f"the bundle {folder} lacks its weights {weights.name}")
    found = sha256_of(weights)
    if found != record["weights"]["sha256"]:
        raise CheckpointError(
            f"{weights} is not the file that the bundle was made with: its sha256 is {found}, "
            f"bundle.json says {record['weights']['sha256']}; copy the bundle again"
        )
    model = _build(record, folder)
    try:
        state = load_file(weights)
    except SafetensorError as error:
        raise CheckpointError(f"{weights} cannot be read: {error}") from None
    state.update({name: state[owner] for name, owner in record["weights"]["tied"].items() if owner in state})
    for part, module in parts_of(model).items():
        names = [name for name in state if name.startswith(f"{part}.")]
        own = {name.removeprefix(f"{part}."): state.pop(name) for name in names}
        load_strictly(module, own, source=f"{weights} ({part})")
    load_strictly(model.towers, state, source=str(weights))
    warn_of_versions(folder, record["versions"])
    return LoadedReward(model.to(device).eval().requires_grad_(False), record)


class LoadedReward:
    """A CLIP or BLIP ready to score. Made by ``load``.

    Attributes:
        model: The model, in eval mode, its parameters frozen.
        dimensions: Names of the columns of the scores.
        output: What a score is: ``cosine``, ``cosine100`` or ``logit``; of a BLIP ``logit`` or ``normalised``.
        calibration: Dimension to mean, std and quantiles of the scores on the set that the bundle was calibrated on.
        record: All of ``bundle.json``.
    """

    def __init__(self, model: Reward, record: dict[str, Any]) -> None:
        self.model = model
        self.record = record
        self.dimensions: tuple[str, ...] = model.dimensions
        self.output: str = model.output
        self.calibration: dict[str, dict[str, Any]] = record["calibration"]

    def to(self, device: str | torch.device) -> LoadedReward:
        """Moves the model to a device."""
        self.model.to(device)
        return self

    def score(
        self,
        images: Tensor | Picture | Sequence[Picture],
        prompts: str | Sequence[str],
        *,
        batch_size: int = 32,
        output: str | None = None,
        normalised: bool = False,
    ) -> Tensor:
        """Scores images, each under its prompt. Every different prompt is encoded once.

        Args:
            images: A list of images (see ``Picture``), one image, or a tensor ``[N, 3, H, W]``. Tensors are uint8, or
                float in [0, 1]; a tensor that requires a gradient gets one (under ``torch.no_grad()`` none does).
            prompts: One for all images, or one for each.
            batch_size: Images in one forward pass; changes nothing but memory and speed.
            output: One of the model's ``outputs`` instead of the bundle's own.
            normalised: In units of the spread that ``calibration`` tells: (score - mean) / std of each dimension.

        Returns:
            float32 ``[N, D]`` on the model's device; columns are ``dimensions``.

        Raises:
            UserError: The number of prompts does not match, an unknown output, a path that does not exist; normalised
                scores of a model without statistics, or together with another output.
            DataError: An image that cannot be decoded, named by its place.
        """
        if normalised and output not in (None, self.output):
            raise UserError(
                f"normalised=True with output={output!r}: the statistics are those of {self.output!r} scores, and "
                "normalised scores have no other scale; leave output= out"
            )
        scores = self._score(images, prompts, batch_size, output, self.model.score_pixels)[0]
        return normalised_scores(scores, self.dimensions, self.calibration) if normalised else scores

    def score_with_sigma(
        self,
        images: Tensor | Picture | Sequence[Picture],
        prompts: str | Sequence[str],
        *,
        batch_size: int = 32,
        output: str | None = None,
    ) -> tuple[Tensor, Tensor]:
        """``score``, and beside it the standard deviation of each score, on the same scale.

        Returns:
            Scores and sigmas, float32 ``[N, D]`` each; sigmas are above 0.

        Raises:
            UserError: The model has no uncertainty; else as ``score``.
        """
        if not isinstance(self.model, CLIPReward) or self.model.uncertainty is None:
            raise UserError("this model has no uncertainty; train one with model.uncertainty=true")
        scores, sigma = self._score(images, prompts, batch_size, output, self.model.score_pixels_with_sigma)
        return scores, sigma

    def overall_weights(self, prompts: str | Sequence[str]) -> dict[str, Tensor]:
        """How ``overall`` is weighed under each prompt, where it follows from the other dimensions.

        Returns:
            Each other dimension to float32 ``[prompts]``; under one prompt the numbers sum to 1.

        Raises:
            UserError: This model's ``overall`` is a dimension like the others, or it has none.
        """
        if not isinstance(self.model.head, DerivedOverallHead):
            raise UserError("this model has no overall that follows from its other dimensions (model.overall)")
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        with torch.no_grad():
            # A BLIP never reads the prompt alone; its weights are the same for each.
            of_clip = isinstance(self.model, CLIPReward)
            features = self._prepare_prompts(texts) if of_clip else torch.ones(len(texts), 1, device=self.model.device)
            weights = self.model.head.weights(features)
        others = [dimension for dimension in self.dimensions if dimension != OVERALL]
        return dict(zip(others, weights.unbind(dim=1), strict=True))

    def _score(
        self,
        images: Tensor | Picture | Sequence[Picture],
        prompts: str | Sequence[str],
        batch_size: int,
        output: str | None,
        score_pixels: Callable[..., Tensor | tuple[Tensor, ...]],
    ) -> tuple[Tensor, ...]:
        """What ``score_pixels`` gives of each image under its prompt: one tensor, or several."""
        if output is not None and output not in self.model.outputs:
            raise UserError(f"output={output!r} is not one of {', '.join(self.model.outputs)}")
        listed = as_list(images)
        texts = [prompts] * len(listed) if isinstance(prompts, str) else list(prompts)
        if len(texts) != len(listed):
            raise UserError(f"{len(listed)} images but {len(texts)} prompts; give one prompt, or one for each image")
        if not len(listed):
            return (torch.zeros(0, len(self.dimensions)),) * 2
        wants_gradient = any(isinstance(image, Tensor) and image.requires_grad for image in listed)
        with torch.set_grad_enabled(wants_gradient and torch.is_grad_enabled()):
            distinct = {text: row for row, text in enumerate(dict.fromkeys(texts))}
            prepared = self._prepare_prompts(list(distinct))  # [G, …]
            group = torch.tensor([distinct[text] for text in texts], device=prepared.device)  # [N]
            parts: list[tuple[Tensor, ...]] = []
            for start in range(0, len(listed), batch_size):
                rows = slice(start, start + batch_size)
                pixels = normalised_pixels(listed[rows], self.model.transform, self.model.device, start=start)
                part = score_pixels(pixels, prepared, group[rows], output)
                parts.append((part,) if isinstance(part, Tensor) else part)
            return tuple(torch.cat(column) for column in zip(*parts, strict=True))

    def _prepare_prompts(self, prompts: list[str]) -> Tensor:
        parts = [prompts[start : start + _PROMPTS_AT_ONCE] for start in range(0, len(prompts), _PROMPTS_AT_ONCE)]
        with torch.no_grad():
            return torch.cat([self.model.prepare_prompts(part) for part in parts])


def _build(record: dict[str, Any], folder: Path) -> Reward:
    """The model that a record describes, with random weights."""
    kind = record["model"]["kind"]
    with torch.random.fork_rng(devices=[]):  # Loading a model must not move the caller's random numbers.
        return blip_of_record(record, folder) if kind == "blip" else _build_clip(record, folder)


def _build_clip(record: dict[str, Any], folder: Path) -> CLIPReward:
    described = record["model"]["architecture"]
    architecture = replace(read_architecture(described["config"], folder=folder), name=described["name"])
    transform = ImageTransform.from_dict(record["preprocessing"])
    width, dimensions = int(architecture.config["embed_dim"]), record["dimensions"]
    overall = record["model"].get("overall") or {"kind": "learned"}
    return CLIPReward(
        build_towers(architecture, tower_weights=False),
        make_head(
            record["model"]["head"],
            dimensions,
            width,
            overall=overall["kind"],
            overall_gradient=overall.get("gradient", "all"),
            gate_width=overall.get("gate_width", 128),
        ),
        architecture=architecture,
        dimensions=dimensions,
        transform=transform,
        tokenizer=read_tokenizer(architecture),
        output=record["output"],
        uncertainty=UncertaintyHead(len(dimensions), width) if record["model"].get("uncertainty") else None,
    )
