"""``validate``, ``score`` and ``export`` on the bundle of a tiny run."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_run import DEMO_DIMENSIONS, TINY_TOWER

import rewardkit
from rewardkit import cli
from rewardkit.data.index import ShardIndex


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with random weights."""
    from rewardkit.models.bundle import save_bundle
    from rewardkit.models.clip import build_clip_reward

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    tower = folder / "tiny.json"
    tower.write_text(json.dumps(TINY_TOWER), encoding="utf-8")
    model = build_clip_reward(architecture=tower, dimensions=DEMO_DIMENSIONS)
    with torch.no_grad():
        model.head.image.add_(0.1 * torch.randn_like(model.head.image))
    return save_bundle(folder / "bundle", model)


@pytest.fixture
def pictures(tmp_path: Path, demo_folders: tuple[Path, Path]) -> list[Path]:
    sample = ShardIndex.open(demo_folders[1]).sample(0)
    paths = [tmp_path / f"{n}.jpg" for n in range(len(sample.images))]
    for path, data in zip(paths, sample.images, strict=True):
        path.write_bytes(data)
    return paths


def run(*arguments: object) -> int:
    return cli.run([str(a) for a in arguments])


def test_validate_prints_and_writes(
    bundle: Path, demo_folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    models = f"model={bundle},{bundle}"
    assert run("validate", f"model={bundle}", f"data.val={demo_folders[1]}", "data.workers=0", f"out={out}") == 0
    printed = capsys.readouterr().out
    assert "strict_micro" in printed and "harmlessness" in printed
    record = json.loads((out / "results.json").read_text(encoding="utf-8"))
    rows = record["models"][str(bundle)]["val"]
    assert [row["dimension"] for row in rows] == list(DEMO_DIMENSIONS)
    assert (out / "0-val.parquet").is_file() and (out / "0-val.labels.parquet").is_file()
    assert run("validate", models, f"data.val={demo_folders[1]}", "data.workers=0", "protocol=half_macro") == 0
    assert "half_macro" in capsys.readouterr().out


def test_validate_needs_a_model_and_data(bundle: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run("validate") == 2
    assert run("validate", f"model={bundle}") == 2
    assert "data.val=" in capsys.readouterr().err
    assert run("validate", f"model={tmp_path / 'none'}", "data.val=x") == 2
    assert run("validate", f"model={bundle}", f"data.val={tmp_path}") == 2
    assert "holds no shards" in capsys.readouterr().err


def test_score_a_few(bundle: Path, pictures: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("score", f"model={bundle}", "prompt=a = b", f"images={pictures[0]},{pictures[1]}") == 0
    assert "a = b" in capsys.readouterr().out
    assert run("score", f"model={bundle}", "prompt=x", f"images={pictures[0].parent}") == 0
    assert run("score", f"model={bundle}", "prompt=x") == 2
    assert run("score", f"model={bundle}", "prompt=x", "images=none.jpg") == 2
    assert run("score", f"model={bundle}", "prompt=x", "images=a.jpg", "input=b.csv") == 2


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_score_a_table(bundle: Path, pictures: list[Path], tmp_path: Path, ending: str) -> None:
    from rewardkit.data.tables import read_rows, write_rows

    prompts = ["a red fox", "ein Café, 雪", "a red fox", ""]
    rows = [{"image": p.name, "prompt": t, "id": n} for n, (p, t) in enumerate(zip(pictures, prompts, strict=True))]
    source, target = tmp_path / f"in.{ending}", tmp_path / f"out.{ending}"
    write_rows(source, rows, ["image", "prompt", "id"])
    assert run("score", f"model={bundle}", f"input={source}", f"output={target}", "batch_size=3") == 0
    expected = rewardkit.load(bundle).score(pictures, prompts)
    for n, row in enumerate(read_rows(target)):
        assert str(row["id"]) == str(n)
        for d, name in enumerate(DEMO_DIMENSIONS):
            assert float(row[name]) == pytest.approx(float(expected[n, d]), abs=1e-6)
    assert not list(tmp_path.glob("*.part"))


def test_bad_images_are_reported_by_row(
    bundle: Path, pictures: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "cut.jpg").write_bytes(pictures[0].read_bytes()[:300])
    Image.new("RGBA", (1, 9), (1, 2, 3, 4)).save(tmp_path / "thin.png")
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    names = [pictures[0].name, "empty.jpg", "none.jpg", "cut.jpg", "thin.png"]
    source.write_text("image,prompt\n" + "".join(f"{name},p\n" for name in names), encoding="utf-8")
    assert run("score", f"model={bundle}", f"input={source}", f"output={target}") == 1
    printed = capsys.readouterr().out
    assert "scored 2 of 5" in printed and "row 2:" in printed and "row 3:" in printed and "row 4:" in printed
    with target.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["error"]) for row in rows] == [False, True, True, True, False]


def test_an_interrupted_table_goes_on(
    bundle: Path,
    pictures: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from rewardkit.models.load import LoadedReward

    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("image,prompt\n" + "".join(f"{p.name},p{n}\n" for n, p in enumerate(pictures)), encoding="utf-8")
    real, calls = LoadedReward.score, []

    def fails_at_the_second(self: LoadedReward, *a: object, **k: object) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, *a, **k)  # type: ignore[arg-type]

    monkeypatch.setattr(LoadedReward, "score", fails_at_the_second)
    command = ["score", f"model={bundle}", f"input={source}", f"output={target}", "batch_size=2"]
    assert run(*command) == 130
    assert not target.exists()
    assert run(*command) == 0
    assert "going on after row 2 of 4" in capsys.readouterr().out
    assert len(calls) == 3
    assert run(*command) == 2  # the output exists
    assert "not overwritten" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("img,prompt\na.jpg,p\n", "image"),
        ("image,prompt\na.jpg\n", ":2:"),
        ("image,prompt\n", "no rows"),
        ("", "no rows"),
    ],
)
def test_tables_that_are_refused(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    source = tmp_path / "in.csv"
    source.write_text(text, encoding="utf-8")
    assert run("score", f"model={bundle}", f"input={source}", f"output={tmp_path / 'o.csv'}") == 2
    assert words in capsys.readouterr().err


def test_export_a_bundle_and_to_open_clip(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import open_clip

    from rewardkit.models.load import load

    assert run("export", f"model={bundle}", f"out={tmp_path / 'b'}") == 0
    assert (tmp_path / "b" / "model.safetensors").read_bytes() == (bundle / "model.safetensors").read_bytes()
    assert run("export", f"model={bundle}", f"out={tmp_path / 'b'}") == 2
    assert run("export", f"model={bundle}", f"out={tmp_path / 'oc'}", "to=open_clip") == 0
    ours, pixels = load(bundle).model, torch.randn(2, 3, 32, 32)
    tokens = ours.tokenizer(["a red fox", "two boats"])
    expected = ours.cosines(ours.encode_pixels(pixels), ours.encode_tokens(tokens), torch.arange(2))
    for d, dimension in enumerate(DEMO_DIMENSIONS):
        theirs = open_clip.create_model(f"local-dir:{tmp_path / 'oc' / dimension}")
        cosines = (theirs.encode_image(pixels, normalize=True) * theirs.encode_text(tokens, normalize=True)).sum(-1)
        torch.testing.assert_close(cosines, expected[:, d], rtol=0, atol=1e-5)
    assert run("export", f"model={bundle}", f"out={tmp_path / 'x'}", "to=opnclip") == 2
    assert "'open_clip'" in capsys.readouterr().err
