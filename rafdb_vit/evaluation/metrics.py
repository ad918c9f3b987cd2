"""Metrics: rates of confusion matrices, and calibration.

Calibration says how far a model's probabilities can be believed: expected calibration error, Brier score, accuracy by
confidence.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_array

CLASS_METRICS = ("precision", "recall", "f1")
AVERAGE_RATES = (
    "accuracy",
    *(f"{average}_{metric}" for average in ("macro", "weighted") for metric in CLASS_METRICS),
)
BINS = 15


def count_confusions(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Returns the confusion matrix [C, C] of label ids in [0, C); rows are the labels, columns the predictions."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def sum_matrices(matrices: np.ndarray) -> np.ndarray:
    """Returns all that rates depend on of confusion matrices [..., C, C]: hits, predictions, faces; [..., 3, C]."""
    matrices = np.asarray(matrices, dtype=np.float64)
    return np.stack([np.diagonal(matrices, axis1=-2, axis2=-1), matrices.sum(-2), matrices.sum(-1)], axis=-2)


def sum_cells(
    labels: np.ndarray, predicted: np.ndarray, classes: int, *, matrix: np.ndarray | int = 0, matrices: int = 1
) -> "csr_array":
    """Returns what a face in each of K cells of confusion matrices adds to the sums of `sum_matrices`.

    Args:
        labels: [K] the rows of the cells.
        predicted: [K] their columns.
        classes: C.
        matrix: [K] which of the `matrices` each cell is in.
        matrices: How many matrices there are.

    Returns:
        [K, matrices * 3 * C] ones.
    """
    from scipy.sparse import csr_array

    first, cells, right = 3 * classes * matrix, np.arange(len(labels)), labels == predicted
    columns = [(first + labels)[right], first + classes + predicted]
    columns.append(first + 2 * classes + labels)
    rows = np.concatenate([cells[right], cells, cells])
    ones = np.ones(len(rows), dtype=np.int32)
    return csr_array((ones, (rows, np.concatenate(columns))), shape=(len(labels), matrices * 3 * classes))


def compute_rates(matrices: np.ndarray, *, only_present: bool = False) -> np.ndarray:
    """Computes the rates of confusion matrices [..., C, C], rows labelled, columns predicted; see `rate_sums`."""
    return rate_sums(sum_matrices(matrices), only_present=only_present)


def rate_sums(sums: np.ndarray, *, only_present: bool = False) -> np.ndarray:
    """Computes rates from hits, predictions and faces of classes; what is divided by nothing counts 0.

    They equal scikit-learn's with `zero_division=0` bit by bit, and come for many matrices at once.

    Args:
        sums: [..., 3, C] from `sum_matrices`.
        only_present: Macro averages are over the classes that have faces, instead of all.

    Returns:
        [..., 7 + 3 C] rates in [0, 1]: those of `AVERAGE_RATES`, then precision, recall and F1 of each class.
    """
    hits, predicted, support = np.moveaxis(np.asarray(sums, dtype=np.float64), -2, 0)
    rates = (_divide(hits, predicted), _divide(hits, support), _divide(2 * hits, predicted + support))
    total = support.sum(-1)
    counted = support > 0 if only_present else np.ones_like(support, dtype=bool)
    macro = [_divide((rate * counted).sum(-1), counted.sum(-1)) for rate in rates]
    weighted = [_divide((rate * support).sum(-1), total) for rate in rates]
    averages = np.stack([_divide(hits.sum(-1), total), *macro, *weighted], axis=-1)
    return np.concatenate([averages, *rates], axis=-1)


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator, dtype=np.float64), where=denominator > 0)


def name_rates(values: Sequence[Any], names: Sequence[str]) -> dict[str, Any]:
    """Names values that come in the order of `rate_sums`; those of the C classes stand under `per_class`."""
    named: dict[str, Any] = dict(zip(AVERAGE_RATES, values, strict=False))
    of_classes = [values[len(AVERAGE_RATES) + i :: len(names)] for i in range(len(names))]
    named["per_class"] = {
        name: dict(zip(CLASS_METRICS, own, strict=True)) for name, own in zip(names, of_classes, strict=True)
    }
    return named


def measure_calibration(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Measures the calibration of a classifier.

    The confidence is the probability of the predicted class. Its expected calibration error (Guo et al., 2017, "On
    Calibration of Modern Neural Networks") is the mean, over faces, of the distance between confidence and accuracy in
    the bin that a face falls into, of 15 bins of equal width. The Brier score (1950) is the mean, over faces, of the
    squared distance to the label, summed over classes: 0 is perfect, 2 the worst.

    Args:
        probabilities: [N, C] in [0, 1].
        labels: [N] label ids in [0, C).

    Returns:
        `expected_calibration_error`, `brier_score`, and `bins`: those that hold faces, each with its lower and upper
        edge (`from`, `to`), `n`, mean `confidence` and `accuracy`.
    """
    from scipy.stats import binned_statistic
    from sklearn.metrics import brier_score_loss

    confidences, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    means, edges, places = binned_statistic(confidences, [confidences, right], "mean", bins=BINS, range=(0, 1))
    bins = [
        {
            "from": float(edges[i]),
            "to": float(edges[i + 1]),
            "n": int((places == i + 1).sum()),
            "confidence": float(means[0, i]),
            "accuracy": float(means[1, i]),
        }
        for i in np.unique(places) - 1
    ]
    error = sum(row["n"] * abs(row["confidence"] - row["accuracy"]) for row in bins) / len(labels)
    classes = list(range(probabilities.shape[1]))
    brier = brier_score_loss(labels, probabilities, labels=classes, scale_by_half=False) if len(classes) > 1 else 0.0
    return {"expected_calibration_error": float(error), "brier_score": float(brier), "bins": bins}


def is_wrong(calibration: Mapping[str, Any], *, n: int, accuracy: float) -> bool:
    """Tells whether the bins of `measure_calibration` contradict its error, or `n` and `accuracy` of the same faces."""
    counts, confidences, accuracies = (
        np.array([row[name] for row in calibration["bins"]]) for name in ("n", "confidence", "accuracy")
    )
    expected = (counts * np.abs(confidences - accuracies)).sum() / n
    return bool(
        counts.sum() != n
        or not np.isclose(counts @ accuracies, n * accuracy, atol=1e-6)
        or not np.isclose(calibration["expected_calibration_error"], expected, atol=1e-9)
    )
