"""Batches: what collate fills in, denominators, and that grouped, pairs and any number of workers agree."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rewardkit.data.batch import Batch, Denominators
from rewardkit.data.collate import EmptyPlace, LabelSpace, LoadedGroup, collate, cut_tokens, single_comparison
from rewardkit.data.comparisons import all_comparisons
from rewardkit.data.datamodule import PreferenceData
from rewardkit.data.dimension_checks import check_dimension_map
from rewardkit.data.group import AGGREGATE, Answer, Candidate, Comparison, Group, Ranking
from rewardkit.data.images import ImageTransform, decode_image, resize_uint8
from rewardkit.data.index import Scale, ShardIndex
from rewardkit.data.micro_batches import EvaluationBatches
from rewardkit.data.mixture import LabelCounts, Mixture
from rewardkit.errors import UserError

COUNTS = LabelCounts(
    comparisons=np.array([8.0, 0]),
    groups=np.array([4.0, 0]),
    decided=np.array([6.0, 0]),
    decided_groups=np.array([3.0, 0]),
    rankings=np.array([3.0, 0]),
    ratings=np.array([2.0, 1]),
    captions=7.0,
    options=np.array([5.0, 1]),
)
SPACE = LabelSpace(
    ("overall", "quality"),
    {"taste": "overall", "noise": None},
    {"overall": Scale(1, 5, True), "quality": Scale(0, 2, True)},
    captions=True,
)


def loaded(group: Group, position: int = 0) -> LoadedGroup:
    k = len(group.candidates)
    pixels = torch.arange(k, dtype=torch.uint8).view(k, 1, 1, 1).expand(k, 3, 4, 4) + 10 * position
    return LoadedGroup(position, f"key{position}", group, pixels)


def rich_group() -> Group:
    return Group(
        id="rich",
        prompt="rich",
        candidates=tuple(Candidate("x") for _ in range(3)),
        comparisons=(
            Comparison("overall", 2, 0, (3, 1, 0), 0.5),
            Comparison("taste", 0, 1, (0, 2, 0)),
            Comparison("noise", 0, 1, (1, 0, 0)),
        ),
        rankings=(Ranking("taste", "ann", (2, None, 1)), Ranking("taste", AGGREGATE, (1, 2, 3))),
        answers=(
            Answer("overall", 1, "ann", 4),
            Answer("taste", 1, "bob", 1),
            Answer("quality", 0, "ann", 2),
            Answer("quality", 0, "bob", "NA"),
            Answer("quality", 2, "bob", "NA"),
            Answer("noise", 0, "ann", 9),
        ),
        slots={"captions": ["one", "two", "one"]},
    )


def test_every_field_of_a_batch(tokenizer):
    plain = Group("plain", "a longer prompt", (Candidate("x"), Candidate("y")))
    batch = collate(
        [EmptyPlace(), loaded(plain, 1), loaded(rich_group(), 2)],
        space=SPACE,
        tokenize=tokenizer,
        size=4,
        counts=COUNTS,
    )
    assert batch.keys == ["key1", "key2", ""] and batch.positions.tolist() == [1, 2, -1]
    assert batch.prompts == ["a longer prompt", "rich", ""]
    assert batch.tokens.shape == (3, 17) and batch.tokens[2].tolist() == [1, 2, *[0] * 15]
    assert batch.pixels.shape == (6, 3, 4, 4) and batch.pixels.dtype == torch.uint8
    assert batch.pixels[:, 0, 0, 0].tolist() == [10, 11, 20, 21, 22, 0]
    assert batch.valid.tolist() == [True] * 5 + [False]
    assert batch.group.tolist() == [0, 0, 1, 1, 1, 2]
    assert batch.first.tolist() == [4, 2] and batch.second.tolist() == [2, 3]
    assert batch.dimension.tolist() == [0, 0]
    assert batch.target.tolist() == [[0.75, 0.25, 0], [0, 1, 0]]
    assert batch.votes.tolist() == [4, 2] and batch.weight.tolist() == [0.5, 1]
    assert batch.ranking_dimension.tolist() == [0]
    assert batch.ranking_candidate.tolist() == [[2, 4]] and batch.ranking_rank.tolist() == [[2, 1]]
    answers = dict(
        zip(
            zip(batch.answer_candidate.tolist(), batch.answer_dimension.tolist(), strict=True),
            batch.answer_target.tolist(),
            strict=True,
        )
    )
    assert answers == {(3, 0): [0.5, 0, 0, 0.5, 0, 0], (2, 1): [0, 0, 0.5, 0, 0, 0.5], (4, 1): [0, 0, 0, 0, 0, 1]}
    assert torch.equal(batch.ratings.isnan(), torch.tensor([[1, 1], [1, 1], [1, 0], [0, 1], [1, 1], [1, 1]]).bool())
    assert batch.ratings[3, 0] == 2.5 and batch.ratings[2, 1] == 2
    assert batch.caption.tolist() == [-1, -1, 0, 1, 0, -1] and batch.caption_tokens.shape == (2, 5)
    assert batch.denominators.comparisons.tolist() == [8, 0] and batch.denominators.captions == 7
    assert all(getattr(batch.denominators, f.name).dtype == torch.float32 for f in fields(Denominators))


def test_a_batch_without_any_label(tokenizer):
    space = LabelSpace(("overall",), {}, {})
    batch = collate([EmptyPlace()], space=space, tokenize=tokenizer, size=4, counts=COUNTS)
    shapes = {name: tuple(getattr(batch, name).shape) for name in ("target", "ranking_rank", "answer_target", "first")}
    assert shapes == {"target": (0, 3), "ranking_rank": (0, 0), "answer_target": (0, 1), "first": (0,)}
    assert batch.caption_tokens.shape[0] == 0 and batch.caption.tolist() == [-1]
    assert batch.to(torch.float64).bad == []
    asked = collate(
        [EmptyPlace()], space=LabelSpace(("overall",), {}, {}, captions=True), tokenize=tokenizer, size=4, counts=COUNTS
    )
    assert asked.caption_tokens.shape[0] == 1, "captions that are asked for go through the text tower on every rank"
    assert asked.caption.tolist() == [-1]


def test_cut_tokens():
    rows = torch.tensor([[5, 0, 7, 0, 0], [5, 0, 0, 0, 0]])
    assert cut_tokens(rows, 0).tolist() == [[5, 0, 7], [5, 0, 0]]
    assert cut_tokens(torch.zeros(2, 4, dtype=torch.int64), 0).shape == (2, 1)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_single_comparison_is_a_group_of_its_own(swapped):
    group = rich_group()
    number = next(n for n, c in enumerate(all_comparisons(group)) if c.dimension == "overall")
    small, kept = single_comparison(group, number, swapped=swapped)
    assert kept == ((0, 2) if swapped else (2, 0))
    assert small.comparisons[0].votes == ((0, 1, 3) if swapped else (3, 1, 0))
    assert small.comparisons[0].weight == 0.5 and small.answers == () and small.rankings == ()
    assert small.slots["captions"] == ["one", "one"]


def equal(a: Batch, b: Batch) -> bool:
    for field in fields(Batch):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, torch.Tensor):
            if x.dtype != y.dtype or not torch.equal(x.nan_to_num(-7), y.nan_to_num(-7)):
                return False
        elif isinstance(x, Denominators):
            if not all(torch.equal(getattr(x, f.name), getattr(y, f.name)) for f in fields(Denominators)):
                return False
        elif x != y:
            return False
    return True


@pytest.fixture
def data(make_shards, group_of, tokenizer):
    folders = [
        make_shards("a", [group_of(n) for n in range(14)], max_groups=4),
        make_shards("b", [group_of(n, start=50) for n in range(9)], max_groups=4),
    ]

    def make(**changes) -> PreferenceData:
        values = {
            "train": folders,
            "val": [],
            "transform": ImageTransform(8),
            "tokenizer": tokenizer,
            "dimensions": ["overall", "aesthetic"],
            "batch_groups": 6,
            "captions": True,
        }
        return PreferenceData(**{**values, **changes})

    return make


@pytest.mark.parametrize("pairing", ["grouped", "pairs"])
def test_workers_change_nothing(data, pairing):
    batches = [list(data(workers=workers, pairing=pairing).train_dataloader()) for workers in (0, 2)]
    assert len(batches[0]) == len(batches[1]) > 2
    assert all(equal(a, b) for a, b in zip(*batches, strict=True))


def test_pixels_are_those_of_the_files(data):
    module = data()
    batch = next(iter(module.train_dataloader()))
    sample = module.train_data.sample(int(batch.positions[0]))
    assert sample.key == batch.keys[0] and sample.group.prompt == batch.prompts[0]
    expected = [resize_uint8(decode_image(image), ImageTransform(8)) for image in sample.images]
    assert torch.equal(batch.pixels[batch.group == 0], torch.stack(expected))


@pytest.mark.parametrize("pairing", ["grouped", "pairs"])
def test_denominators_are_the_labels_of_the_step(data, pairing):
    module = data(pairing=pairing, micro_groups=2)
    step: list[Batch] = []
    undecided = 0
    for batch in module.train_dataloader():
        step.append(batch)
        if len(step) < module.accumulation:
            continue
        weights, groups = torch.zeros(2), torch.zeros(2)
        decided_weights, decided_groups = torch.zeros(2), torch.zeros(2)
        for micro in step:
            weights.index_add_(0, micro.dimension, micro.weight)
            for d in range(2):
                groups[d] += len(set(micro.group[micro.first[micro.dimension == d]].tolist()))
                first, tie, second = micro.target.T
                decided = (micro.dimension == d) & (first != second) & (tie <= torch.maximum(first, second))
                decided_weights[d] += micro.weight[decided].sum()
                decided_groups[d] += len(set(micro.group[micro.first[decided]].tolist()))
            assert all(
                torch.equal(getattr(micro.denominators, f.name), getattr(step[0].denominators, f.name))
                for f in fields(Denominators)
            )
        assert torch.equal(weights, batch.denominators.comparisons)
        assert torch.equal(groups, batch.denominators.groups)
        assert torch.equal(decided_weights, batch.denominators.decided)
        assert torch.equal(decided_groups, batch.denominators.decided_groups)
        undecided += int((weights - decided_weights).sum() > 0)
        assert batch.denominators.captions == sum(int((micro.caption >= 0).sum()) for micro in step)
        step = []
    assert undecided, "no step has a tie, so nothing is shown"


def test_dimensions_that_become_one_count_a_candidate_once(make_shards):
    group = Group(
        "g",
        "p",
        tuple(Candidate("x.jpg") for _ in range(3)),
        answers=(
            Answer("t1", 0, "ann", 3),
            Answer("t1", 1, "ann", 3),
            Answer("t2", 1, "ann", 2),
            Answer("t2", 2, "ann", 1),
        ),
        rankings=(Ranking("t1", "ann", (1, 2, 3)),),
    )
    index = ShardIndex.open(make_shards("set", [(group, [b""] * 3)]))
    one = Mixture([index], dimensions=["t"], dimension_map={"t1": "t", "t2": "t"})
    counts = one.count(np.array([0, 0]), captions=True)
    assert counts.ratings.tolist() == [6] and counts.groups.tolist() == [2]
    assert counts.rankings.tolist() == [4]  # one given on t1, one that follows from the answers on t2, twice
    assert counts.comparisons.tolist() == [8]  # three from the ranking, one from the answers of t2, twice
    assert one.scales == {"t": Scale(1, 3, True)}
    two = Mixture([index], dimensions=["t1"], dimension_map={"t2": None})
    assert two.count(np.array([0]), captions=True).ratings.tolist() == [2]
    assert two.units().number.tolist() == [0, 1, 2]


def test_grouped_and_pairs_give_the_same_gradient(data):
    """The same comparisons through a small model: as groups, and each on its own."""
    torch.manual_seed(0)
    weight = torch.randn(3 * 8 * 8, 2, dtype=torch.float64, requires_grad=True)

    def gradient(batches: list[Batch]) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for batch in batches:
            scores = (batch.pixels.double().flatten(1) / 255) @ weight / 10
            delta = scores[batch.first, batch.dimension] - scores[batch.second, batch.dimension]
            target = batch.target.double()
            loss = (target[:, 0] + target[:, 1] / 2) * F.softplus(-delta)
            loss = loss + (target[:, 2] + target[:, 1] / 2) * F.softplus(delta)
            total = total + (loss * batch.weight).sum() / batch.denominators.comparisons.sum()
        return torch.autograd.grad(total, weight)[0]

    grouped = data(batch_groups=23, micro_groups=23)
    units = grouped.train_data.units().position.size
    pairs = data(batch_groups=units, micro_groups=1, pairing="pairs")
    one, many = list(grouped.train_dataloader()), list(pairs.train_dataloader())
    assert len(one) == 1 and len(many) == units and many[0].pixels.shape[0] == 2
    torch.testing.assert_close(gradient(one), gradient(many), rtol=1e-6, atol=1e-9)


def test_pairs_show_both_sides_and_every_comparison_once(data):
    module = data(batch_groups=1, pairing="pairs")
    units = module.train_data.units()
    seen, turned = [], 0
    for batch in module.train_dataloader():
        group = module.train_data.record(int(batch.positions[0]))
        assert batch.first.tolist() == [0] and batch.second.tolist() == [1]
        key = (int(batch.positions[0]), int(batch.dimension), round(float(batch.votes)), float(batch.weight))
        seen.append((*key, tuple(sorted(batch.target[0].tolist()))))
        votes = [tuple(v / sum(c.votes) for v in c.votes) for c in all_comparisons(group)]
        turned += not any(np.allclose(batch.target[0], v) for v in votes)
    assert len(seen) == len(units.position) == sum(len(all_comparisons(module.train_data.record(n))) for n in range(23))
    assert 0.2 * len(seen) < turned < 0.8 * len(seen)


def test_a_mixture_locates_its_groups(data):
    mixture = data().train_data
    assert len(mixture) == 23 and mixture.shard.tolist() == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 2 + [4] * 4 + [
        5
    ] * 4 + [6]
    assert mixture.sample(13).key == "g00013" and mixture.sample(14).key == "g00050"
    assert mixture.record(22).id == "g00058" and mixture.path(22).name == "b-000002.tar"


def test_dimensions_that_do_not_fit_are_refused(data):
    with pytest.raises(
        UserError, match=r"dimension 'aesthetic', which the model lacks; it has overall, aesthetics\."
    ) as e:
        data(dimensions=["overall", "aesthetics"])
    assert "data.dimension_map={aesthetic: aesthetics}" in str(e.value) and "{aesthetic: null}" in str(e.value)
    with pytest.raises(UserError, match=r"'aesthetic' \(mapped to 'beauty'\)"):
        data(dimension_map={"aesthetic": "beauty"})
    with pytest.raises(
        UserError, match="'fidelity' has no label in the training data, which speak to aesthetic, overall"
    ):
        data(dimensions=["overall", "aesthetic", "fidelity"])
    with pytest.raises(UserError, match=r"names 'overal', .*did you mean 'overall'"):
        data(dimension_map={"overal": None})
    assert data(dimensions=["overall"], dimension_map={"aesthetic": None}).train_data.dimensions == ("overall",)


def test_validation_data_may_lack_dimensions(data):
    mixture = data().train_data
    check_dimension_map(mixture, [mixture])


@pytest.mark.parametrize("ranks", [1, 2, 5, 30])
def test_evaluation_on_ranks_takes_each_group_once(data, ranks):
    mixture = data().train_data
    parts = [
        list(EvaluationBatches(mixture, micro_groups=1 if ranks == 30 else 4, rank=rank, ranks=ranks, captions=False))
        for rank in range(ranks)
    ]
    assert len({len(part) for part in parts}) == 1
    taken = [int(p) for part in parts for micro in part for p in micro.positions if p >= 0]
    assert taken == list(range(23))
    assert all(len(micro.positions) for part in parts for micro in part)
    assert parts[0][0].counts.comparisons.tolist() == mixture.count(np.arange(23), captions=False).comparisons.tolist()
