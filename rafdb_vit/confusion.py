"""Rates of many confusion matrices at once; scikit-learn computes them of one."""

import numpy as np

AVERAGE_RATES = (
    "accuracy",
    *(f"{average}_{figure}" for average in ("macro", "weighted") for figure in ("precision", "recall", "f1")),
)
CLASS_FIGURES = ("precision", "recall", "f1")


def compute_rates(matrices: np.ndarray, *, only_present: bool = False) -> np.ndarray:
    """Computes the rates of confusion matrices; what is divided by nothing counts 0, as with `zero_division=0`.

    Args:
        matrices: [..., C, C] counts; rows are the labelled classes, columns the predicted ones.
        only_present: Macro averages are over the classes that have faces, instead of all.

    Returns:
        [..., 7 + 3 C] rates in [0, 1]: those of `AVERAGE_RATES`, then precision, recall and F1 of each class.
    """
    matrices = np.asarray(matrices, dtype=np.float64)
    hits = np.diagonal(matrices, axis1=-2, axis2=-1)
    predicted, support = matrices.sum(-2), matrices.sum(-1)
    rates = (_divide(hits, predicted), _divide(hits, support), _divide(2 * hits, predicted + support))
    total = support.sum(-1)
    counted = support > 0 if only_present else np.ones_like(support, dtype=bool)
    macro = [_divide((rate * counted).sum(-1), counted.sum(-1)) for rate in rates]
    weighted = [_divide((rate * support).sum(-1), total) for rate in rates]
    averages = np.stack([_divide(hits.sum(-1), total), *macro, *weighted], axis=-1)
    return np.concatenate([averages, *rates], axis=-1)


def _divide(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator, dtype=np.float64), where=denominator > 0)
