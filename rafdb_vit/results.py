"""What an evaluation found, and the one place that knows `results.json`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rafdb_vit.errors import UserError

RESULTS_FILE = "results.json"


AVERAGES = (
    "loss",
    "accuracy",
    *(f"{average}_{figure}" for average in ("macro", "weighted") for figure in ("precision", "recall", "f1")),
)
CLASS_FIGURES = ("precision", "recall", "f1")


def flat_name(figure: str, class_name: str) -> str:
    """Returns the name under which a class's figure is logged, such as `f1_fear`."""
    return f"{figure}_{class_name.lower().replace(' ', '_')}"


@dataclass(frozen=True)
class EvaluationResult:
    """The figures of one model on one split.

    Macro averages are over all classes of the label set, an absent class counting 0 (`zero_division=0`).

    Attributes:
        n: Number of faces.
        loss: Mean cross-entropy of the logits, in nats.
        accuracy: Share of faces whose most probable class is the labelled one, in [0, 1], as all rates here.
        macro_precision: Mean over classes.
        macro_recall: Mean over classes, also called mean class accuracy or balanced accuracy.
        macro_f1: Mean of the classes' F1.
        weighted_precision: Mean over classes, weighted by support.
        weighted_recall: Mean over classes, weighted by support; equals the accuracy.
        weighted_f1: Mean over classes, weighted by support.
        per_class: `precision`, `recall`, `f1` and `support` (number of faces) by class name, in model order.
        confusion_matrix: Counts; rows are the labelled classes, columns the predicted ones, in model order.
    """

    n: int
    loss: float
    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    weighted_precision: float
    weighted_recall: float
    weighted_f1: float
    per_class: dict[str, dict[str, float | int]]
    confusion_matrix: list[list[int]]

    @classmethod
    def from_logits(cls, logits: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> "EvaluationResult":
        """Computes the figures, with scikit-learn.

        Args:
            logits: [N, C] raw scores.
            labels: [N] label ids in [0, C).
            names: The C class names in model order.
        """
        from scipy.special import log_softmax

        log_probabilities = log_softmax(logits.astype(np.float64), axis=-1)
        loss = float(-log_probabilities[np.arange(len(labels)), labels].mean())
        return cls.from_predictions(labels, logits.argmax(axis=-1), names, loss=loss)

    @classmethod
    def from_predictions(
        cls, labels: np.ndarray, predicted: np.ndarray, names: Sequence[str], *, loss: float
    ) -> "EvaluationResult":
        """Computes the figures of predicted classes, with scikit-learn.

        Args:
            labels: [N] label ids in [0, C).
            predicted: [N] predicted ids in [0, C).
            names: The C class names in model order.
            loss: Mean cross-entropy, which predicted classes do not tell.
        """
        from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

        ids = list(range(len(names)))
        scores = precision_recall_fscore_support(labels, predicted, labels=ids, zero_division=0)
        averages = {
            f"{average}_{name}": float(value)
            for average in ("macro", "weighted")
            for name, value in zip(
                ("precision", "recall", "f1"),
                precision_recall_fscore_support(labels, predicted, labels=ids, average=average, zero_division=0),
                strict=False,
            )
        }
        return cls(
            n=len(labels),
            loss=loss,
            accuracy=float(accuracy_score(labels, predicted)),
            per_class={
                name: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
                for name, p, r, f, s in zip(names, *scores, strict=True)
            },
            confusion_matrix=confusion_matrix(labels, predicted, labels=ids).tolist(),
            **averages,
        )

    def find_contradiction(self) -> str | None:
        """Returns the name of a figure that does not follow from the confusion matrix; None if all do."""
        matrix = np.asarray(self.confusion_matrix)
        labels, predicted = (ids.ravel().repeat(matrix.ravel()) for ids in np.indices(matrix.shape))
        expected = self.from_predictions(labels, predicted, list(self.per_class), loss=self.loss)
        ours, theirs = ({"n": result.n, **result.flat(), **result.supports} for result in (self, expected))
        return next((name for name, value in theirs.items() if not np.isclose(ours[name], value, atol=1e-9)), None)

    @property
    def supports(self) -> dict[str, int]:
        """Number of faces by class name."""
        return {name: int(values["support"]) for name, values in self.per_class.items()}

    def flat(self) -> dict[str, float]:
        """Returns the figures as flat scalars (`macro_f1`, `f1_fear`, ...), the form that experiment trackers log."""
        averages = {name: getattr(self, name) for name in AVERAGES}
        per_class = {
            flat_name(figure, name): float(values[figure])
            for name, values in self.per_class.items()
            for figure in CLASS_FIGURES
        }
        return {**averages, **per_class}

    def render_report(self) -> str:
        """Renders the classification report: each class, accuracy, macro and weighted average."""
        width = max(map(len, [*self.per_class, "weighted avg"]))
        head = f"{'':>{width}}  precision     recall   f1-score    support"
        rows = [
            f"{name:>{width}} {v['precision']:>10.4f} {v['recall']:>10.4f} {v['f1']:>10.4f} {v['support']:>10d}"
            for name, v in self.per_class.items()
        ]
        accuracy = f"{'accuracy':>{width}} {'':>10} {'':>10} {self.accuracy:>10.4f} {self.n:>10d}"
        averages = [
            f"{f'{average} avg':>{width}} {values[0]:>10.4f} {values[1]:>10.4f} {values[2]:>10.4f} {self.n:>10d}"
            for average, values in (
                ("macro", (self.macro_precision, self.macro_recall, self.macro_f1)),
                ("weighted", (self.weighted_precision, self.weighted_recall, self.weighted_f1)),
            )
        ]
        return "\n".join([head, "", *rows, "", accuracy, *averages])


def write_results(
    folder: str | Path, *, validation: EvaluationResult, test: EvaluationResult, protocol: Mapping[str, Any]
) -> Path:
    """Writes `results.json` into a run folder, whole or not at all.

    Args:
        folder: The run folder.
        validation: Figures of the chosen checkpoint on validation.
        test: Its figures on test, scored once.
        protocol: How they came about: data, splits, seeds, settings, versions. No times and no paths, so that the same
            command writes the same bytes.
    """
    content = {"validation": asdict(validation), "test": asdict(test), "protocol": dict(protocol)}
    path = Path(folder) / RESULTS_FILE
    partial = path.with_suffix(".json.partial")
    try:
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def read_results(folder: str | Path) -> tuple[EvaluationResult, EvaluationResult, dict[str, Any]]:
    """Reads `results.json` from a run folder.

    Returns:
        The validation figures, the test figures and the protocol.

    Raises:
        UserError: The folder has no `results.json`, or not one of this form; or a figure in it was changed.
    """
    path = Path(folder) / RESULTS_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        splits = {split: EvaluationResult(**content[split]) for split in ("validation", "test")}
        wrong = {split: figure for split, result in splits.items() if (figure := result.find_contradiction())}
        protocol = dict(content["protocol"])
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; expected the folder of a finished training run") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: not the results of a training run ({error}); train again to write it") from error
    for split, figure in wrong.items():
        raise UserError(
            f"{path}: {figure} of {split} is not what its confusion matrix gives; it was changed after the run: train "
            "again, or restore the file"
        )
    return splits["validation"], splits["test"], protocol
