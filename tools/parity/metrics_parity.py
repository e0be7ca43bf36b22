"""Replays golden metrics: scores and the people's ranks through a predictions table and every protocol."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from formula import evaluate as evaluate_formula
from measure import Check, Malformed, need
from numpy.typing import NDArray

from rewardkit.data.group import Candidate, Group, Ranking
from rewardkit.data.predictions import PredictionRows
from rewardkit.metrics.calibration import brier, ece, ece_one_sided_published, mce, negative_log_likelihood
from rewardkit.metrics.correlations import kendall_tau_b, pearson, spearman
from rewardkit.metrics.evaluate import Judged, judged, measure
from rewardkit.metrics.judged_pairs import FIRST, SECOND, TIE
from rewardkit.metrics.protocols import PROTOCOLS, accuracy
from rewardkit.metrics.results import Measurement
from rewardkit.metrics.tie_thresholds import Tuned, accuracies_at, best_threshold, videoalign_accuracy

DIMENSION = "overall"
TEST_SET = Path("data") / "imagereward_test" / "test.json"
"""ImageReward's test file, inside the folder that REWARDKIT_SHARED names."""

_RULES = {
    "inversion_score_macro": "hpdv2_published",
    "pair_accuracy_micro_strict": "imagereward_micro",
    "pair_accuracy_macro_strict": "imagereward_macro",
    "pair_accuracy_micro_half": "half_micro",
    "pair_accuracy_macro_half": "half_macro",
    "kendall_tau_b_mean": "kendall",
    "spearman_mean": "spearman",
}
"""Key of the golden numbers to the protocol that they are of."""

_PER_GROUP = {
    "inversion_score": "hpdv2_published",
    "pair_accuracy_strict": "imagereward_macro",
    "kendall_tau_b": "kendall",
    "spearman": "spearman",
}


def from_ranks(groups: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Judged:
    """A predictions table of groups of (scores, human ranks), as the protocols read it."""
    rows = PredictionRows([DIMENSION])
    for n, (scores, ranks) in enumerate(groups):
        if len(scores) != len(ranks) or not scores:
            raise Malformed(f"group {n} has {len(scores)} scores and {len(ranks)} ranks")
        candidates = tuple(Candidate(f"{i}.jpg") for i in range(len(scores)))
        ranking = Ranking(DIMENSION, "people", tuple(float(rank) for rank in ranks))
        group = Group(f"g{n}", "", candidates, rankings=(ranking,))
        rows.add(group, [[float(score)] for score in scores], number=n, key=f"{n:06d}", source="golden")
    return judged(rows.predictions())[DIMENSION]


def check_metrics(key: str, cases: list[Any], meta: Mapping[str, Any]) -> Check:
    """One kind of case of metrics.json."""
    check = Check(key, len(cases))
    # Golden numbers have 9 significant digits.
    atol = max(float(meta.get("atol", 1e-9)), 1e-9)
    for n, case in enumerate(cases):
        name = case.get("name", str(n)) if isinstance(case, Mapping) else str(n)
        COVERED[key](check, name, case, atol)
    return check


def check_test_set(cases: list[Any], meta: Mapping[str, Any], kind: str) -> Check:
    """Scores by formula on ImageReward's real test file; not covered where REWARDKIT_SHARED does not lead to it."""
    shared = os.environ.get("REWARDKIT_SHARED")
    if not shared:
        return Check(kind, len(cases), covered=False, why="skipped: set REWARDKIT_SHARED")
    path = Path(shared) / TEST_SET
    if not path.is_file():
        return Check(kind, len(cases), covered=False, why=f"skipped: REWARDKIT_SHARED holds no {TEST_SET}")
    records = json.loads(path.read_text(encoding="utf-8"))
    check = Check(kind, len(cases))
    atol = max(float(meta.get("atol", 1e-9)), 1e-9)
    check.equal("n_groups", len(records), meta.get("n_groups", len(records)))
    for case in cases:
        name, rule, expected = need(case, "name", "score_formula", "expected")
        scores = [scores_of(rule, i, len(record["ranking"])) for i, record in enumerate(records)]
        part = from_ranks([(mine, record["ranking"]) for mine, record in zip(scores, records, strict=True)])
        _expected(check, name, part, expected, atol)
        if "first_8_groups" in case:
            first = {key: values[:8] for key, values in per_group(part).items()}
            _lists(check, f"{name}/first_8_groups", first, case["first_8_groups"], atol)
        for key, place in (("first_group_scores", 0), ("last_group_scores", -1)):
            if key in case:
                check.numbers(f"{name}/{key}", scores[place], case[key], atol=atol, rtol=1e-8)
    return check


def scores_of(rule: str, group: int, size: int) -> list[float]:
    """The scores of a group by a formula of i (the group) and j (the image): ``(…) / NUMBER``, or a whole number."""
    match = re.fullmatch(r"\s*\((?P<whole>.+)\)\s*/\s*(?P<divisor>\d+)\s*", rule)
    whole, divisor = (match["whole"], int(match["divisor"])) if match else (rule, 1)
    values = evaluate_formula(whole, {"i": group, "j": np.arange(size)}) / divisor
    return [float(value) for value in np.broadcast_to(values, (size,))]


def per_group(part: Judged) -> dict[str, list[float]]:
    """The value of each group under each rule that has one; NaN where it is undefined."""
    found = {}
    for key, protocol in _PER_GROUP.items():
        (measured,) = measure(protocol, part)
        groups = part.candidates.drop_duplicates("group").sort_values("group")
        names = groups["source"] + "\n" + groups["key"]
        values = dict(zip(measured.groups, measured.sums[:, 0] / measured.sums[:, 1], strict=True))
        found[key] = [float(values.get(name, np.nan)) for name in names]
    return found


def _inversion(check: Check, name: str, case: Any, atol: float) -> None:
    inputs, expected = need(case, "inputs", "expected")
    predicted, ranks = need(inputs, "predicted_rank", "human_rank")
    part = from_ranks([([-float(rank) for rank in predicted], ranks)])
    # The function itself takes ranks and calls equal ones right; its evaluator never gives it any.
    ties_right = replace(PROTOCOLS["hpdv2"], equal_scores=1.0)
    check.numbers(name, _number(accuracy(part.by_ranks, ties_right, draws=0).value), expected, atol=atol)
    if len(set(predicted)) == len(predicted):
        for protocol in ("hpdv2", "hpdv2_published"):
            check.numbers(f"{name}/{protocol}", _value(protocol, part), expected, atol=atol)


def _imagereward(check: Check, name: str, case: Any, atol: float) -> None:
    inputs, expected = need(case, "inputs", "expected")
    scores, ranks = need(inputs, "scores", "human_rank")
    wanted = need(expected, "corrected")[0] if isinstance(expected, Mapping) else expected
    part = from_ranks([(scores, ranks)])
    for protocol in ("imagereward_macro", "imagereward_micro", "strict_micro"):
        check.numbers(f"{name}/{protocol}", _value(protocol, part), wanted, atol=atol)


def _ranking_groups(check: Check, name: str, case: Any, atol: float) -> None:
    groups, expected = need(case, "groups", "expected")
    part = from_ranks([tuple(need(group, "scores", "ranks")) for group in groups])
    _expected(check, name, part, expected, atol)
    if "per_group" in case:
        _lists(check, f"{name}/per_group", per_group(part), case["per_group"], atol)


def _expected(check: Check, name: str, part: Judged, expected: Mapping[str, Any], atol: float) -> None:
    """The numbers of a set of groups under every protocol."""
    published = {
        mean: measure(f"tie_calibrated_{mean}_published", part)[0].result(draws=0) for mean in ("micro", "macro")
    }
    at_zero = measure("tie_calibrated_micro", part, Tuned("tie_calibrated_micro", 0.0, 0, 0, None))[0]
    recall = {m.metric: m.value() for m in measure("imagereward_recall_published", part)}
    for key, wanted in expected.items():
        where = f"{name}/{key}"
        if key == "counts":
            _counts(check, where, part, wanted)
        elif key in _RULES:
            check.numbers(where, _value(_RULES[key], part), wanted, atol=atol)
        elif key == "pair_accuracy_micro_all_pairs_no_calibration":
            check.numbers(where, _number(at_zero.value()), wanted, atol=atol)
        elif key in ("tie_calibrated_micro", "tie_calibrated_macro"):
            found = published[key.rpartition("_")[2]]
            share, epsilon = need(wanted, "accuracy", "epsilon")
            check.numbers(f"{where}/accuracy", _number(found.value), share, atol=atol)
            check.numbers(f"{where}/epsilon", _number(found.tuned), epsilon, atol=atol, rtol=1e-8)
        elif key == "videoalign_accuracy_with_ties":
            reference, corrected = need(wanted, "reference", "corrected")
            check.numbers(f"{where}/reference", _value("videoalign_published", part), reference, atol=atol)
            check.numbers(f"{where}/corrected", _number(published["micro"].value), corrected, atol=atol)
        elif key in ("recall_at", "filter_at"):
            for k, share in wanted.items():
                metric = f"{key.removesuffix('_at')}@{k}"
                if metric not in recall:
                    raise Malformed(f"{where}: there is no {metric}")
                check.numbers(f"{where}/{k}", _number(recall[metric]), share, atol=atol)
        else:
            raise Malformed(f"{where} is no number that is known here")


def _counts(check: Check, where: str, part: Judged, wanted: Mapping[str, Any]) -> None:
    pairs = part.by_ranks
    strict = measure("imagereward_micro", part)[0]
    tied = (pairs["score_first"] == pairs["score_second"]) & (pairs["verdict"] == TIE)
    found = {
        "n_groups": part.candidates["group"].nunique(),
        "n_images": len(part.candidates),
        "n_pairs": len(pairs),
        "n_strict": strict.counts.comparisons,
        "n_gt_ties": strict.counts.ties,
        "n_correct": int(strict.sums[:, 0].sum()),
        "n_pred_ties_on_strict": strict.counts.equal_scores,
        "n_both_tied": int(tied.sum()),
        "n_all_tied_groups": strict.counts.groups_without,
    }
    for key, number in wanted.items():
        check.equal(f"{where}/{key}", found.get(key), number)


def _pickapic(check: Check, name: str, case: Any, atol: float) -> None:
    inputs, expected = need(case, "inputs", "expected")
    p_first, p_second, label, thresholds = need(inputs, "prob_0", "prob_1", "label_0", "thresholds")
    p0, p1, y = (np.asarray(values, dtype=float) for values in (p_first, p_second, label))
    verdict = np.where(y == 0.5, TIE, np.where(y > 0.5, FIRST, SECOND))
    right = np.where(verdict == FIRST, p0 > p1, p1 > p0).astype(float)
    rule, training = PROTOCOLS["pickapic"], PROTOCOLS["pickapic_training"]
    tied, apart = (_credits(rule, verdict, right, scores_tie=scores_tie) for scores_tie in (True, False))
    gaps = np.abs(p1 - p0)
    best, highest = best_threshold(gaps, tied, apart, thresholds)
    equal = _credits(training, verdict, right, scores_tie=True), _credits(training, verdict, right, scores_tie=False)
    found: dict[str, Any] = {
        "accuracy": accuracies_at(gaps, tied, apart, thresholds),
        "best_threshold": best,
        "best_accuracy": highest,
        "training_accuracy": float(np.where(p0 == p1, *equal).mean()),
        "analytic_random_scores": [
            float((t * tied + (1 - t) * np.where(verdict == TIE, apart, 0.5)).mean()) for t in thresholds
        ],
    }
    _lists(check, name, found, expected, atol)


def _credits(rule: Any, verdict: NDArray[Any], right: NDArray[Any], *, scores_tie: bool) -> NDArray[np.float64]:
    """Credit ``[P]`` under a rule of pairs that judges ties, all scores tied or none."""
    decided = np.full(len(right), rule.equal_scores) if scores_tie else right
    credits: NDArray[np.float64] = np.where(verdict == TIE, rule.ties[0 if scores_tie else 1], decided)
    return credits


def _tie_calibration(check: Check, name: str, case: Any, atol: float) -> None:
    inputs, expected = need(case, "inputs", "expected")
    human, margin = (np.asarray(values, dtype=float) for values in need(inputs, "human", "margin"))
    # Each pair is a group of two images whose scores differ by the margin, exactly.
    ranks = {1.0: (1, 2), -1.0: (2, 1), 0.0: (1, 1)}
    part = from_ranks([([delta, 0.0], ranks[said]) for said, delta in zip(human, margin, strict=True)])
    calibrated = measure("tie_calibrated_micro_published", part)[0].result(draws=0)
    found = {
        "accuracy": _number(calibrated.value),
        "epsilon": _number(calibrated.tuned),
        "videoalign_reference_with_ties": videoalign_accuracy(human.astype(np.int8), margin),
        "accuracy_without_human_ties": _value("strict_micro", part),
    }
    _lists(check, name, found, expected, atol)


def _calibration(check: Check, name: str, case: Any, atol: float) -> None:
    inputs, expected = need(case, "inputs", "expected")
    probability, label = need(inputs, "p_first_preferred", "label")
    p, y = np.asarray(probability, dtype=float), np.asarray(label, dtype=float)
    errors: dict[str, Callable[..., float]] = {
        "ece_symmetric": ece,
        "mce_symmetric": mce,
        "ece_one_sided": ece_one_sided_published,
    }
    part = from_ranks([([a, 0.5], [2 - b, 1.5]) for a, b in zip(p, y, strict=True)])
    found = {
        "brier": brier(p, y),
        "log_loss": negative_log_likelihood(np.log(p) - np.log1p(-p), y),
        "accuracy": _value("strict_micro", part),
    }
    for key, wanted in expected.items():
        if key == "bins":
            for bins, values in wanted.items():
                got = {error: function(p, y, bins=int(bins)) for error, function in errors.items()}
                _lists(check, f"{name}/{bins} bins", got, values, atol)
        else:
            _lists(check, name, found, {key: wanted}, atol)


def _correlation(check: Check, name: str, case: Any, atol: float) -> None:
    inputs, expected = need(case, "inputs", "expected")
    x, y = need(inputs, "x", "y")
    found = {"kendall_tau_b": kendall_tau_b(x, y), "spearman": spearman(x, y), "pearson": pearson(x, y)}
    _lists(check, name, found, expected, atol)


def _lists(check: Check, where: str, found: Mapping[str, Any], wanted: Mapping[str, Any], atol: float) -> None:
    """Compares numbers or lists of numbers by key; every key that is wanted has to be known."""
    for key, values in wanted.items():
        if key not in found:
            raise Malformed(f"{where}/{key} is no number that is known here")
        check.numbers(f"{where}/{key}", found[key], values, atol=atol)


def _value(protocol: str, part: Judged) -> float:
    measured: Measurement = measure(protocol, part)[0]
    return _number(measured.value())


def _number(value: float | None) -> float:
    return np.nan if value is None else value


COVERED: Mapping[str, Callable[[Check, str, Any, float], None]] = {
    "inversion_score": _inversion,
    "calc_imagereward": _imagereward,
    "ranking_groups": _ranking_groups,
    "pickscore_tie_threshold": _pickapic,
    "tie_calibration_pairs": _tie_calibration,
    "calibration": _calibration,
    "correlation": _correlation,
}
"""Kind of case to what replays it."""
