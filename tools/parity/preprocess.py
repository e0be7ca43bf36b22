"""Replays the image transforms of ``preprocess.json``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from formula import picture
from measure import Check, Malformed, need
from torch import Tensor

from rewardkit.data.images import ImageTransform, transform_tensor

_VARIANTS: dict[str, dict[str, Any]] = {
    "hps_pad_antialias_true": {"resize": "pad", "antialias": True},
    "hps_pad_antialias_false": {"resize": "pad", "antialias": False},
    "open_clip_shortest_crop_pil": {"resize": "crop", "antialias": True},
}
"""Names of the outputs, and the transform that each stands for. HPS v2's take floats, open_clip's takes uint8."""

_EFFECT = 0.25
"""Grey levels within which the summaries of the antialias effect have to agree (0.1 % of the range)."""


def check_preprocess(cases: list[Any], meta: Mapping[str, Any]) -> Check:
    """Every output of every pattern: shape, block means, extremes and samples, and where the picture lies in it."""
    check = Check("preprocess", len(cases))
    blocks, samples = (float(value) for value in need(meta.get("atol"), "block_mean", "samples"))
    for case in cases:
        name, outputs = need(case, "pattern", "out")
        pixels = _pixels(check, case, meta)
        if pixels is None:
            continue
        base = _transform(meta)
        for variant, wanted in outputs.items():
            where = f"{name}/{variant}"
            if variant not in _VARIANTS:
                raise Malformed(f"{where} is not part of the schema ({', '.join(_VARIANTS)})")
            transform = replace(base, **_VARIANTS[variant])
            taken = pixels if transform.resize == "crop" else pixels.float() / 255
            _compare(check, where, transform_tensor(taken, transform)[0].double(), wanted, blocks, samples)
        padded = replace(base, **_VARIANTS["hps_pad_antialias_true"])
        if "resized_hw" in case or "pad_left_top_right_bottom" in case:
            size, pad = _placed(case, padded)
            check.equal(f"{name}/resized_hw", size, case.get("resized_hw", size))
            check.equal(f"{name}/pad_left_top_right_bottom", pad, case.get("pad_left_top_right_bottom", pad))
        if "antialias_effect" in case:
            _compare_effect(check, name, pixels, padded, case["antialias_effect"])
    return check


def check_edge_cases(cases: list[Any], meta: Mapping[str, Any]) -> Check:
    """``corrected`` of the cases in which the reference goes wrong."""
    check = Check("preprocess_edge_cases", len(cases))
    for case in cases:
        name, corrected = need(case, "name", "corrected")
        pixels = _pixels(check, case, meta)
        if pixels is None:
            continue
        transform = replace(_transform(meta), **_VARIANTS["hps_pad_antialias_true"])
        result = transform_tensor(pixels.float() / 255, transform)[0]
        for key, wanted in corrected.items():
            if key == "shape":
                check.equal(f"{name}/shape", list(result.shape), wanted)
            elif key == "pad_left_top_right_bottom":
                check.equal(f"{name}/{key}", _placed(case, transform)[1], wanted)
            else:
                raise Malformed(f"{name}: corrected.{key} is not part of the schema")
    return check


def _transform(meta: Mapping[str, Any]) -> ImageTransform:
    size, mean, std = need(meta, "size", "mean", "std")
    return ImageTransform(size=size, mean=tuple(mean), std=tuple(std))


def _pixels(check: Check, case: Any, meta: Mapping[str, Any]) -> Tensor | None:
    """uint8 ``[1, 3, H, W]`` of a case's pattern; None where it is not the picture the file was made from."""
    pattern, height, width = need(case, "pattern", "height", "width")
    (patterns,) = need(meta, "patterns")
    if pattern not in patterns:
        raise Malformed(f"the pattern {pattern!r} has no formula in meta.patterns")
    image = picture(patterns[pattern], height, width)
    before = len(check.mismatches)
    if "uint8_sha256" in case:
        check.equal(f"{pattern}/uint8_sha256", hashlib.sha256(image.tobytes()).hexdigest(), case["uint8_sha256"])
    if "uint8_sum" in case:
        check.equal(f"{pattern}/uint8_sum", int(image.sum(dtype="int64")), case["uint8_sum"])
    return torch.from_numpy(image).permute(2, 0, 1).unsqueeze(0) if len(check.mismatches) == before else None


def _compare(check: Check, where: str, found: Tensor, wanted: Any, blocks: float, samples: float) -> None:
    """Summaries and samples of one output ``[3, S, S]``."""
    shape, means, spots = need(wanted, "shape", "block_mean", "samples")
    check.equal(f"{where}/shape", list(found.shape), shape)
    if list(found.shape) != shape:
        return
    rows, columns = len(means[0]), len(means[0][0])
    tiles = found.reshape(3, rows, shape[1] // rows, columns, shape[2] // columns)
    check.numbers(f"{where}/block_mean", tiles.mean(dim=(2, 4)), means, atol=blocks)
    for name, value, atol in (
        ("mean", found.mean(dim=(1, 2)), blocks),
        ("std", found.std(dim=(1, 2), correction=0), blocks),
        ("min", found.min(), samples),
        ("max", found.max(), samples),
    ):
        if name in wanted:
            check.numbers(f"{where}/{name}", value, wanted[name], atol=atol)
    c, y, x, values = need(spots, "c", "y", "x", "value")
    check.numbers(f"{where}/samples", found[c, y, x], values, atol=samples)


def _placed(case: Any, transform: ImageTransform) -> tuple[list[int], list[int]]:
    """Height and width of the picture inside the square, and its borders: what a white picture leaves black."""
    white = torch.ones(1, 3, case["height"], case["width"])
    plain = replace(transform, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    lit = transform_tensor(white, plain)[0, 0] > 0.5
    rows, columns = lit.any(dim=1).nonzero(), lit.any(dim=0).nonzero()
    top, bottom, left, right = int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())
    size = transform.size
    return [bottom - top + 1, right - left + 1], [left, top, size - 1 - right, size - 1 - bottom]


def _compare_effect(check: Check, name: str, pixels: Tensor, transform: ImageTransform, wanted: Any) -> None:
    """How far antialiasing moves pixels, in grey levels."""
    plain = replace(transform, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    floats = pixels.float() / 255
    without = transform_tensor(floats, replace(plain, antialias=False))
    moved = 255 * (transform_tensor(floats, plain) - without).abs()
    mean, largest = need(wanted, "mean_abs_diff_255", "max_abs_diff_255")
    check.numbers(f"{name}/antialias_effect/mean", moved.mean(), mean, atol=_EFFECT / 10)
    check.numbers(f"{name}/antialias_effect/max", moved.max(), largest, atol=_EFFECT)
