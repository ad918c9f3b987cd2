"""The pages of a Parquet file tell what it unpacks to; nothing in them is believed."""

import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rafdb_vit.data.formats.parquet_pages import measure_parquet

ROWS = 1500


def measure(path):
    return sum(measure_parquet(path, pq.read_metadata(path)))


def build(seed=0):
    """A table of the columns that faces have, some of whose values repeat; and the bytes of its values."""
    draw = np.random.default_rng(seed)
    values = [draw.bytes(int(size)) for size in draw.integers(0, 300, 40)]
    picked = [[None if draw.random() < 0.1 else values[i] for i in draw.integers(0, 40, ROWS)] for _ in range(2)]
    images = [None if draw.random() < 0.1 else {"bytes": value, "path": "a.png"} for value in picked[0]]
    lists = [[value] * 2 if value else None for value in picked[1]]
    size = sum(len(image["bytes"] or b"") + 5 for image in images if image)
    size += sum(len(value) * 2 for value in picked[1] if value)
    return pa.table({"image": images, "lists": lists, "label": [i % 7 for i in range(ROWS)]}), size


@pytest.mark.parametrize("compression", ["snappy", "gzip", "brotli", "zstd", "lz4", "none"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_all_values_are_counted(tmp_path, compression, version, dictionary):
    table, size = build()
    how = {"compression": compression, "data_page_version": version, "use_dictionary": dictionary}
    pq.write_table(table, tmp_path / "data.parquet", row_group_size=997, data_page_size=2000, **how)
    # Beside the values: a few bytes for each, and dictionaries.
    assert size <= measure(tmp_path / "data.parquet") <= 1.3 * size + 200 * ROWS


def test_pictures_that_are_all_different_are_counted_twice_at_most(tmp_path):
    draw = np.random.default_rng(0)
    images = [{"bytes": draw.bytes(100_000 if i % 50 == 0 else 2000), "path": f"{i}.jpg"} for i in range(500)]
    pq.write_table(pa.table({"image": images}), tmp_path / "data.parquet")
    assert measure(tmp_path / "data.parquet") < 2.1 * (tmp_path / "data.parquet").stat().st_size


def test_values_that_repeat_the_beginning_of_the_one_before_are_refused(tmp_path):
    table = pa.table({"x": ["x" * 1000] * 9})
    pq.write_table(table, tmp_path / "data.parquet", use_dictionary=False, column_encoding="DELTA_BYTE_ARRAY")
    with pytest.raises(ValueError, match="save it with `datasets`"):
        measure(tmp_path / "data.parquet")


@pytest.mark.parametrize("compression", ["snappy", "zstd", "none"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_damaged_pages_end_in_an_error_or_a_number(tmp_path, compression, version):
    path, draw = tmp_path / "data.parquet", random.Random(1)
    table, _ = build()
    pq.write_table(table.slice(0, 60), path, compression=compression, data_page_version=version)
    whole, footer = path.read_bytes(), pq.read_metadata(path)
    most, ended = len(whole) - 8, Counter()
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[draw.randrange(4, most)] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            for size in measure_parquet(path, footer):
                assert size >= 0
                if size > 2**28:
                    break
            ended["number"] += 1
        except (ValueError, OSError):
            ended["error"] += 1
    assert min(ended["number"], ended["error"]) > 0 and ended.total() == 300


@pytest.mark.parametrize("dictionary", [True, False])
def test_levels_that_take_no_bytes_may_be_of_any_kind(tmp_path, dictionary):
    """As parquet-mr and fastparquet write columns that are not nested."""
    path, table = tmp_path / "data.parquet", pa.table({"x": ["a", "bb"] * 50})
    pq.write_table(table, path, use_dictionary=dictionary, write_statistics=False, compression="none")
    size, content = measure(path), path.read_bytes()
    run_length, packed = b"\x15\x06\x15\x06", b"\x15\x06\x15\x08"
    assert content.count(run_length) == 1
    path.write_bytes(content.replace(run_length, packed))
    assert pq.read_table(path).equals(table) and measure(path) == size
