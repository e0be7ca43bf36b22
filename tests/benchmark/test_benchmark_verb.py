"""``benchmark`` from the command line: gaps, going on, shared towers, people, copies, appended prompts, mistakes."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rewardkit
from rewardkit import cli
from rewardkit.benchmark.result import BenchmarkResult, image_file, read_result
from rewardkit.data.predictions import read_predictions
from rewardkit.models.blip import build_blip_reward
from rewardkit.models.clip import CLIPReward
from rewardkit.models.save import save_reward


@pytest.fixture
def run(
    rewards: dict[str, Path], hpsv2: tuple[Path, Path], tmp_path: Path
) -> Callable[..., tuple[int, BenchmarkResult]]:
    """Runs on the two generators with reward ``c``; other arguments replace those of their key."""

    def one(*others: object) -> tuple[int, BenchmarkResult]:
        given = {
            "model": rewards["c"], "images": hpsv2[1], "prompts": hpsv2[0], "out": tmp_path / "out", "bootstrap": 100,
            "workers": 0, "device": "cpu",
        }  # fmt: skip
        given |= dict(str(other).split("=", 1) for other in others)
        code = cli.run(["benchmark", *(f"{key}={value}" for key, value in given.items())])
        return code, read_result(given["out"])

    return one


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Counts images and texts that a CLIP's towers encode."""
    counts = {"images": 0, "texts": 0}
    images, texts = CLIPReward.encode_pixels, CLIPReward.encode_prompts

    def encode_pixels(self: CLIPReward, pixels: Any) -> Any:
        counts["images"] += len(pixels)
        return images(self, pixels)

    def encode_prompts(self: CLIPReward, prompts: list[str]) -> Any:
        counts["texts"] += len(prompts)
        return texts(self, prompts)

    monkeypatch.setattr(CLIPReward, "encode_pixels", encode_pixels)
    monkeypatch.setattr(CLIPReward, "encode_prompts", encode_prompts)
    return counts


def test_scores_are_those_of_score_and_a_gap_stays_where_it_is(
    run: Callable[..., Any], rewards: dict[str, Path], hpsv2: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    images = hpsv2[1]
    (images / "sd" / "anime" / "00000.jpg").unlink()
    (images / "sd" / "photo" / "00001.jpg").write_bytes(b"no picture")
    code, result = run("published=v2.1")
    printed = capsys.readouterr().out
    assert code == 1  # an image that cannot be read
    assert "sd lacks 1 of 3 images of anime: anime/00000" in printed
    assert "counts as missing: sd/photo/00001.jpg: the 10 bytes are not an image" in printed
    sd = result.generators[0]
    assert [(m.prompt, m.part, m.place) for m in sd.missing] == [
        ("anime/00000", "anime", 0),
        ("photo/00001", "photo", 1),
    ]
    assert sd.missing[0].reason == "no image" and "photo/00001.jpg the 10 bytes" in sd.missing[1].reason
    table = read_predictions(
        Path(result.provenance["command"][4].partition("=")[2]) / result.rewards[0].predictions
    ).scores
    assert len(table) == 22
    loaded = rewardkit.load(rewards["c"])
    files = [image_file(result, row.generator, row.shard) for row in table.itertuples()]
    expected = loaded.score(files, table["prompt"].tolist(), output="cosine100")[:, 0].numpy()
    np.testing.assert_allclose(table["score"], expected, atol=1e-4)
    anime = table[(table["generator"] == "sd") & table["tags"].str.contains("anime")]
    assert anime["key"].tolist() == ["anime/00001", "anime/00002"]
    row = next(row for row in result.published if row.generator == "sd")
    assert row.styles["anime"].mean == pytest.approx(anime["score"].mean()) and row.styles["anime"].n == 2
    assert row.average == pytest.approx(table[table["generator"] == "sd"]["score"].mean())
    assert len(result.references) == 22 and result.references[-1].average == 14.51
    assert "comparable only with a reward that has these" in printed and "GLIDE" in printed


def test_the_tables_are_written(run: Callable[..., Any], tmp_path: Path) -> None:
    assert run()[0] == 0
    with (tmp_path / "out" / "benchmark.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 5
    assert {row["value"] for row in rows} == {"", "anime", "concept-art", "paintings", "photo"}
    assert float(rows[0]["published_mean"]) == pytest.approx(float(rows[0]["mean"]))


def test_rewards_on_one_tower_encode_once(
    run: Callable[..., Any], rewards: dict[str, Path], encoded: dict[str, int]
) -> None:
    _, result = run(f"model={rewards['a']},{rewards['b']},{rewards['c']}", "workers=1")
    assert encoded == {"images": 2 * 24, "texts": 2 * 12}
    assert result.rewards[1].dimensions == ("overall", "aesthetic")
    for name in "ab":
        number = "ab".index(name)
        table = read_predictions(
            Path(result.generators[0].folder).parents[1] / "out" / result.rewards[number].predictions
        )
        loaded = rewardkit.load(rewards[name])
        for column, dimension in enumerate(loaded.dimensions):
            rows = table.scores[table.scores["dimension"] == dimension]
            files = [image_file(result, row.generator, row.shard) for row in rows.itertuples()]
            expected = loaded.score(files, rows["prompt"].tolist(), output="cosine100")[:, column].numpy()
            np.testing.assert_allclose(rows["score"], expected, atol=1e-4)
    # Heads of b differ from a's, so that its scores do.
    means = {(c.reward, c.dimension): c.mean for c in result.cells if not c.tag and c.generator == "sd"}
    assert len({round(mean, 6) for mean in means.values()}) == 4
    assert {(a.reward, a.other) for a in result.agreements} == {("a", "b"), ("a", "c"), ("b", "c")}


def test_only_what_is_new_or_changed_is_scored(
    run: Callable[..., Any], hpsv2: tuple[Path, Path], draw: Callable[..., Path], encoded: dict[str, int]
) -> None:
    prompts, images = hpsv2
    first = run()[1]
    assert encoded["images"] == 24
    assert run()[1].cells == first.cells and encoded["images"] == 24
    draw(images / "xl" / "photo" / "00002.jpg", 999)  # another picture
    os.utime(images / "xl" / "photo" / "00001.jpg", (1, 1))  # the same picture with another time
    second = run()[1]
    assert encoded["images"] == 25 and second.cells != first.cells
    (prompts / "anime.json").write_text(json.dumps(["another", "a anime of thing 1", "a anime of thing 2"]))
    run()
    assert encoded["images"] == 27
    for n in range(3):
        draw(images / "new" / "anime" / f"{n:05d}.jpg", 500 + n)
    third = run(f"images={images / 'new'}")[1]  # only the new folder is named: the others stay
    assert encoded["images"] == 30
    assert [one.name for one in third.generators] == ["sd", "xl", "new"]
    assert {c.generator: c.n for c in third.cells if not c.tag} == {"sd": 12, "xl": 12, "new": 3}
    shutil.rmtree(images / "xl")
    fourth = run(f"images={images / 'new'}", "generators=new,xl")[1]
    assert encoded["images"] == 30 and [one.name for one in fourth.generators] == ["new", "xl"]
    kept = {c.generator: c.mean for c in third.cells if not c.tag}
    assert {c.generator: c.mean for c in fourth.cells if not c.tag} == {k: kept[k] for k in ("new", "xl")}


def test_a_log_that_was_cut_off_loses_the_cut_line_alone(
    run: Callable[..., Any], encoded: dict[str, int], tmp_path: Path
) -> None:
    first = run()[1]
    (log,) = (tmp_path / "out" / "state" / "rewards").iterdir()
    whole = log.read_bytes()
    log.write_bytes(whole[: len(whole) // 2])
    left = whole[: len(whole) // 2].count(b"\n")
    assert run()[1].cells == first.cells
    assert encoded["images"] == 24 + 24 - left and log.read_bytes().count(b"\n") == 24
    log.write_bytes(b"{}\n" + whole)
    assert cli.run(run_arguments(tmp_path)) == 2


def run_arguments(tmp_path: Path) -> list[str]:
    record = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    return list(record["provenance"]["command"])


def test_another_scale_and_dry_run(
    run: Callable[..., Any], tmp_path: Path, encoded: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    cosine100 = run()[1]
    cosine = run("scale=cosine", f"out={tmp_path / 'other'}")[1]
    ours, theirs = ({c.generator: c.mean for c in one.cells if not c.tag} for one in (cosine100, cosine))
    assert all(ours[name] == pytest.approx(100 * theirs[name], abs=1e-3) for name in ours)
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    run("dry_run=true", "scale=logit")
    printed = capsys.readouterr().out
    assert "to score: c" in printed and "24" not in printed and printed.count("12") >= 2
    assert encoded["images"] == 48 and before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}


def test_people_and_single_prompts(run: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = {"sd": 1.0, "xl": 2.0}
    (tmp_path / "human.json").write_text(json.dumps({**scores, "unseen": 3}))
    result = run(f"human={tmp_path / 'human.json'}")[1]
    means = {c.generator: c.mean for c in result.cells if not c.tag}
    expected = 1.0 if means["xl"] > means["sd"] else -1.0
    assert {(h.level, h.metric): h.value for h in result.human} == {
        ("generators", "spearman"): expected, ("generators", "kendall"): expected,
    }  # fmt: skip
    assert "names unseen, which this benchmark does not have" in capsys.readouterr().out
    table = read_predictions(tmp_path / "out" / result.rewards[0].predictions).scores
    with (tmp_path / "h.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["model", "prompt_id", "rank"])
        for row in table.itertuples():  # people say just what the reward says, worse is a larger rank
            writer.writerow([row.generator, row.key, -row.score])
    by_prompt = {(h.level, h.metric): h for h in run(f"human={tmp_path / 'h.csv'}")[1].human}
    assert by_prompt["prompts", "kendall"].value == pytest.approx(1.0)
    assert by_prompt["prompts", "pairs"].value == pytest.approx(1.0) and by_prompt["prompts", "pairs"].prompts == 12


def test_best_of_several_images(
    run: Callable[..., Any], rewards: dict[str, Path], draw: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "mine.jsonl").write_text('{"prompt": "a fox", "id": "fox"}\n{"prompt": "a cat", "id": "cat"}\n')
    for n in range(4):
        draw(tmp_path / "many" / "g" / "fox" / f"{n}.png", n)
        draw(tmp_path / "many" / "g" / f"cat_{n}.png", 10 + n)
    result = run(
        f"model={rewards['a']},{rewards['c']}", f"images={tmp_path / 'many'}", f"prompts={tmp_path / 'mine.jsonl'}"
    )[1]
    curve = {(p.reward, p.judge, p.n): p for p in result.best_of}
    assert {n for _, _, n in curve} == {1, 2, 4}
    table = read_predictions(tmp_path / "out" / result.rewards[0].predictions).scores
    assert curve["a", "a", 4].value == pytest.approx(table.groupby("group")["score"].max().mean(), abs=1e-4)
    assert curve["c", "a", 1].value == pytest.approx(table["score"].mean(), abs=1e-4)
    assert curve["a", "a", 2].value > curve["c", "a", 2].value
    mean = next(c for c in result.cells if c.reward == "a" and not c.tag)
    assert mean.n == 2 and mean.mean == pytest.approx(table.groupby("group")["score"].mean().mean(), abs=1e-4)


def test_appended_prompts_in_pairs(
    run: Callable[..., Any], rewards: dict[str, Path], hpsv2: tuple[Path, Path], draw: Callable[..., Path],
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    images = hpsv2[1]
    result = run("append={anime: ', best quality'}")[1]
    assert "images made from them go into MODEL+append" in capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / "out" / "prompts.appended.jsonl").read_text().splitlines()]
    assert lines[0] == {
        "id": "anime/00000", "prompt": "a anime of thing 0, best quality", "original": "a anime of thing 0",
        "tags": {"style": "anime"},
    }  # fmt: skip
    assert lines[5]["prompt"] == lines[5]["original"]
    assert {(v.generator, v.compared, v.prompts) for v in result.variants if not v.tag} == {
        ("sd", "wording", 3), ("xl", "wording", 3),
    }  # fmt: skip
    for n in range(3):
        draw(images / "sd+append" / "anime" / f"{n:05d}.jpg", 700 + n)
    result = run("append={anime: ', best quality'}")[1]
    assert next(one for one in result.generators if one.name == "sd+append").variant_of == "sd"
    found = {(v.compared, v.tag): v for v in result.variants if v.generator == "sd"}
    loaded = rewardkit.load(rewards["c"])

    def mean(folder: str, appended: bool) -> float:
        texts = [f"a anime of thing {n}{', best quality' if appended else ''}" for n in range(3)]
        files = [images / folder / "anime" / f"{n:05d}.jpg" for n in range(3)]
        return float(loaded.score(files, texts, output="cosine100").mean())

    for compared, folder, appended in (
        ("images", "sd+append", False),
        ("wording", "sd", True),
        ("both", "sd+append", True),
    ):
        assert found[compared, ""].difference == pytest.approx(mean(folder, appended) - mean("sd", False), abs=1e-3)
        assert found[compared, ""].prompts == 3 and found[compared, "style"].value == "anime"


def test_drawbench_and_a_blip(
    run: Callable[..., Any], tiny_blip: Path, draw: Callable[..., Path], tmp_path: Path
) -> None:
    model = build_blip_reward(architecture=tiny_blip)
    save_reward(tmp_path / "blip", model)
    (tmp_path / "drawbench.json").write_text(json.dumps(["a cube", "a ball", "a cone"]))
    for n in (0, 2):
        draw(tmp_path / "db" / "g" / f"{n:05d}.png", n)
    result = run(f"model={tmp_path / 'blip'}", f"images={tmp_path / 'db'}", f"prompts={tmp_path}")[1]
    assert (result.kind, result.rewards[0].kind, result.rewards[0].scale) == ("drawbench", "blip", "logit")
    files = [tmp_path / "db" / "g" / f"{n:05d}.png" for n in (0, 2)]
    expected = float(rewardkit.load(tmp_path / "blip").score(files, ["a cube", "a cone"]).mean())
    assert result.published[0].average == pytest.approx(expected, abs=1e-5)
    assert result.published[0].styles["drawbench"].std is None and result.published[0].n == 2
    assert [missing.prompt for missing in result.generators[0].missing] == ["drawbench/00001"]


def test_a_second_benchmark_on_the_same_folder_waits(run: Callable[..., Any], tmp_path: Path) -> None:
    run()
    code = "import sys, time; from pathlib import Path; from rewardkit.benchmark.state import held\n"
    code += "with held(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, tmp_path / "out"], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        assert cli.run(run_arguments(tmp_path)) == 2
        other.kill()
    assert cli.run(run_arguments(tmp_path)) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model="], "still to be named: model=RUN|BUNDLE|CHECKPOINT"),
        (["images=/nowhere"], "images=/nowhere: there is no folder"),
        (["prompts=/nowhere"], "prompts=/nowhere: there is no such file or folder"),
        (["generators=sdd"], "there is no such text-to-image model. Did you mean 'sd'?"),
        (["append={animes: x}"], "no prompt has that style. Did you mean 'anime'?"),
        (["append="], "append= is empty"),
        (["questions=evalalign"], "questions= is for evaluators"),
        (["scale=normalised"], "scale=normalised: none of the rewards has it"),
        (["human=/nowhere.json"], "human=/nowhere.json: there is no such file"),
        (["published=v3"], "'v3' is not one of v2, v2.1"),
        (["model=/nowhere"], "there is no such file or folder"),
        (["promts=x"], "there is no such key. Did you mean 'prompts'?"),
    ],
)
def test_a_mistake_gets_one_message(
    arguments: list[str], message: str, rewards: dict[str, Path], hpsv2: tuple[Path, Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    given = {"model": rewards["c"], "images": hpsv2[1], "prompts": hpsv2[0], "out": tmp_path / "out"}
    words = {argument.partition("=")[0]: argument.partition("=")[2] for argument in arguments}
    assert cli.run(["benchmark", *(f"{key}={value}" for key, value in {**given, **words}.items())]) == 2
    assert message in capsys.readouterr().err
