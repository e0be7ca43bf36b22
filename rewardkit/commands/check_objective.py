"""What is wrong with the options of an objective: by themselves, and against the data it shall learn from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rewardkit.config.compose import COMMAND_LINE
from rewardkit.config.messages import did_you_mean
from rewardkit.config.objective_options import ASKED, LISTWISE, PAIRWISE, POINTWISE, TERMS, ObjectiveOptions
from rewardkit.config.schema import FitOptions
from rewardkit.config.term_options import JudgingTermOptions, ScoreTermOptions
from rewardkit.errors import ConfigError

if TYPE_CHECKING:
    from rewardkit.data.mixture import Mixture

CAPTION_CONTRAST = "caption_contrast"
RATING_GAP = "rating_gap"


def judged_by(objective: ObjectiveOptions, term: str, dimensions: tuple[str, ...]) -> tuple[str, ...]:
    """The dimensions that a term learns: those with a factor above 0."""
    options = getattr(objective, term)
    if not isinstance(options, JudgingTermOptions) or not options.dimensions:
        return dimensions
    return tuple(name for name in dimensions if options.dimensions.get(name, 0) > 0)


def scores_of(objective: ObjectiveOptions, term: str) -> str | None:
    """Which of an evaluator's scores a term learns on; None for a term that learns on answers, not on scores."""
    options = getattr(objective, term)
    if not isinstance(options, ScoreTermOptions):
        return None
    own = {"ordinal": "ordinal", "mse": "regression", "huber": "regression"}
    return options.scores or own.get(term, "expected")


def objective_problems(options: FitOptions, origins: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with the section ``objective``, each problem with its full key.

    Args:
        options: Of ``fit``.
        origins: Key to where its value was set.
    """
    objective, dimensions = options.objective, tuple(options.model.dimensions)
    names = objective.name
    if not names:
        yield "objective.name: names no term; for example objective.name=bradley_terry"
    if len(set(names)) != len(names):
        yield f"objective.name: names a term twice ({', '.join(names)}); name each once, its coefficient weighs it"
    yield from _unread_sections(objective, origins)
    for term in dict.fromkeys(names):
        yield from _factor_problems(objective, term, dimensions)
        if term in ("cdpo", "robust"):
            yield from _flip_rate_problems(objective, term, dimensions)
    if "gaussian" in names and not getattr(options.model, "uncertainty", False):
        yield (
            "objective.name: gaussian compares distributions, and model.uncertainty is false, so that the model has "
            "scores alone; set model.uncertainty=true, or take thurstone, which also knows one variance for all"
        )
    if "pickscore" in names and objective.pickscore.in_batch_negatives:
        yield from _in_batch_problems(options)
    if options.data.pairing == "pairs":
        yield from _pairs_problems(objective)


def _in_batch_problems(options: FitOptions) -> Iterator[str]:
    """The negatives are scored by the cosine of the towers' features, so a score has to be just that."""
    key, model = "objective.pickscore.in_batch_negatives", options.model
    if len(model.dimensions) != 1:
        yield f"{key}: takes a model of one dimension, got model.dimensions={','.join(model.dimensions)}"
    if model.head not in ("auto", "cosine"):
        yield f"{key}: takes a model whose score is a cosine, got model.head={model.head}; set model.head=cosine"
    if model.kind != "clip":
        yield f"{key}: takes a model of two towers, got model.kind={model.kind}; set model.kind=clip"


def _unread_sections(objective: ObjectiveOptions, origins: Mapping[str, str]) -> Iterator[str]:
    for term in TERMS:
        given = [key for key, of in origins.items() if of == COMMAND_LINE and key.startswith(f"objective.{term}.")]
        if given and term not in objective.name:
            listed = ",".join([*objective.name, term])
            yield (
                f"{', '.join(given)}: nothing reads it, since objective.name lists {', '.join(objective.name)} and not "
                f"{term}; for all of them objective.name={listed}"
            )


def _factor_problems(objective: ObjectiveOptions, term: str, dimensions: tuple[str, ...]) -> Iterator[str]:
    options, key = getattr(objective, term), f"objective.{term}"
    if not options.coefficient and not options.final_coefficient:
        yield f"{key}.coefficient: 0 from the first to the last step; leave {term} out of objective.name instead"
    if not isinstance(options, JudgingTermOptions) or not options.dimensions:
        return
    for name, factor in options.dimensions.items():
        if name not in dimensions:
            yield _unknown_dimension(f"{key}.dimensions", name, dimensions)
        if not 0 <= factor < float("inf"):
            yield f"{key}.dimensions: the factor of {name} must be a number of at least 0, got {factor}"
    if not any(options.dimensions.values()):
        yield f"{key}.dimensions: every factor is 0; give one above 0, or leave {term} out of objective.name"


def _flip_rate_problems(objective: ObjectiveOptions, term: str, dimensions: tuple[str, ...]) -> Iterator[str]:
    rate, key = getattr(objective, term).flip_rate, f"objective.{term}.flip_rate"
    rates = dict(rate) if isinstance(rate, Mapping) else {None: rate}
    for name, value in rates.items():
        of = f" of {name}" if name is not None else ""
        if isinstance(value, bool) or not isinstance(value, int | float):
            kind = f"a number, or a map of dimension to number ({{{dimensions[0]}: 0.1}})"
            yield f"{key}: expects {kind}, got {value!r}{of}"
        elif not 0 <= value < 0.5:
            yield (
                f"{key}: must be at least 0 and below 0.5, got {value}{of}; at a half, votes say nothing, and beyond "
                "it the opposite"
            )
        if name is not None and name not in dimensions:
            yield _unknown_dimension(key, str(name), dimensions)
    missing = [name for name in judged_by(objective, term, dimensions) if name not in rates]
    if missing and set(rates) <= set(dimensions):
        yield f"{key}: says nothing of {', '.join(missing)}; name a rate for each dimension that {term} judges"


def _unknown_dimension(key: str, name: str, dimensions: tuple[str, ...]) -> str:
    hint = did_you_mean(name, dimensions)
    return f"{key}: there is no dimension {name!r}.{hint} model.dimensions has {', '.join(dimensions)}"


def _pairs_problems(objective: ObjectiveOptions) -> Iterator[str]:
    """With single comparisons there is nothing else of a group: no rankings and no ratings."""
    why, remedy = "data.pairing=pairs draws comparisons alone", "set data.pairing=grouped"
    for term in objective.name:
        if term in ASKED:
            yield f"objective.name: {term} learns from answers, and {why}; {remedy}"
        elif term in LISTWISE:
            yield f"objective.name: {term} learns from rankings, and {why}; {remedy}"
        elif term in POINTWISE:
            yield f"objective.name: {term} learns from ratings, and {why}; {remedy}"
        elif term in ("margin", "scaled") and getattr(objective, term).of == RATING_GAP:
            yield f"objective.{term}.of: rating_gap needs ratings, and {why}; {remedy}, or objective.{term}.of=constant"


def check_labels(
    objective: ObjectiveOptions,
    data: Mixture,
    origins: Mapping[str, str],
    *,
    option_labels: Mapping[str, Any] | None = None,
) -> list[str]:
    """Refuses an objective for which the training data have no labels.

    Args:
        objective: Checked by ``objective_problems``.
        data: The training data.
        origins: Key to where its value was set.
        option_labels: Of an evaluator: question to the training labels of each of its options.

    Returns:
        Notes: a recipe's caption_contrast adds nothing on data without captions, and need not keep anybody from
        training the recipe on them. Who names the term on the command line asked for it.

    Raises:
        ConfigError: With every problem.
    """
    problems = [problem for term in objective.name for problem in _label_problems(objective, term, data)]
    if not any(labels.sum() for labels in (option_labels or {}).values()):
        problems += [
            f"objective.name: {term} learns from answers to questions, and no answer in the training data is an option "
            f"of {', '.join(option_labels or {})}: {_there(data.dimensions, data)}"
            for term in objective.name
            if term in ASKED
        ]
    notes = []
    if CAPTION_CONTRAST in objective.name and not data.has_captions():
        others = ",".join(name for name in objective.name if name != CAPTION_CONTRAST)
        told = (
            "objective.name: caption_contrast needs captions of the images, and no group of the training data has them"
        )
        if origins.get("objective.name") == COMMAND_LINE or not others:
            problems.append(f"{told}; leave it out")
        else:
            notes.append(f"{told}, so it adds nothing; objective.name={others} leaves it out")
    if problems:
        raise ConfigError(problems)
    return notes


def _label_problems(objective: ObjectiveOptions, term: str, data: Mixture) -> Iterator[str]:
    dimensions = judged_by(objective, term, data.dimensions)
    if term in POINTWISE:
        yield from _rating_problems(term, dimensions, data)
    elif term in (*PAIRWISE, *LISTWISE):
        kind = "rankings" if term in LISTWISE else "decided" if _wants_winners(objective, term) else "comparisons"
        if not _with(dimensions, data, kind):
            what = "comparisons that prefer one image" if kind == "decided" else kind
            yield (
                f"objective.name: {term} learns from {what}, and the training data have none on "
                f"{', '.join(dimensions)}: {_there(dimensions, data)}"
            )
    by_gap = term in ("margin", "scaled") and getattr(objective, term).of == RATING_GAP
    if by_gap and not _with(dimensions, data, "ratings"):
        yield (
            f"objective.{term}.of: rating_gap needs ratings, and the training data have none on "
            f"{', '.join(dimensions)}: {_there(dimensions, data)}; take objective.{term}.of=constant"
        )
    if term == "ordinal":
        for name in _with(dimensions, data, "ratings"):
            scale = data.scales[name]
            if scale.levels < 2:
                yield (
                    f"objective.name: ordinal needs a few whole levels, and the ratings of {name} go from "
                    f"{scale.low:g} to {scale.high:g}{'' if scale.integer else ', not in whole steps'}; take mse or "
                    "huber for it, or leave it out with objective.ordinal.dimensions"
                )


def _wants_winners(objective: ObjectiveOptions, term: str) -> bool:
    """Whether a term leaves out ties and even votes."""
    dropped = term == "bradley_terry" and objective.bradley_terry.ties == "drop"
    return dropped or term in ("imagereward", "margin", "scaled", "hinge")


def _rating_problems(term: str, dimensions: tuple[str, ...], data: Mixture) -> Iterator[str]:
    rated = _with(dimensions, data, "ratings")
    without = [name for name in dimensions if name not in rated]
    if not without:
        return
    factors = ", ".join(f"{name}: 1" for name in rated)
    remedy = f"; learn the others alone with objective.{term}.dimensions='{{{factors}}}'" if rated else ""
    yield (
        f"objective.name: {term} learns from ratings, and the training data have none on {', '.join(without)}: "
        f"{_there(tuple(without), data)}{remedy}"
    )


def _with(dimensions: tuple[str, ...], data: Mixture, kind: str) -> list[str]:
    """Those of the dimensions that have labels of a kind."""
    there = dict(zip(data.dimensions, data.has_labels(kind), strict=True))
    return [name for name in dimensions if there[name]]


def _there(dimensions: tuple[str, ...], data: Mixture) -> str:
    """What the data have of some dimensions, in words."""
    found = {kind: _with(dimensions, data, kind) for kind in ("comparisons", "rankings", "ratings")}
    told = [f"{kind} on {', '.join(names)}" for kind, names in found.items() if names]
    return f"there are {' and '.join(told)}" if told else "there is nothing on it"
