"""Looks into files of a `datasets` data set before they are read: what unpacks to far more, or is not well-formed.

Arrow takes offsets, lengths and text as a file has them, without looking: damaged ones end in memory that is not the
file's, or in the process's death.
"""

import re
import struct
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets.utils.extract import Extractor

from rafdb_vit.runtime.disk import open_plain

MOST_ROWS = 5_000_000
"""Of a data set; the largest of labelled faces have a million, and a row of nothing takes next to no room in a file."""
MOST_UNPACKED = 2**28
"""Bytes that any Parquet file may unpack to; a larger one, `MOST_TIMES` its size."""
MOST_TIMES = 20
"""How much larger than its file a table may be; pictures, of which faces are made, shrink by next to nothing."""
SUFFIXES = (".parquet", ".arrow", ".csv", ".json", ".jsonl")
"""Of tables; those of other kinds, and archives, are not read."""
_DEEPEST = 50
"""Levels of JSON; a row of a table has two or three."""
_LONGEST_LINE = 2**24
_TEXTS, _BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"'), re.compile(rb"[][{}]")
_DICTIONARY, _BATCH = 2, 3
"""Kinds of message in Arrow's format (Message.fbs)."""


def check_table_file(path: Path) -> int:
    """Checks a file of a table by its name's suffix, one of `SUFFIXES`.

    Returns:
        How many rows it has; 0 for text, where that is not known.

    Raises:
        ValueError: It unpacks to too much, or is not well-formed; also pyarrow's errors, which are such.
        OSError: It cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _check_parquet(path)
    if suffix == ".arrow":
        return check_arrow(path)
    # `datasets` unpacks what begins as an archive does, whatever its name.
    if (packed := Extractor.infer_extractor_format(str(path))) is not None:
        raise ValueError(f"{path} is packed ({packed}); unpack it")
    if suffix in (".json", ".jsonl"):
        _check_depth(path)
    return 0


def _check_depth(path: Path) -> None:
    """Refuses JSON that is nested so deeply that the reader, which calls itself for each level, ends the process."""
    depth, is_lines = 0, path.suffix.lower() == ".jsonl"
    with open_plain(path, most=None) as file:
        while line := file.readline(_LONGEST_LINE):
            depth = 0 if is_lines else depth
            for bracket in _BRACKETS.findall(_TEXTS.sub(b"", line)):
                depth += 1 if bracket in b"{[" else -1
                if depth > _DEEPEST:
                    raise ValueError(f"{path} is nested too deeply; expected a table of images and labels")


def _check_parquet(path: Path) -> int:
    footer = pq.read_metadata(path)
    groups = (footer.row_group(i) for i in range(footer.num_row_groups))
    unpacked = sum(group.column(i).total_uncompressed_size for group in groups for i in range(group.num_columns))
    if unpacked > max(MOST_UNPACKED, MOST_TIMES * path.stat().st_size):
        raise ValueError(f"{path} unpacks to {unpacked:,} bytes, far more than it has")
    check_rows(footer.num_rows)
    return footer.num_rows


def check_arrow(path: Path) -> int:
    """Checks a file of an Arrow stream, as `datasets` writes it, down to the offsets and the text of every row.

    Returns:
        How many rows it has.

    Raises:
        ValueError: It is packed, or not well-formed; also pyarrow's errors, which are such.
        OSError: It cannot be read.
    """
    rows = 0
    with pa.memory_map(str(path)) as source:
        for message in pa.ipc.MessageReader.open_stream(source):
            if _is_packed(message.metadata.to_pybytes()):
                raise ValueError(f"{path} is packed; expected it as save_to_disk writes it")
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as batches:
        for batch in batches:
            batch.validate(full=True)
            rows += batch.num_rows
            check_rows(rows)
    return rows


def check_rows(rows: int) -> None:
    """Refuses a table of more than `MOST_ROWS`.

    Raises:
        ValueError: It has.
    """
    if rows > MOST_ROWS:
        raise ValueError(f"{rows:,} rows, more than {MOST_ROWS:,}")


def _is_packed(metadata: bytes) -> bool:
    """Tells whether the buffers of a message are compressed; pyarrow says so only once it has unpacked them."""
    (root,) = struct.unpack_from("<I", metadata)
    at = _find_field(metadata, root, 1)
    kind, table = metadata[at] if at else 0, _follow(metadata, _find_field(metadata, root, 2))
    if kind == _DICTIONARY:
        table = _follow(metadata, _find_field(metadata, table, 1))
    return kind in (_DICTIONARY, _BATCH) and _find_field(metadata, table, 3) > 0


def _follow(data: bytes, at: int) -> int:
    return at + int(struct.unpack_from("<I", data, at)[0])


def _find_field(data: bytes, table: int, number: int) -> int:
    """Returns where a field of a table of FlatBuffers stands; 0 where it is left out."""
    index = table - struct.unpack_from("<i", data, table)[0]
    (size,) = struct.unpack_from("<H", data, index)
    at = 4 + 2 * number
    offset = struct.unpack_from("<H", data, index + at)[0] if at < size else 0
    return int(table + offset) if offset else 0
