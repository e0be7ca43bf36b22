"""What is still to be scored, scoring it batch by batch into the logs, and gathering what the logs hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from rewardkit.benchmark.images import FoundImage, GeneratorFolder
from rewardkit.benchmark.prompts import PromptSet
from rewardkit.benchmark.reading import ReadBatch, Task, Wanted, read_batches
from rewardkit.benchmark.scorers import Judge, Scorer
from rewardkit.benchmark.state import Line, ScoreLog, text_digest
from rewardkit.benchmark.tables import ScoredImage
from rewardkit.data.answer_table import AnswerRows, AnswerTable, QuestionAnswer
from rewardkit.data.group import Candidate, Group
from rewardkit.models.mllm.scoring import LoadedEvaluator


@dataclass(frozen=True, slots=True)
class Texts:
    """What the images of each prompt are scored under.

    Attributes:
        original: ``[P]`` the prompts.
        appended: ``[P]`` the prompts with their appended texts; None where nothing is appended.
    """

    original: tuple[str, ...]
    appended: tuple[str, ...] | None = None

    @property
    def changed(self) -> NDArray[np.bool_]:
        """``[P]``, which prompts have a text appended."""
        others = self.appended or self.original
        return np.array([one != other for one, other in zip(self.original, others, strict=True)])


@dataclass
class Images:
    """The images of all generators.

    Attributes:
        folders: The generators.
        gone: Names of those whose folder is there no more; their scores stay.
        problems: Generator and file to why it cannot be read, found while scoring.
    """

    folders: Sequence[GeneratorFolder]
    gone: frozenset[str] = frozenset()
    problems: dict[tuple[str, str], str] = field(default_factory=dict)

    def place_of(self, folder: GeneratorFolder) -> Path | None:
        """Where its files are; None where they are gone."""
        return None if folder.name in self.gone else folder.path


def wanted_of(judge: Judge, prompts: PromptSet, texts: Texts) -> list[tuple[Wanted, ...]]:
    """For each prompt what its images are to be scored under: the prompt, and the appended one where it differs.

    An evaluator that has no question for a prompt wants nothing of it.
    """
    found: list[tuple[Wanted, ...]] = []
    for number, prompt in enumerate(prompts.prompts):
        asked: tuple[str, ...] = ()
        if isinstance(judge.loaded, LoadedEvaluator):
            asked = tuple(prompt.asked(judge.loaded.questions))
            if not asked:
                found.append(())
                continue
        both = dict.fromkeys(of[number] for of in (texts.original, texts.appended) if of is not None)
        found.append(tuple(Wanted(text, text_digest(prompt, text, asked), prompt.slots, asked) for text in both))
    return found


def tasks_of(
    judges: Sequence[Judge], logs: Mapping[str, ScoreLog], images: Images, wanted: Sequence[tuple[Wanted, ...]]
) -> list[Task]:
    """Images that one of the judges has not scored yet under one of their texts; by prompt, then generator.

    Args:
        judges: On one tower, or an evaluator.
        logs: By label.
        images: All.
        wanted: See ``wanted_of``.
    """
    found: list[tuple[int, Task]] = []
    for folder in images.folders:
        place = images.place_of(folder)
        if place is None:
            continue
        for one in folder.images:
            lacking = tuple(
                text
                for text in wanted[one.prompt]
                if any(logs[j.label].find(folder.name, one.image, text.digest, place) is None for j in judges)
            )
            if lacking:
                found.append((one.prompt, Task(folder.name, place, one.image, lacking)))
    return [task for _, task in sorted(found, key=lambda pair: pair[0])]


def score_tasks(
    scorer: Scorer,
    tasks: Sequence[Task],
    logs: Mapping[str, ScoreLog],
    images: Images,
    *,
    device: torch.device,
    batch_size: int | None,
    workers: int,
    progress: Callable[[int], None],
) -> None:
    """Scores tasks; what a batch gave is in the logs before the next one is scored.

    Args:
        scorer: Of one tower or evaluator.
        tasks: See ``tasks_of``.
        logs: By label.
        images: Learns which files cannot be read.
        device: Where to compute.
        batch_size: Images in one forward pass; None: the scorer's own.
        workers: Processes that decode.
        progress: Called with the number of images done since it was called last.
    """
    if not tasks:
        return
    scorer.prepare([wanted.text for task in tasks for wanted in task.wanted], device)
    size = batch_size or scorer.batch_size
    for batch in read_batches(tasks, scorer.reader, batch_size=size, workers=workers):
        for judge, lines in zip(scorer.judges, scorer.score(batch), strict=True):
            logs[judge.label].add(lines)
        _note_problems(batch, images)
        progress(len(batch.images))


def _note_problems(batch: ReadBatch, images: Images) -> None:
    for read in batch.images:
        if read.problem:
            images.problems[read.task.generator, read.task.image.file] = read.problem


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a judge says of all images that it could score under the original prompts.

    Attributes:
        images: N of them, as rows of the predictions table.
        copies: ``[N]``, the number of each among its generator's images of the prompt.
        scores: ``[N, D]``, NaN where it says nothing.
        appended: The same under the appended prompts; None where nothing was appended.
        answers: Of an evaluator: for each image.
        refused: Image and why the judge cannot take it.
    """

    images: list[ScoredImage]
    copies: list[int]
    scores: NDArray[np.float64]
    appended: NDArray[np.float64] | None
    answers: list[list[QuestionAnswer]]
    refused: dict[str, str]


def gather(
    judge: Judge,
    log: ScoreLog,
    images: Images,
    prompts: PromptSet,
    texts: Texts,
    candidates: Mapping[tuple[str, str, int], int],
) -> Gathered:
    """What a judge's log says of the images as they are now.

    Args:
        judge: Whose.
        log: Its log.
        images: All.
        prompts: The set.
        texts: What was scored under.
        candidates: See ``number_candidates``.
    """
    wanted = wanted_of(judge, prompts, texts)
    rows: list[tuple[FoundImage, GeneratorFolder, Line, Line | None]] = []
    refused: dict[str, str] = {}
    for folder in images.folders:
        for one in folder.images:
            lines = [log.find(folder.name, one.image, text.digest, images.place_of(folder))
                     for text in wanted[one.prompt]]  # fmt: skip
            if not lines or lines[0] is None or (folder.name, one.image.file) in images.problems:
                continue
            if lines[0].error:
                refused[f"{folder.name}/{one.image.file}"] = lines[0].error
            rows.append((one, folder, lines[0], lines[-1]))
    return Gathered(
        images=[
            ScoredImage(
                prompt=one.prompt,
                key=prompts.prompts[one.prompt].key,
                candidate=candidates[folder.name, one.image.file, one.prompt],
                generator=folder.name,
                tags=prompts.prompts[one.prompt].tags,
                text=prompts.prompts[one.prompt].text,
                file=one.image.file,
                size=one.image.size,
            )
            for one, folder, _, _ in rows
        ],
        copies=[one.copy for one, _, _, _ in rows],
        scores=_matrix([first for _, _, first, _ in rows], len(judge.dimensions)),
        appended=None if texts.appended is None else _matrix([last for *_, last in rows], len(judge.dimensions)),
        answers=[[QuestionAnswer(image=0, **answer) for answer in first.answers] for _, _, first, _ in rows],
        refused=refused,
    )


def number_candidates(images: Images) -> dict[tuple[str, str, int], int]:
    """Generator, file and prompt to the image's number among those of the prompt: the same for every judge."""
    counts: dict[int, int] = {}
    found = {}
    for folder in images.folders:
        for one in folder.images:
            found[folder.name, one.image.file, one.prompt] = counts.get(one.prompt, 0)
            counts[one.prompt] = counts.get(one.prompt, 0) + 1
    return found


def answers_of(evaluator: LoadedEvaluator, gathered: Gathered, prompts: PromptSet) -> AnswerTable:
    """The answers table beside the predictions."""
    rows = AnswerRows(evaluator.questions)
    by_prompt: dict[int, dict[int, int]] = {}
    for n, image in enumerate(gathered.images):
        by_prompt.setdefault(image.prompt, {})[image.candidate] = n
    for number, of_prompt in sorted(by_prompt.items()):
        prompt = prompts.prompts[number]
        last = max(of_prompt) + 1
        places = [of_prompt.get(candidate) for candidate in range(last)]
        candidates = tuple(
            Candidate("") if n is None else Candidate(gathered.images[n].file, gathered.images[n].generator)
            for n in places
        )
        said = [[] if n is None else gathered.answers[n] for n in places]
        group = Group(id=prompt.key, prompt=prompt.text, candidates=candidates)
        rows.add(group, said, number=number, key=prompt.key, source=prompts.name)
    return rows.table()


def _matrix(lines: Sequence[Line | None], dimensions: int) -> NDArray[np.float64]:
    """``[N, D]``, NaN where a line is missing or has no score."""
    table = [[None] * dimensions if line is None else list(line.scores) for line in lines]
    return np.array(table, dtype=np.float64).reshape(len(lines), dimensions)
