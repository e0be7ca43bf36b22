"""The log's line: written and read back, a cut-off last line left out, a damaged one named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rewardkit.annotate.log import LOG_FILE, Attempt, LogLine, Score, line_from_json, line_to_json, read_log
from rewardkit.errors import DataError

LINE = LogLine(
    request="0" * 32,
    step="scores",
    group="g\u2028 1",
    annotator="one",
    model="m",
    mode="joint",
    order=(1, 0),
    images=("a" * 64, "b" * 64),
    prompt="a \n cat",
    repeat=0,
    seed=3,
    temperature=0.0,
    questions="visionprefer",
    template="t" * 16,
    outcome="ok",
    reason=None,
    scores=(Score(0, "fidelity", 4.0, "fine", "fidelity"), Score(1, "fidelity", "NA", None, "fidelity")),
    result={},
    attempts=(Attempt('{"a":\n1}', None, 10, 20, 0.5, "m-2", "stop", 1),),
    seconds=1.5,
    time="2026-01-02T03:04:05Z",
)


def test_a_line_comes_back_as_it_was() -> None:
    text = line_to_json(LINE)
    assert "\n" not in text
    assert line_from_json(text) == LINE


def test_the_last_line_may_be_cut_off_and_others_not(tmp_path: Path) -> None:
    file = tmp_path / LOG_FILE
    other = replace(LINE, request="1" * 32)
    whole = line_to_json(LINE) + "\n" + line_to_json(other)
    for cut in (1, 50, 200):
        file.write_text(whole[:-cut], encoding="utf-8")
        assert list(read_log(tmp_path)) == [LINE]
    for end in ("", "\n"):
        file.write_text(whole + end, encoding="utf-8")
        assert list(read_log(tmp_path)) == [LINE, other]
    file.write_text(line_to_json(LINE)[:50] + "\n" + line_to_json(other) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 1 is damaged"):
        list(read_log(tmp_path))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ('"outcome": "ok"|"outcome": "good"', "outcome is 'good'"),
        ('"outcome": "ok", |', "outcome"),
        ('"repeat": 0|"again": 0', "again"),
    ],
)
def test_a_line_of_another_make_is_refused(change: str, told: str) -> None:
    before, after = change.split("|")
    text = line_to_json(LINE)
    assert before in text
    with pytest.raises(ValueError, match=told):
        line_from_json(text.replace(before, after))


def test_a_folder_without_a_log_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such log"):
        list(read_log(tmp_path))


def test_a_damaged_middle_line_stops_the_next_run_and_names_itself(tmp_path: Path) -> None:
    from rewardkit.annotate.calls import CALLS_FILE
    from rewardkit.annotate.log_file import LogFile

    for name in (LOG_FILE, CALLS_FILE):
        (tmp_path / name).write_text('{"half": \n{"whole": 1}\n', encoding="utf-8")
        with pytest.raises(DataError, match=rf"{name}, line 1 is damaged"):
            LogFile(tmp_path)
        (tmp_path / name).unlink()
    LogFile(tmp_path).close()  # the lock of those that failed is gone


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio
    import errno
    import os

    from rewardkit.annotate.log_file import LogFile

    whole, full = os.write, [False]

    def write(handle: int, data: bytes) -> int:
        if full[0] and len(data) < 300:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(handle, data[:-200] if full[0] else data)

    async def fill(log: LogFile) -> None:
        await log.end(LINE)
        full[0] = True
        with pytest.raises(OSError, match="No space"):
            await log.end(replace(LINE, request="1" * 32))
        full[0] = False
        await asyncio.gather(*(log.end(replace(LINE, request=f"{n:032d}")) for n in range(2, 30)))

    monkeypatch.setattr(os, "write", write)
    with LogFile(tmp_path) as log:
        asyncio.run(fill(log))
        assert "1" * 32 not in log.done
    assert len(list(read_log(tmp_path))) == 29
