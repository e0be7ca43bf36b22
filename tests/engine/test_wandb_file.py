"""W&B's files are read whole, and one that a kill tore is cut back to its last whole record."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from rewardkit.engine.wandb_file import BLOCK_BYTES, files_of, mend, read_records, step_of

pb = pytest.importorskip("wandb.proto.wandb_internal_pb2")


def frames(records: list[Any]) -> bytes:
    """LevelDB's log format, written down independently of the reader."""
    out = bytearray(b":W&B\xe1\xbe\x00")
    for record in records:
        data, first = record.SerializeToString(), True
        while True:
            left = BLOCK_BYTES - len(out) % BLOCK_BYTES
            if left < 7:
                out += bytes(left)
                continue
            piece, data = data[: left - 7], data[left - 7 :]
            kind = (1 if first else 4) if not data else (2 if first else 3)
            out += struct.pack("<IHB", zlib.crc32(bytes([kind]) + piece), len(piece), kind) + piece
            first = False
            if not data:
                break
    return bytes(out)


def run_record() -> Any:
    return pb.Record(run=pb.RunRecord(run_id="abc"))


def row(step: int, size: int = 0) -> Any:
    items = [
        pb.HistoryItem(nested_key=["_step"], value_json=str(step)),
        pb.HistoryItem(key="x", value_json="1" * size),
    ]
    return pb.Record(history=pb.HistoryRecord(item=items))


def test_records_of_any_size_are_read(tmp_path: Path) -> None:
    # Some end just before a block does, so that the rest of it is too short for a chunk.
    sizes = [0, 10, 3 * BLOCK_BYTES, *range(BLOCK_BYTES - 60, BLOCK_BYTES, 3)]
    records = [run_record(), *(row(n, size) for n, size in enumerate(sizes, 1))]
    path = tmp_path / "run-abc.wandb"
    path.write_bytes(frames(records))
    found = list(read_records(path))
    assert [record for record, _ in found] == records
    assert [step_of(record) for record, _ in found] == [None, *range(1, len(sizes) + 1)]
    assert found[-1][1] == path.stat().st_size
    again = list(read_records(path, start=found[4][1]))
    assert [step_of(record) for record, _ in again] == list(range(5, len(sizes) + 1))


def test_a_torn_file_is_cut_back_to_its_last_whole_record(tmp_path: Path) -> None:
    whole = frames([run_record(), row(1), row(2)])
    path = tmp_path / "run-abc.wandb"
    for torn in (frames([run_record(), row(1), row(2), row(3, 90_000)])[:-5], whole + b"\0" * 3, whole + b"\x07" * 40):
        path.write_bytes(torn)
        assert mend(path) == 2
        assert path.read_bytes() == whole
    assert mend(path) == 2


def test_a_damaged_record_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "run-abc.wandb"
    data = bytearray(frames([run_record(), row(1), row(2)]))
    data[-3] ^= 1
    path.write_bytes(data)
    assert mend(path) == 1


def test_a_file_that_names_no_run_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "run-abc.wandb"
    path.write_bytes(b":W&B\xe1\xbe\x00")
    assert mend(path) == 0 and not path.exists()


def test_attempts_are_in_the_order_of_their_times(tmp_path: Path) -> None:
    for name in ("run-20260102_000000-abc", "offline-run-20260101_000000-abc", "offline-run-20260103_000000-abc"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run-abc.wandb").write_bytes(b"")
    (tmp_path / "latest-run").symlink_to("offline-run-20260103_000000-abc")
    assert [path.parent.name[-19:-4] for path in files_of(tmp_path, "abc")] == [
        "20260101_000000",
        "20260102_000000",
        "20260103_000000",
    ]
