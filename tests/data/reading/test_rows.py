"""Annotation files as rows: streamed, with bad rows left out alone and bad files refused whole."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rewardkit.data.reading import json_list as json_list_module
from rewardkit.data.reading.format import ReadLog, Row
from rewardkit.data.reading.json_list import json_list
from rewardkit.data.reading.rows import check_columns, columns_of, read_rows, table_files
from rewardkit.errors import UserError


def rows(file: Path, **more: Any) -> tuple[list[Row], ReadLog]:
    log = ReadLog()
    return list(read_rows(file, log, **more)), log


def write(folder: Path, name: str, text: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def values(file: Path, **more: Any) -> list[dict[str, Any]]:
    return [row.values for row in rows(file, **more)[0]]


def bad(file: Path) -> list[tuple[int, str]]:
    return [(row.line, row.reason) for row in rows(file)[1].bad]


RECORDS = [{"prompt": "a", "n": 1}, {"prompt": "b, c", "n": 2}]


def every_kind(folder: Path) -> list[Path]:
    table = pa.table({"prompt": ["a", "b, c"], "n": [1, 2]})
    pq.write_table(table, folder / "x.parquet")
    for name, new in (("stream", pa.ipc.new_stream), ("file", pa.ipc.new_file)):
        with pa.OSFile(str(folder / f"{name}.arrow"), "wb") as out, new(out, table.schema) as writer:
            writer.write_table(table)
    return [
        write(folder, "x.json", json.dumps(RECORDS, indent=1)),
        write(folder, "x.jsonl", "\n".join(map(json.dumps, RECORDS))),
        folder / "x.parquet",
        folder / "stream.arrow",
        folder / "file.arrow",
    ]


def test_every_kind_of_file_has_the_same_rows_and_columns(tmp_path: Path) -> None:
    for file in every_kind(tmp_path):
        found, log = rows(file, name="sub/x")
        assert [row.values for row in found] == RECORDS, file
        assert [(row.file, row.line) for row in found] == [("sub/x", 1), ("sub/x", 2)]
        assert log.rows == 2 and list(log.files) == ["sub/x"] and log.files["sub/x"][0] == file.stat().st_size
        assert columns_of(file) == ["prompt", "n"]
    for ending, mark in ((".csv", ","), (".tsv", "\t")):
        file = write(tmp_path, f"x{ending}", f'prompt{mark}n\r\na{mark}1\r\n\r\n"b, c"{mark}2')
        found, log = rows(file)
        assert [(row.line, row.values) for row in found] == [
            (2, {"prompt": "a", "n": "1"}),
            (4, {"prompt": "b, c", "n": "2"}),
        ]
        assert log.rows == 2 and columns_of(file) == ["prompt", "n"]


def test_chosen_columns_of_tables(tmp_path: Path) -> None:
    for file in every_kind(tmp_path)[2:]:
        assert values(file, columns=("n", "other")) == [{"n": 1}, {"n": 2}]


def test_folders_of_tables_in_order_of_name(tmp_path: Path) -> None:
    for name in ("b/x.parquet", "a/z.parquet", "a/y.parquet", ".cache.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"name": [name]}), tmp_path / name)
    (tmp_path / "a" / "w.arrow").write_bytes(b"")
    assert [row.values["name"] for row in rows(tmp_path)[0]] == ["a/y.parquet", "a/z.parquet", "b/x.parquet"]
    assert [row.file for row in rows(tmp_path)[0]] == ["a/y.parquet", "a/z.parquet", "b/x.parquet"]
    assert columns_of(tmp_path) == ["name"]
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match=r"holds no .parquet and no .arrow file"):
        table_files(tmp_path / "none")
    assert columns_of(tmp_path / "none") == []


def test_columns_of_never_raises(tmp_path: Path) -> None:
    for name, text in (("x.csv", ""), ("x.parquet", "no"), ("x.json", "{"), ("x.jsonl", b"\xff\n"), ("x.txt", "a")):
        assert columns_of(write(tmp_path, name, text)) == []
    assert columns_of(tmp_path / "nothing.csv") == []


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.csv", "", r"x.csv is empty \(0 bytes\)"),
        ("x.json", "", r"x.json is empty \(0 bytes\)"),
        ("x.txt", "a", r"x.txt: the file's ending must be one of .csv, .tsv, .jsonl, .json, .parquet, .arrow"),
        ("x.csv", "\nprompt,n\n", r"x.csv:1: the first line is empty; it must hold the names of the columns"),
        ("x.csv", b"pr\xe9mpt,n\na,1\n", r"x.csv:1: the text is not UTF-8"),
        ("x.csv", 'a,b\n"' + "x" * 1_100_000 + '",1\n', r"x.csv:2: a cell is longer than 1 MiB; a quote that is never"),
        ("x.parquet", b"PAR1 and no more", r"x.parquet cannot be read \(cut off while downloading\?\)"),
        ("x.arrow", b"\xff\xff\xff\xff and no more", r"x.arrow cannot be read \(cut off while downloading\?\)"),
        ("x.arrow", b"ARROW1 and no more", r"x.arrow cannot be read \(cut off while downloading\?\)"),
        ("x.json", '{"a": 1}', "must hold a list of records .* and is an object"),
        ("x.json", " \n ", "must hold a list of records .* and is empty"),
        ("x.json", "PK\x03", "must hold a list of records .* and is something that begins with 'P'"),
        ("x.json", "[]", "is an empty list"),
        ("x.json", '[{"a": 1}, {"a": 2', r"is not valid JSON behind record 1 \(cut off while downloading\?\)"),
        ("x.json", '[{"a": 1}, {"a": 2}', "is not valid JSON: the file ends behind record 2, where , or ] must be"),
        ("x.json", '[{"a": 1} {"a": 2}]', "is not valid JSON: '{' stands behind record 1, where , or ] must be"),
        ("x.json", '[{"a": NaN}]', "NaN is not a number that can be used"),
        ("x.json", "[" * 100_000, "is not valid JSON behind record 0"),
    ],
)
def test_files_that_are_wrong_as_a_whole(tmp_path: Path, name: str, text: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        rows(write(tmp_path, name, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x.csv does not exist"):
        rows(tmp_path / "x.csv")


def test_rows_before_a_cut_are_given(tmp_path: Path) -> None:
    stream = read_rows(write(tmp_path, "x.json", '[{"a": 1}, {"a": 2}, {"a'), ReadLog())
    assert [next(stream).values, next(stream).values] == [{"a": 1}, {"a": 2}]
    with pytest.raises(UserError, match="behind record 2"):
        next(stream)
    table = pa.table({"n": list(range(100_000))})
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as out, pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=1000)
    data = (tmp_path / "x.arrow").read_bytes()
    seen = 0
    with pytest.raises(UserError, match=r"x.arrow cannot be read"):
        for _ in read_rows(write(tmp_path, "x.arrow", data[: len(data) // 2]), ReadLog()):
            seen += 1
    assert seen > 40_000


def test_bad_lines_of_json_lines_are_left_out_alone(tmp_path: Path) -> None:
    lines = [
        b"\xef\xbb\xbf" + '{"p": "ä\u2028"}'.encode(),
        b'{"p": 1',
        b'{"p": "caf\xe9"}',
        b"",
        b'{"p": "half \\ud83e of"}',
        b"[1]",
        b'{"p": 1, "p": 2}',
        b'{"p": 1} {"q": 2}',
        b'{"p": Infinity}',
        b'{"p": {"q": ["\\udc00"]}}',
        b'{"\\udc00": 1}',
        b"[" * 100_000,
        b'{"p": "\\ud83e\\udd8a"}\r',
        '{"p": "狐"}'.encode(),
    ]
    found, log = rows(write(tmp_path, "x.jsonl", b"\n".join(lines)))
    assert [(row.line, row.values["p"]) for row in found] == [(1, "ä\u2028"), (13, "🦊"), (14, "狐")]
    reasons = {row.line: row.reason for row in log.bad}
    assert list(reasons) == [2, 3, 5, 6, 7, 8, 9, 10, 11, 12] and log.rows == 13
    assert reasons[2].startswith("not a line of JSON: Expecting ',' delimiter")
    for line in (3, 5, 10):
        assert reasons[line].startswith("p: the text is not UTF-8, or holds half of a character")
    assert reasons[6] == "it is a list, not an object {…}"
    assert "the field 'p' stands twice in one line" in reasons[7]
    assert "something follows behind its value, at character 9" in reasons[8]
    assert "Infinity is not a number that can be used" in reasons[9]


def test_bad_rows_of_a_table_are_left_out_alone(tmp_path: Path) -> None:
    text = b'p,n\na,1\nb\nc,1,2\ncaf\xe9,3\n"x\ny",4\n"q"r,5\n"z ""z""",6\n'
    found, log = rows(write(tmp_path, "x.csv", text))
    assert [(row.line, row.values["p"]) for row in found] == [(2, "a"), (6, "x\ny"), (9, 'z "z"')]
    assert [(row.line, row.reason.split(";")[0].split(":")[0]) for row in log.bad] == [
        (3, "the row has 1 cells, the header has 2"),
        (4, "the row has 3 cells, the header has 2"),
        (5, "the text is not UTF-8, or holds half of a character"),
        (8, "the row cannot be read"),
    ]
    assert log.rows == 7


def test_a_quote_that_is_never_closed(tmp_path: Path) -> None:
    [(line, reason)] = bad(write(tmp_path, "x.csv", 'p,n\na,1\n"open,2\nb,3\n'))
    assert line == 3 and reason.startswith("the row cannot be read: unexpected end of data")


def test_records_of_a_list_that_are_no_objects(tmp_path: Path) -> None:
    found, log = rows(write(tmp_path, "x.json", b'[{"a": 1}, 7, null, {"a": "caf\xe9"}, {"a": 2}]'))
    assert [(row.line, row.values) for row in found] == [(1, {"a": 1}), (5, {"a": 2})]
    assert [(row.line, row.reason[:12]) for row in log.bad] == [
        (2, "it is a int,"),
        (3, "it is a None"),
        (4, "a: the text "),
    ]


def test_text_of_a_table_that_is_not_utf8(tmp_path: Path) -> None:
    cells = [b"a", b"caf\xe9", b"c"]
    texts = pa.StringArray.from_buffers(3, *pa.array(cells, pa.binary()).buffers()[1:])
    pq.write_table(pa.table({"p": texts}), tmp_path / "x.parquet")
    found, log = rows(tmp_path / "x.parquet")
    assert [(row.line, row.values["p"]) for row in found] == [(1, "a"), (3, "c")]
    assert [row.line for row in log.bad] == [2] and log.rows == 3


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
def test_a_list_is_read_the_same_whatever_the_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    records: list[Any] = [{"a": 'x ]},[ \\ " é 狐 🦊'}, 12345, -1.5e-7, {"b": [1, [2, {"c": None}]]}, "t", True, [], {}]
    for layout in ({"indent": 3}, {"separators": (",", ":")}, {"ensure_ascii": False}):
        file = write(tmp_path, "x.json", "\ufeff \n" + json.dumps(records, **layout) + " \n")
        monkeypatch.setattr(json_list_module, "CHUNK", chunk)
        assert list(json_list(file)) == list(enumerate(records, start=1))


@pytest.mark.parametrize("text", ["[1 2]", "[1,]", "[,1]", "[1,,2]", "[1", "[", "[1,2", '["a', '[{"a":1}}', "[tru]"])
@pytest.mark.parametrize("chunk", [1, 64])
def test_a_list_that_is_broken_at_any_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, chunk: int
) -> None:
    monkeypatch.setattr(json_list_module, "CHUNK", chunk)
    with pytest.raises(UserError, match=r"x.json is not valid JSON"):
        list(json_list(write(tmp_path, "x.json", text)))


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv", "x.parquet", "x.arrow"])
def test_memory_is_that_of_a_few_rows(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    text = "x" * 1000
    count = 12_000
    if file.suffix == ".csv":
        file.write_text("p,n\n" + "".join(f"{text},{n}\n" for n in range(count)))
    elif file.suffix == ".jsonl":
        file.write_text("".join(json.dumps({"p": text, "n": n}) + "\n" for n in range(count)))
    elif file.suffix == ".json":
        file.write_text(json.dumps([{"p": text, "n": n} for n in range(count)]))
    else:
        table = pa.table({"p": [f"{n}{text}" for n in range(count)], "n": range(count)})
        if file.suffix == ".parquet":
            pq.write_table(table, file, row_group_size=500)
        else:
            with pa.OSFile(str(file), "wb") as out, pa.ipc.new_stream(out, table.schema) as writer:
                writer.write_table(table, max_chunksize=500)
    assert file.stat().st_size > 200_000
    list(read_rows(file, ReadLog()))  # what is imported on the way is not counted
    allocated = pa.total_allocated_bytes()
    tracemalloc.start()
    most = seen = 0
    for seen, _ in enumerate(read_rows(file, ReadLog()), start=1):  # noqa: B007
        most = max(most, pa.total_allocated_bytes() - allocated)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seen == count
    assert peak + most < 7 << 20


def test_columns_that_a_format_needs_and_knows(tmp_path: Path) -> None:
    log = ReadLog()
    file = tmp_path / "x.csv"
    check_columns(["a", "b", "c"], file, log, needed=["a"], known=["b"])
    assert log.notes == Counter({"column 'c' of x.csv is not one of this format: not read": 1})
    with pytest.raises(UserError, match=r"x.csv: the column 'z' is missing; there are a, b"):
        check_columns(["a", "b"], file, log, needed=["a", "z"])
    with pytest.raises(UserError, match=r"x.csv: the columns 'y', 'z' are missing; there are none"):
        check_columns([], file, log, needed=["y", "z"])
    with pytest.raises(UserError, match=r"x.csv: the column 'a' stands twice"):
        check_columns(["a", "a"], file, log, needed=["a"])
