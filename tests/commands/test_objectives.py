"""Every term of the objective trains through ``fit``; mistakes in its options and labels are told before."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch
from tiny_run import replaced
from two_ranks import TwoRanks

from rewardkit.cli import run
from rewardkit.config.objective_options import ASKED, LISTWISE, POINTWISE, TERMS
from rewardkit.data.group import Answer, Comparison, Group
from rewardkit.data.index_build import build_index
from rewardkit.data.shard_writer import ShardWriter
from rewardkit.errors import EXIT_USAGE

OF_SCORES = tuple(term for term in TERMS if term not in ASKED)
"""Every term that a CLIP can learn; those of ``ASKED`` are an evaluator's."""

DIMENSIONS = ("overall", "aesthetic")
TWO_STEPS = ("trainer.max_steps=2", "trainer.validate_every=2", "optim.warmup_steps=1")
UNJUDGED = ("callbacks.best_bundle=null", "callbacks.preference_accuracy=null")
"""Without accuracies and what is made of them, which take longer than the steps."""


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Shards with ratings and captions on all, comparisons with ties on one: labels for every term."""
    from rewardkit.data.demo.dataset import demo_groups

    root = tmp_path_factory.mktemp("rated")
    for split, count in (("train", 12), ("val", 3)):
        with ShardWriter(root / split, split, max_groups=5) as writer:
            for n, (group, images) in enumerate(demo_groups(seed=3, start=0, count=count, split=split)):  # type: ignore[arg-type]
                writer.write(with_ratings(group, n), images)
        build_index(root / split)
    return root / "train", root / "val"


def with_ratings(group: Group, number: int) -> Group:
    k = len(group.candidates)
    answers = [
        Answer(name, i, by, float((number + i * step) % 5 + 1))
        for name, step in (("overall", 1), ("aesthetic", 2))
        for by in ("ann", "bob")
        for i in range(k)
    ]
    votes = ((3, 1, 0), (0, 2, 1), (1, 0, 1), (0, 1, 2))
    comparisons = tuple(Comparison("aesthetic", i, i + 1, votes[(number + i) % 4]) for i in range(k - 1))
    return Group(
        group.id, group.prompt, group.candidates, comparisons=comparisons, answers=tuple(answers), slots=group.slots
    )


@pytest.fixture
def arguments(tiny_fit: list[str], rated: tuple[Path, Path]) -> list[str]:
    """A tiny run on ``rated``, without the objective."""
    train, val = rated
    dimensions = f"model.dimensions={','.join(DIMENSIONS)}"
    return ["fit", *replaced(tiny_fit, f"data.train={train}", f"data.val={val}", dimensions)]


def figures(folder: Path, name: str) -> list[float]:
    with (folder / "metrics.csv").open() as file:
        return [float(row["value"]) for row in csv.DictReader(file) if row["name"] == name]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return found


def only_run(folder: Path) -> Path:
    (found,) = (folder / "runs" / "hpsv2").iterdir()
    return found


LEARNED = {
    "rao_kupper": {"rule.raw_theta"},
    "davidson": {"rule.raw_nu"},
    "ordinal": {"first_cut", "raw_steps"},
    "mse": {"log_slope", "offset"},
    "huber": {"log_slope", "offset"},
}
"""The parameters of the objective that a checkpoint holds."""

NEEDS = {
    "caption_contrast": ["objective.caption_contrast.final_coefficient=null"],
    "gaussian": ["model.uncertainty=true"],
    "rao_kupper": ["objective.rao_kupper.learned=true"],
    "davidson": ["objective.davidson.learned=true"],
}


def learned_by(folder: Path, term: str) -> set[str]:
    prefix = f"objective.terms.{term}."
    return {name.removeprefix(prefix) for name in weights(folder) if name.startswith(prefix)}


def test_all_terms_train_together(arguments: list[str], tmp_path: Path) -> None:
    more = [option for options in NEEDS.values() for option in options]
    assert run([*replaced(arguments, *TWO_STEPS), f"objective.name={','.join(OF_SCORES)}", *more]) == 0
    folder = only_run(tmp_path)
    terms = {term: figures(folder, f"train/loss/{term}") for term in OF_SCORES}
    assert all(len(losses) == 2 and all(map(math.isfinite, losses)) for losses in terms.values()), terms
    factors = {term: 0.01 if term == "centering" else 1.0 for term in OF_SCORES}
    for step, total in enumerate(figures(folder, "train/loss")):
        assert total == pytest.approx(sum(factors[term] * losses[step] for term, losses in terms.items()), rel=1e-5)
    learned = {term: learned_by(folder, term) for term in OF_SCORES}
    assert learned == {term: LEARNED.get(term, set()) for term in OF_SCORES}


@pytest.mark.slow
@pytest.mark.parametrize("term", OF_SCORES)
def test_every_term_trains_alone(term: str, arguments: list[str], tmp_path: Path) -> None:
    more = ["objective.centering.coefficient=1"] if term == "centering" else NEEDS.get(term, [])
    assert run([*replaced(arguments, *TWO_STEPS, *UNJUDGED), f"objective.name={term}", *more]) == 0
    folder = only_run(tmp_path)
    losses = figures(folder, "train/loss")
    assert len(losses) == 2 and all(map(math.isfinite, losses))
    assert losses == figures(folder, f"train/loss/{term}")
    assert learned_by(folder, term) == LEARNED.get(term, set())


def test_in_batch_negatives_train(arguments: list[str], tmp_path: Path) -> None:
    changed = replaced(arguments, *TWO_STEPS, "model.dimensions=aesthetic", "data.dimension_map={overall: null}")
    assert run([*changed, "objective.name=pickscore", "objective.pickscore.in_batch_negatives=true"]) == 0
    losses = figures(only_run(tmp_path), "train/loss/pickscore")
    assert len(losses) == 2 and all(0 < loss < 10 for loss in losses)


def test_a_learned_theta_resumes_bit_for_bit(arguments: list[str], tmp_path: Path) -> None:
    steps = ("trainer.max_steps=6", "trainer.validate_every=6", "optim.warmup_steps=1")
    terms = ["objective.name=rao_kupper,ordinal", *NEEDS["rao_kupper"], "objective.ordinal.final_coefficient=0.1"]
    given = [*replaced(arguments, *steps), *terms]
    assert run([*given, "run.name=whole"]) == 0
    assert run([*given, "run.name=parts", "trainer.stop_after=3"]) == 0
    assert run([*given, "run.name=parts", "resume=auto"]) == 0
    whole, parts = (weights(tmp_path / "runs" / "hpsv2" / name) for name in ("whole", "parts"))
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)
    start = math.log(math.expm1(5.0 - 1))
    assert (whole["objective.terms.rao_kupper.rule.raw_theta"] - start).abs().min() > 1e-4, "theta has not moved"


def test_a_coefficient_goes_on_a_straight_line(arguments: list[str], tmp_path: Path) -> None:
    steps = ("trainer.max_steps=3", "trainer.validate_every=3", "optim.warmup_steps=1")
    terms = ["objective.name=bradley_terry,huber", "objective.huber.final_coefficient=0"]
    assert run([*replaced(arguments, *steps), *terms]) == 0
    folder = only_run(tmp_path)
    total, first, second = (figures(folder, f"train/loss{part}") for part in ("", "/bradley_terry", "/huber"))
    factors = [(t - a) / b for t, a, b in zip(total, first, second, strict=True)]
    assert factors == pytest.approx([1, 0.5, 0], abs=1e-4)


@pytest.mark.slow
@pytest.mark.xdist_group("two_ranks")
def test_two_ranks_learn_what_one_learns(arguments: list[str], two_ranks: TwoRanks, tmp_path: Path) -> None:
    terms = ["objective.name=rao_kupper,plackett_luce,ordinal", *NEEDS["rao_kupper"], "optim.gradient_clip=1.0"]
    given = [*replaced(arguments, "trainer.validate_every=8"), *terms]
    assert run([*given, "run.name=one"]) == 0
    two_ranks.fit([*given[1:], "run.name=two", "trainer.devices=2"])
    one, two = (weights(tmp_path / "runs" / "hpsv2" / name) for name in ("one", "two"))
    for name, tensor in one.items():
        if "in_proj_bias" not in name:  # the key's bias has gradient zero, and AdamW amplifies the noise of it
            torch.testing.assert_close(tensor, two[name], rtol=0, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")


UNMAPPED = "data.dimension_map={overall: null, ties: null}"
MISTAKES = [
    (["objective.name=rao_kuper"], "objective.name: 'rao_kuper' is not one of", "Did you mean 'rao_kupper'?"),
    (["objective.name="], "objective.name: names no term", "objective.name=bradley_terry"),
    (["objective.name=huber,huber"], "objective.name: names a term twice", "coefficient weighs it"),
    (
        ["objective.name=margin", "objective.margin.dimensions={overal: 1}"],
        "objective.margin.dimensions: there is no dimension 'overal'.",
        "Did you mean 'overall'?",
    ),
    (
        ["objective.name=margin", "objective.margin.dimensions.overall=-1"],
        "objective.margin.dimensions: the factor of overall must be a number of at least 0, got -1.0",
        "",
    ),
    (["objective.name=top1", "objective.top1.coefficient=0"], "objective.top1.coefficient: 0 from the first", "leave"),
    (
        ["objective.name=bradley_terry", "objective.huber.delta=2"],
        "objective.huber.delta: nothing reads it, since objective.name lists bradley_terry and not huber",
        "objective.name=bradley_terry,huber",
    ),
    (
        ["objective.name=bradley_terry", "objective.robust.flip_rate={overall: 0.2}"],
        "objective.robust.flip_rate: nothing reads it",
        "objective.name=bradley_terry,robust",
    ),
    (
        ["objective.name=cdpo", "objective.cdpo.flip_rate=0.5"],
        "objective.cdpo.flip_rate: must be at least 0",
        "below 0.5",
    ),
    (
        ["objective.name=robust", "objective.robust.flip_rate=often"],
        "objective.robust.flip_rate: expects a number",
        "often",
    ),
    (
        ["objective.name=robust", "objective.robust.flip_rate={overall: 0.1}"],
        "objective.robust.flip_rate: says nothing of aesthetic",
        "",
    ),
    (
        ["objective.name=robust", "objective.robust.flip_rate={overall: 0.1, aestetic: 0.1}"],
        "objective.robust.flip_rate: there is no dimension 'aestetic'.",
        "Did you mean 'aesthetic'?",
    ),
    (
        ["objective.name=rao_kupper", "objective.rao_kupper.theta=1"],
        "objective.rao_kupper.theta: must be greater than",
        "1",
    ),
    (["objective.name=davidson", "objective.davidson.nu=-1"], "objective.davidson.nu: must be greater than 0", ""),
    (["objective.name=gaussian"], "objective.name: gaussian", "model.uncertainty=true"),
    (
        ["objective.name=pickscore", "objective.pickscore.in_batch_negatives=true"],
        "objective.pickscore.in_batch_negatives: takes a model of one dimension",
        "overall,aesthetic",
    ),
    (
        ["objective.name=listnet", "data.pairing=pairs"],
        "objective.name: listnet learns from rankings",
        "pairing=grouped",
    ),
    (["objective.name=mse", "data.pairing=pairs"], "objective.name: mse learns from ratings", "pairing=grouped"),
    (["objective.name=scaled", "data.pairing=pairs"], "objective.scaled.of: rating_gap needs ratings", "of=constant"),
    (["objective.coefficient=2"], "objective.coefficient: there is no such key.", "Did you mean"),
]


@pytest.mark.parametrize(("given", "begins", "holds"), MISTAKES, ids=[" ".join(given) for given, _, _ in MISTAKES])
def test_mistakes_are_told_with_their_key(
    given: list[str], begins: str, holds: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments, *given]) == EXIT_USAGE
    told = capsys.readouterr().err.strip()
    assert told.startswith(f"error: {begins}") and holds in told and "\n" not in told, told


def test_a_section_of_a_recipe_may_wait(arguments: list[str], tmp_path: Path) -> None:
    """The recipe's section of a term that the command line's list leaves out is no mistake."""
    assert run([*arguments, "objective.name=bradley_terry", "dry_run=true"]) == 0


def only(folder: Path) -> tuple[str, ...]:
    """To train and to validate on one folder."""
    return f"data.train={folder}", f"data.val={folder}", "data.allow_overlap=true"


@pytest.mark.parametrize("term", [*LISTWISE, *POINTWISE, "caption_contrast"])
def test_terms_without_labels_are_refused(
    term: str, tiny_fit: list[str], unrated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = replaced(tiny_fit, *only(unrated), "model.dimensions=aesthetic", UNMAPPED)
    assert run(["fit", *given, f"objective.name={term}"]) == EXIT_USAGE
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith(f"error: objective.name: {term} ")
    assert ("captions" in told) if term == "caption_contrast" else ("there are comparisons on aesthetic" in told), told


def test_ratings_and_winners_that_are_missing(
    tiny_fit: list[str], unrated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = replaced(tiny_fit, *only(unrated), "model.dimensions=aesthetic,ties", "data.dimension_map={overall: null}")
    assert run(["fit", *given, "objective.name=scaled"]) == EXIT_USAGE
    told = capsys.readouterr().err
    assert "error: objective.scaled.of: rating_gap needs ratings" in told and "objective.scaled.of=constant" in told
    more = ["objective.name=imagereward", "objective.imagereward.dimensions={ties: 1}"]
    assert run(["fit", *given, *more]) == EXIT_USAGE
    told = capsys.readouterr().err
    assert "imagereward learns from comparisons that prefer one image, and the training data have none on ties" in told
    assert run(["fit", *given, "objective.name=scaled", "objective.scaled.of=constant", "dry_run=true"]) == 0


def test_a_recipe_with_captions_trains_on_data_without(
    tiny_fit: list[str], unrated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = replaced(tiny_fit, *only(unrated), "model.dimensions=aesthetic", UNMAPPED)
    assert run(["fit", *given, "dry_run=true"]) == 0
    assert "note: objective.name: caption_contrast needs captions" in capsys.readouterr().err


def test_a_dimension_without_ratings_is_named(
    tiny_fit: list[str], unrated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = replaced(tiny_fit, *only(unrated), "model.dimensions=overall,aesthetic", "data.dimension_map={ties: null}")
    assert run(["fit", *given, "objective.name=huber"]) == EXIT_USAGE
    told = capsys.readouterr().err
    assert "huber learns from ratings, and the training data have none on aesthetic: there are comparisons" in told
    assert "objective.huber.dimensions='{overall: 1}'" in told
    assert run(["fit", *given, "objective.name=ordinal", "objective.ordinal.dimensions={overall: 1}"]) == EXIT_USAGE
    told = capsys.readouterr().err
    assert "ordinal needs a few whole levels, and the ratings of overall go from 0.5 to 2.5, not in whole steps" in told


@pytest.fixture
def unrated(tmp_path: Path) -> Path:
    """Shards with comparisons on aesthetic, even votes on ties, single ratings in halves on overall; no captions."""
    from rewardkit.data.demo.dataset import demo_groups

    folder = tmp_path / "unrated"
    with ShardWriter(folder, "unrated", max_groups=9) as writer:
        for n, (group, images) in enumerate(demo_groups(seed=3, start=0, count=6, split="train")):
            record = Group(
                group.id,
                group.prompt,
                group.candidates,
                comparisons=(Comparison("aesthetic", 0, 1, (1, 0, 0)), Comparison("ties", 0, 1, (1, 0, 1))),
                answers=(Answer("overall", 0, "ann", n % 5 / 2 + 0.5),),
            )
            writer.write(record, images)
    build_index(folder)
    return folder
