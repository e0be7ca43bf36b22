"""benchmark.json is read as it was written, and what is not one is refused; its images are found by its tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmark_results import GENERATORS, HOSTILE, MISSING, write_example

from rewardkit.benchmark.result import FILE, image_file, read_result, write_result
from rewardkit.data.predictions import read_predictions
from rewardkit.errors import DataError, UserError


def test_written_and_read_again(tmp_path: Path) -> None:
    result = write_example(tmp_path)
    assert read_result(tmp_path) == result
    assert read_result(tmp_path / FILE) == result


def test_rows_of_the_tables_find_their_images(tmp_path: Path) -> None:
    result = write_example(tmp_path)
    for reward in result.rewards:
        table = read_predictions(tmp_path / reward.predictions).scores
        assert set(table["dimension"]) == set(reward.dimensions)
        assert len(table) == len(reward.dimensions) * sum(one.images for one in result.generators)
        for row in table.itertuples():
            assert image_file(result, row.generator, row.shard).stat().st_size == row.length
        missing = table[(table["generator"] == MISSING[0]) & (table["group"] == MISSING[1])]
        assert missing.empty
        assert table[table["group"] == 0]["prompt"].eq(HOSTILE).all()


def test_generators_that_cannot_be_told_apart_share_a_rank(tmp_path: Path) -> None:
    cells = [c for c in write_example(tmp_path).cells if (c.reward, c.dimension, c.tag) == ("hpsv2", "overall", "")]
    assert {c.generator: c.rank for c in cells} == {GENERATORS[0]: 1, GENERATORS[1]: 1, GENERATORS[2]: 3}
    assert {c.generator: c.missing for c in cells} == {GENERATORS[0]: 0, GENERATORS[1]: 0, GENERATORS[2]: 1}


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no"):
        read_result(tmp_path)
    write_result(tmp_path, write_example(tmp_path))
    record = json.loads((tmp_path / FILE).read_text())
    for broken, message in (
        ("{", "is no benchmark.json"),
        (json.dumps({**record, "format": 99}), "format 99"),
        (json.dumps({**record, "generators": [{"name": "a"}]}), "Generator without folder"),
    ):
        (tmp_path / FILE).write_text(broken)
        with pytest.raises(DataError, match=message):
            read_result(tmp_path)
