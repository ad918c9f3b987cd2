"""The predictions of a model for the faces of a split, and the file `predictions.csv` that holds them."""

import csv
import io
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from rafdb_vit.evaluation.cells import guard, quote, unguard
from rafdb_vit.evaluation.groups import count_groups
from rafdb_vit.evaluation.metrics import measure_calibration
from rafdb_vit.evaluation.reading import MOST_CLASSES
from rafdb_vit.evaluation.results import EvaluationResult
from rafdb_vit.runtime.disk import expand, read_bytes, write_whole
from rafdb_vit.runtime.errors import UserError, escape
from rafdb_vit.runtime.neighbours import list_near
from rafdb_vit.runtime.output_folder import OutputFolder

PREDICTIONS_FILE = "predictions.csv"
_FIXED = ("file", "label", "predicted")
PROBABILITY = "probability_"
_GROUP = "group_"
_ROWS_AT_ONCE = 1_000
_MOST_BYTES = 2**30
"""Of a `predictions.csv`; that of 25,000 faces and 500 classes has a quarter of it."""


@dataclass(frozen=True)
class Predictions:
    """The predictions of a model for the faces of one split.

    Attributes:
        files: [N] name of each face.
        labels: [N] label ids in [0, C).
        logits: [N, C] raw scores.
        names: The C class names in model order.
        groups: For each attribute that the data has, such as `gender`, the name of each face's group.
    """

    files: Sequence[str]
    labels: np.ndarray
    logits: np.ndarray
    names: Sequence[str]
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @cached_property
    def probabilities(self) -> np.ndarray:
        """[N, C] softmax of the logits, float64."""
        from scipy.special import softmax

        return softmax(self.logits.astype(np.float64), axis=-1)

    @property
    def predicted(self) -> np.ndarray:
        """[N] the ids with the largest logit."""
        return self.logits.argmax(axis=-1)

    def select(self, rows: np.ndarray) -> "Predictions":
        """Returns the predictions for the faces in these rows."""
        groups = {attribute: [of_faces[i] for i in rows] for attribute, of_faces in self.groups.items()}
        files = [self.files[i] for i in rows]
        return Predictions(files, self.labels[rows], self.logits[rows], self.names, groups)

    def score(self) -> EvaluationResult:
        """Computes the metrics, those of calibration and of groups among them."""
        result = EvaluationResult.from_logits(self.logits, self.labels, self.names)
        counted = count_groups(self.labels, self.predicted, len(self.names), self.groups) if self.groups else None
        calibration = measure_calibration(self.probabilities, self.labels)
        return replace(result, calibration=calibration, group_confusions=counted)

    def render(self) -> str:
        """Renders a CSV file: file, label, predicted, a probability a class, a column a group.

        Probabilities keep every bit. Names that a spreadsheet would take for a formula begin with an apostrophe.
        """
        head = [*_FIXED, *(PROBABILITY + name for name in self.names), *(_GROUP + name for name in self.groups)]
        classes, predicted = [quote(guard(name)) for name in self.names], self.predicted
        groups = [[quote(guard(name)) for name in of_faces] for of_faces in self.groups.values()]
        lines = [",".join(quote(guard(cell)) for cell in head)]
        for start in range(0, len(self.files), _ROWS_AT_ONCE):
            block = _render_floats(self.probabilities[start : start + _ROWS_AT_ONCE])
            for i, own in enumerate(block, start=start):
                names = (quote(guard(self.files[i])), classes[self.labels[i]], classes[predicted[i]])
                lines.append(",".join((*names, own, *(of_faces[i] for of_faces in groups))))
        return "\n".join(lines) + "\n"

    def write(self, path: str | Path) -> Path:
        """Writes that file, whole or not at all; see `render`."""
        return write_whole(Path(path), self.render())


def _render_floats(numbers: np.ndarray) -> list[str]:
    """Returns each row of [N, C] with commas between: the shortest text that gives all bits, faster than `repr`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pa.array(numbers.ravel()).cast(pa.string())
    starts = pa.array(np.arange(0, numbers.size + 1, numbers.shape[1]), pa.int32())
    return pc.binary_join(pa.ListArray.from_arrays(starts, texts), ",").to_pylist()


def read_predictions(path: str | Path) -> Predictions:
    """Reads a `predictions.csv`; its logits are the logarithms of the probabilities.

    Args:
        path: The file, or a folder that holds it.

    Raises:
        UserError: There is none, or it has another form.
    """
    path = expand(path)
    near = "" if os.path.lexists(path) else list_near(path)
    path = path / PREDICTIONS_FILE if os.path.isdir(path) else path
    folder = OutputFolder(path.parent, (PREDICTIONS_FILE,))
    if path.name == PREDICTIONS_FILE and folder.has_list:
        folder.refuse_changed(PREDICTIONS_FILE, advice="restore it, or evaluate the model again")
    if not os.path.isfile(path):
        raise UserError(
            f"{path}: no such file{near}; expected the folder of a finished run or of an evaluation, or its "
            f"{PREDICTIONS_FILE}: `rafdb-vit evaluate MODEL --data_dir DIR` writes one"
        )
    try:
        content = io.TextIOWrapper(io.BytesIO(read_bytes(path, most=_MOST_BYTES)), encoding="utf-8-sig", newline="")
        return _parse(csv.reader(content))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, csv.Error) as error:
        raise UserError(
            f"{path}: not what `rafdb-vit evaluate` writes ({escape(str(error)):.200}); evaluate the model again"
        ) from error


def _parse(rows: Iterator[list[str]]) -> Predictions:
    """Makes predictions of the rows of a file; raises ValueError where it has another form."""
    first = next(rows, [])
    if len(first) > MOST_CLASSES:
        raise ValueError(f"{len(first):,} columns; expected {MOST_CLASSES:,} at most")
    head = [unguard(cell) for cell in first]
    names, groups = _parse_head(head)
    ids, texts = {name: i for i, name in enumerate(names)}, _Texts()
    probabilities, labels, predicted = array("d"), array("q"), array("q")
    columns: list[list[str]] = [[] for _ in range(1 + len(groups))]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(head):
            raise ValueError(f"row {number} has {len(row):,} cells of {len(head):,}")
        file, label, answer, *rest = row
        probabilities.extend(map(float, rest[: len(names)]))
        for cell, found in ((label, labels), (answer, predicted)):
            if (name := texts[cell]) not in ids:
                raise ValueError(f"no class is called {name!r}")
            found.append(ids[name])
        columns[0].append(unguard(file))
        for column, cell in zip(columns[1:], rest[len(names) :], strict=True):
            column.append(texts[cell])
    return _check(
        Predictions(
            files=columns[0],
            labels=np.array(labels),
            logits=_take_logarithms(np.array(probabilities).reshape(-1, len(names))),
            names=names,
            groups=dict(zip(groups, columns[1:], strict=True)),
        ),
        np.array(predicted),
    )


class _Texts(dict[str, str]):
    """The texts of cells; equal ones, of which columns of classes and groups are full, are kept once."""

    def __missing__(self, cell: str) -> str:
        self[cell] = unguard(cell)
        return self[cell]


def _parse_head(head: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the classes and the groups that the columns are of."""
    names = [name.removeprefix(PROBABILITY) for name in head if name.startswith(PROBABILITY)]
    groups = [name.removeprefix(_GROUP) for name in head if name.startswith(_GROUP)]
    expected = [*_FIXED, *(PROBABILITY + name for name in names), *(_GROUP + name for name in groups)]
    if list(head) != expected or not names:
        raise ValueError("its columns are others")
    if len(set(head)) < len(head):
        raise ValueError("two of its columns are alike")
    return names, groups


def _take_logarithms(probabilities: np.ndarray) -> np.ndarray:
    if not len(probabilities):
        raise ValueError("it has no rows")
    if not ((probabilities >= 0).all() and np.isclose(probabilities.sum(axis=1), 1, atol=1e-6).all()):
        raise ValueError("probabilities of a face do not add up to 1")
    with np.errstate(divide="ignore"):
        return np.log(probabilities)


def _check(predictions: Predictions, predicted: np.ndarray) -> Predictions:
    """Returns predictions of which the `predicted` ids of the file are those that they should be."""
    if not np.array_equal(predicted, predictions.predicted):
        raise ValueError("a predicted class is not the most probable one")
    if len(set(predictions.files)) != len(predictions.files):
        raise ValueError("a face stands in it twice")
    return predictions
