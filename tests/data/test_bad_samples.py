"""The policy for bad samples."""

from __future__ import annotations

import json

import pytest

from rewardkit.data.bad_samples import BadReport, BadSamples
from rewardkit.errors import DataError


def report(number: int, key: str | None = None) -> BadReport:
    return BadReport("/data/x", "x-000000.tar", f"k{number}" if key is None else key, f"reason {number}")


@pytest.mark.parametrize(
    ("groups", "fraction", "limit"), [(100, 0.01, 10), (10_000, 0.01, 100), (5, 1.0, 10), (5, 0.0, 10)]
)
def test_the_limit(groups, fraction, limit):
    bad = BadSamples(groups=groups, max_bad_fraction=fraction, path=None, data_set="train")
    bad.add([report(n) for n in range(limit)])
    bad.add([report(n) for n in range(limit)])  # met again in the next epoch
    assert len(bad) == limit
    with pytest.raises(DataError) as caught:
        bad.add([report(limit)])
    told = str(caught.value)
    assert f"{limit + 1} of {groups} samples of train cannot be used, more than {limit}" in told
    assert "/data/x/x-000000.tar k3: reason 3" in told and "data.max_bad_fraction" in told
    assert told.count("reason") == min(20, limit + 1)


def test_the_file_survives_a_resume(tmp_path):
    path = tmp_path / "run" / "data_errors.jsonl"
    first = BadSamples(groups=9, max_bad_fraction=0, path=path, data_set="train")
    first.add([report(1), report(2, key=""), report(3, key="")])
    with open(path, "a") as file:
        file.write('{"set": "train", "sour')  # killed while writing
    again = BadSamples(groups=9, max_bad_fraction=0, path=path, data_set="train")
    assert len(again) == 3
    again.add([report(1), report(4)])
    assert len(again) == 4
    other = BadSamples(groups=9, max_bad_fraction=0, path=path, data_set="val")
    assert len(other) == 0
    other.add([report(1)])
    third = BadSamples(groups=9, max_bad_fraction=0, path=path, data_set="train")
    assert len(third) == 4
    last = json.loads(path.read_text().splitlines()[-1])
    assert last == {"set": "val", "source": "/data/x", "shard": "x-000000.tar", "key": "k1", "reason": "reason 1"}


def test_ranks_name_a_sample_once_and_count_together(tmp_path):
    path = tmp_path / "data_errors.jsonl"
    one, two, val = (BadSamples(groups=9, max_bad_fraction=0, path=path, data_set=n) for n in ("train", "train", "val"))
    one.add([report(1), report(2)])
    val.add([report(3)])
    two.add([report(2), report(3, key="line\u2028feed")])
    one.add([report(3, key="line\u2028feed"), report(4)])
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    assert [(line["set"], line["key"]) for line in lines] == [
        ("train", "k1"), ("train", "k2"), ("val", "k3"), ("train", "line\u2028feed"), ("train", "k4"),
    ]  # fmt: skip
    assert (len(one), len(two), len(val)) == (4, 3, 1)
    one.add([report(n) for n in range(5, 8)])
    with pytest.raises(DataError, match="11 of 9 samples of train"):
        two.add([report(n) for n in range(8, 12)])


def test_no_file_without_bad_samples(tmp_path):
    bad = BadSamples(groups=9, max_bad_fraction=0, path=tmp_path / "errors.jsonl", data_set="train")
    bad.add([])
    assert not (tmp_path / "errors.jsonl").exists()
    bad.add([BadReport("s", "x.tar", "key\udcff", "prompt “é”")])
    assert "é" in (tmp_path / "errors.jsonl").read_text(encoding="utf-8")
