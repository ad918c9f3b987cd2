"""Reads the release's annotations: gender, race, age, landmarks and the face's box; a file for each face and kind.

Formats and codes are those of the release's readme. Coordinates are in pixels of the original photograph.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rafdb_vit.data.files import list_files
from rafdb_vit.data.findings import Reporter
from rafdb_vit.data.formats.label_file import read_lines
from rafdb_vit.runtime.errors import UserError

CODES = {
    "gender": ("male", "female", "unsure"),
    "race": ("Caucasian", "African-American", "Asian"),
    "age": ("0-3", "4-19", "20-39", "40-69", "70+"),
}
"""What each code from 0 means."""
AUTOMATIC_LANDMARKS = 37
_LARGEST = 1e6
"""Pixels; no photograph is larger, and NaN compares false."""
MOST_BYTES = 2**16
"""Of a file of annotations, which holds one face's; 37 points take less than a kilobyte."""


def _parse_numbers(line: str, count: int, where: str) -> list[float]:
    try:
        numbers = [float(word) for word in line.split()]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(abs(number) <= _LARGEST for number in numbers):
        raise ValueError(f"expected {count} numbers in {where}, found {line[:60]!r}")
    return numbers


def _parse_points(lines: Sequence[str]) -> list[list[float]]:
    return [_parse_numbers(line, 2, f"line {i}") for i, line in enumerate(lines, start=1)]


def _split_lines(text: str, count: int) -> list[str]:
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) != count:
        raise ValueError(f"expected {count} lines, found {len(lines)}")
    return lines


def parse_manual(text: str) -> dict[str, Any]:
    """Parses a `_manu_attri.txt`: five landmarks, gender, race and age, a line each.

    Raises:
        ValueError: It has another form; the message says where.
    """
    lines = _split_lines(text, 8)
    values: dict[str, Any] = {"landmarks": _parse_points(lines[:5])}
    for i, (name, meanings) in enumerate(CODES.items(), start=6):
        word = lines[i - 1].strip()
        if word not in map(str, range(len(meanings))):
            expected = f"expected a code from 0 to {len(meanings) - 1} in line {i} ({name})"
            raise ValueError(f"{expected}, found {word[:60]!r}")
        values[name] = int(word)
    return values


def parse_automatic(text: str) -> dict[str, Any]:
    """Parses an `_auto_attri.txt`: 37 landmarks, a line each.

    Raises:
        ValueError: It has another form; the message says where.
    """
    return {"automatic_landmarks": _parse_points(_split_lines(text, AUTOMATIC_LANDMARKS))}


def parse_box(text: str) -> dict[str, Any]:
    """Parses a `_boundingbox.txt`: xmin, ymin, xmax and ymax in one line.

    Raises:
        ValueError: It has another form, or the box has no area; the message says where.
    """
    (line,) = _split_lines(text, 1)
    box = _parse_numbers(line, 4, "line 1")
    if not (box[0] < box[2] and box[1] < box[3]):
        raise ValueError(f"expected xmin < xmax and ymin < ymax, found {line.strip()[:60]!r}")
    return {"box": box}


@dataclass(frozen=True)
class Kind:
    """One kind of annotation: its folder in `Annotation`, the end of its files' names, its parser and columns."""

    folder: str
    suffix: str
    parse: Callable[[str], dict[str, Any]]
    columns: tuple[str, ...]


KINDS = (
    Kind("manual", "_manu_attri.txt", parse_manual, (*CODES, "landmarks")),
    Kind("auto", "_auto_attri.txt", parse_automatic, ("automatic_landmarks",)),
    Kind("boundingbox", "_boundingbox.txt", parse_box, ("box",)),
)
MANUAL, BOX = KINDS[0], KINDS[2]


def find_kinds(release: Path | None) -> list[Kind]:
    """Returns the kinds of annotation that a copy of the release has; None is other data, which has none."""
    return [kind for kind in KINDS if release is not None and (release / "Annotation" / kind.folder).is_dir()]


def read_annotations(
    root: Path, release: Path | None, kind: Kind, files: Sequence[str], report: Reporter
) -> dict[str, list[Any]]:
    """Reads one kind of annotation of every face; returns its columns, in the order of `files`.

    These are the names of the faces, such as `train_00001`. Files that are missing or malformed are reported, and their
    values are None. Nothing outside `root` is read.
    """
    folder = Path(release or "") / "Annotation" / kind.folder
    listed = Reporter(report.add)
    found = list_files(root, folder, (kind.suffix,), listed)
    columns: dict[str, list[Any]] = {name: [] for name in kind.columns}
    for file in files:
        name = file + kind.suffix
        values: dict[str, Any] = {}
        path = os.path.join(folder, name)  # noqa: PTH118 (Path is slow for 46,000 files)
        if name in found:
            values = _read(found[name], kind, report)
        elif path not in listed.files:
            report("annotation missing", f"{path}: no such file; expected one for every face", path)
        for column, items in columns.items():
            items.append(values.get(column))
    return columns


def _read(path: str, kind: Kind, report: Reporter) -> dict[str, Any]:
    try:
        text = "".join(read_lines(Path(path), what="an annotation of RAF-DB", most=MOST_BYTES))
    except UserError as error:
        report("annotation malformed", str(error), path)
        return {}
    try:
        return kind.parse(text)
    except ValueError as error:
        report("annotation malformed", f"{path}: {error}; put the release's file in its place", path)
        return {}
