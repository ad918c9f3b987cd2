"""What unpacks to gigabytes, or is not well-formed, is refused before it is read."""

from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rafdb_vit.data.formats import stored_files
from rafdb_vit.data.formats.stored_files import Extent, check_table_file

ROWS = 6
OFFSETS = np.arange(ROWS + 1, dtype=np.int32)


def check(path):
    check_table_file(path, Extent())


def write(path, table, compression=None):
    with pa.ipc.new_stream(path, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return path


def test_what_datasets_writes_is_taken(tmp_path):
    table = pa.table({"label": [*"abcabc"], "image": [b"x"] * ROWS, "kind": pa.array([*"uvuvuv"]).dictionary_encode()})
    write(tmp_path / "data.arrow", table)
    pq.write_table(table, tmp_path / "data.parquet")
    (tmp_path / "data.csv").write_text("a,b\n")
    for name, rows in (("data.arrow", ROWS), ("data.parquet", ROWS), ("data.csv", 0)):
        with patch.object(Extent, "add") as add:
            check(tmp_path / name)
        assert sum(call.kwargs.get("rows", 0) for call in add.mock_calls) == rows


@pytest.mark.parametrize(
    "wrong",
    [
        [0, 1, 2, 2**30, 2**30 + 1, 2**30 + 2, 2**30 + 100],
        [0, 1, 2, -(2**30), 5, 6, 7],
        [0, 1, 2, 3, 4, 5, 4000],
        [0, 1, 2, 5, 4, 5, 6],
    ],
)
@pytest.mark.parametrize("kind", [pa.string(), pa.binary()])
def test_offsets_out_of_the_file_are_refused(tmp_path, wrong, kind):
    path = write(tmp_path / "data.arrow", pa.table({"label": pa.array([*"ababab"], kind)}))
    content = path.read_bytes()
    assert content.count(OFFSETS.tobytes()) == 1
    path.write_bytes(content.replace(OFFSETS.tobytes(), np.array(wrong, np.int32).tobytes()))
    with pytest.raises(pa.ArrowInvalid):
        check(path)


def test_text_that_is_none_is_refused(tmp_path):
    offsets, text = pa.py_buffer(OFFSETS.tobytes()), pa.py_buffer(b"ab\xff\xfeab")
    table = pa.table({"label": pa.StringArray.from_buffers(ROWS, offsets, text)})
    with pytest.raises(pa.ArrowInvalid, match="UTF8"):
        check(write(tmp_path / "data.arrow", table))


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
@pytest.mark.parametrize("column", [[b"\0" * 1000] * ROWS, pa.array([*"uvuvuv"]).dictionary_encode()])
def test_packed_batches_are_refused(tmp_path, compression, column):
    with pytest.raises(ValueError, match="is packed"):
        check(write(tmp_path / "data.arrow", pa.table({"x": column}), compression))


def test_rows_of_nothing_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_files, "MOST_ROWS", 1000)
    table = pa.table({"label": pa.nulls(1001, pa.int8())})
    pq.write_table(table, tmp_path / "data.parquet")
    write(tmp_path / "data.arrow", table)
    for name in ("data.parquet", "data.arrow"):
        with pytest.raises(ValueError, match="1,001 rows, more than 1,000"):
            check(tmp_path / name)


LONG = "x" * 1000


@pytest.mark.parametrize(
    "column",
    [
        [b"\0" * 2**20],
        [LONG] * 1000,
        [{"bytes": LONG.encode(), "path": None}] * 1000,
        [[LONG] * 10] * 100,
        pa.array([LONG.encode()] * 1000, pa.binary(1000)),
        pa.array([1] * 200_000),
    ],
)
def test_parquet_that_unpacks_to_far_more_is_refused(tmp_path, monkeypatch, column):
    monkeypatch.setattr(stored_files, "MOST_UNPACKED", 2**18)
    pq.write_table(pa.table({"x": column}), tmp_path / "data.parquet", compression="zstd")
    with pytest.raises(ValueError, match="bytes, and unpack to more than"):
        check(tmp_path / "data.parquet")


def test_many_small_files_unpack_to_no_more_than_a_large_one(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_files, "MOST_UNPACKED", 2**18)
    pq.write_table(pa.table({"x": [LONG] * 100}), tmp_path / "data.parquet")
    extent = Extent()
    check_table_file(tmp_path / "data.parquet", extent)
    with pytest.raises(ValueError, match="bytes, and unpack to more than"):
        for _ in range(5):
            check_table_file(tmp_path / "data.parquet", extent)


def test_an_arrow_dictionary_counts_as_often_as_it_is_used(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_files, "MOST_UNPACKED", 2**18)
    column = pa.array([LONG] * 1000).dictionary_encode()
    with pytest.raises(ValueError, match="bytes, and unpack to more than"):
        check(write(tmp_path / "data.arrow", pa.table({"x": column})))


@pytest.mark.parametrize(
    "column",
    [
        pa.StructArray.from_arrays([pa.array([LONG]).dictionary_encode()], ["x"]),
        pa.array([LONG], pa.string_view()),
        pa.RunEndEncodedArray.from_arrays(pa.array([9], pa.int32()), pa.array([LONG])),
    ],
)
def test_arrow_columns_whose_values_share_bytes_are_refused(tmp_path, column):
    with pytest.raises(ValueError, match="has a column of"):
        check(write(tmp_path / "data.arrow", pa.table({"x": column})))


@pytest.mark.parametrize("name", ["train.jsonl", "metadata.json"])
def test_json_that_is_nested_too_deeply_ends_no_process(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b'{"a": "}]{[' + b"{" * 99 + b'", "b": [1, {"c": 2}]}\n' * 3)
    check(path)
    path.write_bytes(b'{"a":' * 20_000 + b"1" + b"}" * 20_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        check(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", "\n".join(f'{{"k{i}": 1}}' for i in range(2_000))),
        ("a.json", "{" + ", ".join(f'"k{i}" : "a:b"' for i in range(2_000)) + "}"),
        ("a.json", "{" + ", ".join(f'"k{i}"\n\n : "a:b"' for i in range(2_000)) + "}"),
        ("a.csv", ",".join(map(str, range(2_000)))),
        ("a.csv", "\n\n" + ",".join(map(str, range(2_000)))),
        ("a.csv", "image,label\n" + ",".join(map(str, range(2_000)))),
        ("a.csv", '"image\n","label"' + ",x" * 2_000),
        ("a.parquet", {str(i): [1] for i in range(2_000)}),
        ("a.arrow", {str(i): [1] for i in range(2_000)}),
    ],
)
def test_tables_of_very_many_columns_are_refused(tmp_path, name, text):
    path, table = tmp_path / name, pa.table(text) if isinstance(text, dict) else None
    if name.endswith(".parquet"):
        pq.write_table(table, path)
    elif name.endswith(".arrow"):
        write(path, table)
    else:
        path.write_text(text)
    with pytest.raises(ValueError, match=r"[\d,]+ columns, more than 1,000"):
        check(path)


def test_rows_of_the_same_names_are_columns_but_once(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n".join(f'{{"image": "k{i}", "label": "\\"x{i}\\": "}}' for i in range(2_000)))
    check(tmp_path / "a.jsonl")


@pytest.mark.parametrize("cut", ["at a batch", "the mark", "zeros"])
def test_a_stream_that_breaks_off_is_refused(tmp_path, cut):
    path, table = tmp_path / "data.arrow", pa.table({"label": list(range(9))})
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    whole = path.read_bytes()
    check(path)
    third = whole.rindex(b"\xff\xff\xff\xff", 0, len(whole) - 8)
    path.write_bytes(
        {"at a batch": whole[:third], "the mark": whole[:-8]}.get(cut, whole[:third] + bytes(len(whole) - third))
    )
    with pytest.raises(ValueError, match="data.arrow breaks off after"):
        check(path)
