"""Reads label files: rows of an image and its label, every row checked."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from rafdb_vit.data.findings import Finding, OnFinding, printable, refuse
from rafdb_vit.data.labels import LabelSet
from rafdb_vit.runtime.errors import UserError

_LARGEST = 256 * 2**20


@dataclass(frozen=True)
class Row:
    """One row of a label file: its number in the file (from 1), the image it names and RAF-DB's code for it."""

    number: int
    image: str
    code: int


def read_text(path: Path, *, what: str = "RAF-DB's label file") -> str:
    """Returns the text of a small file, whatever its line ends, without a byte order mark.

    Args:
        path: The file.
        what: What was expected in it, for errors.

    Raises:
        UserError: It cannot be read, is no text, or far too large.
    """
    where = printable(path)
    try:
        if path.stat().st_size > _LARGEST:
            raise UserError(f"{where}: {path.stat().st_size:,} bytes; expected {what}, which is far smaller")
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not a text file (byte {error.start} is not UTF-8); expected {what}") from error
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror}); check the file's permissions") from error
    if "\0" in text:
        raise UserError(f"{where}: not a text file (it holds NUL bytes); expected {what}")
    return re.sub("\r\n?", "\n", text)


def _is_plain_name(name: str) -> bool:
    """Tells whether a name is no more than a file's name; else it could lead out of the data folder."""
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    return parts == {name} and name != ".." and not {"/", "\\"} & set(name) and name.isprintable()


def _check_row(where: str, image: str, code_text: str, labels: LabelSet) -> Finding | None:
    if not _is_plain_name(image):
        words = f"{where}: expected the plain name of an image file, found {image!r}; a path is not accepted"
        return Finding("bad row", words)
    if not re.fullmatch(r"0{0,9}[0-9]{1,9}", code_text, re.ASCII) or int(code_text) not in labels.codes:
        expected = f"a code from 1 to {len(labels.names)} ({labels.names[0]} to {labels.names[-1]})"
        hint = "; --subset compound takes 1 to 11" if code_text in ("8", "9", "10", "11") else ""
        words = f"{where}: expected {expected} for {image}, found {code_text[:80]!r}{hint}"
        return Finding("bad row", words, names=(image,))
    return None


def check_rows(path: Path, rows: Sequence[tuple[int, str, str]], labels: LabelSet, on_finding: OnFinding) -> list[Row]:
    """Turns (row number, image, code) texts into rows; bad names, bad codes and images listed twice are reported."""
    checked: dict[str, Row] = {}
    for number, image, code_text in rows:
        where = f"{printable(path)}, row {number}"
        if finding := _check_row(where, image, code_text, labels):
            on_finding(finding)
            continue
        code, first = int(code_text), checked.setdefault(image, Row(number, image, int(code_text)))
        if first.number != number and first.code == code:
            words = f"{where}: {image} is listed twice (first in row {first.number}); expected one row for an image"
            on_finding(Finding("image listed twice", words))
        elif first.number != number:
            words = f"{where}: {image} has two labels, {first.code} and {code} (first in row {first.number})"
            on_finding(Finding("image with two labels", f"{words}; expected one row for an image"))
    return list(checked.values())


def read_list_file(path: Path, labels: LabelSet, on_finding: OnFinding = refuse) -> list[Row]:
    """Reads a label file of the official release: rows like `train_00001.jpg 5`.

    Args:
        path: The file.
        labels: The classes whose codes it uses.
        on_finding: Is told of each bad row, which is then left out.

    Raises:
        UserError: The file is not text; or what `on_finding` raises.
    """
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 2:
            words = f"{printable(path)}, row {number}: expected a row like 'train_00001.jpg 5', found {line[:80]!r}"
            on_finding(Finding("bad row", words, names=(fields[0],)))
        else:
            rows.append((number, fields[0], fields[1]))
    return check_rows(path, rows, labels, on_finding)


def read_csv_rows(path: Path, *, what: str = "RAF-DB's label file") -> list[tuple[int, list[str]]]:
    """Reads a CSV file: line number and stripped fields of every row that is not empty.

    Raises:
        UserError: The file is not text, or no CSV file.
    """
    reader = csv.reader(io.StringIO(read_text(path, what=what), newline=""))
    rows = []
    try:
        for line in reader:
            fields = [field.strip() for field in line]
            if any(fields):
                rows.append((reader.line_num, fields))
    except csv.Error as error:
        raise UserError(f"{printable(path)}, row {reader.line_num}: not a row of a CSV file ({error})") from error
    return rows


def read_csv_file(path: Path, labels: LabelSet, on_finding: OnFinding = refuse) -> list[Row]:
    """Reads a label file of the Kaggle layout: a header row, then image name and code, by position.

    Copies differ in what their header says, and some have none: a first row whose second column is a number is data.

    Args:
        path: The file.
        labels: The classes whose codes it uses.
        on_finding: Is told of each bad row, which is then left out.

    Raises:
        UserError: The file is not text, or no CSV file; or what `on_finding` raises.
    """
    rows = []
    for position, (number, fields) in enumerate(read_csv_rows(path)):
        if position == 0 and len(fields) == 2 and not fields[1].lstrip("-").isdigit():
            continue
        if len(fields) != 2:
            words = f"expected two columns like 'train_00001_aligned.jpg,5', found {','.join(fields)[:80]!r}"
            on_finding(Finding("bad row", f"{printable(path)}, row {number}: {words}", names=(fields[0],)))
        else:
            rows.append((number, fields[0], fields[1]))
    return check_rows(path, rows, labels, on_finding)
