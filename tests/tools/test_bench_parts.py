"""What the benches stand on: memory of whole process trees, rounds and demands, sources that are the same each time."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

BENCH = Path(__file__).parents[2] / "tools" / "bench"

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the benches read /proc")


@pytest.fixture(scope="module")
def bench() -> Iterator[SimpleNamespace]:
    sys.path.insert(0, str(BENCH))
    import hpd_like
    import rounds
    import tree_memory

    yield SimpleNamespace(hpd_like=hpd_like, rounds=rounds, memory=tree_memory)
    sys.path.remove(str(BENCH))


ALLOCATE = """
import subprocess, sys, time
held = bytearray(int(sys.argv[1]))
held[::4096] = b"x" * len(held[::4096])
if len(sys.argv) > 2:
    subprocess.run([sys.executable, "-c", sys.argv[2], sys.argv[1]], check=True)
time.sleep(0.2)
print("done")
"""


def test_memory_of_children_counts(bench: SimpleNamespace) -> None:
    size = 60_000_000
    done, alone = bench.memory.run_watched([sys.executable, "-c", ALLOCATE, str(size)])
    assert done.returncode == 0 and done.stdout == "done\n"
    done, both = bench.memory.run_watched([sys.executable, "-c", ALLOCATE, str(size), ALLOCATE])
    assert done.returncode == 0 and len(both.highest) >= 2
    assert size < alone.peak < size + 60_000_000
    assert both.peak > alone.peak + size
    assert sum(both.highest.values()) >= both.peak


def test_a_command_that_prints_much_ends(bench: SimpleNamespace) -> None:
    done, _ = bench.memory.run_watched([sys.executable, "-c", "print('x' * 1000000); raise SystemExit(3)"])
    assert done.returncode == 3 and len(done.stdout) == 1_000_001


def test_imports_are_weighed(bench: SimpleNamespace) -> None:
    assert bench.memory.imports_memory(["json"]) + 5_000_000 < bench.memory.imports_memory(["numpy"])


@pytest.mark.parametrize(
    ("values", "demand", "met"),
    [
        ([0.4, 0.5, 9.0], 0.5, True),
        ([0.4, 0.49, 9.0], 0.5, False),
        ([1.0, 399.0], -400, True),
        ([400.0], -400, False),
        ([1.0], None, None),
    ],
)
def test_demands(bench: SimpleNamespace, values: list[float], demand: float | None, met: bool | None) -> None:
    assert bench.rounds.Figure("x", "MB", values, demand).met is met


def test_a_report_is_printed_and_written(
    bench: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = bench.rounds.Report("sorting", {"rounds": "3"})
    report.figures += [bench.rounds.Figure("rate", "", [0.5, 0.7, 0.6], 0.9), bench.rounds.Figure("time", "s", [2.0])]
    assert report.finish(tmp_path / "deep" / "x.json") is False
    printed = capsys.readouterr().out
    assert "0.60" in printed and "0.50 … 0.70" in printed and "≥ 0.9 MISSED" in printed
    record = json.loads((tmp_path / "deep" / "x.json").read_text(encoding="utf-8"))
    assert record["figures"][0]["values"] == [0.5, 0.7, 0.6] and record["figures"][0]["median"] == 0.6
    assert record["figures"][0]["met"] is False and record["figures"][1]["met"] is None
    assert record["machine"]["processors"] >= 1 and {"load_before", "load_after"} <= set(record["machine"])


def test_a_source_is_the_same_each_time(bench: SimpleNamespace, tmp_path: Path) -> None:
    shape = bench.hpd_like.Shape(30, lines=20, side=64)
    first, second = (bench.hpd_like.make_source(tmp_path / name, shape) for name in ("a", "b"))
    files = [path.relative_to(first) for path in bench.rounds.files_below(first)]
    assert len(files) == 30 * 4 + 1
    images = set()
    for name in files:
        data = (first / name).read_bytes()
        assert data == (second / name).read_bytes()
        images.add(data)
    assert len(images) == len(files)  # no two alike
    with Image.open(first / files[0]) as picture:
        picture.load()
        assert picture.size == (64, 64) and picture.info["comment"] == b"image 0"
    rows = [json.loads(line) for line in (first / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 600 and len({row["prompt"] for row in rows}) == 30
    assert rows[0]["prompt"] == rows[19]["prompt"] != rows[20]["prompt"]


def test_interleaved_lines_are_the_same_lines(bench: SimpleNamespace) -> None:
    apart = list(bench.hpd_like.lines(bench.hpd_like.Shape(10, interleaved=True)))
    together = list(bench.hpd_like.lines(bench.hpd_like.Shape(10)))
    assert apart[0]["prompt"] != apart[1]["prompt"] and apart != together
    assert sorted(map(repr, apart)) == sorted(map(repr, together))


def test_a_source_of_another_shape_is_made_anew(bench: SimpleNamespace, tmp_path: Path) -> None:
    folder = bench.hpd_like.make_source(tmp_path / "a", bench.hpd_like.Shape(2, side=32))
    kept = (folder / "pairs.jsonl").stat().st_mtime_ns
    assert bench.hpd_like.make_source(folder, bench.hpd_like.Shape(2, side=32)) == folder
    assert (folder / "pairs.jsonl").stat().st_mtime_ns == kept
    bench.hpd_like.make_source(folder, bench.hpd_like.Shape(1, side=32))
    assert len(bench.rounds.files_below(folder)) == 5


def test_images_have_the_size_of_hpds(bench: SimpleNamespace) -> None:
    sizes = [len(data) for data in bench.hpd_like.base_images(512)]
    assert 55_000 < sum(sizes) / len(sizes) < 65_000 and min(sizes) < 0.9 * max(sizes)
