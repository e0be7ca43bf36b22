"""Agreement against published numbers, another implementation, and derivations by hand."""

import io
import json
import os
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from rewardkit.data.group import AGGREGATE, Answer, Candidate, Comparison, Group, Ranking
from rewardkit.metrics.agreement import (
    alpha_of_coincidences,
    choice_coincidences,
    kendall_w,
    krippendorff_alpha,
    majority_shares,
    one_against_mean,
    one_against_rest,
    pairwise_agreement,
    quadratic_weighted_kappa,
    whole_votes,
)
from rewardkit.metrics.group_agreement import MAX_LEVELS, GroupAgreement

SHARED = os.environ.get("REWARDKIT_SHARED")

# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section C: four observers, twelve units.
PUBLISHED = np.genfromtxt(
    io.StringIO("""1 2 3 3 2 1 4 1 2 nan nan nan
1 2 3 3 2 2 4 1 2 5 nan 3
nan 3 3 3 2 3 4 2 2 5 1 nan
1 2 3 3 2 4 4 1 2 5 1 nan""")
)


def candidates(k):
    return tuple(Candidate(f"{n}.jpg") for n in range(k))


def ranked(*orders, dimension="overall"):
    rankings = tuple(Ranking(dimension, f"r{n}", tuple(map(float, order))) for n, order in enumerate(orders))
    return Group("g", "p", candidates(len(orders[0])), rankings=rankings)


def found(*groups, dimension="overall"):
    counted = GroupAgreement()
    for group in groups:
        counted.add(group)
    return counted.found()[dimension]


@pytest.mark.parametrize(("level", "value"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_the_published_example(level, value):
    assert round(krippendorff_alpha(PUBLISHED, level), 3) == value


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_alpha_equals_another_implementation(level):
    from krippendorff import alpha

    rng = np.random.default_rng(1)
    for raters, units, levels in ((2, 30, 2), (5, 40, 5), (12, 17, 9)):
        values = rng.integers(1, levels + 1, (raters, units)).astype(float)
        values[1:] = np.where(rng.random((raters - 1, units)) < 0.6, values[0], values[1:])
        values[rng.random(values.shape) < 0.3] = np.nan
        expected = alpha(reliability_data=values, level_of_measurement=level)
        assert krippendorff_alpha(values, level) == pytest.approx(expected, abs=1e-9)


def test_alpha_where_there_is_nothing_to_disagree_on():
    assert krippendorff_alpha(np.full((3, 4), 2.0), "nominal") is None
    assert krippendorff_alpha(np.array([[1.0, np.nan], [np.nan, 2.0]]), "interval") is None
    assert krippendorff_alpha(np.array([[1.0, 2.0], [1.0, 2.0]]), "ordinal") == 1


def test_alpha_of_choices_is_alpha_of_both_orientations_and_swaps_do_not_change_it():
    from krippendorff import alpha

    votes = np.array([[4.0, 1, 0], [0, 2, 3], [5, 0, 0], [2, 0, 2], [1, 1, 0]])
    names = np.full((5, 2 * len(votes)), np.nan)
    for n, row in enumerate(votes):
        said = np.repeat([0, 1, 2], row.astype(int))
        names[: len(said), n], names[: len(said), len(votes) + n] = said, 2 - said
    matrix = choice_coincidences(votes)
    # The reference counts each comparison twice, so that its expectation has 2n - 1 where ours has n - 1.
    n = matrix.sum()
    ours = alpha_of_coincidences(np.arange(3.0), matrix, "nominal")
    theirs = alpha(reliability_data=names, level_of_measurement="nominal")
    assert (1 - ours) / (n - 1) == pytest.approx((1 - theirs) / (n - 0.5))
    swapped = votes.copy()
    swapped[[0, 3]] = swapped[[0, 3], ::-1]
    assert np.allclose(choice_coincidences(swapped), matrix)


def test_quadratic_weighted_kappa():
    a, b = np.array([0, 1, 2, 2, 1]), np.array([0, 2, 2, 1, 1])
    assert quadratic_weighted_kappa(a, b, 3) == pytest.approx(0.642857, abs=1e-6)
    assert quadratic_weighted_kappa(a, a, 3) == 1
    assert quadratic_weighted_kappa(a * 0, a * 0, 3) is None


def test_kendall_w_by_hand_and_from_spearman():
    assert kendall_w(np.array([[1.0, 2, 3], [1, 2, 3]])) == 1
    assert kendall_w(np.array([[1.0, 2, 3], [3, 2, 1]])) == 0
    assert kendall_w(np.array([[1.0, 1, 1], [2, 2, 2]])) is None
    assert kendall_w(np.array([[1.0, 2, 3]])) is None
    # The mean Spearman correlation of all pairs of raters is (m W - 1) / (m - 1), also with ties.
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    ranks = np.stack([rng.permutation(7) for _ in range(5)]).astype(float)
    mean = np.mean([spearmanr(a, b).statistic for a, b in combinations(ranks, 2)])
    assert kendall_w(ranks) == pytest.approx((4 * mean + 1) / 5)


def test_votes_without_names_give_pairwise_agreement():
    votes = np.array([[3.0, 0, 1], [1, 1, 1], [0, 0, 2]])
    said = [["a", "a", "a", "b"], ["a", "t", "b"], ["b", "b"]]
    pairs = [x == y for row in said for x, y in combinations(row, 2)]
    assert pairwise_agreement(votes) == pytest.approx(np.mean(pairs))
    assert pairwise_agreement(np.array([[1.0, 0, 0]])) is None


def test_one_against_rest_by_hand():
    # Three for the first, one for the second: the three see 2:1 and are right, the one sees 3:0 and is wrong.
    one = one_against_rest(np.array([[3.0, 0, 1]]))
    assert (one.right, one.wrong, one.undecided) == (3, 1, 0)
    # Two against one: a vote of the two sees 1:1, the one sees 2:0.
    one = one_against_rest(np.array([[2.0, 0, 1]]))
    assert (one.right, one.wrong, one.undecided) == (0, 1, 2)
    assert (one.dropped, one.counted_wrong) == (0, 0)
    # A tie is a verdict: two ties of three.
    one = one_against_rest(np.array([[0.0, 3, 1]]))
    assert (one.right, one.wrong, one.undecided) == (3, 1, 0)


def test_one_against_the_mean_by_hand():
    # The second rater leaves the last candidate out, the third ties the first two.
    ranks = np.array([[1.0, 2, 3], [2, 1, np.nan], [1, 1, 2]])
    # Rater 1: the others' means are 1.5, 1, 2: pair 0-1 wrong, 0-2 and 1-2 right.
    # Rater 2: 1, 1.5: pair 0-1 wrong. Rater 3: 1.5, 1.5, 3: 0-2 and 1-2 right, 0-1 is a tie of one's own.
    one = one_against_mean(ranks)
    assert (one.right, one.wrong, one.undecided) == (4, 2, 0)
    one = one_against_mean(np.array([[1.0, 2], [1, 2], [2, 1]]))
    assert (one.right, one.wrong, one.undecided) == (0, 1, 2)
    assert (one.dropped, one.counted_wrong) == (0, 0)
    one = one_against_mean(np.array([[1.0, 2], [np.nan, 1]]))
    assert (one.right, one.wrong, one.undecided, one.dropped) == (0, 0, 0, None)


def test_majorities_and_whole_votes():
    votes = np.array([[3.0, 0, 1], [1, 1, 0], [0.5, 0, 1.5], [1, 0, 0]])
    assert whole_votes(votes).tolist() == [True, True, False, False]
    shares, tied = majority_shares(votes[:2])
    assert (shares.tolist(), tied.tolist()) == ([0.75, 0.5], [False, True])


def test_agreement_over_groups_equals_that_of_all_values_at_once():
    rng = np.random.default_rng(5)
    counted, everything = GroupAgreement(), []
    for n in range(30):
        values = rng.integers(1, 6, (4, 3)).astype(float)
        values[1:] = np.where(rng.random((3, 3)) < 0.5, values[0], values[1:])
        values[rng.random((4, 3)) < 0.2] = np.nan
        everything.append(values)
        answers = tuple(
            Answer("q", k, f"rater{r}", float(values[r, k]))
            for r in range(4)
            for k in range(3)
            if not np.isnan(values[r, k])
        )
        if answers:
            counted.add(Group(f"g{n}", "p", candidates(3), answers=(*answers, Answer("q", 0, "x", "NA"))))
    got = counted.found()["q"]
    together = np.concatenate(everything, axis=1)
    assert got.alpha_of == "ratings"
    assert got.alpha_ordinal == pytest.approx(krippendorff_alpha(together, "ordinal"))
    assert got.alpha_interval == pytest.approx(krippendorff_alpha(together, "interval"))
    assert got.units == ((~np.isnan(together)).sum(axis=0) >= 2).sum()


def test_a_continuous_scale_has_interval_alpha_only():
    rng = np.random.default_rng(2)
    values = 1e6 + rng.random((2, MAX_LEVELS))
    values[1] = values[0] + 0.1 * rng.random(MAX_LEVELS)
    counted = GroupAgreement()
    for n in range(MAX_LEVELS):
        counted.add(
            Group(f"g{n}", "p", candidates(1), answers=tuple(Answer("q", 0, f"r{r}", values[r, n]) for r in (0, 1)))
        )
    got = counted.found()["q"]
    assert got.alpha_ordinal is None
    assert got.alpha_interval == pytest.approx(krippendorff_alpha(values, "interval"), rel=1e-6)


def test_unnamed_answers_are_a_rater_each_and_averaged_ones_nobodys():
    group = Group(
        "g",
        "p",
        candidates(2),
        answers=(
            Answer("q", 0, "", 1.0),
            Answer("q", 0, "", 3.0),
            Answer("q", 1, AGGREGATE, 2.0),
            Answer("q", 1, "", 3.0),
        ),
    )
    got = found(group, dimension="q")
    assert (got.units, got.values, got.w_groups) == (1, 2, 0)


def test_votes_on_one_pair_are_taken_together_whichever_way_round():
    votes = (
        Comparison("overall", 0, 1, (1.0, 0.0, 0.0)),
        Comparison("overall", 1, 0, (0.0, 0.0, 1.0)),
        Comparison("overall", 1, 0, (1.0, 0.0, 0.0)),
    )
    got = found(Group("g", "p", candidates(2), votes))
    assert (got.comparisons, got.votes, got.pairwise) == (1, 3, pytest.approx(1 / 3))


def test_averaged_rankings_and_single_votes_say_nothing():
    group = Group("g", "p", candidates(2), rankings=(Ranking("overall", AGGREGATE, (1.0, 2.0)),))
    got = found(group)
    assert (got.comparisons, got.judged, got.pairwise, got.alpha_choices, got.w) == (1, 0, None, None, None)
    assert (got.tie_votes, got.tie_verdicts) == (0, 0)


def test_tie_rates():
    got = found(ranked([1, 1, 2], [1, 1, 2], [1, 2, 3], [2, 1, 2]))
    # 0-1: two ties, one each; 0-2: three first, one tie; 1-2: four first.
    assert got.tie_votes == pytest.approx(3 / 12)
    assert got.tie_verdicts == pytest.approx(1 / 3)
    got = found(ranked([1, 2], [2, 1]))
    assert (got.tie_verdicts, got.undecided) == (0, 1)


@pytest.mark.skipif(not SHARED, reason="REWARDKIT_SHARED is not set")
def test_ten_annotators_of_a_real_group():
    """The published HPD v2 test group: nine images, ten rankings (reference numbers computed independently)."""
    [record] = json.loads((Path(str(SHARED)) / "data" / "hpdv2_real_sample" / "test.json").read_text())
    got = found(ranked(*(said["rank"] for said in record["raw_annotations"])))
    assert (got.comparisons, got.votes) == (36, 360)
    assert got.pairwise == pytest.approx(0.777778, abs=1e-6)
    assert got.one_against_mean.dropped == pytest.approx(0.847458, abs=1e-6)
    assert got.one_against_mean.counted_wrong == pytest.approx(0.833333, abs=1e-6)
    assert round(got.w, 3) == 0.745
    assert got.majority_share == pytest.approx(0.855556, abs=1e-6)
    assert got.tied_majorities == 2
