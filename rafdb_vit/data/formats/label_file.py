"""Reads label files: rows of an image and its label, every row checked."""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path, PureWindowsPath

from rafdb_vit.data.findings import Reporter, printable
from rafdb_vit.data.labels import LabelSet
from rafdb_vit.runtime.disk import open_plain
from rafdb_vit.runtime.errors import UserError, is_plain

MOST_BYTES = 256 * 2**20
"""Of a file of rows; one that lists a million images has 30 to 200 megabytes."""
MOST_LINES = 1_000_000
"""Of such a file, each of which takes memory and time, however short it is; AffectNet lists 450,000 faces."""
LONGEST_LINE = 2**20
"""Characters; what is longer is no row but a file of another kind."""
LONGEST_NAME = 255
"""Characters of a file's name; no file system has longer ones."""
TABLE_SUFFIXES = (".csv", ".tsv")
"""Of tables of text, in lower case."""
LABEL_FILES = ("train_labels.csv", "test_labels.csv")
"""RAF-DB's label files in the copy on Kaggle."""
_WHAT = "RAF-DB's label file"
_SEPARATORS = (",", ";", "\t")
"""Of the cells in a row; the second where numbers have a comma, the third in what is copied from a spreadsheet."""
_TOLD_SEPARATOR = re.compile(r"sep=(.)\s*")
"""The first line of a table in which Excel is told the separator."""
_NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]*)?")
_SAMPLE = 50
"""Lines by which the separator is told."""
_END = "\0"
"""A row that no file holds, put after its last."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a label file: its number in the file (from 1), the image it names and RAF-DB's code for it."""

    number: int
    image: str
    code: int


def read_lines(path: Path, *, what: str, most: int = MOST_BYTES) -> Iterator[str]:
    """Yields the lines of a text file one by one, each with its end, a line feed; a byte order mark is left out.

    The text is UTF-8; that of a table may be UTF-16 with such a mark, as Excel writes it.

    Raises:
        UserError: It cannot be read, is no text, or is far too large; the message says that `what` was expected.
    """
    where, number = printable(path), 0
    try:
        with open_plain(path, most=most) as content, io.TextIOWrapper(content, _tell_encoding(path, content)) as file:
            for number, line in enumerate(iter(partial(file.readline, LONGEST_LINE), ""), start=1):
                if "\0" in line:
                    raise UserError(f"{where}: not a text file (row {number} holds a NUL byte); expected {what}")
                if len(line) == LONGEST_LINE and not line.endswith("\n"):
                    raise UserError(f"{where}: row {number} is longer than {LONGEST_LINE:,} letters; expected {what}")
                if number > MOST_LINES:
                    raise UserError(f"{where}: has more than {MOST_LINES:,} rows; expected {what}, which has fewer")
                yield line
    except UnicodeDecodeError as error:
        # Text is decoded in blocks, each of many rows; what was decoded before this one has been read.
        row = number + 1 + error.object[: error.start].count(b"\n")
        words = f"{where}: not a text file (from row {row} on it is not UTF-8); expected {what}"
        hint = ": save it as UTF-8 (in Excel: 'CSV UTF-8')" if path.suffix.lower() in TABLE_SUFFIXES else ""
        raise UserError(f"{words}{hint}") from error
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror}); expected {what}") from error


def _tell_encoding(path: Path, content: io.BufferedReader) -> str:
    marks = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    is_wide = path.suffix.lower() in TABLE_SUFFIXES and content.peek(2).startswith(marks)
    return "utf-16" if is_wide else "utf-8-sig"


def _is_file_name(name: str) -> bool:
    """Tells whether a name is no more than a file's name; else it could lead out of the data folder."""
    if not 0 < len(name) <= LONGEST_NAME or not is_plain(name):
        return False
    return not ("/" in name or "\\" in name or name in (".", "..") or PureWindowsPath(name).drive)


def _check_rows(
    path: Path, rows: Iterable[tuple[int, str, list[str]]], like: str, labels: LabelSet, report: Reporter
) -> list[Row]:
    """Turns rows (number, text, fields) into `Row`s; bad names, bad codes and images listed twice are reported."""
    checked: dict[str, Row] = {}
    for number, text, fields in rows:
        where = f"{path}, row {number}"
        if len(fields) != 2:
            report("bad row", f"{where}: expected {like}, found {text[:80]!r}", name=fields[0][:LONGEST_NAME])
            continue
        image, written = fields[0], fields[1].strip()
        code = labels.read_code(written)
        if not _is_file_name(image):
            words = f"expected the plain name of an image file, found {image!r:.90}; a path is not accepted"
            report("bad row", f"{where}: {words}")
            continue
        if code is None:
            expected = f"a code from 1 to {len(labels.names)} ({labels.names[0]} to {labels.names[-1]})"
            hint = "; --subset compound takes 1 to 11" if written in ("8", "9", "10", "11") else ""
            report("bad row", f"{where}: expected {expected} for {image}, found {written[:80]!r}{hint}", name=image)
            continue
        row = Row(number, image, code)
        first = checked.setdefault(image, row)
        if first is not row and first.code == row.code:
            words = f"{image} is listed twice (first in row {first.number}); expected one row for an image"
            report("image listed twice", f"{where}: {words}")
        elif first is not row:
            words = f"{image} has two labels, {first.code} and {row.code} (first in row {first.number})"
            report("image with two labels", f"{where}: {words}; expected one row for an image")
    return list(checked.values())


def read_list_file(path: Path, labels: LabelSet, report: Reporter) -> list[Row]:
    """Reads a label file of the official release: rows like `train_00001.jpg 5`; bad ones are reported and left out.

    Raises:
        UserError: The file is not text; or what `report` raises.
    """
    lines = enumerate(read_lines(path, what=_WHAT), start=1)
    rows = ((number, line.rstrip("\n"), line.split(maxsplit=2)) for number, line in lines if line.strip())
    return _check_rows(path, rows, "a row like 'train_00001.jpg 5'", labels, report)


def read_csv_rows(path: Path, *, what: str = _WHAT, most: int = MOST_BYTES) -> Iterator[tuple[int, list[str]]]:
    """Yields line number and fields of every row of a CSV file that is not empty, without spaces round them.

    Between the fields stand commas, semicolons or tabs, as is found out. Where a row ends in such, its last field is
    empty.

    Raises:
        UserError: The file is not text, or no CSV file.
    """
    lines = read_lines(path, what=what, most=most)
    sample = list(islice(lines, _SAMPLE))
    separator = _tell_separator(sample)
    if sample and _TOLD_SEPARATOR.fullmatch(sample[0]):
        sample[0] = "\n"
    reader = csv.reader(chain(sample, lines, [_END]), delimiter=separator)
    number = 1
    try:
        for row in reader:
            if row == [_END]:
                return
            if row and row[-1].endswith(_END):
                # A quote that is never closed would make one field of all the rows after it.
                words = "a quote that is opened here is never closed; expected a second one"
                raise UserError(f"{printable(path)}, row {number}: {words}")
            # Other spaces may belong to a name.
            fields = [field.strip(" \t\n") for field in row]
            if any(fields):
                yield reader.line_num, fields
            number = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{printable(path)}, row {number}: not a row of a CSV file ({error})") from error


def _tell_separator(lines: Sequence[str]) -> str:
    """Returns the separator of a table's first lines: the one with which all rows have as many fields, or the most."""
    if lines and (told := _TOLD_SEPARATOR.fullmatch(lines[0])):
        return told[1]
    return max(_SEPARATORS, key=lambda separator: _rate_separator(lines, separator))


def _rate_separator(lines: Sequence[str], separator: str) -> tuple[bool, int]:
    try:
        rows = [row for row in csv.reader(lines, delimiter=separator) if any(row)]
    except csv.Error:
        return (False, 0)
    # A field may hold line ends, and the last row go on in lines that are not seen.
    rows = rows[:-1] if len(lines) == _SAMPLE else rows
    counts = [len(row) - (not row[-1]) for row in rows] or [0]
    return (min(counts) == max(counts) > 1, counts[0])


def drop_empty_end(fields: list[str], count: int) -> list[str]:
    """Returns the first `count` fields of a row where those after them are empty; else all."""
    return fields if any(fields[count:]) else fields[:count]


def read_csv_file(path: Path, labels: LabelSet, report: Reporter) -> list[Row]:
    """Reads a label file of the Kaggle layout: a header row, then image name and code, by position.

    Copies differ in what their header says, and some have none: a first row whose second column is a number is data.
    Bad rows are reported and left out.

    Raises:
        UserError: The file is not text, or no CSV file; or what `report` raises.
    """
    rows: Iterator[tuple[int, str, list[str]]]
    found = ((number, drop_empty_end(fields, 2)) for number, fields in read_csv_rows(path))
    rows = ((number, ",".join(fields), fields) for number, fields in found)
    first = next(rows, None)
    if first is None:
        return []
    is_header = len(first[2]) == 2 and not _NUMBER.fullmatch(first[2][1])
    rows = rows if is_header else chain([first], rows)
    return _check_rows(path, rows, "two columns like 'train_00001_aligned.jpg,5'", labels, report)
