"""The end of the verb: ``ask=false`` on a log that lies there, its page, its figures, and training on its groups."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from annotated_log import ListedGroups, Simulated, demo_rows, simulated_lines, write_log

from rewardkit.cli import run
from rewardkit.config.compose import parse_overrides
from rewardkit.data.index_build import build_index
from rewardkit.data.open_index import open_index
from rewardkit.data.shard_writer import ShardWriter

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ListedGroups]:
    """Shards of ten groups of the embedded dataset."""
    folder, groups = tmp_path_factory.mktemp("drawn"), demo_rows(10)
    with ShardWriter(folder, "drawn") as writer:
        for group, images in groups.rows:
            writer.write(group, images)
    build_index(folder)
    return folder, groups


@pytest.fixture
def annotation(drawn: tuple[Path, ListedGroups], tmp_path: Path) -> Path:
    """A log of two annotators, one of which has a name to be afraid of."""
    crew = [Simulated("a"), Simulated(HOSTILE, noise=1.0, rationale=HOSTILE)]
    return write_log(tmp_path / "out", simulated_lines(drawn[1], crew, repeats=2))


def fold(drawn: tuple[Path, ListedGroups], out: Path, *more: str) -> int:
    return run(["annotate", f"images={drawn[0]}", f"out={out}", "ask=false", "bootstrap=50", *more])


def test_a_log_becomes_groups_figures_and_a_page(
    drawn: tuple[Path, ListedGroups], annotation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fold(drawn, annotation) == 0
    told = capsys.readouterr().out
    titles = ("groups", "requests", "scores", "pairs", "position bias", "self-consistency", "agreement", "flip rate")
    for title in titles:
        assert f"\n{title}" in f"\n{told}", title
    index = open_index(str(annotation / "shards"))
    assert len(index) == 10 and index.made["action"] == "annotate"
    figures = json.loads((annotation / "annotate.json").read_text())["fold"]
    assert figures["written"] == 10 and set(figures["position"]) == {"a", HOSTILE}
    page = (annotation / "annotate.html").read_text()
    assert HOSTILE not in page and "&lt;script&gt;" in page
    line = next(text for text in told.splitlines() if text.startswith("for a robust objective"))
    given = parse_overrides(shlex.split(line.partition(": ")[2]))
    assert set(given["objective.robust.flip_rate"]) == {"prompt_following", "aesthetic", "fidelity", "harmlessness"}


def test_another_rule_beside_the_first(drawn: tuple[Path, ListedGroups], annotation: Path) -> None:
    more = ["aggregate=majority", "overall=weighted", "weights={aesthetic: 2, fidelity: 1}", "answers=aggregated"]
    assert fold(drawn, annotation, "shards=other", *more) == 0
    group = open_index(str(annotation / "other")).record(0)
    assert {answer.by for answer in group.answers} == {"aggregate=majority", "overall=weighted"}
    assert group.provenance["annotation"]["rules"]["weights"] == {"aesthetic": 2.0, "fidelity": 1.0}
    assert not (annotation / "shards").exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["overall=weighted"], "needs weights="),
        (["overall=weighted", "weights={aesthetics: 1}"], "Did you mean 'aesthetic'?"),
        (["overall=weighted", "weights={aesthetic: -1}"], "must not be negative"),
        (["weights={aesthetic: 1}"], "overall is mean"),
        (["aggregate=mena"], "Did you mean 'mean'?"),
        (["dimension_map={aesthetc: beauty}"], "Did you mean 'aesthetic'?"),
        (["shards=../elsewhere"], "a folder inside out="),
        (["tie_eps=-1"], "at least 0"),
    ],
)
def test_mistakes_are_told_before_anything_is_read(
    drawn: tuple[Path, ListedGroups], tmp_path: Path, more: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fold(drawn, tmp_path / "nothing", *more) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "nothing").exists()


def test_without_a_log_there_is_nothing_to_fold(
    drawn: tuple[Path, ListedGroups], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fold(drawn, tmp_path / "nothing") == 2
    assert "is not there" in capsys.readouterr().err and not (tmp_path / "nothing").exists()


@pytest.mark.slow
def test_vpscore_trains_on_the_groups(
    drawn: tuple[Path, ListedGroups],
    annotation: Path,
    demo_folders: tuple[Path, Path],
    tiny_tower: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fold(drawn, annotation) == 0
    line = next(t for t in capsys.readouterr().out.splitlines() if t.startswith("for a robust objective: "))
    small = [f"model.architecture={tiny_tower}", "data.batch_groups=4", "data.micro_groups=2", "data.workers=0"]
    steps = ["trainer.max_steps=2", "trainer.validate_every=2", "optim.warmup_steps=0", "evaluation.bootstrap=100"]
    data = [f"data.train={annotation / 'shards'}", f"data.val={demo_folders[1]}", f"run.dir={tmp_path}", "run.name=one"]
    assert run(["fit", "recipe=vpscore", "scale=demo", *data, *small, *steps]) == 0
    robust = ["objective.name=[robust]", *shlex.split(line.partition(": ")[2]), "run.name=two"]
    assert run(["fit", "recipe=vpscore", "scale=demo", *data[:3], *small, *steps, *robust]) == 0
