"""Prompts after the steps that prepare them, read from the log: cleaned, polished, or dropped as unsafe."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rewardkit.annotate.inputs import DROPPED, Groups, readable
from rewardkit.annotate.log import LogLine, Step
from rewardkit.data.reading.statements import RAW_PROMPT

STEPS: tuple[Step, ...] = ("clean", "polish", "safety")
"""In the order in which they are taken."""

PROMPTS_FILE = "prompts.jsonl"


@dataclass(slots=True)
class Prepared:
    """What became of prompts.

    Attributes:
        prompts: Group id to its prompt now; None where it is dropped. Groups whose prompt stays are not named.
        reasons: Group id to why it was dropped.
        counts: What happened, in words.
    """

    prompts: dict[str, str | None] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def take(self, step: Step, lines: Iterable[LogLine], groups: Groups) -> None:
        """Takes the results of a step.

        A prompt that could not be cleaned or polished stays as it is; one whose safety could not be told is dropped.

        Args:
            step: Which.
            lines: Of the log.
            groups: Under the prompts that the step was asked about.
        """
        said = {(line.group, line.prompt): line for line in lines if line.step == step}
        for group in readable(groups):
            line = said.get((group.id, group.prompt))
            if line is None:
                continue
            if step == "safety":
                self._judge(line)
            elif line.outcome != "ok":
                self.counts[f"{step}: {line.outcome}, the prompt stays as it is"] += 1
            elif line.result["prompt"].strip() != group.prompt.strip():
                self.counts[f"{step}: changed"] += 1
                self.prompts[group.id] = line.result["prompt"].strip()
            else:
                self.counts[f"{step}: nothing to change"] += 1

    def _judge(self, line: LogLine) -> None:
        safe = line.outcome == "ok" and line.result["safe"]
        self.counts["safety: safe" if safe else "safety: dropped"] += 1
        if not safe:
            told = line.result["reason"] if line.outcome == "ok" else f"the model's answer was {line.outcome}"
            self.prompts[line.group] = None
            self.reasons[line.group] = f"safety: {told}"


def write_prompts(folder: Path, groups: Groups, prepared: Prepared, steps: Sequence[Step]) -> Path:
    """Writes ``prompts.jsonl``, which ``prompts=`` reads: id, prompt, raw_prompt, and why a prompt is dropped.

    Args:
        folder: Of the annotation.
        groups: Under their prompts as they came.
        prepared: What became of them.
        steps: That were taken.
    """
    file = folder / PROMPTS_FILE
    part = file.with_name(f".{file.name}.part")
    with part.open("w", encoding="utf-8", errors="backslashreplace") as out:
        for group in readable(groups):
            now = prepared.prompts.get(group.id, group.prompt)
            row = {"id": group.id, "prompt": group.prompt if now is None else now}
            row[RAW_PROMPT] = str(group.slots.get(RAW_PROMPT, group.prompt))
            if group.id in prepared.reasons:
                row[DROPPED] = prepared.reasons[group.id]
            out.write(json.dumps(row | {"steps": ",".join(steps)}, ensure_ascii=False) + "\n")
    os.replace(part, file)
    return file
