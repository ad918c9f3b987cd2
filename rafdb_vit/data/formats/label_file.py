"""Reads label files: rows of an image and its label, every row checked."""

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from rafdb_vit.data.findings import Reporter, printable
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

    Raises:
        UserError: It cannot be read, is not text, or is far too large; the message says that `what` was expected.
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


def _check_rows(
    path: Path, rows: list[tuple[int, str, list[str]]], like: str, labels: LabelSet, report: Reporter
) -> list[Row]:
    """Turns rows (number, text, fields) into `Row`s; bad names, bad codes and images listed twice are reported."""
    for number, text, fields in rows:
        if len(fields) != 2:
            report("bad row", f"{path}, row {number}: expected {like}, found {text[:80]!r}", name=fields[0])
    checked: dict[str, Row] = {}
    for number, (image, code) in ((number, fields) for number, _, fields in rows if len(fields) == 2):
        where = f"{path}, row {number}"
        if not _is_plain_name(image):
            words = f"expected the plain name of an image file, found {image!r}; a path is not accepted"
            report("bad row", f"{where}: {words}")
            continue
        if not re.fullmatch(r"0{0,9}[0-9]{1,9}", code, re.ASCII) or int(code) not in labels.codes:
            expected = f"a code from 1 to {len(labels.names)} ({labels.names[0]} to {labels.names[-1]})"
            hint = "; --subset compound takes 1 to 11" if code in ("8", "9", "10", "11") else ""
            report("bad row", f"{where}: expected {expected} for {image}, found {code[:80]!r}{hint}", name=image)
            continue
        row = Row(number, image, int(code))
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
    lines = enumerate(read_text(path).split("\n"), start=1)
    rows = [(number, line, line.split()) for number, line in lines if line.strip()]
    return _check_rows(path, rows, "a row like 'train_00001.jpg 5'", labels, report)


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


def read_csv_file(path: Path, labels: LabelSet, report: Reporter) -> list[Row]:
    """Reads a label file of the Kaggle layout: a header row, then image name and code, by position.

    Copies differ in what their header says, and some have none: a first row whose second column is a number is data.
    Bad rows are reported and left out.

    Raises:
        UserError: The file is not text, or no CSV file; or what `report` raises.
    """
    rows = [(number, ",".join(fields), fields) for number, fields in read_csv_rows(path)]
    header = rows[0][2] if rows else []
    if len(header) == 2 and not header[1].lstrip("-").isdigit():
        rows = rows[1:]
    return _check_rows(path, rows, "two columns like 'train_00001_aligned.jpg,5'", labels, report)
