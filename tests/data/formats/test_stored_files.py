"""What unpacks to gigabytes, or is not well-formed, is refused before it is read."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rafdb_vit.data.formats import stored_files
from rafdb_vit.data.formats.stored_files import check_table_file

ROWS = 6
OFFSETS = np.arange(ROWS + 1, dtype=np.int32)


def write(path, table, compression=None):
    with pa.ipc.new_stream(path, table.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_table(table)
    return path


def test_what_datasets_writes_is_taken(tmp_path):
    table = pa.table({"label": [*"abcabc"], "image": [b"x"] * ROWS, "kind": pa.array([*"uvuvuv"]).dictionary_encode()})
    assert check_table_file(write(tmp_path / "data.arrow", table)) == ROWS
    pq.write_table(table, tmp_path / "data.parquet")
    assert check_table_file(tmp_path / "data.parquet") == ROWS
    (tmp_path / "data.csv").write_text("a,b\n")
    assert check_table_file(tmp_path / "data.csv") == 0


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
        check_table_file(path)


def test_text_that_is_none_is_refused(tmp_path):
    offsets, text = pa.py_buffer(OFFSETS.tobytes()), pa.py_buffer(b"ab\xff\xfeab")
    table = pa.table({"label": pa.StringArray.from_buffers(ROWS, offsets, text)})
    with pytest.raises(pa.ArrowInvalid, match="UTF8"):
        check_table_file(write(tmp_path / "data.arrow", table))


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
@pytest.mark.parametrize("column", [[b"\0" * 1000] * ROWS, pa.array([*"uvuvuv"]).dictionary_encode()])
def test_packed_batches_are_refused(tmp_path, compression, column):
    with pytest.raises(ValueError, match="is packed"):
        check_table_file(write(tmp_path / "data.arrow", pa.table({"x": column}), compression))


def test_rows_of_nothing_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_files, "MOST_ROWS", 1000)
    table = pa.table({"label": pa.nulls(1001, pa.int8())})
    pq.write_table(table, tmp_path / "data.parquet")
    write(tmp_path / "data.arrow", table)
    for name in ("data.parquet", "data.arrow"):
        with pytest.raises(ValueError, match="1,001 rows, more than 1,000"):
            check_table_file(tmp_path / name)


def test_what_unpacks_to_far_more_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_files, "MOST_UNPACKED", 2**16)
    pq.write_table(pa.table({"x": [b"\0" * 2**20]}), tmp_path / "data.parquet", compression="zstd")
    with pytest.raises(ValueError, match="unpacks to 1,0"):
        check_table_file(tmp_path / "data.parquet")


@pytest.mark.parametrize("name", ["train.jsonl", "metadata.json"])
def test_json_that_is_nested_too_deeply_ends_no_process(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b'{"a": "}]{[' + b"{" * 99 + b'", "b": [1, {"c": 2}]}\n' * 3)
    assert check_table_file(path) == 0
    path.write_bytes(b'{"a":' * 20_000 + b"1" + b"}" * 20_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        check_table_file(path)
