import numpy as np
import pytest
from transformers import EvalPrediction

from rafdb_vit.data.labels import BASIC
from rafdb_vit.evaluation.results import EvaluationResult
from rafdb_vit.training.compute_metrics import ExpressionMetric, build_compute_metrics


def test_the_hook_gives_the_figures_of_the_result():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(60, 7)).astype(np.float32), rng.integers(0, 7, 60)
    compute = build_compute_metrics(BASIC.names)
    expected = EvaluationResult.from_logits(logits, labels, BASIC.names).flat()
    for _ in range(2):
        assert compute(EvalPrediction(predictions=logits, label_ids=labels)) == expected


def test_no_folder_is_made_for_it(monkeypatch):
    monkeypatch.setattr("os.makedirs", lambda *words, **more: pytest.fail("a folder was made"))
    assert ExpressionMetric("ab").compute(predictions=np.eye(2), references=np.array([0, 1]))["accuracy"] == 1.0
