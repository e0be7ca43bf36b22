"""A run's folder is read as it is: whole, unfinished or damaged."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from rewardkit.config.layout import RunLayout
from rewardkit.errors import DataError, UserError
from rewardkit.report.metrics_log import curves, read_metrics
from rewardkit.report.run_files import read_options, read_run, read_tables


def test_metrics_survive_what_a_kill_leaves(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(
        b"step,name,value\n1,train/loss,0.5\n2,train/loss,nan\n3,train/loss,\n4,a,inf\n\x00\n5,train/loss,1e-"
    )
    rows = read_metrics(path)
    assert [row[:2] for row in rows] == [(1, "train/loss"), (2, "train/loss"), (3, "train/loss"), (4, "a")]
    assert rows[0][2] == 0.5 and math.isnan(rows[1][2]) and math.isnan(rows[2][2]) and rows[3][2] == math.inf


def test_curves_are_in_the_order_of_steps() -> None:
    assert curves([(2, "a", 1.0), (1, "a", 3.0), (2, "a", 2.0), (1, "b", 0.0)]) == {
        "a": [(1, 3.0), (2, 2.0)],
        "b": [(1, 0.0)],
    }


def test_options_with_and_without_origins() -> None:
    text = "seed: 3          # command line\noptim:\n  lr: 0.001  # scale demo of hpsv2\n  note: 'a  # b'  # x\n"
    options = read_options(text)
    assert [(o.key, o.value, o.origin) for o in options] == [
        ("seed", "3", "command line"),
        ("optim.lr", "0.001", "scale demo of hpsv2"),
        ("optim.note", "'a  # b'", "x"),
    ]
    assert [(o.key, o.value, o.origin) for o in read_options("a:\n  b: [1, 2]\nc: null\n")] == [
        ("a.b", "[1, 2]", ""),
        ("c", "null", ""),
    ]


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.yaml"):
        read_run(RunLayout(tmp_path))
    with pytest.raises(UserError, match="no such folder"):
        read_run(RunLayout(tmp_path / "nowhere"))


def test_a_whole_run(layout: RunLayout, write: SimpleNamespace) -> None:
    write.run(layout, dimensions=("overall",), steps=60)
    layout.data_errors.write_text('{"shard": "a.tar", "key": "k", "reason": "cut off"}\n{"shard": "b', encoding="utf-8")
    files = read_run(layout)
    assert files.name == "hpsv2/first"
    assert files.command == "python -m rewardkit fit recipe=hpsv2 seed=3 run.name=first"
    assert files.option("seed") == "3"
    assert [record["key"] for record in files.bad_samples] == ["k"]
    assert files.curves["train/loss"][0][0] == 1


def test_arguments_are_quoted_for_a_shell(layout: RunLayout, write: SimpleNamespace) -> None:
    write.run(layout, dimensions=("overall",), steps=20)
    layout.overrides.write_text("recipe=hpsv2\nrun.name=a b; rm -rf $HOME\n", encoding="utf-8")
    assert read_run(layout).command == "python -m rewardkit fit recipe=hpsv2 'run.name=a b; rm -rf $HOME'"


def test_a_damaged_file_is_named(layout: RunLayout, write: SimpleNamespace) -> None:
    write.run(layout, dimensions=("overall",), steps=20)
    layout.environment.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"environment\.json"):
        read_run(layout)
    layout.environment.write_text("[1]", encoding="utf-8")
    with pytest.raises(DataError, match="a list, not an object"):
        read_run(layout)


def test_tables_of_the_bundle_go_before_the_last(layout: RunLayout, write: SimpleNamespace) -> None:
    layout.root.mkdir(parents=True)
    write.metrics(layout.metrics, [(1, "train/loss", 1.0)])
    for step in (100, 200):
        write.predictions(layout, step=step, name="b")
        write.predictions(layout, step=step, name="a")
    tables = read_tables(read_run(layout))
    assert tables is not None and tables[0] == 200 and list(tables[1]) == ["a", "b"]
    write.summary(layout, step=100, sets={"b": {}, "a": {}})
    tables = read_tables(read_run(layout))
    assert tables is not None and tables[0] == 100 and list(tables[1]) == ["b", "a"]
    layout.summary.write_text(json.dumps({"step": 999}), encoding="utf-8")
    tables = read_tables(read_run(layout))
    assert tables is not None and tables[0] == 200


def test_a_table_without_its_labels_is_not_read(layout: RunLayout, write: SimpleNamespace) -> None:
    write.run(layout, dimensions=("overall",), steps=20)
    write.predictions(layout, step=5)
    (layout.predictions / "000005-val.labels.parquet").unlink()
    assert read_tables(read_run(layout)) is None
