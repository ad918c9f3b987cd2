import numpy as np
import pytest
from PIL import Image

from rafdb_vit.data.labels import BASIC
from rafdb_vit.evaluation.results import EvaluationResult
from rafdb_vit.report.plots import plot_confusion_matrix, plot_learning_curves


@pytest.fixture
def result():
    rng = np.random.default_rng(0)
    labels = rng.integers(1, 7, 80)  # no face of the first class
    return EvaluationResult.from_logits(rng.normal(size=(80, 7)).astype(np.float32), labels, BASIC.names)


def coloured(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).reshape(-1, 3).std(0).min() > 5


def test_confusion_matrix(result, tmp_path):
    path = plot_confusion_matrix(result, tmp_path / "figures" / "c.png", title="Test")
    assert coloured(path)


@pytest.mark.parametrize("with_train", [True, False])
def test_learning_curves(tmp_path, with_train):
    history = []
    for epoch in (1.0, 2.0, 3.0):
        if with_train:
            history.append({"epoch": epoch, "loss": 2 / epoch, "step": epoch})
        history.append({"epoch": epoch, "eval_loss": 1.5, "eval_macro_f1": 0.3, "eval_accuracy": 0.4, "step": epoch})
    assert coloured(plot_learning_curves(history, tmp_path / "l.png", chosen_epoch=2.0))


def test_the_same_result_gives_the_same_bytes(result, tmp_path):
    first, second = (plot_confusion_matrix(result, tmp_path / f"{i}.png", title="Test") for i in range(2))
    assert first.read_bytes() == second.read_bytes()
