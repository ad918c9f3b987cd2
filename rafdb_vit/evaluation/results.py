"""What an evaluation found, and the one place that knows `results.json`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rafdb_vit.evaluation.groups import find_wrong_group, score_again
from rafdb_vit.evaluation.intervals import describe_intervals
from rafdb_vit.evaluation.metrics import AVERAGE_RATES, CLASS_FIGURES, is_wrong
from rafdb_vit.evaluation.protocol import Protocol
from rafdb_vit.runtime.disk import write_whole
from rafdb_vit.runtime.errors import UserError

RESULTS_FILE = "results.json"
AVERAGES = ("loss", *AVERAGE_RATES)
_WIDTHS = (10, 10, 10, 15, 10)
"""Of the columns of the classification report."""


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
        calibration: From `rafdb_vit.evaluation.metrics.measure_calibration`; None where probabilities are not known.
        groups: From `rafdb_vit.evaluation.groups.score_groups`; None where the data names none.
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
    calibration: dict[str, Any] | None = None
    groups: dict[str, Any] | None = None

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
        averages: dict[str, Any] = {
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
        """Returns the name of a figure that contradicts the confusion matrix; None if none does.

        Loss and Brier score do not follow from it.
        """
        matrix = np.asarray(self.confusion_matrix)
        labels, predicted = (ids.ravel().repeat(matrix.ravel()) for ids in np.indices(matrix.shape))
        expected = self.from_predictions(labels, predicted, list(self.per_class), loss=self.loss)
        ours, theirs = ({"n": result.n, **result.flat(), **result.supports} for result in (self, expected))
        wrong = next((name for name, value in theirs.items() if not np.isclose(ours[name], value, atol=1e-9)), None)
        if wrong is None and self.calibration and is_wrong(self.calibration, n=self.n, accuracy=self.accuracy):
            wrong = "calibration"
        return wrong or find_wrong_group(self.groups or {}, self.confusion_matrix)

    @cached_property
    def intervals(self) -> dict[str, Any]:
        """95% bootstrap intervals of every metric, from the confusion matrix; see `rafdb_vit.evaluation.intervals`."""
        return describe_intervals(self.confusion_matrix, list(self.per_class))

    def describe(self) -> dict[str, Any]:
        """Returns the figures as they stand in `results.json`, intervals among them."""
        return {**asdict(self), "intervals": self.intervals}

    @classmethod
    def from_description(cls, content: Mapping[str, Any]) -> "EvaluationResult":
        """Returns the figures that `describe` wrote; intervals and those of groups are computed anew.

        Raises:
            TypeError: A figure is missing, or is none; or KeyError, ValueError.
        """
        figures = {name: value for name, value in content.items() if name != "intervals"}
        groups = figures.get("groups")
        return cls(**{**figures, "groups": score_again(groups) if groups else None})

    @property
    def supports(self) -> dict[str, int]:
        """Number of faces by class name."""
        return {name: int(values["support"]) for name, values in self.per_class.items()}

    @property
    def weakest(self) -> list[str]:
        """The classes with faces that the model tells worst, the worst first; empty if it tells all alike.

        Those that it never gets right; else those with the lowest or second lowest F1, but never all.
        """
        known = {name: row["f1"] for name, row in self.per_class.items() if row["support"]}
        ordered = sorted(known, key=lambda name: known[name])
        bounds = [0] if 0 in known.values() else [known[name] for name in reversed(ordered[:2])]
        groups = ([name for name in ordered if known[name] <= bound] for bound in bounds)
        return next((group for group in groups if len(group) < len(known)), [])

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
        """Renders the classification report: each class, accuracy, averages; F1 and accuracy with their intervals."""
        width = max(map(len, [*self.per_class, "weighted avg"]))
        ends, by_class = self.intervals, self.intervals["per_class"]
        columns = ("precision", "recall", "f1-score", "95% interval", "support")
        lines = [f"{'':>{width}} " + " ".join(f"{name:>{w}}" for name, w in zip(columns, _WIDTHS, strict=True)), ""]
        for name, row in self.per_class.items():
            rates = [row[figure] for figure in CLASS_FIGURES]
            lines.append(_render_row(name, width, rates, by_class[name]["f1"], row["support"]))
        lines += ["", _render_row("accuracy", width, [None, None, self.accuracy], ends["accuracy"], self.n)]
        for average in ("macro", "weighted"):
            rates = [getattr(self, f"{average}_{figure}") for figure in CLASS_FIGURES]
            lines.append(_render_row(f"{average} avg", width, rates, ends[f"{average}_f1"], self.n))
        return "\n".join(lines)


def _render_row(
    name: str, width: int, rates: Sequence[float | None], ends: Sequence[float] | None, support: float
) -> str:
    cells = ["" if rate is None else f"{rate:.4f}" for rate in rates]
    cells += [f"{ends[0]:.4f}-{ends[1]:.4f}" if ends else "unknown", f"{support}"]
    return f"{name:>{width}} " + " ".join(f"{cell:>{w}}" for cell, w in zip(cells, _WIDTHS, strict=True))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def write_results(
    folder: str | Path, *, validation: EvaluationResult, test: EvaluationResult, protocol: Protocol
) -> Path:
    """Writes `results.json` into a run folder, whole or not at all.

    Args:
        folder: The run folder.
        validation: Figures of the chosen checkpoint on validation.
        test: Its figures on test, scored once.
        protocol: How they came about.
    """
    content = {"validation": validation.describe(), "test": test.describe(), "protocol": protocol.describe()}
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    return write_whole(Path(folder) / RESULTS_FILE, f"{text}\n")


def read_results(folder: str | Path) -> tuple[EvaluationResult, EvaluationResult, Protocol]:
    """Reads `results.json` from a run folder.

    Returns:
        The validation figures, the test figures and the protocol.

    Raises:
        UserError: The folder has no `results.json`, or not one of this form; or a figure in it was changed.
    """
    path = Path(folder) / RESULTS_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
        splits = {split: EvaluationResult.from_description(content[split]) for split in ("validation", "test")}
        wrong = {split: figure for split, result in splits.items() if (figure := result.find_contradiction())}
        protocol = Protocol.read(content["protocol"])
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
