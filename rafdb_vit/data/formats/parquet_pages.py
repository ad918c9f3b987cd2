"""Measures what a Parquet file unpacks to, from its pages, without unpacking it.

The footer does not tell: a text that a column repeats a million times stands once in a dictionary, and sizes that the
footer names are not those that are acted on. Pages are read as Parquet's format has them (parquet.thrift,
Encodings.md).
"""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rafdb_vit.runtime.disk import open_plain

_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
"""Kinds of pages."""
_OF_DICTIONARY, _PREFIXED, _BIT_PACKED = (2, 8), 7, 4
"""Encodings: values are numbers of a dictionary's; values repeat the beginning of the one before; an old one."""
_CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
_DEEPEST = 9
"""Levels of a footer; a page's header has three."""


def measure_parquet(path: Path, footer: Any) -> Iterator[int]:
    """Yields bytes of memory that a file takes once it is read, part by part, each before it is unpacked here.

    Raises:
        ValueError: It is not well-formed, or stored in a way that is not measured.
        OSError: It cannot be read.
    """
    with open_plain(path, most=None) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            # Not by pyarrow, which ends the process where a chunk's statistics are damaged.
            about, _ = _read_struct(content, len(content) - 8 - int.from_bytes(content[-8:-4], "little"))
            for group in about.get(4, []):
                for i, chunk in enumerate(group[1]):
                    yield from _Chunk(content, chunk[3], footer.schema.column(i)).measure()
        except (IndexError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} has damaged pages") from error


class _Chunk:
    """The values of a column in a group of rows."""

    def __init__(self, content: mmap.mmap, chunk: dict[int, Any], column: Any) -> None:
        self._content, self._chunk, self._column = content, chunk, column
        self._is_text = column.physical_type == "BYTE_ARRAY"
        self._lengths = np.zeros(0, np.int64)

    def measure(self) -> Iterator[int]:
        """Yields bytes; pages are gone through as pyarrow does, until all values that the footer counts are there."""
        width = max(8, self._column.length or 0) + 8 * self._column.max_definition_level
        at, left, first = self._chunk[9], self._chunk[5], self._chunk.get(11, 0)
        at = first if 0 < first < at else at
        while left > 0:
            header, at = _read_struct(self._content, at)
            kind, unpacked, packed = header[1], header[2], header[3]
            page = header.get({_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}.get(kind, 0))
            if unpacked < 0 or not 0 <= packed <= len(self._content) - at:
                raise ValueError("a page that is longer than its file")
            yield unpacked
            if page is not None and self._is_text and kind == _DICTIONARY:
                self._read_dictionary(self._unpack(at, packed, unpacked), page[1])
            elif page is not None and kind != _DICTIONARY:
                if page[1] < 0:
                    raise ValueError("a page of fewer than no values")
                left -= page[1]
                yield page[1] * width
                if self._is_text:
                    yield self._sum_lengths(kind, page, at, packed, unpacked)
            at += packed

    def _unpack(self, at: int, packed: int, unpacked: int) -> bytes:
        content, codec = self._content[at : at + packed], self._chunk[4]
        if codec == 0:
            return content
        return (
            pa.Codec(_CODECS[codec]).decompress(content, decompressed_size=unpacked, asbytes=True) if unpacked else b""
        )

    def _read_dictionary(self, content: bytes, count: int) -> None:
        if not 0 <= count <= len(content) // 4:  # each begins with four bytes of its length
            raise ValueError("a dictionary of more values than its page has room for")
        self._lengths = np.zeros(count, np.int64)
        at = 0
        for i in range(count):
            self._lengths[i] = length = int.from_bytes(content[at : at + 4], "little")
            at += 4 + length
        if at > len(content):
            raise ValueError("a dictionary that is longer than its page")

    def _sum_lengths(self, kind: int, page: dict[int, Any], at: int, packed: int, unpacked: int) -> int:
        """Returns the bytes of a page's values beyond those that it holds itself."""
        encoding = page[2] if kind == _DATA else page[4]
        if encoding not in (*_OF_DICTIONARY, _PREFIXED):
            return 0
        most = (self._column.max_definition_level, self._column.max_repetition_level)
        old = kind == _DATA and any(level and page[i] == _BIT_PACKED for i, level in zip((3, 4), most, strict=True))
        if encoding == _PREFIXED or old:
            raise ValueError("values are stored in a way that is not read here; save it with `datasets`")
        if kind == _DATA_V2:
            skipped = page[5] + page[6]
            if not 0 <= skipped <= min(packed, unpacked):
                raise ValueError("a page that is longer than its file")
            at, packed, unpacked = at + skipped, packed - skipped, unpacked - skipped
            indices = self._content[at : at + packed] if page.get(7) is False else self._unpack(at, packed, unpacked)
        else:
            indices, start = self._unpack(at, packed, unpacked), 0
            for levels in (self._column.max_repetition_level, self._column.max_definition_level):
                if levels:
                    start += 4 + int.from_bytes(indices[start : start + 4], "little")
            indices = indices[start:]
        return _sum_runs(indices, page[1], self._lengths)


def _sum_runs(content: bytes, most: int, lengths: np.ndarray) -> int:
    """Returns the length of the values whose numbers are given as runs: of one number, or of packed ones.

    `most` is how many there are at most: of those that are null, there is no number.
    """
    if not content:
        return 0
    width, at, total = content[0], 1, 0
    if width > 32:
        raise ValueError("numbers of more than 32 bits")
    while most > 0 and at < len(content):
        head, at = _read_varint(content, at)
        size = width * (head >> 1) if head & 1 else (width + 7) // 8
        count = min(most, (head >> 1) * 8 if head & 1 else head >> 1)
        if not count:
            raise ValueError("a run of no values")
        part, at, most = content[at : at + size], at + size, most - count
        if head & 1:
            bits = np.unpackbits(np.frombuffer(part, np.uint8), bitorder="little")
            bits = bits[: len(bits) - len(bits) % max(width, 1)].reshape(-1, width)[:count]
            total += int(lengths[bits @ (1 << np.arange(width, dtype=np.int64))].sum()) if width else 0
        else:
            total += count * int(lengths[int.from_bytes(part, "little")])
    return total


def _read_struct(content: mmap.mmap, at: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Returns the values of a structure by their numbers, and where it ends (Thrift's compact protocol)."""
    fields: dict[int, Any] = {}
    number = 0
    while head := content[at]:
        if not head >> 4 or depth > _DEEPEST:
            raise ValueError("a header that is not well-formed")
        number, kind, at = number + (head >> 4), head & 15, at + 1
        fields[number], at = (kind == 1, at) if kind in (1, 2) else _read_value(content, at, kind, depth)
    return fields, at + 1


def _read_value(content: mmap.mmap, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (4, 5, 6):
        value, at = _read_varint(content, at)
        return (value >> 1) ^ -(value & 1), at
    if kind in (1, 2, 3, 7):  # of the first two, in a list: a byte
        return None, at + (8 if kind == 7 else 1)
    if kind == 8:
        length, at = _read_varint(content, at)
        return None, at + length
    if kind == 9 and depth <= _DEEPEST:
        count, kind, at = content[at] >> 4, content[at] & 15, at + 1
        if count == 15:
            count, at = _read_varint(content, at)
        values = []
        for _ in range(count):
            value, at = _read_value(content, at, kind, depth + 1)
            values.append(value)
        return values, at
    if kind == 12:
        return _read_struct(content, at, depth + 1)
    raise ValueError("a header that is not well-formed")


def _read_varint(content: mmap.mmap | bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number of more than 70 bits")
