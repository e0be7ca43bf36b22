"""The card of a bundle: what a person must know to use its scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_OUTPUTS = {
    "cosine": "the cosine of image and prompt, from -1 to 1, as the published HPS v2 `score` returns",
    "cosine100": "100 times the cosine of image and prompt, as HPS v2 benchmarks print",
    "logit": "the logit that training saw: a difference of two scores under one prompt is the log-odds of a preference",
    "normalised": "the logit less a mean, divided by a standard deviation (`normalisation` in bundle.json), as "
    "ImageReward's `score` returns",
}


def card_text(record: Mapping[str, Any], name: str) -> str:
    """The card as Markdown.

    Args:
        record: The content of ``bundle.json``.
        name: Name of the bundle's folder.
    """
    transform = record["preprocessing"]
    weights = record["weights"]
    lines = [
        f"# {name}: a rewardkit reward model",
        "",
        "```python",
        "import rewardkit",
        "",
        f'reward = rewardkit.load("{name}")',
        'scores = reward.score(["a.jpg", "b.jpg"], "a cat with two horns")  # [2, dimensions]',
        "```",
        "",
        f"- Dimensions: {', '.join(record['dimensions'])}",
        f"- A score is {_OUTPUTS[record['output']]}. Higher is better; compare scores under one prompt only.",
        f"- Towers: {record['model']['architecture']['name']}; head: {record['model']['head']}; "
        f"{weights['parameters']:,} parameters in {weights['tensors']} tensors.",
        *_dimension_lines(record["model"]),
        f"- Images: {transform['resize']} to {transform['size']} px, {transform['interpolation']}, "
        f"antialias {'on' if transform['antialias'] else 'off'}, mean {_numbers(transform['mean'])}, "
        f"std {_numbers(transform['std'])}.",
        f"- Prompts: up to {record['text']['context_length']} tokens; what is longer is cut.",
        f"- Weights: `{weights['file']}`, sha256 `{weights['sha256']}`.",
        f"- Made with: {', '.join(f'{package} {number}' for package, number in record['versions'].items())}.",
    ]
    lines += ["", "## Evaluation", "", *(table_lines(record["evaluation"]) or ["Not evaluated."])]
    lines += ["", "## Calibration", ""]
    lines += table_lines([{"dimension": d, **flat_row(v)} for d, v in record["calibration"].items()]) or [
        "Not calibrated."
    ]
    if record["recipe"]:
        lines += ["", "## Recipe", "", *tree_lines(record["recipe"])]
    return "\n".join(lines) + "\n"


def _dimension_lines(model: Mapping[str, Any]) -> list[str]:
    """How ``overall`` follows from the other dimensions, and that there is an uncertainty; nothing where neither is."""
    lines = []
    overall = model.get("overall")
    if overall and "weights" in overall:
        weights = ", ".join(f"{name} {weight:.4f}" for name, weight in overall["weights"].items())
        lines.append(f"- overall is the {overall['kind']} of the other dimensions, with the weights {weights}.")
    elif overall:
        lines.append(
            "- overall is a sum of the other dimensions; a gate reads the weights off the prompt "
            "(`reward.overall_weights(prompts)`)."
        )
    if model.get("uncertainty"):
        lines.append("- Each score has a standard deviation: `reward.score_with_sigma(images, prompts)`.")
    return lines


def table_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A Markdown table with a column for every key that a row has; nothing without rows."""
    if not rows:
        return []
    columns = list(dict.fromkeys(column for row in rows for column in row))
    table = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return table + [f"| {' | '.join(_say(row.get(column)) for column in columns)} |" for row in rows]


def flat_row(values: Mapping[str, Any]) -> dict[str, Any]:
    """A nested map as one row: ``{"quantiles": {"0.5": 1}}`` becomes ``{"quantiles 0.5": 1}``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update({f"{key} {inner}": number for inner, number in value.items()})
        else:
            flat[key] = value
    return flat


def tree_lines(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """A nested map as a list of ``key = value``."""
    lines = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            lines += tree_lines(value, f"{prefix}{key}.")
        else:
            lines.append(f"- `{prefix}{key} = {value}`")
    return lines


def _say(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value).replace("|", "\\|").replace("\n", " ")


def _numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)
