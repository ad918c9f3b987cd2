import numpy as np
import pytest
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from rafdb_vit.confusion import AVERAGE_RATES, CLASS_FIGURES, compute_rates


def expand(matrix):
    """The labels and predictions of a confusion matrix."""
    return tuple(ids.ravel().repeat(matrix.ravel()) for ids in np.indices(matrix.shape))


@pytest.mark.parametrize("present", [False, True])
def test_rates_of_many_matrices_are_scikit_learns_of_each(present):
    rng = np.random.default_rng(0)
    matrices = rng.integers(0, 9, size=(40, 5, 5))
    matrices[::3, 2] = 0  # a class without faces
    matrices[::4, :, 1] = 0  # one that is never predicted
    matrices[::12, 2] = matrices[::12, :, 2] = 0  # one that is neither
    rates = compute_rates(matrices, only_present=present)
    assert rates.shape == (40, len(AVERAGE_RATES) + len(CLASS_FIGURES) * 5)
    for matrix, row in zip(matrices, rates, strict=True):
        labels, predicted = expand(matrix)
        classes = np.flatnonzero(matrix.sum(1)) if present else np.arange(5)
        macro = precision_recall_fscore_support(labels, predicted, labels=classes, average="macro", zero_division=0)
        weighted = precision_recall_fscore_support(labels, predicted, average="weighted", zero_division=0)
        per_class = precision_recall_fscore_support(labels, predicted, labels=range(5), zero_division=0)
        expected = [accuracy_score(labels, predicted), *macro[:3], *weighted[:3], *np.concatenate(per_class[:3])]
        np.testing.assert_allclose(row, expected, atol=1e-14)


def test_one_matrix_and_an_empty_one():
    assert compute_rates(np.eye(3)).tolist() == [1.0] * 16
    assert compute_rates(np.zeros((2, 2))).tolist() == [0.0] * 13
