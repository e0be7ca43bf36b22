"""Replays ``clip_parity.json``: a small CLIP in HPS v2's layout, its scores, its train step, its freezing."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from formula import evaluate
from measure import Check, Malformed, need
from numpy.typing import NDArray
from torch import Tensor

from rewardkit.data.images import ImageTransform
from rewardkit.models.architecture import read_architecture
from rewardkit.models.bundle import bundle_tensors
from rewardkit.models.checkpoints import load_strictly
from rewardkit.models.clip import CLIPReward, build_clip_reward
from rewardkit.models.freezing import freeze
from rewardkit.models.tokenizers import cut_padding
from rewardkit.objectives.bradley_terry import bradley_terry

_TRAIN_STEP = {"atol": 1e-6, "rtol": 1e-6}
"""Losses and gradient norms in float64; the file's numbers have nine digits."""


def check_clip(content: Mapping[str, Any]) -> list[Check]:
    """All parts of the file, one kind each; parts that a file does not have are not listed."""
    config, images = need(content, "config", "images")
    atol = need(content, "meta")[0].get("atol", {})
    tolerance = {
        torch.float64: float(atol.get("float64_run", 1e-7)),
        torch.float32: float(atol.get("float32_run", 2e-5)),
    }
    mean, std = need(images, "mean", "std")
    transform = ImageTransform(size=images["size"], resize="crop", mean=tuple(mean), std=tuple(std))
    model = build_clip_reward(architecture=read_architecture(config), transform=transform)
    load_strictly(model.clip, _weights(model), source="the golden weight rule")
    pixels = _images(images)
    checks = [_check_inputs(model, content, pixels)]
    if "expected" in content:
        checks.append(_check_features(model, content, pixels, tolerance))
    if "hps_train_step" in content:
        checks.append(_check_train_step(model, content, pixels))
    if "locking" in content:
        checks.append(_check_locking(config, transform, content["locking"]))
    return checks


def _weights(model: CLIPReward) -> dict[str, Tensor]:
    """The file's ``weight_rule``, over open_clip's names in sorted order."""
    weights = {}
    for k, (key, tensor) in enumerate(sorted(bundle_tensors(model)[0].items())):
        i = np.arange(tensor.numel(), dtype=np.int64)
        u = 2.0 * ((i * i * 31 + i * 7919 + k * 104729) % 1000003) / 1000002.0 - 1.0
        module, _, kind = f".{key}".rpartition(".")
        if key == "logit_scale":
            values = np.full(1, 2.65926)
        elif module.rpartition(".")[2].startswith("ln_") and kind == "weight":
            values = 1.0 + 0.1 * u
        elif key.endswith("bias"):
            values = 0.05 * u
        else:
            values = (0.5 if "embedding" in key else 0.25) * u
        weights[key] = torch.from_numpy(values.astype(np.float32)).reshape(tensor.shape)
    return weights


def _images(images: Any) -> NDArray[np.uint8]:
    """uint8 ``[M, 3, S, S]`` of the file's formula."""
    count, size, formula = need(images, "count", "size", "formula")
    found = re.search(r"channel k:(.*?),\s*x = column", formula, re.DOTALL)
    if not found:
        raise Malformed("images.formula does not read 'image m (0-based), channel k: …, x = column, y = row'")
    y, x = np.mgrid[0:size, 0:size].astype(np.int64)
    planes = [[evaluate(found[1], {"x": x, "y": y, "m": m, "k": k}) for k in range(3)] for m in range(count)]
    return np.array(planes).astype(np.uint8)


def _check_inputs(model: CLIPReward, content: Mapping[str, Any], pixels: NDArray[np.uint8]) -> Check:
    """Weights, pictures and token rows are those that the file was made from."""
    wanted = content.get("weight_check", {})
    check = Check("clip_inputs", len(wanted) + len(content["images"]) + len(content.get("prompts", [])))
    tensors = bundle_tensors(model)[0]
    if wanted:
        check.equal("names of the weights", sorted(tensors), sorted(wanted))
    for key in sorted(set(wanted) & set(tensors)):
        shape, total, first = need(wanted[key], "shape", "sum", "first")
        values = tensors[key].double()
        check.equal(f"{key}/shape", list(values.shape), shape)
        check.numbers(f"{key}/sum", values.sum(), total, atol=1e-6, rtol=1e-6)
        check.numbers(f"{key}/first", values.flatten()[: len(first)], first, atol=1e-8, rtol=1e-7)
    if "uint8_sha256" in content["images"]:
        digest = hashlib.sha256(pixels.tobytes()).hexdigest()
        check.equal("images/uint8_sha256", digest, content["images"]["uint8_sha256"])
    if "token_ids" in content:
        rows = cut_rows(model, content["prompts"])
        check.equal("token_ids", rows, content["token_ids"])
    return check


def cut_rows(model: CLIPReward, prompts: list[str]) -> list[list[int]]:
    """Token rows without their padding."""
    return [cut_padding(model.tokenizer([prompt]), model.tokenizer.pad_id)[0].tolist() for prompt in prompts]


def _check_features(
    model: CLIPReward, content: Mapping[str, Any], pixels: NDArray[np.uint8], tolerance: Mapping[torch.dtype, float]
) -> Check:
    """Features, scale and cosines, in float64, and in float32 as training and scoring compute them."""
    expected = content["expected"]
    check = Check("clip_features", len(content["prompts"]) * len(pixels))
    for dtype, atol in tolerance.items():
        with torch.no_grad():
            found = _features(model.to(dtype).eval(), content, pixels)
        for name, wanted in expected.items():
            if name not in found:
                raise Malformed(f"expected.{name} is not part of the schema")
            # Scores are up to 100 times the cosines that the tolerance is meant for.
            factor = 100.0 if name in ("hps_score_100cos", "logit_scale_exp") else 1.0
            check.numbers(f"{str(dtype).removeprefix('torch.')}/{name}", found[name], wanted, atol=factor * atol)
    return check


def _features(model: CLIPReward, content: Mapping[str, Any], pixels: NDArray[np.uint8]) -> dict[str, Tensor]:
    image, text = _encode(model, content, pixels)
    prompts, count = len(text), len(image)
    rows = [model.cosines(image, text, torch.full((count,), p)).squeeze(1) for p in range(prompts)]
    cosine = torch.stack(rows)  # [prompts, images]
    return {
        "image_features": torch.nn.functional.normalize(image, dim=-1),
        "text_features": torch.nn.functional.normalize(text, dim=-1),
        "logit_scale_exp": model.scale(),
        "cosine": cosine,
        "hps_score_100cos": model.scaled(cosine, "cosine100"),
    }


def _encode(model: CLIPReward, content: Mapping[str, Any], pixels: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
    """Features of every image and every prompt, not normalised."""
    mean, std = np.array(model.transform.mean), np.array(model.transform.std)
    # As the file says: in float64, then cast to float32.
    values = (pixels / 255.0 - mean[:, None, None]) / std[:, None, None]
    image = model.encode_pixels(torch.from_numpy(values.astype(np.float32)))
    return image, model.encode_prompts(content["prompts"])


def _check_train_step(model: CLIPReward, content: Mapping[str, Any], pixels: NDArray[np.uint8]) -> Check:
    """One loss with its gradients, in float64 and in train mode."""
    step = content["hps_train_step"]
    check = Check("clip_train_step", 1)
    model.to(torch.float64).train().zero_grad()
    image, text = _encode(model, content, pixels)
    pairs = len(text)
    scores = model.scale() * model.cosines(image[: 2 * pairs], text, torch.arange(pairs).repeat(2)).squeeze(1)
    labels = torch.tensor(need(step, "labels")[0], dtype=torch.float64)
    target = torch.stack([labels[:, 0], torch.zeros(pairs), labels[:, 1]], dim=1)
    loss = bradley_terry(scores[:pairs] - scores[pairs:], target).sum()
    loss.backward()
    gradients = {name: p.grad for name, p in model.clip.named_parameters() if p.grad is not None}
    total = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    for name, found in (
        ("loss_sum", loss),
        ("score_first", scores[:pairs]),
        ("score_second", scores[pairs:]),
        ("grad_norm_total", total),
    ):
        if name in step:
            check.numbers(f"{name}", found.detach(), step[name], **_TRAIN_STEP)
    check.equal("parameters with a gradient", sorted(gradients), sorted(step.get("grad_norm", gradients)))
    for name, wanted in step.get("grad_norm", {}).items():
        if name in gradients:
            check.numbers(f"grad_norm {name}", gradients[name].norm(), wanted, **_TRAIN_STEP)
    for name, wanted in step.get("grad_first_3_entries", {}).items():
        if name in gradients:
            check.numbers(f"grad {name}", gradients[name].flatten()[: len(wanted)], wanted, **_TRAIN_STEP)
    return check


def _check_locking(config: Mapping[str, Any], transform: ImageTransform, locking: Any) -> Check:
    """Frozen names and trainable counts; each entry starts from a model that trains as a whole."""
    entries = [("image", entry) for entry in locking.get("image", [])]
    entries += [("text", entry) for entry in locking.get("text", [])]
    check = Check("clip_locking", len(entries))
    model = build_clip_reward(architecture=read_architecture(config), transform=transform)
    if "total_parameters" in locking:
        check.equal("total_parameters", sum(p.numel() for p in model.clip.parameters()), locking["total_parameters"])
    for tower, entry in entries:
        model.clip.requires_grad_(True)
        frozen, trainable = need(entry, "frozen", "n_trainable")
        (unlocked,) = need(entry, "unlocked_groups" if tower == "image" else "unlocked_layers")
        if tower == "image":
            freeze(model.clip, image_groups=unlocked)
        else:
            freeze(model.clip, text_layers=unlocked)
        named = dict(model.clip.named_parameters())
        where = f"{tower} {unlocked}"
        check.equal(f"{where}/frozen", sorted(n for n, p in named.items() if not p.requires_grad), sorted(frozen))
        check.equal(f"{where}/n_trainable", sum(p.numel() for p in named.values() if p.requires_grad), trainable)
    return check
