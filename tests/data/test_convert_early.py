"""Units that are written while the source is still read: the same shards, also where a later row belongs to them."""

import json

import pytest
from PIL import Image

from rewardkit.data import convert_gather
from rewardkit.data.convert import convert
from rewardkit.data.convert_early import EarlyUnits
from rewardkit.data.convert_work import work_folder
from rewardkit.errors import DataError

GROUPS, IN_A_UNIT = 40, 4


@pytest.fixture
def source(tmp_path):
    """Forty prompts with two images and two comparisons each."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for n in range(GROUPS):
        for side in "ab":
            Image.new("RGB", (20 + n, 10), (6 * n, 0, 0)).save(folder / f"{n}{side}.png")
    write(folder, [row(n, better) for n in range(GROUPS) for better in (0, 1)])
    return folder


@pytest.fixture
def given(monkeypatch):
    """Looks after each row and waits for free workers; the units that were given early."""
    found = []
    look = EarlyUnits.look

    def patient(self, spool):
        look(self, spool)
        while self._hands._begun and not self._hands.free:
            pass
        found[:] = sorted(self._given)

    monkeypatch.setattr(EarlyUnits, "look", patient)
    monkeypatch.setattr(convert_gather, "LOOK_EVERY", 1)
    return found


def row(n, better):
    return {"prompt": f"prompt {n}", "images": [f"{n}a.png", f"{n}b.png"], "better": better}


def write(folder, rows):
    (folder / "prefs.jsonl").write_text("\n".join(map(json.dumps, rows)))


def converted(source, out, workers, **more):
    done = convert("jsonl", source, out, name="x", source="x", shard_groups=IN_A_UNIT, workers=workers, **more)
    return done, {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_units_are_given_early_and_the_bytes_are_the_same(source, tmp_path, given):
    done, files = converted(source, tmp_path / "early", 2)
    assert given == list(range(GROUPS // IN_A_UNIT - 1)) and done.written == GROUPS
    assert files == converted(source, tmp_path / "late", 1)[1]


def test_a_row_that_comes_late_is_in_its_shard(source, tmp_path, given):
    rows = [row(n, better) for n in range(GROUPS) for better in (0, 1)]
    rows.insert(30, row(1, 1))
    write(source, rows)
    _, files = converted(source, tmp_path / "early", 2)
    assert given == [0, 1]  # and none after the one that was late
    assert files == converted(source, tmp_path / "late", 1)[1]


def test_reading_that_fails_leaves_nothing_behind(source, tmp_path, given):
    rows = [row(n, better) for n in range(GROUPS) for better in (0, 1)]
    write(source, rows + [row(n, "x") for n in range(GROUPS)])
    with pytest.raises(DataError):
        converted(source, tmp_path / "out", 2)
    assert given and not work_folder(tmp_path / "out").exists()
