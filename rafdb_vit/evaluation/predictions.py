"""The predictions of a model for the faces of a split, and the file `predictions.csv` that holds them."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from rafdb_vit.evaluation.groups import score_groups
from rafdb_vit.evaluation.metrics import measure_calibration
from rafdb_vit.evaluation.results import EvaluationResult
from rafdb_vit.runtime.disk import expand, write_whole
from rafdb_vit.runtime.errors import UserError, escape
from rafdb_vit.runtime.output_folder import OutputFolder

PREDICTIONS_FILE = "predictions.csv"
_FIXED = ("file", "label", "predicted")
_PROBABILITY = "probability_"
_GROUP = "group_"


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

    def score(self) -> EvaluationResult:
        """Computes the metrics, those of calibration and of groups among them."""
        result = EvaluationResult.from_logits(self.logits, self.labels, self.names)
        groups = score_groups(self.labels, self.predicted, len(self.names), self.groups) if self.groups else None
        return replace(result, calibration=measure_calibration(self.probabilities, self.labels), groups=groups)

    def render(self) -> str:
        """Renders a CSV file: file, label, predicted, a probability a class, a column a group.

        Probabilities keep every bit.
        """
        head = [*_FIXED, *(_PROBABILITY + name for name in self.names), *(_GROUP + name for name in self.groups)]
        columns = (self.files, self.labels.tolist(), self.predicted.tolist(), self.probabilities.tolist())
        content = io.StringIO()
        writer = csv.writer(content, lineterminator="\n")
        writer.writerow(head)
        for i, (name, label, predicted, probabilities) in enumerate(zip(*columns, strict=True)):
            groups = (of_faces[i] for of_faces in self.groups.values())
            writer.writerow([name, self.names[label], self.names[predicted], *probabilities, *groups])
        return content.getvalue()

    def write(self, path: str | Path) -> Path:
        """Writes that file, whole or not at all; see `render`."""
        return write_whole(Path(path), self.render())


def read_predictions(path: str | Path) -> Predictions:
    """Reads a `predictions.csv`; its logits are the logarithms of the probabilities.

    Args:
        path: The file, or a folder that holds it.

    Raises:
        UserError: There is none, or it has another form.
    """
    path = expand(path)
    path = path / PREDICTIONS_FILE if path.is_dir() else path
    folder = OutputFolder(path.parent, (PREDICTIONS_FILE,))
    if path.name == PREDICTIONS_FILE and folder.has_list:
        folder.refuse_changed(PREDICTIONS_FILE, advice="restore it, or evaluate the model again")
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; expected the folder of a finished run or of an evaluation, or its "
            f"{PREDICTIONS_FILE}: `rafdb-vit evaluate MODEL --data_dir DIR` writes one"
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _parse(list(csv.reader(file)))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, csv.Error) as error:
        reason = f"no class is called {error}" if isinstance(error, KeyError) else error
        raise UserError(
            f"{path}: not what `rafdb-vit evaluate` writes ({escape(str(reason)):.200}); evaluate the model again"
        ) from error


def _parse(cells: list[list[str]]) -> Predictions:
    """Makes predictions of the cells of a file; raises ValueError or KeyError where it has another form."""
    head, *rows = cells
    names = [name.removeprefix(_PROBABILITY) for name in head if name.startswith(_PROBABILITY)]
    groups = {name.removeprefix(_GROUP): head.index(name) for name in head if name.startswith(_GROUP)}
    expected = [*_FIXED, *(_PROBABILITY + name for name in names), *(_GROUP + name for name in groups)]
    if head != expected or not names or not rows:
        raise ValueError("its columns are others, or it has no rows")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(head):
            raise ValueError(f"row {number} has {len(row)} cells of {len(head)}")
    ids = {name: i for i, name in enumerate(names)}
    probabilities = np.array([[float(cell) for cell in row[3 : 3 + len(names)]] for row in rows])
    if not ((probabilities >= 0).all() and np.isclose(probabilities.sum(axis=1), 1, atol=1e-6).all()):
        raise ValueError("probabilities of a face do not add up to 1")
    with np.errstate(divide="ignore"):
        logits = np.log(probabilities)
    predictions = Predictions(
        files=[row[0] for row in rows],
        labels=np.array([ids[row[1]] for row in rows]),
        logits=logits,
        names=names,
        groups={name: [row[place] for row in rows] for name, place in groups.items()},
    )
    if [ids[row[2]] for row in rows] != predictions.predicted.tolist():
        raise ValueError("a predicted class is not the most probable one")
    if len(set(predictions.files)) != len(rows):
        raise ValueError("a face stands in it twice")
    return predictions
