"""``data flips`` as it is typed: two shard sets matched, the figures, the line for ``fit``, mistakes."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rewardkit.cli import run
from rewardkit.config.compose import parse_overrides
from rewardkit.data.group import Answer, Candidate, Comparison, Group
from rewardkit.data.index_build import build_index
from rewardkit.data.shard_writer import ShardWriter

E = {"aesthetic": 0.1, "fidelity": 0.3}
H = 0.2
PEOPLE = 8
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060000000050001a5f64540"
    "0000000049454e44ae426082"
)


def flips(*arguments: str) -> int:
    return run(["data", "flips", *arguments])


def write(folder: Path, groups: list[tuple[Group, list[bytes]]]) -> Path:
    with ShardWriter(folder, folder.name) as writer:
        for group, images in groups:
            writer.write(group, images)
    build_index(folder)
    return folder


def image(number: int) -> bytes:
    """A PNG file unlike the others: what stands after its end is nobody's."""
    return PIXEL + number.to_bytes(4, "big")


def label_sets(groups: int = 120) -> tuple[list[tuple[Group, list[bytes]]], list[tuple[Group, list[bytes]]]]:
    """Four images a group: an annotator's scores 1 to 5 with ties, and eight people's votes with known noise."""
    rng = np.random.default_rng(0)
    ai, human = [], []
    for n in range(groups):
        images = [image(4 * n + k) for k in range(4)]
        candidates = tuple(Candidate("x.png") for _ in range(4))
        answers, comparisons = [], []
        for dimension, e in E.items():
            quality = rng.integers(1, 4, 4)
            # An annotator of scores turns whole groups round: each of its comparisons is then flipped.
            scores = 6 - quality if rng.random() < e else quality
            answers += [Answer(dimension, k, "mllm", float(scores[k])) for k in range(4)]
            for i in range(4):
                for j in range(i + 1, 4):
                    right = int(rng.binomial(PEOPLE, 1 - H)) if quality[i] != quality[j] else PEOPLE // 2
                    votes = (right, 1, PEOPLE - right) if quality[i] >= quality[j] else (PEOPLE - right, 1, right)
                    comparisons.append(Comparison(dimension, i, j, votes))
        ai.append((Group(f"g{n}", f"prompt {n}", candidates, answers=tuple(answers)), images))
        human.append((Group(f"g{n}", f"prompt {n}", candidates, comparisons=tuple(comparisons)), images))
    return ai, human


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("flips")
    ai, human = label_sets()
    return write(root / "ai", ai), write(root / "human", human)


def test_rates_are_found_and_feed_the_objective(
    sets: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ai, human = sets
    out = tmp_path / "flips.json"
    assert flips(f"ai={ai}", f"human={human}", "bootstrap=200", f"out={out}") == 0
    printed = capsys.readouterr().out
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record["groups"]["by_id"] == 120
    for dimension, e in E.items():
        found = record["dimensions"][dimension]
        assert found["matched"] == 720 and 0.2 < found["annotator_ties"] / 720 < 0.5
        assert found["low"] <= found["flip_rate"] <= found["high"]
        assert found["flip_rate"] == pytest.approx(e, abs=0.06), dimension
        assert dimension in printed
    line = next(text for text in printed.splitlines() if text.startswith("objective.robust.flip_rate="))
    assert line == record["line"]
    (argument,) = shlex.split(line)  # as a shell would hand it on
    given = parse_overrides([argument])["objective.robust.flip_rate"]
    assert given == {d: pytest.approx(record["dimensions"][d]["flip_rate"], abs=1e-4) for d in E}


@pytest.mark.parametrize("how", ["other ids", "other order", "fewer images"])
def test_groups_are_found_by_their_images(
    sets: tuple[Path, Path], tmp_path: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same votes, under other ids or on candidates in another order, give the same rates."""
    _, human = label_sets()
    changed = []
    for n, (group, images) in enumerate(human):
        if how == "other ids":
            changed.append((replace(group, id=f"row-{n}"), images))
            continue
        order = [2, 0, 3, 1] if how == "other order" else [3, 1, 0]
        place = {candidate: k for k, candidate in enumerate(order)}
        kept = [c for c in group.comparisons if c.first in place and c.second in place]
        comparisons = tuple(replace(c, first=place[c.first], second=place[c.second]) for c in kept)
        moved = replace(group, candidates=group.candidates[: len(order)], comparisons=comparisons)
        changed.append((moved, [images[k] for k in order]))
    ai, straight = sets
    records = []
    for folder in (straight, write(tmp_path / "changed", changed)):
        out = tmp_path / "out.json"
        assert flips(f"ai={ai}", f"human={folder}", "bootstrap=100", f"out={out}") == 0
        records.append(json.loads(out.read_text(encoding="utf-8")))
    one, other = (record["dimensions"]["aesthetic"] for record in records)
    assert records[1]["groups"]["by_images" if how == "other ids" else "by_id"] == 120
    if how == "fewer images":
        assert (other["matched"], other["only_ai"]) == (360, 360)
    else:
        assert other == one


def test_dimension_map(sets: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ai, human = label_sets(20)
    renamed = [
        (replace(g, answers=tuple(replace(a, dimension=f"{a.dimension} (1-5)") for a in g.answers)), images)
        for g, images in ai
    ]
    a, h = write(tmp_path / "a", renamed), write(tmp_path / "h", human)
    assert flips(f"ai={a}", f"human={h}") == 2
    message = capsys.readouterr().err
    assert "no dimension in common" in message and "aesthetic (1-5)" in message and "dimension_map" in message
    mapping = "dimension_map={aesthetic (1-5): aesthetic, fidelity (1-5): null}"
    assert flips(f"ai={a}", f"human={h}", mapping) == 0
    line = capsys.readouterr().out.strip().splitlines()[-1]
    (argument,) = shlex.split(line)
    assert list(parse_overrides([argument])["objective.robust.flip_rate"]) == ["aesthetic (1-5)"]


def test_what_is_not_matched_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ai, human = label_sets(20)
    human[0] = (replace(human[0][0], prompt="another prompt"), human[0][1])
    human[1] = (human[1][0], [image(900 + k) for k in range(4)])
    del human[2]
    out = tmp_path / "o.json"
    folders = [f"ai={write(tmp_path / 'a', ai)}", f"human={write(tmp_path / 'h', human)}"]
    assert flips(*folders, f"out={out}") == 0
    groups = json.loads(out.read_text(encoding="utf-8"))["groups"]
    assert groups == {"by_id": 17, "by_images": 0, "other_images": 1, "other_prompt": 1, "alone": 1}
    assert "left out: other images" in capsys.readouterr().out


def test_nothing_matches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ai, human = label_sets(5)
    others = [(group, [image(700 + 4 * n + k) for k in range(4)]) for n, (group, _) in enumerate(human)]
    assert flips(f"ai={write(tmp_path / 'a', ai)}", f"human={write(tmp_path / 'h', others)}") == 2
    assert "5 have the prompt of one there but not its images" in capsys.readouterr().err


def test_an_annotator_that_is_upside_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ai, human = label_sets(60)
    turned = [
        (replace(g, answers=tuple(replace(a, value=6 - float(a.value)) for a in g.answers)), images) for g, images in ai
    ]
    assert flips(f"ai={write(tmp_path / 'a', turned)}", f"human={write(tmp_path / 'h', human)}") == 0
    out = capsys.readouterr().out
    assert "no better than chance" in out and out.strip().endswith("no dimension has a rate below one half")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "human= is missing"),
        (["human={human}", "dimension_map={aesthetics: aesthetic}"], "Did you mean 'aesthetic'?"),
        (
            ["human={human}", "dimension_map={aesthetic: beauty}"],
            "but the votes of human= speak to aesthetic, fidelity",
        ),
        (["human={human}", "out=flips.txt"], "must end in .json"),
        (["human={human}", "out=nowhere/flips.json"], "the folder nowhere does not exist"),
        (["human={human}", "noise=some"], "noise"),
        (["human=nowhere"], "there is no such folder"),
    ],
)
def test_mistakes(
    sets: tuple[Path, Path], capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    ai, human = sets
    assert flips(f"ai={ai}", *(a.replace("{human}", str(human)) for a in arguments)) == 2
    assert message in capsys.readouterr().err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert flips("--help") == 0
    assert "data flips ai=DIR human=DIR" in capsys.readouterr().out
