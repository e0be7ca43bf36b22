"""What a generator could do to a reward instead of making better images: how far each trick moves the scores.

A generator that is tuned on a reward finds whatever raises it. ``probe_reward`` finds some of it first: it disturbs
given images in ways that make none of them better (``perturbations``), swaps prompts, and follows the reward's own
gradient within a bound that people hardly see. A trick pays where the mean change is above 0 beyond its interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rewardkit.config.messages import did_you_mean
from rewardkit.errors import DataError, UserError
from rewardkit.metrics.intervals import DRAWS, bootstrap_interval, ratio
from rewardkit.models.normalised import normalised_scores
from rewardkit.models.pictures import Picture, as_list, decode_picture
from rewardkit.rewards.perturbations import PERTURBATIONS
from rewardkit.rewards.reward import Reward
from rewardkit.rewards.scorer import Scorer, as_bytes_for, check_pixels, is_differentiable

PROMPT_SWAP = "prompt_swap"
"""Each image under another image's prompt."""
ADVERSARIAL = "adversarial"
"""Gradient ascent on the score within ``epsilon`` of each pixel (Madry et al. 2017, arXiv 1706.06083)."""
PROBES = (*PERTURBATIONS, PROMPT_SWAP, ADVERSARIAL)

EPSILON = 4 / 255
"""How far the gradient may move a pixel, of the range of pixels."""
ASCENT_STEPS = 10

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Probe:
    """What one trick does to one dimension.

    Attributes:
        probe: Its name.
        dimension: Which.
        change: Mean change of the score, in standard deviations of the clean scores that ``unit`` names.
        low: Lower end of its 95 % interval (bootstrap over prompts); None with fewer than two prompts.
        high: Upper end.
        rises: Share of the images whose score rises.
        images: How many.
        prompts: Different ones.
        unit: ``calibration``: the spread of the scores that the model's bundle records. ``these images``: that of the
            given ones, where it records none.
    """

    probe: str
    dimension: str
    change: float
    low: float | None
    high: float | None
    rises: float
    images: int
    prompts: int
    unit: str

    @property
    def pays(self) -> bool:
        """Whether the trick raises the score beyond chance."""
        return self.low is not None and self.low > 0

    def as_row(self) -> dict[str, Any]:
        """Plain values, for tables and JSON."""
        return asdict(self) | {"pays": self.pays}


def probe_reward(
    model: Scorer | Reward,
    images: Tensor | Sequence[Picture],
    prompts: str | Sequence[str],
    *,
    probes: Sequence[str] | None = None,
    epsilon: float = EPSILON,
    batch_size: int = 32,
    seed: int = 0,
    draws: int = DRAWS,
) -> list[Probe]:
    """How the scores of images move under each probe.

    Args:
        model: A loaded model, probed on each of its dimensions, or a ``Reward``, on its one number.
        images: At least two, of any sizes; tensors are uint8, or float in [0, 1].
        prompts: One for all images, or one for each.
        probes: Of ``PROBES``; None: all that the model can be probed with.
        epsilon: Of ``adversarial``.
        batch_size: Images in one forward pass.
        seed: Of noise and of the resamples.
        draws: Resamples behind an interval.

    Returns:
        One for each probe and dimension.

    Raises:
        UserError: An unknown probe; ``adversarial`` of a model without gradient; ``prompt_swap`` with one prompt; an
            epsilon that is no share of the range.
        DataError: The clean scores have no spread, or an image has no score.
    """
    pixels = _as_pixels(images)
    texts = [prompts] * len(pixels) if isinstance(prompts, str) else list(prompts)
    if len(texts) != len(pixels) or len(pixels) < 2:
        raise UserError(f"{len(pixels)} images and {len(texts)} prompts; a probe needs two images, each with a prompt")
    if not 0 < epsilon <= 1:
        raise UserError(f"epsilon={epsilon}: how far a pixel may move, above 0 and at most 1; 4/255 is 0.016")
    chosen = _choose(probes, model, texts)
    score = _scores_of(model, batch_size)
    clean = score(pixels, texts)
    unit, spread = _spread(model, clean)
    found = []
    for name in chosen:
        moved = _moved(name, model, score, pixels, texts, clean, epsilon=epsilon, batch_size=batch_size, seed=seed)
        for column, dimension in enumerate(model.dimensions):
            change = (moved[:, column] - clean[:, column]) / spread[column]
            found.append(_measure(name, dimension, change, texts, unit, draws=draws, seed=seed))
    return found


def ascend(
    score: Callable[[Tensor], Tensor], images: Tensor, *, epsilon: float = EPSILON, steps: int = ASCENT_STEPS
) -> Tensor:
    """Images moved along the sign of the score's gradient, each pixel by at most ``epsilon``, within [0, 1].

    Args:
        score: ``[N, 3, H, W]`` to ``[N]``, differentiable.
        images: Float in [0, 1].
        epsilon: The bound.
        steps: Each of 2.5 · epsilon / steps, so that the bound can be reached and left again (Madry et al.).
    """
    moved = images.detach().clone()
    for _ in range(steps):
        with torch.enable_grad():
            moved.requires_grad_()
            (slope,) = torch.autograd.grad(score(moved).sum(), moved)
        step = moved.detach() + 2.5 * epsilon / steps * slope.sign()
        moved = torch.clamp(torch.maximum(torch.minimum(step, images + epsilon), images - epsilon), 0, 1)
    return moved.detach()


def _as_pixels(images: Tensor | Sequence[Picture]) -> list[Tensor]:
    """Float pixels ``[3, H, W]`` in [0, 1] of each image, all read one way: only the probe makes a difference."""
    listed = as_list(images)
    check_pixels(listed)
    pixels = []
    for place, image in enumerate(listed):
        tensor = image if isinstance(image, Tensor) else decode_picture(image, place)
        pixels.append(tensor.detach().float() / 255 if tensor.dtype == torch.uint8 else tensor.detach().float())
    return pixels


def _choose(probes: Sequence[str] | None, model: Scorer | Reward, texts: Sequence[str]) -> list[str]:
    """The probes that are run; those asked for by name have to be possible."""
    impossible = {}
    if not _has_gradient(model):
        impossible[ADVERSARIAL] = "the model has no gradient (an evaluator reads whole grey levels)"
    if len(set(texts)) < 2:
        impossible[PROMPT_SWAP] = "all images have the same prompt"
    if probes is None:
        return [name for name in PROBES if name not in impossible]
    for name in probes:
        if name not in PROBES:
            raise UserError(f"there is no probe {name!r}.{did_you_mean(name, PROBES)} There are {', '.join(PROBES)}")
        if name in impossible:
            raise UserError(f"the probe {name} cannot be run: {impossible[name]}")
    return list(dict.fromkeys(probes))


def _has_gradient(model: Scorer | Reward) -> bool:
    return model.differentiable if isinstance(model, Reward) else is_differentiable(model)


def _raw(model: Scorer | Reward, images: Any, prompts: Sequence[str], batch_size: int) -> Tensor:
    """``[N, D]`` on the model's own scale, with a gradient where the images have one."""
    if isinstance(model, Reward):
        return model(images, prompts).unsqueeze(1)
    return model.score(as_bytes_for(model, images), prompts, batch_size=batch_size)


def _scores_of(model: Scorer | Reward, batch_size: int) -> Callable[[Sequence[Tensor], Sequence[str]], Scores]:
    @torch.no_grad()
    def score(images: Sequence[Tensor], prompts: Sequence[str]) -> Scores:
        found = _raw(model, list(images), prompts, batch_size).double().cpu().numpy()
        if not np.isfinite(found).all():
            row, column = np.argwhere(~np.isfinite(found))[0]
            raise DataError(f"image {row} has no finite score of {model.dimensions[column]}")
        return np.asarray(found)

    return score


def _spread(model: Scorer | Reward, clean: Scores) -> tuple[str, Scores]:
    """What a change is counted in: its name, and ``[D]``."""
    if isinstance(model, Reward):  # already in spreads of its members
        return "calibration", np.ones(1)
    if all(name in model.calibration for name in model.dimensions):
        normalised_scores(torch.zeros(0, len(model.dimensions)), model.dimensions, model.calibration)
        return "calibration", np.array([float(model.calibration[name]["std"]) for name in model.dimensions])
    spread = clean.std(axis=0)
    if not (spread > 0).all():
        flat = ", ".join(np.array(model.dimensions)[spread == 0])
        raise DataError(f"all images have the same score of {flat}, so a change has no unit; give different images")
    return "these images", spread


def _moved(
    name: str,
    model: Scorer | Reward,
    score: Callable[[Sequence[Tensor], Sequence[str]], Scores],
    pixels: Sequence[Tensor],
    texts: Sequence[str],
    clean: Scores,
    *,
    epsilon: float,
    batch_size: int,
    seed: int,
) -> Scores:
    """``[N, D]``, the scores under a probe."""
    if name == PROMPT_SWAP:
        return score(pixels, _swapped(texts))
    if name != ADVERSARIAL:
        generator = torch.Generator().manual_seed(seed)
        changed = [
            PERTURBATIONS[name](image.unsqueeze(0), [text], generator)[0]
            for image, text in zip(pixels, texts, strict=True)
        ]
        return score(changed, texts)
    moved = clean.copy()
    for column in range(len(model.dimensions)):  # each dimension has an attack of its own
        attacked = _attacked(model, column, pixels, texts, epsilon=epsilon, batch_size=batch_size)
        moved[:, column] = score(attacked, texts)[:, column]
    return moved


def _attacked(
    model: Scorer | Reward,
    column: int,
    pixels: Sequence[Tensor],
    texts: Sequence[str],
    *,
    epsilon: float,
    batch_size: int,
) -> list[Tensor]:
    """The images moved up the gradient of one dimension, those of one size together."""
    rows_of: dict[torch.Size, list[int]] = {}
    for row, image in enumerate(pixels):
        rows_of.setdefault(image.shape, []).append(row)
    attacked = list(pixels)
    for rows in rows_of.values():
        for start in range(0, len(rows), batch_size):
            some = rows[start : start + batch_size]
            prompts = [texts[row] for row in some]

            def number(batch: Tensor, prompts: list[str] = prompts) -> Tensor:
                return _raw(model, batch, prompts, batch_size)[:, column]

            moved = ascend(number, torch.stack([pixels[row] for row in some]), epsilon=epsilon)
            for row, image in zip(some, moved, strict=True):
                attacked[row] = image
    return attacked


def _swapped(texts: Sequence[str]) -> list[str]:
    """The next other prompt, in the order in which prompts first appear."""
    distinct = list(dict.fromkeys(texts))
    following = dict(zip(distinct, [*distinct[1:], distinct[0]], strict=True))
    return [following[text] for text in texts]


def _measure(
    name: str, dimension: str, change: Scores, texts: Sequence[str], unit: str, *, draws: int, seed: int
) -> Probe:
    """One probe's mean change, with an interval over prompts: images of one prompt move together."""
    places = {text: place for place, text in enumerate(dict.fromkeys(texts))}
    rows = np.array([places[text] for text in texts])
    sums = np.stack([np.bincount(rows, weights=change), np.bincount(rows).astype(float)], axis=1)  # [prompts, 2]
    low, high = bootstrap_interval(sums, ratio, draws=draws, seed=seed) or (None, None)
    return Probe(
        name, dimension, float(change.mean()), low, high, float((change > 0).mean()), len(change), len(places), unit
    )
