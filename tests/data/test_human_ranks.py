"""The people's order of a group's candidates: which of their words it is taken from, and which go first."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rewardkit.data.group import AGGREGATE, Answer, Candidate, Comparison, Group, Ranking
from rewardkit.data.human_ranks import competition_ranks, human_ranks
from rewardkit.data.predictions import PredictionRows


def group(count: int = 3, **labels: object) -> Group:
    return Group("g", "p", tuple(Candidate(f"{n}.jpg") for n in range(count)), **labels)  # type: ignore[arg-type]


def ranking(*ranks: float | None, by: str = "ann", dimension: str = "overall") -> Ranking:
    return Ranking(dimension, by, ranks)


def comparison(first: int, second: int, *votes: float, dimension: str = "overall") -> Comparison:
    return Comparison(dimension, first, second, votes)  # type: ignore[arg-type]


def test_the_published_order_goes_before_single_annotators() -> None:
    both = group(rankings=(ranking(3, 2, 1), ranking(3, 1, 2, by="bob"), ranking(1, 2, 3, by=AGGREGATE)))
    assert human_ranks(both, ["overall"]) == (1, 2, 3)


def test_several_annotators_give_the_order_of_the_mean_rank() -> None:
    two = group(4, rankings=(ranking(1, 2, 3, 4), ranking(1, 3, 2, 4, by="bob")))
    assert human_ranks(two, ["overall"]) == (1, 2, 2, 4), "2 and 3 tie in the mean"


def test_ranks_of_one_annotator_keep_ties_and_gaps() -> None:
    assert human_ranks(group(4, rankings=(ranking(2, 5, 5, 9),)), ["overall"]) == (1, 2, 2, 4)
    assert human_ranks(group(rankings=(ranking(2, None, 1),)), ["overall"]) == (2, None, 1)


def test_annotators_of_different_candidates_have_no_mean_order() -> None:
    different = group(rankings=(ranking(1, 2, None), ranking(None, 1, 2, by="bob")))
    assert human_ranks(different, ["overall"]) == (None, None, None)


def test_answers_give_the_order_of_the_mean_whoever_answered() -> None:
    said = [("a", 0, 5.0), ("b", 0, 4.0), ("a", 1, 4.5), ("c", 2, 1.0), ("c", 2, "NA")]
    answers = tuple(Answer("overall", n, by, value) for by, n, value in said)  # type: ignore[arg-type]
    assert human_ranks(group(4, answers=answers), ["overall"]) == (1, 1, 3, None)


def test_comparisons_of_every_pair_give_net_wins() -> None:
    # 0 beats 1, 1 beats 2, 0 and 2 tie: net wins 1, 0, -1.
    complete = group(comparisons=(comparison(0, 1, 9, 0, 1), comparison(2, 1, 1, 0, 9), comparison(0, 2, 1, 8, 1)))
    assert human_ranks(complete, ["overall"]) == (1, 2, 3)
    circle = group(comparisons=(comparison(0, 1, 1, 0, 0), comparison(1, 2, 1, 0, 0), comparison(2, 0, 1, 0, 0)))
    assert human_ranks(circle, ["overall"]) == (1, 1, 1)
    missing = group(comparisons=complete.comparisons[:2])
    assert human_ranks(missing, ["overall"]) == (None, None, None)


@pytest.mark.parametrize(
    ("votes", "ranks"), [((7, 1, 2), (1, 2)), ((2, 1, 7), (2, 1)), ((1, 5, 1), (1, 1)), ((10, 0, 10), (None, None))]
)
def test_a_pair_follows_its_verdict(votes: tuple[float, float, float], ranks: tuple[float | None, ...]) -> None:
    assert human_ranks(group(2, comparisons=(comparison(0, 1, *votes),)), ["overall"]) == ranks


def test_repeated_comparisons_are_added_up_either_way_round() -> None:
    twice = group(2, comparisons=(comparison(0, 1, 2, 0, 1), comparison(1, 0, 3, 0, 1)))
    assert human_ranks(twice, ["overall"]) == (2, 1)


def test_two_dimensions_of_the_data_give_one_order_whatever_their_scales() -> None:
    t1 = tuple(Answer("t1", n, "a", value) for n, value in enumerate((5.0, 3.0, 1.0)))
    t2 = tuple(Answer("t2", n, "b", value) for n, value in enumerate((20.0, 90.0, 10.0)))
    both = group(answers=(*t1, *t2))
    assert human_ranks(both, ["t1", "t2"]) == (1, 1, 3)
    assert human_ranks(both, ["t2"]) == (2, 1, 3)
    assert human_ranks(both, ["t1", "t3"]) == (1, 2, 3), "nobody spoke to t3"
    assert human_ranks(both, []) == (None, None, None)


def test_the_predictions_table_holds_them_in_the_models_dimensions() -> None:
    answers = tuple(Answer("appeal_t1", n, "a", value) for n, value in enumerate((1.0, 3.0)))
    record = group(2, answers=answers, rankings=(ranking(1, 2, dimension="other"),))
    rows = PredictionRows(["overall", "appeal"], dimension_map={"appeal_t1": "appeal", "other": None})
    rows.add(record, [[0.0, 0.0], [0.0, 0.0]], number=0, key="k", source="s")
    scores = rows.predictions().scores
    found = {name: part["human_rank"].tolist() for name, part in scores.groupby("dimension")}
    assert found["appeal"] == [2.0, 1.0]
    assert all(rank != rank for rank in found["overall"]), "not known"


def test_competition_ranks() -> None:
    assert competition_ranks([0.5, 0.1, None, 0.5, 0.9]) == (2, 1, None, 2, 4)
    assert competition_ranks([]) == ()


def test_a_real_group_of_hpdv2_keeps_its_published_order() -> None:
    shared = os.environ.get("REWARDKIT_SHARED")
    if not shared:
        pytest.skip("needs REWARDKIT_SHARED")
    file = Path(shared) / "data" / "hpdv2_real_sample" / "test.json"
    (record,) = json.loads(file.read_text(encoding="utf-8"))
    raw = [ranking(*a["rank"], by=a["user_hash"]) for a in record["raw_annotations"]]
    published = ranking(*record["rank"], by=AGGREGATE)
    assert human_ranks(group(9, rankings=(*raw, published)), ["overall"]) == tuple(record["rank"])
    assert human_ranks(group(9, rankings=tuple(raw)), ["overall"]) != (None,) * 9
