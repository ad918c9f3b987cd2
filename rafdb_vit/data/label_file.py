"""Reads RAF-DB's label files: one image and one code a row, every row checked."""

import csv
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from rafdb_vit.errors import UserError
from rafdb_vit.labels import LabelSet


@dataclass(frozen=True)
class Row:
    """One row of a label file: its number in the file (from 1), the image it names and RAF-DB's code for it."""

    number: int
    image: str
    code: int


def _read_text(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not a text file (byte {error.start} is not UTF-8); expected RAF-DB's label file"
        ) from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the file's permissions") from error
    if "\0" in text:
        raise UserError(f"{path}: not a text file (it holds NUL bytes); expected RAF-DB's label file")
    return text


def _check_name(where: str, name: str) -> None:
    """Refuses a name that is more than a file's name: it could lead out of the data folder."""
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    if not name or name in (".", "..") or parts != {name}:
        raise UserError(f"{where}: expected the plain name of an image file, found {name!r}; a path is not accepted")


def _check_rows(path: Path, rows: list[tuple[int, str, str]], labels: LabelSet) -> list[Row]:
    """Turns (row number, image, code) texts into rows; refuses bad names, bad codes and images listed twice."""
    checked: dict[str, Row] = {}
    expected = f"a code from 1 to {len(labels.names)} ({labels.names[0]} to {labels.names[-1]})"
    for number, image, code_text in rows:
        where = f"{path}, row {number}"
        _check_name(where, image)
        if not (code_text.isascii() and code_text.isdigit()) or int(code_text) not in labels.codes:
            raise UserError(f"{where}: expected {expected} for {image}, found {code_text!r}")
        first = checked.get(image)
        if first is not None:
            fault = (
                "is listed twice" if first.code == int(code_text) else f"has two labels, {first.code} and {code_text}"
            )
            raise UserError(f"{where}: {image} {fault} (first in row {first.number}); expected one row for an image")
        checked[image] = Row(number, image, int(code_text))
    return list(checked.values())


def read_list_file(path: Path, labels: LabelSet) -> list[Row]:
    """Reads a label file of the official release: rows like `train_00001.jpg 5`.

    Raises:
        UserError: The file is not text, or a row is not an image name and a code of `labels`.
    """
    rows = []
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 2:
            raise UserError(f"{path}, row {number}: expected a row like 'train_00001.jpg 5', found {line[:80]!r}")
        rows.append((number, fields[0], fields[1]))
    return _check_rows(path, rows, labels)


def read_csv_file(path: Path, labels: LabelSet) -> list[Row]:
    """Reads a label file of the Kaggle layout: a header row, then image name and code, by position.

    Copies differ in what their header says, and some have none: a first row whose second column is a number is data.

    Raises:
        UserError: The file is not text, or a row is not an image name and a code of `labels`.
    """
    rows = []
    reader = csv.reader(_read_text(path).splitlines())
    try:
        for line in reader:
            fields = [field.strip() for field in line]
            is_header = reader.line_num == 1 and len(fields) == 2 and not fields[1].lstrip("-").isdigit()
            if is_header or not any(fields):
                continue
            if len(fields) != 2:
                raise UserError(
                    f"{path}, row {reader.line_num}: expected two columns like 'train_00001_aligned.jpg,5', "
                    f"found {','.join(line)[:80]!r}"
                )
            rows.append((reader.line_num, fields[0], fields[1]))
    except csv.Error as error:
        raise UserError(f"{path}, row {reader.line_num}: not a row of a CSV file ({error})") from error
    return _check_rows(path, rows, labels)
