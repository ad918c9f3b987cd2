"""Looks into files of a `datasets` data set before they are read: what unpacks to far more, or is not well-formed.

Arrow takes offsets, lengths and text as a file has them, without looking: damaged ones end in memory that is not the
file's, or in the process's death.
"""

import csv
import io
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datasets.utils.extract import Extractor

from rafdb_vit.data.formats.parquet_pages import measure_parquet
from rafdb_vit.runtime.disk import open_plain

MOST_ROWS = 5_000_000
"""Of a data set; the largest of labelled faces have a million, and a row of nothing takes next to no room in a file."""
MOST_UNPACKED = 2**28
"""Bytes that the tables of any data set may unpack to; those of a larger one, `MOST_TIMES` its size."""
MOST_TIMES = 20
"""How much larger than its files a table may be; pictures, of which faces are made, shrink by next to nothing."""
MOST_COLUMNS = 1_000
"""Of a table; those of faces have some twenty, with forty attributes more in CelebA. pandas takes minutes for many."""
SUFFIXES = (".parquet", ".arrow", ".csv", ".json", ".jsonl")
"""Of tables; those of other kinds, and archives, are not read."""
_DEEPEST = 50
"""Levels of JSON; a row of a table has two or three."""
_LONGEST_LINE = 2**24
_TEXTS, _BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"'), re.compile(rb"[][{}]")
_KEYS = re.compile(rb'("(?:[^"\\]|\\.)*")\s*(:?)')
_END = b"\xff\xff\xff\xff\0\0\0\0"
"""What an Arrow stream ends with."""
_DICTIONARY, _BATCH = 2, 3
"""Kinds of message in Arrow's format (Message.fbs)."""


class Extent:
    """How much the files of a data set hold together; too much is refused as soon as it is told."""

    def __init__(self) -> None:
        self._rows = self._size = self._unpacked = 0

    def add(self, *, rows: int = 0, size: int = 0, unpacked: int = 0) -> None:
        """Adds rows, bytes of files, and bytes that those take once they are read.

        Raises:
            ValueError: There are more than `MOST_ROWS`, or they unpack to far more than there are.
        """
        self._rows, self._size, self._unpacked = self._rows + rows, self._size + size, self._unpacked + unpacked
        if self._rows > MOST_ROWS:
            raise ValueError(f"{self._rows:,} rows, more than {MOST_ROWS:,}")
        if self._unpacked > max(MOST_UNPACKED, MOST_TIMES * self._size):
            raise ValueError(f"its files have {self._size:,} bytes, and unpack to more than {self._unpacked:,}")


def check_table_file(path: Path, extent: Extent) -> None:
    """Checks a file of a table by its name's suffix, one of `SUFFIXES`, and adds to the data set's extent what it has.

    Raises:
        ValueError: It unpacks to too much, or is not well-formed; also pyarrow's errors, which are such.
        OSError: It cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        footer = pq.read_metadata(path)
        _check_columns(footer.num_columns)
        extent.add(rows=footer.num_rows, size=path.stat().st_size)
        for unpacked in measure_parquet(path, footer):
            extent.add(unpacked=unpacked)
    elif suffix == ".arrow":
        check_arrow(path, extent)
    # `datasets` unpacks what begins as an archive does, whatever its name.
    elif (packed := Extractor.infer_extractor_format(str(path))) is not None:
        raise ValueError(f"{path} is packed ({packed}); unpack it")
    elif suffix in (".json", ".jsonl"):
        _check_json(path)
    else:
        with io.TextIOWrapper(open_plain(path, most=None), "utf-8", errors="replace", newline="") as text:
            try:
                for row in csv.reader(line.replace("\0", "") for line in text):
                    _check_columns(len(row))
            except csv.Error as error:
                raise ValueError(f"{path} is no table: {error}") from error


def _check_columns(count: int) -> None:
    if count > MOST_COLUMNS:
        raise ValueError(f"{count:,} columns, more than {MOST_COLUMNS:,}")


def _check_json(path: Path) -> None:
    """Refuses JSON of very many names, or so deep that the reader, which calls itself for each level, ends the process.

    A name that a single row has is a column of all.
    """
    depth, is_lines, names, open_text = 0, path.suffix.lower() == ".jsonl", set[bytes](), b""
    with open_plain(path, most=None) as file:
        while line := file.readline(_LONGEST_LINE):
            depth = 0 if is_lines else depth
            line, open_text = open_text + line, b""
            for text in _KEYS.finditer(line):
                if text[2]:
                    names.add(text[1])
                    _check_columns(len(names))
                elif text.end() == len(line):  # what follows it may stand in the next line
                    open_text = text[1]
            for bracket in _BRACKETS.findall(_TEXTS.sub(b"", line)):
                depth += 1 if bracket in b"{[" else -1
                if depth > _DEEPEST:
                    raise ValueError(f"{path} is nested too deeply; expected a table of images and labels")


def check_arrow(path: Path, extent: Extent) -> None:
    """Checks a file of an Arrow stream, as `datasets` writes it, down to the offsets and the text of every row.

    Raises:
        ValueError: It is packed, has far too much, or is not well-formed; also pyarrow's errors, which are such.
        OSError: It cannot be read.
    """
    extent.add(size=path.stat().st_size)
    with pa.memory_map(str(path)) as source:
        for message in pa.ipc.MessageReader.open_stream(source):
            if _is_packed(message.metadata.to_pybytes()):
                raise ValueError(f"{path} is packed; expected it as save_to_disk writes it")
        end = source.tell()
        # A stream that breaks off, or whose rest is zeros, ends for pyarrow as one that is whole.
        if end != source.size() or source.read_at(len(_END), end - len(_END)) != _END:
            raise ValueError(f"{path} breaks off after {end:,} of its {source.size():,} bytes; copy it anew")
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as batches:
        _check_columns(len(batches.schema))
        for field in batches.schema:
            if any(map(_is_shared, _list_types(field.type))):
                raise ValueError(f"{path} has a column of {field.type!s:.90}; expected it as save_to_disk writes it")
        for batch in batches:
            batch.validate()
            # Columns may share their bytes in the file, and are written out each for itself.
            extent.add(rows=batch.num_rows, unpacked=batch.nbytes + sum(map(_measure_dictionary, batch.columns)))
            batch.validate(full=True)


def _list_types(kind: pa.DataType) -> Iterator[pa.DataType]:
    """Yields the types of which the type of a column is made; not its own where that is a dictionary's."""
    for field in map(kind.field, range(kind.num_fields)):
        yield field.type
        yield from _list_types(field.type)
    if not pa.types.is_dictionary(kind):
        yield kind


def _is_shared(kind: pa.DataType) -> bool:
    """Tells whether values of a type may stand in the same bytes: a small file could have any number of large ones."""
    # Their names begin the same in all versions of pyarrow: dictionary<...>, run_end_encoded<...>, string_view ...
    return re.match(r"dictionary|run_end_encoded|(string|binary|list|large_list)_view", str(kind)) is not None


def _measure_dictionary(column: pa.Array) -> int:
    """Returns the bytes that the values of a column of a dictionary take where each stands for itself."""
    if not pa.types.is_dictionary(column.type):
        return 0
    if pa.types.is_primitive(column.type.value_type):
        return len(column) * 8
    if pa.types.is_nested(column.type.value_type):
        raise ValueError(f"a column of {column.type!s:.90}; expected it as save_to_disk writes it")
    lengths = pc.binary_length(column.dictionary)
    return pc.sum(lengths.take(column.indices)).as_py() or 0


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
