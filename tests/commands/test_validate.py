"""``validate`` on predictions tables and on bundles: protocols, tuning, the matrix, the files, and what is refused."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import DEMO_DIMENSIONS, TINY_TOWER

from rewardkit import cli
from rewardkit.commands.validate_models import joined, short_labels
from rewardkit.config.protocols import FAMILIES, TUNED
from rewardkit.data.group import Candidate, Group, Ranking
from rewardkit.data.predictions import PredictionRows, Predictions, read_predictions, write_predictions


def run(*arguments: object) -> int:
    return cli.run([str(a) for a in arguments])


def a_table(groups: int, seed: int, *, source: str = "val", skill: float = 1.0) -> Predictions:
    """Groups of 4 from 4 generators, ranked by two annotators; people and model see the utility with noise."""
    people, model = np.random.default_rng(seed), np.random.default_rng(seed + 1000 + int(skill * 10))
    rows = PredictionRows(["overall", "aesthetic"])
    for n in range(groups):
        utility = people.normal(size=4)
        ranks = [np.argsort(np.argsort(-(utility + people.normal(size=4)))) // 2 + 1.0 for _ in range(2)]
        rankings = tuple(Ranking("overall", f"ann{a}", tuple(r.tolist())) for a, r in enumerate(ranks))
        candidates = tuple(Candidate(f"{i}.jpg", "ABCD"[i]) for i in range(4))
        scores = skill * utility + model.normal(size=4)
        record = Group(f"g{n}", "a cat", candidates, rankings=rankings)
        rows.add(record, [[float(s), 0.0] for s in scores], number=n, key=f"k{n}", source=source)
    return rows.predictions()


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, Path]:
    """Two models' tables on the same two sets' data, and each one's table on tuning data."""
    made = {}
    for name, skill in (("good", 3.0), ("poor", 0.5)):
        made[name] = write_predictions(tmp_path / name / "held_out.parquet", a_table(40, 1, skill=skill))
        made[f"{name}_tune"] = write_predictions(
            tmp_path / name / "tune.parquet", a_table(30, 2, source="t", skill=skill)
        )
    return made


def test_all_protocols_on_tables_of_two_models(
    tables: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    models, tune = f"{tables['good']},{tables['poor']}", f"{tables['good_tune']},{tables['poor_tune']}"
    assert run("validate", f"model={models}", f"data.tune={tune}", "protocol=all", "bootstrap=200", f"out={out}") == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.split("Paired over groups")[0].splitlines())) <= 100
    assert "good/held_out on val" in printed and "Models and sets" in printed
    assert "good/held_out beats poor/held_out by" in printed and "points, 95 % interval" in printed
    assert "scores tie where |p1 - p0| <=" in printed and "beta = 1/T" in printed
    assert "no label in these data: aesthetic" in printed
    assert "(which generator)" in printed.split("Models and sets")[1]
    record = json.loads((out / "results.json").read_text(encoding="utf-8"))
    rows = record["models"][str(tables["good"])]["val"]
    assert {row["protocol"] for row in rows} == set(FAMILIES["all"])
    assert record["labels"] == {str(tables["good"]): "good/held_out", str(tables["poor"]): "poor/held_out"}
    strict = next(row for row in rows if row["protocol"] == "strict_micro" and row["dimension"] == "overall")
    assert strict["low"] < strict["value"] < strict["high"] and 30 < strict["groups"] < 40 and strict["chance"] == 0.5
    tuned = next(row for row in rows if row["protocol"] == "tie_calibrated_micro" and row["dimension"] == "overall")
    assert tuned["tuned"] is not None and "other comparisons" in tuned["note"]
    gain = next(d for d in record["differences"] if d["protocol"] == "strict_micro")
    assert (
        gain["first"] == str(tables["good"]) and gain["value"] > 0 and gain["words"].startswith("good/held_out beats")
    )
    with (out / "results.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * len(rows)
    assert float(lines[0]["value"]) == pytest.approx(rows[0]["value"]) and lines[0]["model"] == "good/held_out"


def test_one_protocol_on_one_table_says_what_a_bare_list_would(
    tables: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("validate", f"model={tables['good']}", "protocol=strict_micro,hpdv2", "bootstrap=100") == 0
    printed = capsys.readouterr().out
    assert "hpdv2" in printed and "Models and sets" not in printed and "beats" not in printed


def test_a_table_of_several_sources_is_several_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = a_table(10, 1, source="photos"), a_table(10, 2, source="paintings")
    both = joined([first, second])
    path = write_predictions(tmp_path / "both.parquet", both)
    assert run("validate", f"model={path}", "bootstrap=100") == 0
    printed = capsys.readouterr().out
    assert "on photos" in printed and "on paintings" in printed and "Models and sets" in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["protocol=pickapic"], "data.tune="),
        (["protocol=strict,tie_calibrated"], "tie_calibrated_micro_published"),
        (["protocol=tie_calibratd"], "'tie_calibrated"),
        (["protocol="], "protocol=NAME"),
        (["protocol=pickapic", "data.tune={good}"], "flatters"),
        (["protocol=pickapic", "data.tune={good_tune},{poor_tune}"], "2 predictions tables for 1"),
        (["protocol=pickapic", "data.tune={good_tune},{folder}"], "nothing is scored here"),
        (["protocol=pickapic", "data.tune={folder}/none.parquet"], "no predictions table"),
    ],
)
def test_what_is_refused(
    arguments: list[str], words: str, tables: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {**{name: str(path) for name, path in tables.items()}, "folder": str(tmp_path)}
    assert run("validate", f"model={tables['good']}", *(a.format(**places) for a in arguments)) == 2
    assert words in capsys.readouterr().err


def test_tables_of_other_data_cannot_be_paired(
    tables: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_predictions(tmp_path / "other.parquet", a_table(40, 9))
    assert run("validate", f"model={tables['good']},{other}", "bootstrap=100") == 1
    assert "different votes" in capsys.readouterr().err


def test_tuning_data_that_nothing_uses_are_not_scored(
    tables: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("validate", f"model={tables['good']}", "data.tune=/none/at/all", "protocol=strict", "bootstrap=100") == 0
    assert "data.tune is not used" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["runs/hpsv2/a"], ["a"]),
        (["runs/hpsv2/a/bundle", "runs/hpsv2/b/bundle"], ["a", "b"]),
        (["runs/hpsv2/a", "runs/pickscore/a"], ["hpsv2/a", "pickscore/a"]),
        (["runs/x/a/checkpoints/last.ckpt", "runs/x/a"], ["a/last", "a"]),
        (["a", "a", "a"], ["a", "a (2)", "a (3)"]),
        (["out/0-val.parquet"], ["out/0-val"]),
    ],
)
def test_labels_are_short_and_differ(names: list[str], labels: list[str]) -> None:
    assert short_labels(names) == labels


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two bundles with random weights."""
    from rewardkit.models.bundle import save_bundle
    from rewardkit.models.clip import build_clip_reward

    folder = tmp_path_factory.mktemp("models")
    (folder / "tiny.json").write_text(json.dumps(TINY_TOWER), encoding="utf-8")
    made = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = build_clip_reward(architecture=folder / "tiny.json", dimensions=DEMO_DIMENSIONS)
        with torch.no_grad():
            model.head.image.add_(0.1 * torch.randn_like(model.head.image))
        made.append(save_bundle(folder / f"seed-{seed}", model))
    return made


def test_models_are_tuned_and_their_tables_validate_to_the_same(
    bundles: list[Path], demo_folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train, val = demo_folders
    asked = ["protocol=strict,hpdv2,tie_calibrated,pickapic,calibration,system", "bootstrap=100", "data.workers=0"]
    models = ",".join(map(str, bundles))
    first, again = tmp_path / "first", tmp_path / "again"
    assert run("validate", f"model={models}", f"data.val={val},{train}", f"data.tune={val}", *asked) == 2
    assert "flatters" in capsys.readouterr().err
    assert run("validate", f"model={models}", f"data.val={val}", f"data.tune={train}", *asked, f"out={first}") == 0
    printed = capsys.readouterr().out
    assert "seed-0 on val" in printed and "seed-1" in printed and "share" not in printed.split("seed-0 on val")[0]
    tables, tunes = (",".join(str(first / f"{n}-{what}.parquet") for n in (0, 1)) for what in ("val", "tuning"))
    assert len(read_predictions(first / "0-tuning.parquet").scores["group"].unique()) == 24
    assert run("validate", f"model={tables}", f"data.tune={tunes}", *asked, f"out={again}") == 0
    one, two = (json.loads((folder / "results.json").read_text(encoding="utf-8")) for folder in (first, again))
    assert list(one["models"].values()) == list(two["models"].values())
    assert run("validate", f"model={bundles[0]}", f"data.val={val},{train}", "data.workers=0", "bootstrap=100") == 0
    assert f"train_2: {train}" in capsys.readouterr().out
    assert [d["value"] for d in one["differences"]] == [d["value"] for d in two["differences"]]


def test_all_without_tuning_data_leaves_out_what_needs_them(
    tables: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("validate", f"model={tables['good']}", "protocol=all", "bootstrap=100", f"out={tmp_path / 'o'}") == 0
    record = json.loads((tmp_path / "o" / "results.json").read_text(encoding="utf-8"))
    assert set(record["protocols"]) == set(FAMILIES["all"]) - set(TUNED)
    assert not any(row["metric"] == "temperature" for row in record["models"][str(tables["good"])]["val"])


def test_candidates_without_a_score_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = a_table(10, 1)
    lost = (table.scores["group"] == 3) & (table.scores["candidate"] == 0)
    path = write_predictions(
        tmp_path / "t.parquet", replace(table, scores=table.scores.assign(score=table.scores["score"].mask(lost)))
    )
    assert run("validate", f"model={path}", "bootstrap=100") == 0
    assert "left out because a candidate has no score: " in capsys.readouterr().out
