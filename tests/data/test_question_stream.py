"""Evaluators' batches: what is asked, counted and sampled, over epochs, workers, ranks and interruptions."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from asked_shards import DIMENSIONS, SET, Asked, PlainRows, answered_group

from rewardkit.data.augment import Augmentation
from rewardkit.data.batch import Batch
from rewardkit.data.datamodule import PreferenceData
from rewardkit.data.group import Answer
from rewardkit.data.index import ShardIndex
from rewardkit.data.index_rows import IndexRows
from rewardkit.data.mixture import Mixture
from rewardkit.data.order import asked_dimensions, bucketed, epoch_order
from rewardkit.data.question_counts import AnsweredQuestions, class_weights
from rewardkit.data.sources import Source
from rewardkit.errors import CheckpointError, UserError


@pytest.fixture
def folder(make_shards, group_of):
    return make_shards("train", [(g := answered_group(n), group_of(n, k=len(g.candidates))[1]) for n in range(40)])


@pytest.fixture
def make_data(folder):
    def make(**changes) -> PreferenceData:
        values = {
            "train": [folder],
            "val": [],
            "transform": None,
            "tokenizer": None,
            "dimensions": DIMENSIONS,
            "dimension_map": {"looks": "fidelity"},
            "batch_groups": 8,
            "micro_groups": 2,
            "rows": PlainRows(),
        }
        return PreferenceData(**{**values, **changes})

    return make


def steps_of(data: PreferenceData, epochs: int = 1) -> list[list[Batch]]:
    """The micro-batches of each optimiser step."""
    found = []
    for epoch in range(epochs):
        data.steps_done = epoch * data.schedule.steps_per_epoch
        found += _in_steps(list(data.train_dataloader()), data.accumulation)
    return found


def _in_steps(batches: list[Batch], accumulation: int) -> list[list[Batch]]:
    return [batches[n : n + accumulation] for n in range(0, len(batches), accumulation)]


def said(batches: list[Batch]) -> list:
    return [
        (batch.keys, batch.questions.asked, batch.questions.images.tolist(), batch.denominators.options.tolist())
        for batch in batches
    ]


def test_batches_carry_questions_in_the_order_of_the_candidates(make_data):
    data = make_data()
    groups = {f"g{n:04d}": answered_group(n) for n in range(40)}
    for batch in itertools.chain(*steps_of(data)):
        asked = batch.questions
        assert isinstance(asked, Asked) and len(asked.asked) == len(batch.group) == len(batch.pixels)
        assert batch.pixels.shape[1:] == (3, 0, 0) and batch.tokens.shape == (2, 1)
        assert [batch.prompts[g] for g in batch.group] == asked.prompts
        for g, key in enumerate(batch.keys):
            ratings = batch.ratings[batch.group == g, 0]
            mine = [a.value for a in groups[key].answers if a.dimension != "hands" and a.candidate == 0]
            assert torch.isnan(ratings[0]) if not mine else ratings[0] == pytest.approx(sum(mine) / len(mine))


def test_denominators_are_the_labels_of_the_step(make_data):
    for sampling in ({}, {"fidelity": 0.5, "hands": 0.7}):
        for step in steps_of(make_data(question_sampling=sampling), epochs=2):
            told = step[0].denominators
            assert all(torch.equal(batch.denominators.options, told.options) for batch in step)
            assert torch.equal(told.options, sum(batch.questions.answered() for batch in step))
            assert told.answers == told.options.sum()
            assert torch.equal(told.ratings, sum((~batch.ratings.isnan()).sum(0) for batch in step).float())
            weights = torch.zeros(2)
            for batch in step:
                weights.index_add_(0, batch.dimension, batch.weight)
            assert torch.equal(told.comparisons, weights)
            rankings = sum(torch.bincount(batch.ranking_dimension, minlength=2) for batch in step)
            assert torch.equal(told.rankings, rankings.float())


def test_every_learned_score_is_asked_for(make_data):
    """Whatever is rated, compared or ranked on a dimension has a question on it in the batch."""
    for batch in itertools.chain(*steps_of(make_data(question_sampling={"hands": 0.5}))):
        on = [{SET[key].dimension for key in asked} for asked in batch.questions.asked]
        rated = (~batch.ratings.isnan()).nonzero().tolist()
        compared = [
            [int(c), int(d)] for side in (batch.first, batch.second) for c, d in zip(side, batch.dimension, strict=True)
        ]
        for candidate, dimension in rated + compared:
            assert DIMENSIONS[dimension] in on[candidate]


def test_sampling_asks_each_dimension_of_its_share_of_the_groups():
    places = np.arange(20_000)
    shares = np.array([0.3, 1.0, 0.7])
    first, again, later = (asked_dimensions(places, shares, seed=5, epoch=epoch) for epoch in (0, 0, 1))
    assert np.array_equal(first, again) and not np.array_equal(first, later)
    assert first.mean(0) == pytest.approx(shares, abs=0.015) and first[:, 1].all()
    # Dimensions and epochs are drawn apart from each other.
    assert (first[:, 0] & first[:, 2]).mean() == pytest.approx(0.21, abs=0.015)
    assert (first[:, 0] & later[:, 0]).mean() == pytest.approx(0.09, abs=0.015)
    # A group's draw hangs on its own position alone.
    assert np.array_equal(asked_dimensions(places[7:9], shares, seed=5, epoch=0), first[7:9])


def test_sampled_groups_are_those_that_the_draw_names(make_data):
    data = make_data(question_sampling={"fidelity": 0.4})
    seen = 0
    for step in steps_of(data, epochs=3)[-data.schedule.steps_per_epoch :]:
        for batch in step:
            asked = asked_dimensions(batch.positions.numpy(), np.array([0.4, 1.0]), seed=0, epoch=2)
            for g in range(len(batch.keys)):
                rated = ~batch.ratings[batch.group == g, 0].isnan()
                assert asked[g, 0] or not rated.any()
                seen += int(rated.any())
    assert seen


@pytest.mark.parametrize("changes", [{}, {"question_sampling": {"fidelity": 0.5}, "length_buckets": True}])
def test_workers_and_interruptions_change_nothing(make_data, changes):
    data = make_data(**changes)
    everything = said([batch for step in steps_of(data, epochs=2) for batch in step])
    with_workers = make_data(workers=2, **changes)
    assert said([batch for step in steps_of(with_workers, epochs=2) for batch in step]) == everything
    data.steps_done = 3  # of 5 in the first epoch
    state = data.state_dict()
    resumed = make_data(workers=2, **changes)
    resumed.load_state_dict(json.loads(json.dumps(state)))
    rest = list(resumed.train_dataloader())
    assert said(rest) == everything[3 * 4 : 5 * 4]


def test_two_ranks_read_the_steps_of_one(make_data, monkeypatch):
    changes = {"question_sampling": {"fidelity": 0.5}, "length_buckets": True}
    one = steps_of(make_data(**changes))
    parts = []
    for rank in range(2):
        monkeypatch.setattr(PreferenceData, "_rank", rank)
        parts.append(steps_of(make_data(ranks=2, **changes)))
    for step, *ranks in zip(one, *parts, strict=True):
        read = [batch for part in ranks for batch in part]
        assert [key for batch in read for key in batch.keys] == [key for batch in step for key in batch.keys]
        assert [a for batch in read for a in batch.questions.asked] == [a for b in step for a in b.questions.asked]
        assert all(torch.equal(batch.denominators.options, step[0].denominators.options) for batch in read)


def test_resume_is_refused_where_other_questions_would_be_asked(make_data):
    data = make_data(question_sampling={"fidelity": 0.5})
    state = data.state_dict()
    with pytest.raises(CheckpointError, match=r"data.question_sampling \({'fidelity': 0.5} in the checkpoint, None"):
        make_data().load_state_dict(state)
    with pytest.raises(CheckpointError, match=r"data\.length_buckets"):
        make_data(question_sampling={"fidelity": 0.5}, length_buckets=True).load_state_dict(state)


def test_a_row_that_is_too_long_leaves_a_dummy(make_data):
    data = make_data(rows=PlainRows(longest=9), micro_groups=8)
    bad = 0
    for step in steps_of(data):
        for batch in step:
            empty = int((~batch.valid).sum())
            bad += empty
            assert [report.reason for report in batch.bad] == [
                f"{report.key}.0.png: its row is too long" for report in batch.bad
            ]
            dummies = batch.questions.asked[len(batch.valid) - empty :]
            assert all(said.shares is None for asked in dummies for said in asked.values())
            assert not batch.valid[len(batch.valid) - empty :].any() and batch.valid[: len(batch.valid) - empty].all()
    assert bad == data.bad_samples == 3  # prompts of 10 words: groups 10, 21, 32


def test_rationales_are_learned_only_where_asked(make_data):
    for rationales in (True, False):
        asked = [a for s in steps_of(make_data(rationales=rationales)) for b in s for a in b.questions.asked]
        reasons = {said.rationale for each in asked for said in each.values() if said.shares is not None}
        assert (any(reason is not None for reason in reasons)) is rationales


def test_evaluation_asks_everything_once(make_data, folder):
    data = make_data(train=[], val=[folder], val_groups=16)
    batches = list(data.val_dataloader()[0])
    assert [key for batch in batches for key in batch.keys] == [f"g{n:04d}" for n in range(40)]
    assert all(list(asked) == ["fidelity", "hands", "fingers"] for b in batches for asked in b.questions.asked)
    assert [len(batch.records) for batch in batches] == [16, 16, 8]
    assert torch.equal(batches[0].denominators.options, sum(b.questions.answered() for b in batches))
    assert {said.said for b in batches for asked in b.questions.asked for said in asked.values()} > {None, 0}
    rows = PlainRows()
    rows.style = "published"
    published = list(make_data(train=[], val=[folder], rows=rows).val_dataloader()[0])
    assert {said.said for b in published for asked in b.questions.asked for said in asked.values()} == {None}


def test_pairs_ask_what_is_compared(make_data):
    data = make_data(pairing="pairs", batch_groups=2, micro_groups=1)
    batches = [batch for step in steps_of(data) for batch in step]
    assert len(batches) >= 4
    for batch in batches:
        assert len(batch.first) == 1 and len(batch.questions.asked) == 2
        dimension = DIMENSIONS[int(batch.dimension)]
        keys = [question.key for question in SET.questions if question.dimension == dimension]
        assert [list(asked) for asked in batch.questions.asked] == [keys, keys]
        assert batch.denominators.options.tolist() == [0, 0]
    with pytest.raises(UserError, match="question_sampling is by group"):
        make_data(pairing="pairs", batch_groups=2, micro_groups=1, question_sampling={"hands": 0.5})


def test_training_pictures_are_augmented_and_evaluated_ones_are_not(make_data, folder):
    class Darker(Augmentation):
        def __call__(self, pixels, group, *, epoch, position):
            assert pixels.shape == (1, 3, 9, 12)
            return pixels // 2

    darker = make_data(val=[folder], augmentation=Darker(flip=False, shift=0.0, seed=0), allow_overlap=True)
    plain = make_data(val=[folder], allow_overlap=True)
    for changed, other in zip(darker.train_dataloader(), plain.train_dataloader(), strict=True):
        assert (changed.questions.images < other.questions.images).all()
    for changed, other in zip(darker.val_dataloader()[0], plain.val_dataloader()[0], strict=True):
        assert torch.equal(changed.questions.images, other.questions.images)


def test_buckets_hold_groups_of_like_length():
    lengths = np.random.default_rng(0).integers(0, 1000, 1003).astype(float)
    order = epoch_order(np.zeros(1003, np.int64), seed=1, epoch=0)
    made = bucketed(order, lengths, batch=10, seed=1, epoch=0, window_steps=20)
    assert sorted(made.tolist()) == list(range(1003))
    for begin in range(0, 1000, 200):  # a window keeps its groups
        assert set(made[begin : begin + 200]) == set(order[begin : begin + 200])
    assert made[1000:].tolist() == order[1000:].tolist()
    spread = [np.ptp(lengths[step]) for step in made[:1000].reshape(-1, 10)]
    assert np.mean(spread) < 0.1 * np.mean([np.ptp(lengths[step]) for step in order[:1000].reshape(-1, 10)])
    # Steps are not in the order of their lengths, and another epoch has another order.
    first = [lengths[step].mean() for step in made[:200].reshape(-1, 10)]
    assert first != sorted(first) and first != sorted(first, reverse=True)
    assert not np.array_equal(made, bucketed(order, lengths, batch=10, seed=1, epoch=1, window_steps=20))
    assert np.array_equal(made, bucketed(order, lengths, batch=10, seed=1, epoch=0, window_steps=20))


def test_lengths_are_of_prompt_and_image_within_the_budget(make_data):
    mixture = make_data().train_data
    index = mixture.indices[0]
    assert mixture.lengths().tolist() == pytest.approx((index.prompt_tokens + 12 * 9 / 784).tolist())
    assert mixture.lengths((784, 7840)).tolist() == (index.prompt_tokens + 1).tolist()


def test_every_group_once_an_epoch_with_buckets(make_data):
    data = make_data(length_buckets=True)
    for epoch in range(2):
        data.steps_done = epoch * 5
        batches = list(data.train_dataloader())
        assert sorted(key for batch in batches for key in batch.keys) == [f"g{n:04d}" for n in range(40)]
        steps = _in_steps(batches, 4)
        assert all(np.ptp([len(p.split()) for b in step for p in b.prompts]) < 5 for step in steps)


def test_an_index_of_the_format_before_is_read_and_refused_for_questions(folder, make_data, tokenizer):
    file = folder / "index.json"
    record = json.loads(file.read_text())
    record["version"] = 3
    del record["counts"]["answers"]
    file.write_text(json.dumps(record))
    for array in (folder / record["arrays"]).glob("*answer*.npy"):
        array.unlink()
    index = ShardIndex.open(folder)
    assert not index.lists_answers and len(index.answers) == 40 and len(index.each_answer_value) == 0
    for read in (make_data, lambda: IndexRows.of_index(index)):  # joined to others it would lose its answers
        with pytest.raises(UserError, match=r"does not list the answers one by one.*data index src="):
            read()


def test_questions_and_labels_have_to_fit(make_data, make_shards, group_of, folder):
    with pytest.raises(UserError, match=r"train has labels on 'looks', and no question of made up is on it"):
        make_data(dimensions=(*DIMENSIONS, "looks"), dimension_map={})
    base = answered_group(1)

    def shards(name: str, *answers: Answer):
        return make_shards(name, [(replace(base, answers=(*base.answers, *answers)), group_of(1, k=3)[1])])

    with pytest.raises(UserError, match=r"set has answers from 0 to 9 on 'fidelity' .*'fidelity' \(1, 2, 3\)"):
        wide = shards("set", Answer("fidelity", 0, "r", 9), Answer("fidelity", 0, "r", 0))
        make_data(train=[], val=[wide], dimension_map={})
    told = make_data(
        train=[shards("means", Answer("fidelity", 0, "r", 1.5), Answer("fidelity", 1, "r", "NA"))],
        dimension_map={},
        batch_groups=1,
        micro_groups=1,
    )
    assert told.warnings[0].startswith("train has 1 answers on 'fidelity' (1.5) that are no option of question")
    assert "train has 1 answers NA on 'fidelity', which is no option" in told.warnings[1]
    assert told.warnings[2].startswith("train has no labels for the questions hands, fingers of made up")
    assert make_data().warnings == [
        "train has 8 answers on 'fidelity' (2.5, …) that are no option of question 'fidelity' (1, 2, 3); they rate the "
        "images and choose no option"
    ]


def test_captions_come_once_each_and_only_to_candidates_that_have_one(make_data, make_shards, group_of):
    shown = ["two blue fish", "a red cat", "two blue fish"]
    told = replace(answered_group(7), prompt="told", slots={"captions": shown})
    silent = replace(answered_group(13), prompt="silent")
    both = [(group, group_of(n, k=3)[1]) for n, group in enumerate((told, silent))]
    (batch,) = make_data(
        dimension_map={}, train=[make_shards("told", both)], batch_groups=2, micro_groups=2, captions=True
    ).train_dataloader()
    assert batch.caption_tokens.tolist() == [[3, 4, 4], [1, 3, 3]]
    of = dict(zip(batch.prompts, batch.caption.view(2, 3).tolist(), strict=True))
    assert of == {"told": [0, 1, 0], "silent": [-1, -1, -1]}
    assert batch.denominators.captions == 3


def test_without_captions_asked_for_there_are_none_and_where_a_batch_has_none_an_empty_one(make_data):
    (first, *_) = make_data().train_dataloader()
    assert len(first.caption_tokens) == 0
    (first, *_) = make_data(captions=True).train_dataloader()
    assert first.caption_tokens.tolist() == [[PlainRows.pad_id]] and set(first.caption.tolist()) == {-1}


def test_what_cannot_be_asked_is_refused(make_data):
    with pytest.raises(UserError, match=r"leave data\.features out"):
        make_data(features=object())
    with pytest.raises(UserError, match=r"data.question_sampling names 'taste', .* on fidelity, hands"):
        make_data(question_sampling={"taste": 0.5})
    for share in (0, -1, 1.5, float("nan")):
        with pytest.raises(UserError, match=r"data.question_sampling.hands is .*above 0 and at most 1"):
            make_data(question_sampling={"hands": share})


def test_labels_of_options_are_those_of_the_batches(make_data):
    data = make_data()
    found = {question.key: np.zeros(3) for question in SET.questions}
    for batch in itertools.chain(*steps_of(data)):
        for asked in batch.questions.asked:
            for key, one in asked.items():
                found[key] += 0 if one.shares is None else np.array(one.shares)
    labels = AnsweredQuestions(data.train_data, SET).option_labels
    for key, counts in found.items():
        assert labels[key] == pytest.approx(counts)
    weights = data.class_weights()
    assert list(weights) == ["fidelity", "hands", "fingers"]
    for key, counts in found.items():
        assert weights[key] == class_weights(labels[key])
        assert (np.array(weights[key]) * counts).sum() == pytest.approx(counts.sum())


def test_class_weights():
    # 6, 3, 1 labels: 10 / 3 over each.
    assert class_weights(np.array([6.0, 3.0, 1.0])) == pytest.approx((10 / 18, 10 / 9, 10 / 3))
    assert class_weights(np.array([5.0, 0.0, 5.0])) == (1, 1, 1)
    assert class_weights(np.zeros(2)) == (1, 1)
    # 1 of 1000 would weigh 500; the limit of 10 holds before the mean is brought to 1.
    rare = class_weights(np.array([999.0, 1.0]))
    assert rare[1] / rare[0] == pytest.approx(10 / (1000 / (2 * 999)))
    assert (np.array(rare) * [999, 1]).sum() == pytest.approx(1000)


def test_counts_of_a_mixture_of_sources(make_shards, group_of):
    """Each source has its own order of dimensions; positions of both come mixed."""
    groups = [(answered_group(n), group_of(n, k=2 + n % 2)[1]) for n in range(24)]
    plain = [(replace(g, answers=tuple(a for a in g.answers if a.dimension == "hands")), i) for g, i in groups[::4]]
    indices = [ShardIndex.open(make_shards(name, some)) for name, some in (("a", groups), ("b", plain))]
    mixture = Mixture(indices, dimensions=DIMENSIONS, dimension_map={"looks": "fidelity"})
    counts = AnsweredQuestions(mixture, SET)
    every = np.random.default_rng(0).permutation(len(mixture))
    one_by_one = sum(counts.count(every[n : n + 1]) for n in range(len(every)))
    assert counts.count(every).tolist() == one_by_one.tolist()
    hands = sum(a.dimension == "hands" for g, _ in [*groups, *plain] for a in g.answers)
    numbers = sum(a.dimension == "hands" and a.value == 1 for g, _ in [*groups, *plain] for a in g.answers)
    assert counts.count(every)[1] == hands + numbers  # `fingers` has no N/A


def test_weighted_sources_count_what_they_ask(make_data, make_shards, group_of, folder):
    other = [(g := answered_group(n), group_of(n, k=len(g.candidates))[1]) for n in range(100, 112)]
    data = make_data(
        train=[Source(str(folder), weight=1), Source(str(make_shards("other", other)), weight=3)],
        epoch_groups=32,
        question_sampling={"fidelity": 0.5},
        length_buckets=True,
    )
    seen = []
    for step in steps_of(data, epochs=2):
        assert torch.equal(step[0].denominators.options, sum(batch.questions.answered() for batch in step))
        seen += [key for batch in step for key in batch.keys]
    assert sum(key < "g0100" for key in seen) == 16 and len(seen) == 64
