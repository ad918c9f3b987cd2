"""How far a model's probabilities can be believed: expected calibration error, Brier score, accuracy by confidence."""

from collections.abc import Mapping
from typing import Any

import numpy as np

BINS = 15


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
    from sklearn.metrics import brier_score_loss

    confidences, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = _fill_bins(confidences, right)
    error = sum(row["n"] * abs(row["confidence"] - row["accuracy"]) for row in bins) / len(labels)
    classes = list(range(probabilities.shape[1]))
    brier = brier_score_loss(labels, probabilities, labels=classes, scale_by_half=False) if len(classes) > 1 else 0.0
    return {"expected_calibration_error": float(error), "brier_score": float(brier), "bins": bins}


def is_wrong(calibration: Mapping[str, Any], *, n: int, accuracy: float) -> bool:
    """Tells whether the bins of a calibration are not those of its error, or of the figures that it stands beside.

    Args:
        calibration: From `measure_calibration`.
        n: Faces in all.
        accuracy: Of all.
    """
    bins = calibration["bins"]
    counts, confidences, accuracies = (
        np.array([row[name] for row in bins]) for name in ("n", "confidence", "accuracy")
    )
    expected = (counts * np.abs(confidences - accuracies)).sum() / n
    return bool(
        counts.sum() != n
        or not np.isclose(counts @ accuracies, n * accuracy, atol=1e-6)
        or not np.isclose(calibration["expected_calibration_error"], expected, atol=1e-9)
    )


def _fill_bins(confidences: np.ndarray, right: np.ndarray) -> list[dict[str, float | int]]:
    from scipy.stats import binned_statistic

    means, edges, places = binned_statistic(confidences, [confidences, right], "mean", bins=BINS, range=(0, 1))
    return [
        {
            "from": float(edges[i]),
            "to": float(edges[i + 1]),
            "n": int((places == i + 1).sum()),
            "confidence": float(means[0, i]),
            "accuracy": float(means[1, i]),
        }
        for i in np.unique(places) - 1
    ]
