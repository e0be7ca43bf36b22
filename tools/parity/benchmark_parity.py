"""Replays golden benchmarks: HPS v2's aggregation of scores, DrawBench's mean, EvalAlign's aggregates of answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from formula import evaluate_real
from measure import Check, Malformed, need
from numpy.typing import NDArray

from rewardkit.metrics.benchmark_scores import (
    BenchmarkScore,
    StyleScore,
    benchmark_scores,
    benchmark_scores_published,
    plain_score,
)
from rewardkit.metrics.evalalign_published import alignment_published, faithfulness_published, read_published
from rewardkit.metrics.evalalign_scores import aspect_scores

_SAME_AS = re.compile(r"same as (\S+)")

_PUBLISHED = {"faithfulness": faithfulness_published, "alignment": alignment_published}


def check_benchmark(cases: list[Any], meta: Mapping[str, Any]) -> Check:
    """Scores by formula through the published aggregation, and through ours where both have to be the same.

    That is where images are missing at the end of a style alone: then no score moves into another group.
    """
    check = Check("benchmark", len(cases))
    atol = _atol(meta)
    formulas: dict[str, str] = {}
    for n, case in enumerate(cases):
        inputs, expected = need(case, "inputs", "expected")
        name = str(case.get("name", n))
        (rule,) = need(inputs, "score_formula")
        same = _SAME_AS.fullmatch(str(rule).strip())
        if same and same[1] not in formulas:
            raise Malformed(f"{name}: its formula is that of {same[1]!r}, which is no case before it")
        formulas[name] = rule = formulas[same[1]] if same else str(rule)
        scores = _scores_of(inputs, rule)
        whole = _scores_of({**inputs, "missing_indices": {}}, rule)
        for style, first in inputs.get("check_first_3", {}).items():
            # Those of the first prompts, or of the first images that are there.
            kept = scores[style][~np.isnan(scores[style])][: len(first)]
            found = kept if np.allclose(kept, first) else whole[style][: len(first)]
            check.numbers(f"{name}/check_first_3/{style}", found, first, atol=atol, rtol=1e-8)
        forms = {"reference": "published", "corrected": "ours"}
        if any(key in expected for key in forms):
            for key, form in forms.items():
                if key in expected:
                    _compare_benchmark(check, f"{name}/{key}", _aggregated(scores, form), expected[key], atol)
            continue
        _compare_benchmark(check, name, _aggregated(scores, "published"), expected, atol)
        if not any(_moves(values) for values in scores.values()):
            _compare_benchmark(check, f"{name}/by prompt", _aggregated(scores, "ours"), expected, atol)
    return check


def check_drawbench(cases: list[Any], meta: Mapping[str, Any]) -> Check:
    """The plain mean of scores by formula."""
    check = Check("drawbench", len(cases))
    for n, case in enumerate(cases):
        inputs, expected = need(case, "inputs", "expected")
        rule, prompts = need(inputs, "score_formula", "n_prompts")
        values = _values(rule, prompts, inputs.get("missing_indices", ()))
        _compare(check, str(case.get("name", n)), _of_style(plain_score(values, draws=0)), expected, _atol(meta))
    return check


def check_evalalign(cases: list[Any], meta: Mapping[str, Any]) -> Check:
    """Texts of answers through the published parser and aggregates (``reference``) and ours (``corrected``)."""
    check = Check("evalalign", len(cases))
    atol = _atol(meta)
    for n, case in enumerate(cases):
        aspect, inputs, expected = need(case, "kind", "inputs", "expected")
        if aspect not in _PUBLISHED:
            raise Malformed(f"there is no kind {aspect!r}")
        name = f"{aspect}/{case.get('name', n)}"
        (table,) = need(inputs, "table")
        answers = [need(row, "answers")[0] for row in table]
        for row, (texts, read) in enumerate(zip(answers, case.get("parsed_reference", answers), strict=True)):
            if read is not texts:
                found = {key: read_published(text, aspect) for key, text in texts.items()}
                check.equal(f"{name}/parsed_reference[{row}]", found, need(read, "answers")[0])
        published = _PUBLISHED[aspect](answers, inputs.get("n_images"))
        if "reference" in expected:
            wanted = expected["reference"]
            check.equal(f"{name}/reference keys", sorted(published), sorted(wanted))
            shared = {key: value for key, value in wanted.items() if key in published}
            _compare(check, f"{name}/reference", published, shared, atol)
        if "corrected" in expected:
            _compare_corrected(check, f"{name}/corrected", answers, aspect, expected["corrected"], atol)
    return check


def _compare_corrected(
    check: Check, where: str, answers: Sequence[Mapping[str, str]], aspect: Any, wanted: Mapping[str, Any], atol: float
) -> None:
    record = aspect_scores({str(row): texts for row, texts in enumerate(answers)}, aspect).as_record()
    found = {**record["skills"], "total": record}
    for key, numbers in wanted.items():
        if key not in found:
            raise Malformed(f"{where}: {key} is none of its questions")
        _compare(check, f"{where}/{key}", found[key], numbers, atol)


def _compare_benchmark(
    check: Check, where: str, found: BenchmarkScore, expected: Mapping[str, Any], atol: float
) -> None:
    printed = {style: [f"{score.mean:.2f}", f"{score.std:.4f}"] for style, score in found.styles.items()}
    whole = {
        "average_of_all_scores": found.average,
        "n_scores": found.n_scored,
        "mean_of_style_means": found.mean_of_style_means,
    }
    for key, wanted in expected.items():
        if key == "styles":
            check.equal(f"{where}/styles", list(found.styles), list(wanted))
            for style in wanted:
                if style in found.styles:
                    _compare(check, f"{where}/{style}", _of_style(found.styles[style]), wanted[style], atol)
        elif key == "printed":
            lines = {**printed, "Average": [f"{found.average:.2f}"]}
            for line, texts in wanted.items():
                check.equal(f"{where}/printed/{line}", lines.get(line), texts)
        else:
            _compare(check, where, whole, {key: wanted}, atol)


def _of_style(score: StyleScore) -> dict[str, Any]:
    """A style's numbers by their golden names."""
    means = score.group_means
    return {
        "n_images": score.n_scored,
        "n_groups": len(means),
        "group_means": means,
        "mean": score.mean,
        "std": score.std,
        "last_group_size": score.group_sizes[-1] if means else 0,
        "plain_mean": score.plain_mean,
        "std_ddof1": float(np.std(means, ddof=1)) if len(means) > 1 else None,
    }


def _aggregated(scores: Mapping[str, NDArray[np.float64]], form: str) -> BenchmarkScore:
    return benchmark_scores_published(scores) if form == "published" else benchmark_scores(scores, draws=0)


def _moves(values: NDArray[np.float64]) -> bool:
    """Whether an image is missing before one that is there."""
    missing = np.isnan(values)
    return bool((np.diff(missing.astype(int)) < 0).any())


def _scores_of(inputs: Mapping[str, Any], rule: str) -> dict[str, NDArray[np.float64]]:
    """Style to scores in the order of the prompts, NaN where the image is missing."""
    styles, prompts = need(inputs, "styles", "n_prompts")
    missing = inputs.get("missing_indices", {})
    numbers = prompts if isinstance(prompts, Mapping) else dict.fromkeys(styles, prompts)
    return {style: _values(rule, numbers[style], missing.get(style, ()), s=place) for place, style in enumerate(styles)}


def _values(rule: str, prompts: int, missing: Sequence[int], **names: int) -> NDArray[np.float64]:
    formula = re.split(r",\s*\w+\s*=", rule)[0]  # what the letters mean stands behind it
    found = evaluate_real(formula, {"i": np.arange(prompts), **names})
    values = np.broadcast_to(found, (prompts,)).copy()
    values[list(missing)] = np.nan
    return values


def _compare(check: Check, where: str, found: Mapping[str, Any], wanted: Mapping[str, Any], atol: float) -> None:
    """Counts exactly, other numbers within a tolerance and 9 digits; every key that is wanted has to be known."""
    for key, value in wanted.items():
        if key not in found:
            raise Malformed(f"{where}/{key} is no number that is known here")
        if isinstance(value, int) and not isinstance(value, bool) and isinstance(found[key], int):
            check.equal(f"{where}/{key}", found[key], value)
        else:
            check.numbers(f"{where}/{key}", found[key], value, atol=atol, rtol=1e-8)


def _atol(meta: Mapping[str, Any]) -> float:
    return max(float(meta.get("atol", 1e-9)), 1e-9)


BENCHMARKS: Mapping[str, Callable[[list[Any], Mapping[str, Any]], Check]] = {
    "benchmark": check_benchmark,
    "drawbench": check_drawbench,
    "evalalign": check_evalalign,
}
"""Kind to what replays it."""


def benchmark_kind(key: str, cases: Sequence[Any]) -> str | None:
    """Which of ``BENCHMARKS`` a list of cases is; None: none of them.

    A list under the key ``drawbench``; one whose cases have styles; one whose cases have a table of answers.
    """
    if key == "drawbench":
        return key
    inputs = cases[0].get("inputs") if cases and isinstance(cases[0], Mapping) else None
    if isinstance(inputs, Mapping):
        if "styles" in inputs:
            return "benchmark"
        if "table" in inputs:
            return "evalalign"
    return None
