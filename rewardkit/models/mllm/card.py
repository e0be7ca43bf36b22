"""The card of an evaluator's bundle: what a person must know to use its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewardkit.data.questions import QuestionSet
from rewardkit.models.bundle_card import (
    data_lines,
    flat_row,
    front_matter,
    recipe_lines,
    table_lines,
    use_lines,
)

_FORMS = {
    "adapter": "what training changed; the base is needed beside it",
    "whole": "all of the base, adapters beside it",
    "merged": "all of the base, adapters added into its weights",
}
_SHOWN = ("option_accuracy", "qwk", "mae", "na_f1", "srcc")
"""Measures of answers that a card shows."""

_SCORES = {
    "ordinal": "the ordinal head's, on the scale of a logit",
    "regression": "the regression head's, on the scale of the ratings up to a line that training fitted",
    "expected": "the expected worth of the options that apply, between the least and the greatest of them",
}


def evaluator_card(record: Mapping[str, Any], name: str, questions: Sequence[QuestionSet]) -> str:
    """The card as Markdown.

    Args:
        record: The content of ``bundle.json``.
        name: Name of the bundle's folder.
        questions: Its question sets.
    """
    model, weights = record["model"], record["weights"]
    base = model.get("base")
    lines = [
        *front_matter(record, "mllm"),
        f"# {name}: a rewardkit evaluator",
        "",
        f"An evaluator is a multimodal language model ({model['family']}) that answers questions about an image and "
        f"the prompt it was made for; scores on {', '.join(record['dimensions'])} follow from the answers.",
        "",
        "## How to load it",
        "",
        "With rewardkit:",
        "",
        "```python",
        "import rewardkit",
        "",
        f'evaluator = rewardkit.load("{name}")',
        'scores = evaluator.score(["a.jpg", "b.jpg"], "a cat with two horns")  # [2, dimensions]',
        'answers = evaluator.answers(["a.jpg", "b.jpg"], "a cat with two horns")  # one for each image and question',
        "```",
        "",
        "With transformers, after an export of the merged weights (answers are then written words):",
        "",
        "```sh",
        f"python -m rewardkit export model={name} to=transformers out=for-transformers",
        "```",
        "",
        "As plain tensors, with nothing but safetensors (`bundle.json` says what they are of):",
        "",
        "```python",
        "from safetensors.torch import load_file",
        "",
        f'tensors = load_file("{name}/{weights["file"]}")',
        "```",
        "",
        "## What a score is",
        "",
        f"- Dimensions: {', '.join(record['dimensions'])}",
        f"- A score is {_SCORES[model['scores_from']]}; NaN where no question was asked. Higher is better.",
        f"- Base: {model['family']}, {model['dtype']}; this bundle is `{model['form']}`: {_FORMS[model['form']]}. "
        f"{weights['parameters']:,} parameters in {weights['tensors']} tensors, heads and score token among them.",
        *([f"- The base lay at `{base['path']}`, sha256 of its files `{base['sha256']}`."] if base else []),
        f"- Weights: `{weights['file']}`, sha256 `{weights['sha256']}`.",
        f"- Made with: {', '.join(f'{package} {number}' for package, number in record['versions'].items())}.",
    ]
    for one in questions:
        lines += ["", f"## Questions: {one.name}", "", one.about, "", *_questions(one)]
    lines += [*data_lines(record), "", "## Evaluation", "", *_evaluation(record["evaluation"])]
    lines += ["", "## Calibration", ""]
    lines += table_lines([{"dimension": d, **flat_row(v)} for d, v in record["calibration"].items()]) or [
        "Not calibrated."
    ]
    lines += [*use_lines(record), *recipe_lines(record)]
    return "\n".join(lines) + "\n"


def _evaluation(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The measures of answers that say most, and accuracies of comparisons; ``bundle.json`` has all."""
    about = ("set", "step", "selected", "dimension", "metric", "value")
    answers = [
        {name: row.get(name) for name in (*about, "comparisons", "groups", "chance", "most_frequent")}
        for row in rows
        if row.get("metric") in _SHOWN and "most_frequent" in row
    ]
    compared = [row for row in rows if "most_frequent" not in row]
    told = [table_lines(part) for part in (answers, compared) if part]
    return [line for n, part in enumerate(told) for line in ([""] if n else []) + part] or ["Not evaluated."]


def _questions(questions: QuestionSet) -> list[str]:
    return table_lines(
        [
            {
                "question": question.key,
                "dimension": question.dimension,
                "options": ", ".join(f"{option.label} = {option.value}" for option in question.options),
                "needs": ", ".join(question.needs),
                "text": question.text,
            }
            for question in questions.questions
        ]
    )
