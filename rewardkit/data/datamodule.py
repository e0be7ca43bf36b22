"""The LightningDataModule: loaders of true length over shards, with a position that survives any interruption."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from rewardkit.data.augment import Augmentation
from rewardkit.data.bad_samples import BadSamples
from rewardkit.data.batch import Batch, Tokenizer
from rewardkit.data.dimension_checks import check_dimension_map, check_dimensions
from rewardkit.data.feature_stream import FeatureDataset
from rewardkit.data.features import FeatureMaker, FeatureShards
from rewardkit.data.group_labels import LabelSpace
from rewardkit.data.images import ImageTransform
from rewardkit.data.index import Scale
from rewardkit.data.micro_batches import EvaluationBatches, TrainBatches
from rewardkit.data.mixture import Mixture
from rewardkit.data.open_index import open_index
from rewardkit.data.order import Schedule
from rewardkit.data.overlap import check_overlap
from rewardkit.data.position import check_position, check_resumed
from rewardkit.data.question_checks import check_asking, check_questions
from rewardkit.data.question_counts import MOST_WEIGHT, AnsweredQuestions, class_weights
from rewardkit.data.question_stream import QuestionDataset, RowMaker
from rewardkit.data.remote_access import RemoteAccess
from rewardkit.data.source_weights import epoch_units, weights_of
from rewardkit.data.sources import Source, as_sources, distinct_names
from rewardkit.data.stream import BatchLoader, GroupDataset
from rewardkit.errors import UserError

PAIRINGS = ("grouped", "pairs")

Sources = Sequence[Source | str | os.PathLike[str]]


class PreferenceData(pl.LightningDataModule):
    """Training and validation data of a run.

    The training loader's position is never counted: it follows from the optimiser steps that the trainer has done, so
    prefetched batches, the number of workers and the number of ranks do not matter. Use it with a Trainer that has
    ``use_distributed_sampler=False`` and ``accumulate_grad_batches`` equal to ``accumulation``, and save checkpoints
    after an optimiser step or a validation: from ``on_train_epoch_end``, Lightning 2.6 resumes one batch off.

    Args:
        train: Sources to train on, mixed; may be empty for evaluation only.
        val: Sources to validate on, one loader each.
        transform: The model's; None for a model with ``rows``, whose own processor reads images.
        tokenizer: The model's; None likewise.
        dimensions: The model's.
        dimension_map: Dimension of the data to dimension of the model; None leaves its labels out.
        batch_groups: Groups (with ``pairs``: comparisons) in one optimiser step over all ranks.
        micro_groups: Of them in one forward of one rank; default all of a rank's.
        val_groups: Groups in one forward of one rank in a validation; default as in training.
        ranks: Processes that train.
        workers: Loader processes of each rank.
        pairing: ``grouped`` or ``pairs`` (single comparisons, as published trainers draw).
        seed: Of the order of the groups.
        captions: Whether batches carry the candidates' captions.
        max_bad_fraction: See ``BadSamples``.
        errors_path: Where bad samples are named; None names them only when there are too many.
        allow_overlap: Permit images that are in both train and val.
        augmentation: Of training pictures; None shows them as they are.
        features: Finds or encodes the features of each source, so that batches carry these instead of pixels; happens
            when the trainer sets the data up, or when a loader is asked for. None reads pixels.
        rows: Of an evaluator: makes the rows of its questions, which batches then carry instead of pixels and tokens.
        rationales: Whether an evaluator also learns the rationales that stand beside answers.
        question_sampling: Model dimension to the share of the groups, above 0 and at most 1, that an epoch asks about
            it. A group keeps no label on a dimension that it is not asked about, and none is counted; which ones
            follows from (seed, epoch, position of the group, dimension). Dimensions not named: 1.
        length_buckets: Whether the groups of a step are alike in length, so that little is padded (``order.bucketed``).
        pixel_budget: Least and most pixels of an image after the model's processor, for that length.
        epoch_groups: Groups (with ``pairs``: comparisons) in an epoch of weighted sources, which goes through none of
            them once; None where the sources have no weights.
        remote: How sources on servers are read.

    Attributes:
        schedule: Steps, micro-batches and ranks of the training data; None without any.
        val_names: Names of the validation sets, all different, in the order of their loaders.
        train_data: The mixture trained on; None without any.
        val_data: The validation sets.
        steps_done: Optimiser steps done, where no trainer says so.
        warnings: Prompts, and permitted images, that train and val share, in words.

    Raises:
        UserError: A source, the schedule or the dimensions cannot be used, or train and val share images.
    """

    def __init__(
        self,
        *,
        train: Sources,
        val: Sources,
        transform: ImageTransform | None,
        tokenizer: Tokenizer | None,
        dimensions: Sequence[str],
        dimension_map: Mapping[str, str | None] | None = None,
        batch_groups: int = 32,
        micro_groups: int | None = None,
        val_groups: int | None = None,
        ranks: int = 1,
        workers: int = 0,
        pairing: str = "grouped",
        seed: int = 0,
        captions: bool = False,
        max_bad_fraction: float = 0.01,
        errors_path: str | os.PathLike[str] | None = None,
        allow_overlap: bool = False,
        augmentation: Augmentation | None = None,
        features: FeatureMaker | None = None,
        rows: RowMaker | None = None,
        rationales: bool = False,
        question_sampling: Mapping[str, float] | None = None,
        length_buckets: bool = False,
        pixel_budget: tuple[int, int] | None = None,
        epoch_groups: int | None = None,
        remote: RemoteAccess | None = None,
    ) -> None:
        super().__init__()
        if pairing not in PAIRINGS:
            raise UserError(f"data.pairing is {pairing!r}; choose {' or '.join(PAIRINGS)}")
        self.dimensions = tuple(dimensions)
        self.pairing, self.seed, self.workers, self.ranks = pairing, seed, workers, ranks
        self.steps_done = 0
        self._augmentation = augmentation
        self._transform, self._tokenizer, self._captions = transform, tokenizer, captions
        self._dimension_map = dict(dimension_map or {})
        self._rows, self._rationales, self._sampling = rows, rationales, dict(question_sampling or {})
        self._length_buckets, self._pixel_budget = length_buckets, pixel_budget
        self._features, self._remote = features, remote
        train_sources, val_sources = as_sources(train), as_sources(val)
        self.train_data = self._mixture(train_sources, weighted=True) if train_sources else None
        self.val_data = [self._mixture([source]) for source in val_sources]
        self.val_names = distinct_names(val_sources)
        self.schedule: Schedule | None = None
        self.warnings: list[str] = []
        if self.train_data is not None:
            check_dimension_map(self.train_data, self.val_data)
            if rows is None:
                check_dimensions(self.train_data)
            units = epoch_units(self.train_data, pairing, epoch_groups, batch_groups)
            self.schedule = Schedule(units, batch_groups, micro_groups or max(1, batch_groups // ranks), ranks)
            self.warnings = check_overlap(self.train_data, self.val_data, allow_images=allow_overlap)
        self._questions: dict[str, AnsweredQuestions] = {}
        if rows is not None:
            encoded = features is not None
            check_asking(rows.questions, self._sampling, pairing=pairing, features=encoded)
            self._questions = {name: AnsweredQuestions(data, rows.questions) for name, data in self._named()}
            for name, answered in self._questions.items():
                self.warnings += check_questions(answered, name=name, training=name == "train")
        self._val_groups = val_groups or (self.schedule.micro_groups if self.schedule and pairing == "grouped" else 16)
        self._bad = {
            name: BadSamples(groups=len(data), max_bad_fraction=max_bad_fraction, path=errors_path, data_set=name)
            for name, data in self._named()
        }
        self._resumed_at: int | None = None
        self._feature_shards: dict[str, FeatureShards] = {}
        if features is not None and captions:
            raise UserError("features of captions are not kept; leave the captions out, or read pixels")

    def setup(self, stage: str) -> None:
        """Encodes what is missing, where features are asked for; all ranks share the work."""
        if self._features is not None:
            for name, data in self._named():
                self._features_of(data, name)

    @property
    def accumulation(self) -> int:
        """Micro-batches of a rank in one optimiser step."""
        assert self.schedule is not None
        return self.schedule.accumulation

    @property
    def bad_samples(self) -> int:
        """Samples met so far that could not be used, training and validation."""
        return sum(len(bad) for bad in self._bad.values())

    @property
    def option_labels(self) -> dict[str, NDArray[np.float64]]:
        """Question to the training labels of each of its options (``AnsweredQuestions``); empty without questions."""
        return self._questions["train"].option_labels if "train" in self._questions else {}

    def class_weights(self, most: float = MOST_WEIGHT) -> dict[str, tuple[float, ...]]:
        """Question to a weight for each of its options, from the training labels; see ``class_weights``."""
        return {key: class_weights(counts, most) for key, counts in self.option_labels.items()}

    def train_dataloader(self) -> BatchLoader:
        """Micro-batches of this rank from the current position; its length is that of a whole epoch."""
        assert self.schedule is not None and self.train_data is not None, "there are no training data"
        trainer = self.trainer
        if trainer is not None:
            assert trainer.world_size == self.ranks, f"{trainer.world_size} ranks run, {self.ranks} were planned"
            assert trainer.accumulate_grad_batches == self.accumulation, "the Trainer accumulates otherwise"
            if self._resumed_at is not None:
                micro_batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready
                check_resumed(self._resumed_at, int(trainer.global_step), micro_batches, self.accumulation)
                self._resumed_at = None
        batches = TrainBatches(
            self.train_data,
            self.schedule,
            rank=self._rank,
            seed=self.seed,
            pairing=self.pairing,
            captions=self._captions,
            steps_done=self._steps_done,
            questions=self._questions.get("train"),
            sampling=self._sampling,
            bucket_lengths=self.train_data.lengths(self._pixel_budget) if self._length_buckets else None,
        )
        return self._loader(self.train_data, batches, bad=self._bad["train"], evaluation=False)

    def val_dataloader(self) -> list[BatchLoader]:
        """One loader per validation set; every group once over all ranks."""
        return [
            self._loader(
                data,
                EvaluationBatches(
                    data,
                    micro_groups=self._val_groups,
                    rank=self._rank,
                    ranks=self._ranks,
                    captions=self._captions,
                    questions=self._questions.get(name),
                ),
                bad=self._bad[name],
                evaluation=True,
            )
            for name, data in zip(self.val_names, self.val_data, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        """The position in the training data: the same on every rank, whatever has been prefetched."""
        if self.schedule is None or self.train_data is None:
            return {}
        steps = self._steps_done()
        return {
            "seed": self.seed,
            "epoch": steps // self.schedule.steps_per_epoch,
            "steps": steps,
            "digest": self.train_data.digest,
            "batch_groups": self.schedule.batch_groups,
            "pairing": self.pairing,
            **({} if self._features is None else {"features": self._features.digest}),
            **({"question_sampling": self._sampling} if self._sampling else {}),
            **({"length_buckets": True} if self._length_buckets else {}),
            **self._weighting(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up a position.

        Raises:
            CheckpointError: The checkpoint was made on other data, or with another seed, batch or pairing.
        """
        now = self.state_dict()
        if not now:
            return
        check_position(state_dict, now)
        self.steps_done = self._resumed_at = int(state_dict["steps"])

    def _steps_done(self) -> int:
        """Optimiser steps done, from the trainer where there is one."""
        if self.trainer is None:
            return self.steps_done
        return int(self.trainer.global_step)

    @property
    def _rank(self) -> int:
        return 0 if self.trainer is None else int(self.trainer.global_rank)

    @property
    def _ranks(self) -> int:
        return 1 if self.trainer is None else int(self.trainer.world_size)

    def _named(self) -> list[tuple[str, Mixture]]:
        """The data sets under the names that bad samples and messages call them by."""
        train = [] if self.train_data is None else [("train", self.train_data)]
        return [*train, *zip(self.val_names, self.val_data, strict=True)]

    def _features_of(self, data: Mixture, name: str) -> list[FeatureShards]:
        """The features of each source of a data set."""
        assert self._features is not None
        device = torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
        for index in data.indices:
            if index.digest not in self._feature_shards:
                self._feature_shards[index.digest] = self._features(
                    index,
                    name=name if len(data.indices) == 1 else f"{name} ({index.name})",
                    rank=self._rank,
                    ranks=self._ranks,
                    device=device,
                )
        return [self._feature_shards[index.digest] for index in data.indices]

    def _mixture(self, sources: Sequence[Source], *, weighted: bool = False) -> Mixture:
        weights = weights_of(sources) if weighted else None
        indices = [open_index(source.path, self._remote) for source in sources]
        return Mixture(indices, dimensions=self.dimensions, dimension_map=self._dimension_map, weights=weights)

    def _weighting(self) -> dict[str, Any]:
        """What weights decide of the order, for the position."""
        if self.train_data is None or self.train_data.weights is None or self.schedule is None:
            return {}
        return {"weights": list(self.train_data.weights), "epoch_groups": self.schedule.units}

    def _scales(self) -> dict[str, Scale]:
        """Scales over all data of the run, so that answers have the same levels everywhere."""
        scales: dict[str, Scale] = {}
        for data in [*([self.train_data] if self.train_data else []), *self.val_data]:
            for name, scale in data.scales.items():
                scales[name] = scales[name].union(scale) if name in scales else scale
        return scales

    def _loader(
        self, data: Mixture, batches: TrainBatches | EvaluationBatches, *, bad: BadSamples, evaluation: bool
    ) -> BatchLoader:
        space = LabelSpace(self.dimensions, self._dimension_map, self._scales(), self._captions)
        dataset: Dataset[Batch]
        augmentation = None if evaluation else self._augmentation
        if self._rows is not None:
            dataset = QuestionDataset(
                data,
                rows=self._rows,
                space=space,
                evaluation=evaluation,
                rationales=self._rationales,
                augmentation=augmentation,
            )
        elif self._features is None:
            assert self._transform is not None and self._tokenizer is not None
            dataset = GroupDataset(
                data,
                transform=self._transform,
                tokenizer=self._tokenizer,
                space=space,
                evaluation=evaluation,
                augmentation=augmentation,
            )
        else:
            name = next(name for name, named in self._named() if named is data)
            dataset = FeatureDataset(data, self._features_of(data, name), space=space, evaluation=evaluation)
        return BatchLoader(
            dataset,
            batches,
            bad=bad,
            # A batch of features is made faster than it comes over from another process.
            workers=self.workers if self._features is None else 0,
            keep_workers=not evaluation,
            pin_memory=torch.cuda.is_available(),
        )
