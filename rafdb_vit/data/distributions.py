"""Reads expression distribution vectors: how the annotators' votes fell, one probability a class."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rafdb_vit.data.files import IMAGE_SUFFIXES
from rafdb_vit.data.findings import printable
from rafdb_vit.data.formats.label_file import read_lines
from rafdb_vit.data.found import name_face
from rafdb_vit.data.labels import LabelSet
from rafdb_vit.runtime.errors import UserError

TOLERANCE = 5e-3
"""How far a vector's sum may be from 1: seven numbers rounded to three digits may be off by 0.0035."""
MOST_DISAGREEING = 0.1
"""Share of faces whose largest entry may be another class than the label; with more, the order must be wrong."""
MOST_BYTES = 64 * 2**20
"""Of such a file; the release's has fewer than two megabytes."""
_WHAT = "rows like 'train_00001.jpg p1 ... p7'"


def _parse_row(where: str, line: str, classes: int) -> tuple[str, list[float]]:
    name, *words = line.replace(",", " ").split(maxsplit=classes + 1) or [""]
    try:
        vector = [float(word) for word in words]
    except ValueError:
        vector = []
    if len(vector) != classes or not all(map(math.isfinite, vector)):
        raise UserError(f"{where}: expected a file name and {classes} numbers, found {line[:80].rstrip()!r}")
    if min(vector) < 0:
        raise UserError(f"{where}: {name:.90} has a negative entry, {min(vector):g}; expected probabilities")
    if abs(sum(vector) - 1) > TOLERANCE:
        raise UserError(f"{where}: the entries of {name:.90} sum to {sum(vector):.6g}; expected 1")
    return name_face(name), vector


def read_distributions(path: Path, labels: LabelSet) -> dict[str, list[float]]:
    """Reads a file of distribution vectors.

    Its rows are a file name and a probability for each class, in the order of RAF-DB's codes, separated by spaces (the
    release's form) or commas.

    Returns:
        Vector by face name, each scaled to sum to exactly 1.

    Raises:
        UserError: A row has another form, does not sum to 1, is negative, or names a face again.
    """
    if not os.path.isfile(path):
        raise UserError(f"--distribution_file {printable(path)}: no such file; expected {_WHAT}")
    vectors: dict[str, list[float]] = {}
    for number, line in enumerate(read_lines(path, what=_WHAT, most=MOST_BYTES), start=1):
        if not line.strip():
            continue
        where = f"--distribution_file {printable(path)}, row {number}"
        name, vector = _parse_row(where, line, len(labels.names))
        if name in vectors:
            raise UserError(f"{where}: {name:.90} is listed twice; expected one row for a face")
        total = sum(vector)
        vectors[name] = [entry / total for entry in vector]
    return vectors


def match_distributions(
    path: Path, vectors: dict[str, list[float]], files: Sequence[str], ids: Sequence[int], labels: LabelSet
) -> list[list[float]]:
    """Returns the vector of each face, after checking them against the label ids of all faces, [N].

    `vectors` are those that `read_distributions` read from `path`, `files` the names of the faces.

    Raises:
        UserError: A face has no vector; or too many vectors have their largest entry at another class than the label.
    """
    where = f"--distribution_file {printable(path)}"
    # Where stems are not unique, a face's name is its file's path, suffix and all.
    keys = [name_face(file) if file.lower().endswith(IMAGE_SUFFIXES) else file for file in files]
    found = [vectors.get(key) for key in keys]
    missing = [file for file, vector in zip(files, found, strict=True) if vector is None]
    if missing:
        raise UserError(f"{where}: no row for {missing[0]} and {len(missing) - 1} more; expected one for every face")
    matched = [vector for vector in found if vector is not None]
    array, columns = np.asarray(matched), np.asarray(ids)
    disagree = array[np.arange(len(columns)), columns] < array.max(axis=1)
    share = float(disagree.mean())
    if share > MOST_DISAGREEING:
        first = int(np.flatnonzero(disagree)[0])
        raise UserError(
            f"{where}: the largest entry is another class than the label for {share:.0%} of the faces (first: "
            f"{files[first]}, labelled {labels.names[columns[first]]}); expected the classes in the order "
            f"{', '.join(labels.names)}"
        )
    return matched
