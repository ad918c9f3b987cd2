"""Predictions for picture files: which files are meant, and what is printed of each; torch is not needed."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rafdb_vit.data.files import walk_images
from rafdb_vit.evaluation.cells import guard, quote
from rafdb_vit.runtime.disk import check_inside
from rafdb_vit.runtime.errors import UserError, escape
from rafdb_vit.runtime.neighbours import list_near


@dataclass(frozen=True)
class ImagePrediction:
    """The prediction of a classifier for one picture.

    Attributes:
        file: Its path.
        probabilities: By class name, the most probable first; None where there is an `error`.
        error: Why the picture could not be read or scored.
    """

    file: str
    probabilities: dict[str, float] | None = None
    error: str | None = None

    def describe(self) -> dict[str, Any]:
        """Returns the prediction for programs, as it stands in JSON."""
        if self.probabilities is None:
            return {"file": self.file, "error": self.error}
        return {"file": self.file, "label": next(iter(self.probabilities)), "probabilities": self.probabilities}

    def render(self) -> str:
        """Renders the prediction in one line."""
        if self.probabilities is None:
            return f"not read: {self.error}"
        shares = (f"{escape(name)} {share:.4f}" for name, share in self.probabilities.items())
        return "  ".join([escape(self.file), *shares])

    def render_row(self, names: Sequence[str]) -> str:
        """Renders the prediction as a row of a CSV file, see `render_header`; not for one without an answer."""
        shares = self.probabilities or {}
        cells = [quote(guard(escape(text))) for text in (self.file, next(iter(shares)))]
        return ",".join([*cells, *(repr(shares[name]) for name in names)])


def render_header(names: Sequence[str]) -> str:
    """Renders the first row of a CSV file of predictions: file, expression, and a probability for each class."""
    from rafdb_vit.evaluation.predictions import PROBABILITY

    return ",".join(quote(guard(escape(cell))) for cell in ("file", "expression", *map(PROBABILITY.__add__, names)))


def list_images(paths: Sequence[str]) -> list[str]:
    """Returns the files that paths stand for: files as they are, folders as the images in and below them.

    Folders without an image, and those that cannot be read, stay in the list: their prediction says what is wrong.
    """
    files: list[str] = []
    for path in paths:
        if not os.path.isdir(path):
            files.append(path)
            continue
        unreadable: list[OSError] = []
        found = list(walk_images(Path(path), on_error=unreadable.append))
        closed = [str(error.filename) for error in unreadable]
        files += [*(_InFolder(file, path) for file in found), *closed] or [path]
    return files


class _InFolder(str):
    """The path of a file that was found in a folder, and is not read where it is a link that leads out of it."""

    folder: str

    def __new__(cls, file: str, folder: str) -> "_InFolder":
        path = super().__new__(cls, file)
        path.folder = folder
        return path


def find_fault(file: str) -> str | None:
    """Returns why a file cannot be opened as a picture; None if it may be one."""
    try:
        if isinstance(file, _InFolder):
            check_inside(Path(file.folder), Path(file))
    except UserError as error:
        return error.line
    if os.path.isdir(file):
        closed = not os.access(file, os.R_OK | os.X_OK)
        return UserError(f"{file}: {'the folder cannot be read' if closed else 'holds no image'}").line
    return None if os.path.isfile(file) else UserError(f"{file}: no such file{list_near(file)}").line
