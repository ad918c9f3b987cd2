import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import accuracy_score, brier_score_loss, precision_recall_fscore_support
from torchmetrics.functional.classification import multiclass_calibration_error

from rafdb_vit.evaluation.metrics import AVERAGE_RATES, CLASS_METRICS, compute_rates, is_wrong, measure_calibration


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
    assert rates.shape == (40, len(AVERAGE_RATES) + len(CLASS_METRICS) * 5)
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


def random_answers(n=500, classes=7, scale=2.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) * scale
    logits[np.arange(n), labels] += 2
    return softmax(logits, axis=1), labels


@pytest.mark.parametrize(("n", "classes", "scale"), [(500, 7, 2.0), (11, 11, 1.0), (40, 2, 5.0), (1, 3, 1.0)])
def test_metrics_are_torchmetrics_and_scikit_learns(n, classes, scale):
    probabilities, labels = random_answers(n, classes, scale)
    found = measure_calibration(probabilities, labels)
    theirs = multiclass_calibration_error(torch.tensor(probabilities), torch.tensor(labels), classes, n_bins=15)
    assert found["expected_calibration_error"] == pytest.approx(theirs.item(), abs=1e-6)
    expected = brier_score_loss(labels, probabilities, labels=range(classes), scale_by_half=False)
    assert found["brier_score"] == pytest.approx(expected, abs=1e-12)
    one_hot = np.eye(classes)[labels]
    assert found["brier_score"] == pytest.approx(((probabilities - one_hot) ** 2).sum(1).mean(), abs=1e-12)


def test_a_hand_worked_case():
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.45, 0.55], [0.0, 1.0]])
    found = measure_calibration(probabilities, np.array([0, 1, 1, 1]))
    # 0.95, 0.95 and 1.0 share the last bin: mean confidence 2.9 / 3, two of three right.
    assert found["expected_calibration_error"] == pytest.approx((3 * abs(2.9 / 3 - 2 / 3) + 0.45) / 4)
    assert [(row["n"], row["accuracy"]) for row in found["bins"]] == [(1, 1.0), (3, pytest.approx(2 / 3))]
    assert found["bins"][-1]["to"] == 1.0
    assert found["brier_score"] == pytest.approx((2 * 0.05**2 + 2 * 0.95**2 + 2 * 0.45**2) / 4)


def test_a_perfect_model():
    found = measure_calibration(np.eye(3)[[0, 1, 2, 2]], np.array([0, 1, 2, 2]))
    assert (found["expected_calibration_error"], found["brier_score"]) == (0.0, 0.0)
    assert [row["n"] for row in found["bins"]] == [4]


def test_a_class_that_no_face_has():
    probabilities, labels = random_answers(60, 7)
    found = measure_calibration(probabilities, np.where(labels == 3, 0, labels))
    assert 0 < found["expected_calibration_error"] < 1 and 0 < found["brier_score"] < 2


@pytest.mark.parametrize("change", [("n", 1), ("accuracy", 0.1), ("confidence", -0.05)])
def test_bins_that_were_changed_are_noticed(change):
    probabilities, labels = random_answers()
    found = measure_calibration(probabilities, labels)
    whole = {"n": 500, "accuracy": float((probabilities.argmax(1) == labels).mean())}
    assert not is_wrong(found, **whole)
    name, step = change
    found["bins"][-1][name] += step
    assert is_wrong(found, **whole)
