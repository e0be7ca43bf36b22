"""The predictions table: rows of a group, round trip, merging, damage."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from rewardkit.data.group import Answer, Candidate, Comparison, Group
from rewardkit.data.predictions import (
    LABELS,
    SCORES,
    ImagePlace,
    PredictionRows,
    Predictions,
    labels_path,
    merge_predictions,
    read_predictions,
    write_predictions,
)
from rewardkit.errors import DataError, UserError


def a_group(name: str = "g") -> Group:
    return Group(
        id=name,
        prompt="Ein Café, sehr schön",
        candidates=(Candidate("0.jpg", "sdxl"), Candidate("1.jpg")),
        comparisons=(Comparison("overall", 0, 1, (7, 1, 2), 0.5),),
        answers=(Answer("appeal_t1", 0, "ann", 5.0), Answer("appeal_t1", 1, "ann", 3.0)),
        tags={"style": "anime"},
    )


def table(numbers: tuple[int, ...] = (0, 1)) -> Predictions:
    rows = PredictionRows(["overall", "appeal"], dimension_map={"appeal_t1": "appeal"})
    for n in numbers:
        scores = [[0.5 + n, 1.0], [0.25, float("nan")]]
        rows.add(a_group(), scores, number=n, key=f"k{n}", source="demo", place=ImagePlace("demo-000000.tar", 512, 99))
    return rows.predictions()


def test_rows_of_a_group() -> None:
    found = table()
    assert len(found.scores) == 2 * 2 * 2
    assert found.dimensions == ("overall", "appeal")
    row = found.scores.iloc[0]
    assert (row["score"], row["generator"], row["key"], row["shard"], row["offset"]) == (
        0.5,
        "sdxl",
        "k0",
        "demo-000000.tar",
        512,
    )
    assert json.loads(row["tags"]) == {"style": "anime"}
    assert pd.isna(found.scores.iloc[2]["generator"])
    labels = found.labels[found.labels["group"] == 1].set_index("dimension")
    assert labels.loc["overall", ["votes_first", "votes_tie", "votes_second", "weight"]].tolist() == [7, 1, 2, 0.5]
    assert labels.loc["appeal", ["first", "second", "votes_first"]].tolist() == [0, 1, 1]


def test_labels_mapped_to_null_are_left_out() -> None:
    rows = PredictionRows(["overall"], dimension_map={"appeal_t1": None})
    rows.add(a_group(), [[1.0], [2.0]], number=0, key="k", source="s")
    assert set(rows.predictions().labels["dimension"]) == {"overall"}


def test_round_trip_keeps_everything(tmp_path: Path) -> None:
    written = table()
    path = write_predictions(tmp_path / "runs" / "000100-val.parquet", written)
    assert labels_path(path).name == "000100-val.labels.parquet"
    read = read_predictions(path)
    pd.testing.assert_frame_equal(read.scores, written.scores)
    pd.testing.assert_frame_equal(read.labels, written.labels)
    assert sorted(p.name for p in path.parent.iterdir()) == ["000100-val.labels.parquet", "000100-val.parquet"]


def test_an_empty_table_round_trips(tmp_path: Path) -> None:
    read = read_predictions(write_predictions(tmp_path / "a.parquet", PredictionRows(["overall"]).predictions()))
    assert list(read.scores) == SCORES.names and list(read.labels) == LABELS.names and len(read.scores) == 0


def test_merging_sorts_and_refuses_a_group_twice() -> None:
    merged = merge_predictions([table((3, 1)), table((0,))])
    assert merged.scores["group"].is_monotonic_increasing and len(merged.labels) == 6
    with pytest.raises(DataError, match="group 1 stands in two"):
        merge_predictions([table((0, 1)), table((1,))])


def test_missing_damaged_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no predictions table"):
        read_predictions(tmp_path / "none.parquet")
    path = write_predictions(tmp_path / "a.parquet", table())
    labels_path(path).write_bytes(b"PAR1 nonsense")
    with pytest.raises(DataError, match=r"a\.labels\.parquet cannot be read"):
        read_predictions(path)
    pd.DataFrame({"x": [1]}).to_parquet(path)
    with pytest.raises(DataError, match="lacks group, source"):
        read_predictions(path)


def test_a_table_of_an_older_format_is_named(tmp_path: Path) -> None:
    path = write_predictions(tmp_path / "a.parquet", table())
    pd.read_parquet(path).drop(columns="human_rank").to_parquet(path)
    with pytest.raises(DataError, match="older rewardkit"):
        read_predictions(path)
