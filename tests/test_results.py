import json

import numpy as np
import pytest
import torch
from sklearn.metrics import classification_report

from rafdb_vit.errors import UserError
from rafdb_vit.labels import BASIC
from rafdb_vit.results import EvaluationResult, read_results, write_results


def random_result(n=200, seed=0, labels=None):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 7, n) if labels is None else labels
    logits = rng.normal(size=(n, 7)).astype(np.float32)
    logits[np.arange(n), labels] += 1
    return logits, labels, EvaluationResult.from_logits(logits, labels, BASIC.names)


def test_figures_equal_scikit_learns():
    logits, labels, result = random_result()
    report = classification_report(
        labels, logits.argmax(1), labels=range(7), target_names=BASIC.names, output_dict=True, zero_division=0
    )
    for name in BASIC.names:
        ours, theirs = result.per_class[name], report[name]
        assert list(ours.values()) == [theirs[k] for k in ("precision", "recall", "f1-score", "support")]
    assert result.accuracy == report["accuracy"]
    for average in ("macro", "weighted"):
        for figure, key in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            assert getattr(result, f"{average}_{figure}") == pytest.approx(report[f"{average} avg"][key], abs=1e-15)


def test_loss_is_torchs_cross_entropy():
    logits, labels, result = random_result()
    expected = torch.nn.functional.cross_entropy(torch.tensor(logits).double(), torch.tensor(labels))
    assert result.loss == pytest.approx(expected.item(), rel=1e-12)


def test_a_hand_worked_case():
    logits = np.eye(3, dtype=np.float32)[[0, 0, 1, 1]] * 10
    result = EvaluationResult.from_logits(logits, np.array([0, 1, 1, 1]), ["a", "b", "c"])
    assert result.confusion_matrix == [[1, 0, 0], [1, 2, 0], [0, 0, 0]]
    assert result.per_class["a"] == {"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "support": 1}
    assert result.per_class["b"] == {"precision": 1.0, "recall": 2 / 3, "f1": 0.8, "support": 3}
    assert result.per_class["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert result.macro_f1 == pytest.approx((2 / 3 + 0.8 + 0) / 3)
    assert result.accuracy == 0.75


def test_flat_scalars():
    _, _, result = random_result()
    flat = result.flat()
    assert flat["macro_f1"] == result.macro_f1
    assert flat["f1_fear"] == result.per_class["Fear"]["f1"]
    assert all(isinstance(value, float) for value in flat.values())
    assert len(flat) == 8 + 3 * 7


def test_report_has_the_form_of_scikit_learns():
    logits, labels, result = random_result()
    theirs = classification_report(labels, logits.argmax(1), labels=range(7), target_names=BASIC.names, digits=4)
    assert result.render_report().split() == theirs.split()


def test_written_results_are_read_back(tmp_path):
    _, _, first = random_result(seed=0)
    _, _, second = random_result(seed=1)
    path = write_results(tmp_path, validation=first, test=second, protocol={"seed": 1})
    assert read_results(tmp_path) == (first, second, {"seed": 1})
    assert set(json.loads(path.read_text())) == {"validation", "test", "protocol"}
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize("content", [None, "{", "{}", '{"validation": {"n": 1}, "test": {}, "protocol": {}}'])
def test_results_that_cannot_be_read(tmp_path, content):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(UserError, match="results.json"):
        read_results(tmp_path)
