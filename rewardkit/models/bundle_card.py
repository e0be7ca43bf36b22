"""The card of a bundle, its README.md: what a person must know to use its scores, written from its own record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Form = str
"""What the folder is: ``bundle``, ``open_clip`` or ``transformers``."""

_OUTPUTS = {
    "cosine": "the cosine of image and prompt, from -1 to 1, as the published HPS v2 `score` returns",
    "cosine100": "100 times the cosine of image and prompt, as HPS v2 benchmarks print",
    "logit": "the logit that training saw: a difference of two scores under one prompt is the log-odds of a preference",
    "normalised": "the logit less a mean, divided by a standard deviation (`normalisation` in bundle.json), as "
    "ImageReward's `score` returns",
}
_PROTOCOL_COLUMNS = {
    "set": "set",
    "dimension": "dimension",
    "protocol": "protocol",
    "value": "value",
    "interval": "95 % interval",
    "comparisons": "n",
    "groups": "groups",
    "chance": "chance",
    "annotator_agreement": "one annotator",
    "which_generator": "which generator",
    "list_position": "listed first",
}


def card_text(record: Mapping[str, Any], name: str, *, form: Form = "bundle") -> str:
    """The card as Markdown.

    Args:
        record: The content of ``bundle.json``; ``license`` and ``data`` in it may be missing.
        name: Name of the bundle's folder, or of its repository.
        form: What the folder is.
    """
    dimensions = ", ".join(record["dimensions"])
    kind = {"clip": "a pairwise-ranking reward on a CLIP", "blip": "a reward on a BLIP cross-encoder"}
    lines = [
        *front_matter(record),
        f"# {name}: a rewardkit reward model",
        "",
        f"A reward model looks at a prompt and an image and says how much people would like it. This is "
        f"{kind[record['model']['kind']]}; it judges {dimensions}.",
        "",
        "## How to load it",
        "",
        *_loading(record, name, form),
        "",
        "## What a score is",
        "",
        *_facts(record),
        *data_lines(record),
        "",
        "## Evaluation",
        "",
        *evaluation_lines(record["evaluation"]),
        "",
        "## Calibration",
        "",
        *(
            table_lines([{"dimension": d, **flat_row(v)} for d, v in record["calibration"].items()])
            or ["Not calibrated."]
        ),
        *use_lines(record),
        *recipe_lines(record),
    ]
    return "\n".join(lines) + "\n"


def front_matter(record: Mapping[str, Any], *tags: str) -> list[str]:
    """The block of YAML that model hubs read; text is quoted as JSON, which YAML reads as it is."""
    given = ("text-to-image", "human-preference", "reward-model", record["model"]["kind"], *tags)
    license_ = [f"license: {json.dumps(record['license'])}"] if record.get("license") else []
    return ["---", *license_, "library_name: rewardkit", "tags:", *(f"- {json.dumps(tag)}" for tag in given), "---", ""]


def _loading(record: Mapping[str, Any], name: str, form: Form) -> list[str]:
    """Three ways: rewardkit, the library of the towers, plain safetensors."""
    weights = record["weights"].get("file", "model.safetensors")
    if form == "open_clip":
        return [
            *_code("import open_clip", "", f'model = open_clip.create_model("local-dir:{name}")',
                   f'tokenizer = open_clip.get_tokenizer("local-dir:{name}")'),
            "The score is the cosine of `encode_image` and `encode_text`. A model of many dimensions has a folder for "
            "each.",
        ]  # fmt: skip
    if form == "transformers":
        return [
            *_code("from transformers import CLIPModel, CLIPProcessor", "",
                   f'model = CLIPModel.from_pretrained("{name}")',
                   f'processor = CLIPProcessor.from_pretrained("{name}")'),
            "The score is the cosine of the image's and the text's embedding. A model of many dimensions has a folder "
            "for each.",
        ]  # fmt: skip
    lines = [
        "With rewardkit:",
        "",
        *_code(
            "import rewardkit",
            "",
            f'reward = rewardkit.load("{name}")',
            'scores = reward.score(["a.jpg", "b.jpg"], "a cat with two horns")  # [2, dimensions]',
        ),
    ]
    if record["model"]["kind"] == "clip":
        lines += [
            "With open_clip or transformers, after an export that folds the head into the towers (of each dimension a "
            "folder, where there are several):",
            "",
            *_code(f"python -m rewardkit export model={name} to=open_clip out=for-open-clip",
                   f"python -m rewardkit export model={name} to=transformers out=for-transformers", language="sh"),
        ]  # fmt: skip
    else:
        lines += ["Neither open_clip nor transformers has a class for a BLIP with this head.", ""]
    return [
        *lines,
        "As plain tensors, with nothing but safetensors (`bundle.json` says what they are of):",
        "",
        *_code("from safetensors.torch import load_file", "", f'tensors = load_file("{name}/{weights}")'),
    ]


def _code(*lines: str, language: str = "python") -> list[str]:
    return [f"```{language}", *lines, "```", ""]


def _facts(record: Mapping[str, Any]) -> list[str]:
    transform, weights = record["preprocessing"], record["weights"]
    return [
        f"- Dimensions: {', '.join(record['dimensions'])}",
        f"- A score is {_OUTPUTS[record['output']]}. Higher is better; compare scores under one prompt only.",
        f"- Towers: {record['model']['architecture']['name']}; head: {record['model']['head']}"
        + (f"; {weights['parameters']:,} parameters in {weights['tensors']} tensors." if "tensors" in weights else "."),
        *_dimension_lines(record["model"]),
        f"- Images: {transform['resize']} to {transform['size']} px, {transform['interpolation']}, "
        f"antialias {'on' if transform['antialias'] else 'off'}, mean {_numbers(transform['mean'])}, "
        f"std {_numbers(transform['std'])}.",
        f"- Prompts: up to {record['text']['context_length']} tokens; what is longer is cut.",
        f"- Weights: sha256 `{weights['sha256']}`"
        + (f" (`{weights['file']}` of the bundle)." if "file" in weights else "."),
        f"- Made with: {', '.join(f'{package} {number}' for package, number in record['versions'].items())}.",
    ]


def data_lines(record: Mapping[str, Any]) -> list[str]:
    """What it was trained and validated on: counts, and how the sets were made."""
    told = record.get("data") or []
    if not told:
        return ["", "## Data", "", "The bundle does not say what it was trained on."]
    rows = [
        {
            "used for": one["use"] + (f" ({one['set']})" if one.get("set") else ""),
            "groups": f"{one['groups']:,}",
            "images": f"{one['images']:,}",
            "comparisons": ", ".join(f"{d} {n:,}" for d, n in one["comparisons"].items()),
            "answers": f"{one['answers']:,}",
            "data sets": ", ".join(f"{source} {n:,}" for source, n in one["sources"].items()),
            "made by": ", ".join(f"{key} {value}" for key, value in one["made"].items()),
            "digest": f"`{one['digest'][:16]}`",
        }
        for one in told
    ]
    empty = [column for column in ("answers", "data sets", "made by") if all(row[column] in ("", "0") for row in rows)]
    kept = [{column: cell for column, cell in row.items() if column not in empty} for row in rows]
    return ["", "## Data", "", *table_lines(kept)]


def evaluation_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Accuracies with their protocol, interval and counts, beside what they have to be read against."""
    if not rows:
        return ["Not evaluated."]
    shown = []
    for row in rows:
        low, high = row.get("low"), row.get("high")
        told = {**row, "interval": None if low is None or high is None else f"{low:.3f} to {high:.3f}"}
        shown.append({title: told[key] for key, title in _PROTOCOL_COLUMNS.items() if told.get(key) is not None})
    lines = table_lines(shown)
    step, selected = rows[0].get("step"), rows[0].get("selected")
    if step is not None:
        lines += ["", f"Weights of step {step}, {selected}." if selected else f"Weights of step {step}."]
    return [*lines, "", "Intervals resample groups. `bundle.json` has every figure."]


def use_lines(record: Mapping[str, Any]) -> list[str]:
    """Intended use and known limits, as far as the record tells."""
    limits = [
        "Scores are comparable under one prompt only. Neither a score nor a difference has a meaning across prompts."
        if record["model"]["kind"] != "mllm"
        else "",
        "It has learned what the annotators of its data preferred, with their taste and their blind spots, on images "
        "of the generators that they saw. Newer generators, other styles and other languages are outside of that.",
        f"Prompts longer than {record['text']['context_length']} tokens are cut." if "text" in record else "",
        "A model that is optimised against this score will find what the score gets wrong; watch other measures too.",
        "It is no safety filter and no judge of facts.",
    ]
    beaten = [row for row in record["evaluation"] if _not_above(row, "which_generator")]
    if beaten:
        names = ", ".join(dict.fromkeys(str(row.get("dimension")) for row in beaten))
        limits.append(
            f"On its validation data it is no better than always preferring the generator that wins more often: "
            f"{names}."
        )
    if any("validations" in str(row.get("selected", "")) for row in record["evaluation"]):
        limits.append(
            "The weights were chosen among validations on the data it is evaluated on, which flatters the figures a "
            "little."
        )
    if not record["calibration"]:
        limits.append("Its scores are not calibrated.")
    return [
        "",
        "## Intended use",
        "",
        "Ranking images that were made for one prompt: choosing the best of several, comparing text-to-image models on "
        "many prompts, filtering data, and as a reward in training.",
        "",
        "## Known limits",
        "",
        *(f"- {line}" for line in limits if line),
    ]


def _not_above(row: Mapping[str, Any], beside: str) -> bool:
    value, other = row.get("value"), row.get(beside)
    return value is not None and other is not None and row.get("metric", "accuracy") == "accuracy" and value <= other


def recipe_lines(record: Mapping[str, Any]) -> list[str]:
    """The options that it was trained with, folded."""
    if not record["recipe"]:
        return []
    return [
        "",
        "## Recipe",
        "",
        "<details><summary>All options</summary>",
        "",
        *tree_lines(record["recipe"]),
        "",
        "</details>",
    ]


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
