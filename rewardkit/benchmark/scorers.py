"""Scores read images: rewards that share a tower encode each image once, an evaluator answers its questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rewardkit.benchmark.reading import PixelReader, ReadBatch, Reader, RowReader
from rewardkit.benchmark.state import Line
from rewardkit.config.overall import OVERALL
from rewardkit.data.images import normalise
from rewardkit.errors import CheckpointError
from rewardkit.models.blip import BLIPReward
from rewardkit.models.clip import CLIPReward
from rewardkit.models.feature_encoding import towers_digest
from rewardkit.models.load import LoadedReward
from rewardkit.models.mllm.answers import scores_of
from rewardkit.models.mllm.scoring import LoadedEvaluator, Way

TEXTS_AT_ONCE = 256
TOWER_BATCH, EVALUATOR_BATCH = 32, 8
"""Images in one forward pass where nothing is said."""


@dataclass(frozen=True, slots=True)
class Judge:
    """A reward or evaluator as a benchmark uses it.

    Attributes:
        label: Short, different from all others.
        dimensions: Of its scores, ``overall`` first.
        scale: What a score is.
        made_with: What its scores follow from, as plain values.
        loaded: The model.
        way: How an evaluator answers.
        tokens: Longest written answer of an evaluator.
    """

    label: str
    dimensions: tuple[str, ...]
    scale: str
    made_with: tuple[Any, ...]
    loaded: LoadedReward | LoadedEvaluator
    way: Way = "probabilities"
    tokens: int = 16

    @property
    def kind(self) -> str:
        """``clip``, ``blip`` or ``mllm``."""
        if isinstance(self.loaded, LoadedEvaluator):
            return "mllm"
        return "clip" if isinstance(self.loaded.model, CLIPReward) else "blip"


class Scorer(Protocol):
    """Scores batches for one judge or several that share a tower.

    Attributes:
        judges: Whose scores it gives.
        reader: What makes its batches.
        batch_size: Images at a time where nothing is said.
    """

    judges: list[Judge]
    reader: Reader
    batch_size: int

    def prepare(self, texts: Sequence[str], device: torch.device) -> None:
        """Moves the model to the device and encodes all texts that will be met, each once."""
        ...

    def score(self, batch: ReadBatch) -> list[list[Line]]:
        """For each judge the lines of a batch."""
        ...


def make_judge(
    label: str, loaded: LoadedReward | LoadedEvaluator, *, scale: str | None, way: Way, tokens: int
) -> Judge:
    """A judge of a model that was opened.

    Args:
        label: See ``Judge``.
        loaded: The model.
        scale: Of the scores of a CLIP or BLIP; None: 100 times the cosine, of a BLIP the bundle's own.
        way: How an evaluator answers.
        tokens: Longest written answer of an evaluator.
    """
    dimensions = tuple(sorted(loaded.dimensions, key=lambda name: name != OVERALL))
    weights = loaded.record.get("weights", {}).get("sha256", "")
    if isinstance(loaded, LoadedEvaluator):
        asked = {question.dimension for question in loaded.questions.questions}
        dimensions = tuple(name for name in dimensions if name in asked)
        made_with = [repr(loaded.questions), loaded.rows.settings, way, tokens]
        own: str = "written" if way == "generate" else loaded.model.scores_from
    else:
        own = scale or ("cosine100" if isinstance(loaded.model, CLIPReward) else loaded.output)
        made_with = [loaded.record["preprocessing"]]
    return Judge(label, dimensions, own, (weights, own, dimensions, *made_with), loaded, way, tokens)


def make_scorers(judges: Sequence[Judge]) -> list[Scorer]:
    """A scorer for each tower and each evaluator; judges keep their order within one.

    Rewards on the same tower with the same transform (by digest) share it: what they add to each other is their heads.
    """
    clips = [judge for judge in judges if judge.kind == "clip"]
    by_tower: dict[str, TowerScorer] = {}
    scorers: list[Scorer] = []
    for judge in judges:
        if judge.kind == "mllm":
            scorers.append(EvaluatorScorer(judge))
        elif judge.kind == "blip":
            scorers.append(CrossScorer(judge))
        else:
            digest = towers_digest(_clip(judge)) if len(clips) > 1 else ""
            if digest in by_tower:
                by_tower[digest].join(judge)
            else:
                by_tower[digest] = TowerScorer(judge)
                scorers.append(by_tower[digest])
    return scorers


class TowerScorer:
    """CLIPs on one tower; see ``Scorer``."""

    batch_size = TOWER_BATCH

    def __init__(self, judge: Judge) -> None:
        self.judges = [judge]
        self._factors = [_factor(judge)]
        self._model = _clip(judge)
        self.reader: Reader = PixelReader(self._model.transform)
        self._texts: dict[str, int] = {}
        self._features = torch.zeros(0)

    def join(self, judge: Judge) -> None:
        """Adds a reward on the same tower, whose own copy of it is let go."""
        self._factors.append(_factor(judge))
        _clip(judge).clip = self._model.clip
        self.judges.append(judge)

    @torch.inference_mode()
    def prepare(self, texts: Sequence[str], device: torch.device) -> None:
        """See ``Scorer``."""
        for judge in self.judges:
            _clip(judge).to(device)
        self._texts = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        listed = list(self._texts)
        parts = [listed[start : start + TEXTS_AT_ONCE] for start in range(0, len(listed), TEXTS_AT_ONCE)]
        self._features = torch.cat([self._model.encode_prompts(part) for part in parts])  # [T, E]

    @torch.inference_mode()
    def score(self, batch: ReadBatch) -> list[list[Line]]:
        """See ``Scorer``."""
        if batch.pixels is None:
            return [[] for _ in self.judges]
        model = self._model
        pixels = normalise(batch.pixels.to(model.device), model.transform.mean, model.transform.std)
        images = model.encode_pixels(pixels)  # [n, E]
        texts = torch.tensor([self._texts[text] for text in _texts_of(batch)], device=model.device)
        met, group = torch.unique(texts, return_inverse=True)
        places = torch.tensor(batch.places, device=model.device)
        found = []
        for judge, factor in zip(self.judges, self._factors, strict=True):
            scores = factor * _clip(judge).cosines(images[places], self._features[met], group)
            found.append(_lines(judge, batch, _ordered(judge, scores)))
        return found


class CrossScorer:
    """A BLIP, which reads each image together with its text; see ``Scorer``."""

    batch_size = TOWER_BATCH

    def __init__(self, judge: Judge) -> None:
        model = judge.loaded.model
        assert isinstance(model, BLIPReward), "of this kind"
        self.judges = [judge]
        self._model = model
        self.reader: Reader = PixelReader(model.transform)

    def prepare(self, texts: Sequence[str], device: torch.device) -> None:
        """See ``Scorer``."""
        self._model.to(device)

    @torch.inference_mode()
    def score(self, batch: ReadBatch) -> list[list[Line]]:
        """See ``Scorer``."""
        if batch.pixels is None:
            return [[]]
        model = self._model
        pixels = normalise(batch.pixels.to(model.device), model.transform.mean, model.transform.std)
        texts = {text: row for row, text in enumerate(dict.fromkeys(_texts_of(batch)))}
        group = torch.tensor([texts[text] for text in _texts_of(batch)], device=model.device)
        scale: Any = self.judges[0].scale
        scores = model.score_pixels(pixels[batch.places], model.prepare_prompts(list(texts)), group, scale)
        return [_lines(self.judges[0], batch, _ordered(self.judges[0], scores))]


class EvaluatorScorer:
    """An evaluator; see ``Scorer``."""

    batch_size = EVALUATOR_BATCH

    def __init__(self, judge: Judge) -> None:
        assert isinstance(judge.loaded, LoadedEvaluator), "of this kind"
        self.judges = [judge]
        self._evaluator = judge.loaded
        self.reader: Reader = RowReader(judge.loaded.rows)

    def prepare(self, texts: Sequence[str], device: torch.device) -> None:
        """See ``Scorer``."""
        self._evaluator.model.to(device)

    def score(self, batch: ReadBatch) -> list[list[Line]]:
        """See ``Scorer``."""
        judge, model = self.judges[0], self._evaluator
        refused = [
            _line(judge, batch, n, text, [None] * len(judge.dimensions), error=reason)
            for n, image in enumerate(batch.images)
            for text, reason in enumerate(image.refused)
            if reason
        ]
        if batch.questions is None:
            return [refused]
        questions = batch.questions.to(model.model.device)
        said, values = model.answer_batch(questions, judge.way, most_tokens=judge.tokens)
        scores = scores_of(said, values, len(batch.rows), model.dimensions)
        answers: dict[int, list[Mapping[str, Any]]] = {}
        for row, mine in groupby(said, key=lambda answer: answer.image):
            answers[row] = [{k: v for k, v in asdict(answer).items() if k != "image"} for answer in mine]
        ordered = _ordered(judge, scores)
        return [
            [
                *(
                    _line(judge, batch, *place, _or_none(ordered[row]), answers=answers.get(row, []))
                    for row, place in enumerate(batch.rows)
                ),
                *refused,
            ]
        ]


def _clip(judge: Judge) -> CLIPReward:
    assert isinstance(judge.loaded.model, CLIPReward), "of this kind"
    return judge.loaded.model


def _factor(judge: Judge) -> float:
    """What a cosine is multiplied with; taken before the model gives up its own tower, which holds the logit scale."""
    return {"cosine": 1.0, "cosine100": 100.0, "logit": float(_clip(judge).scale())}[judge.scale]


def _texts_of(batch: ReadBatch) -> list[str]:
    return [batch.images[image].task.wanted[text].text for image, text in batch.rows]


def _ordered(judge: Judge, scores: Tensor) -> NDArray[np.float32]:
    """Scores ``[R, D]`` of the model's dimensions, in the judge's order."""
    columns = [judge.loaded.dimensions.index(name) for name in judge.dimensions]
    return scores.float().cpu().numpy()[:, columns]


def _lines(judge: Judge, batch: ReadBatch, scores: NDArray[np.float32]) -> list[Line]:
    """Lines of a CLIP or BLIP, whose scores are all numbers.

    Raises:
        CheckpointError: One is none.
    """
    if not np.isfinite(scores).all():
        row = int(np.flatnonzero(~np.isfinite(scores).all(axis=1))[0])
        task = batch.images[batch.rows[row][0]].task
        raise CheckpointError(
            f"{judge.label} gives {task.folder / task.image.file} a score that is no number; look whether its weights "
            "are sound"
        )
    return [_line(judge, batch, *place, scores[row].tolist()) for row, place in enumerate(batch.rows)]


def _line(
    judge: Judge,
    batch: ReadBatch,
    image: int,
    text: int,
    scores: Sequence[float | None],
    *,
    answers: Sequence[Mapping[str, Any]] = (),
    error: str = "",
) -> Line:
    read = batch.images[image]
    wanted = read.task.wanted[text]
    return Line(read.task.generator, read.image, read.sha256, wanted.digest, scores, answers, error)


def _or_none(values: NDArray[np.float32]) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
