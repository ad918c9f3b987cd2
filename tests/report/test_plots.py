import io
import warnings

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.text import Text
from PIL import Image

from rafdb_vit.data.labels import BASIC
from rafdb_vit.evaluation.results import EvaluationResult
from rafdb_vit.report.plots import plot_confusion_matrix, plot_learning_curves
from tests.support.fonts import have_only, write_font


@pytest.fixture
def result():
    rng = np.random.default_rng(0)
    labels = rng.integers(1, 7, 80)  # no face of the first class
    return EvaluationResult.from_logits(rng.normal(size=(80, 7)).astype(np.float32), labels, BASIC.names)


def coloured(png):
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture.convert("RGB")).reshape(-1, 3).std(0).min() > 5


def test_confusion_matrix(result):
    assert coloured(plot_confusion_matrix(result, title="Test"))


@pytest.mark.parametrize("with_train", [True, False])
def test_learning_curves(with_train):
    history = []
    for epoch in (1.0, 2.0, 3.0):
        if with_train:
            history.append({"epoch": epoch, "loss": 2 / epoch, "step": epoch})
        history.append({"epoch": epoch, "eval_loss": 1.5, "eval_macro_f1": 0.3, "eval_accuracy": 0.4, "step": epoch})
    assert coloured(plot_learning_curves(history, chosen_epoch=2.0))


def test_the_same_result_gives_the_same_bytes(result):
    first, second = (plot_confusion_matrix(result, title="Test") for i in range(2))
    assert first == second


DOLLARS = ("pay $5_$", "$\\frac{$", "_hidden", r"a\$b", "$x$ $", "a\nb\0", "x" * 500, "$", "\u9a5a")


def test_names_are_never_formulas(recwarn):
    labels = np.arange(45) % 9
    result = EvaluationResult.from_predictions(labels, labels[::-1], DOLLARS, loss=1.0)
    assert coloured(plot_confusion_matrix(result, title="Test faces, $\\frac{$"))
    names = [f"{DOLLARS[i % 9]}{i}" for i in range(33)]
    result = EvaluationResult.from_predictions(np.arange(33), np.arange(33)[::-1], names, loss=1.0)
    assert coloured(plot_confusion_matrix(result, title="$"))
    assert not recwarn.list


def test_an_unknown_setting_of_the_machine_changes_nothing(result):
    first = plot_confusion_matrix(result, title="$ $")
    with rc_context({"text.parse_math": True, "axes.formatter.use_mathtext": True}):
        second = plot_confusion_matrix(result, title="$ $")
    assert first == second


@pytest.mark.parametrize("classes", [31, 61, 500])
def test_pictures_of_many_classes_have_one_size(monkeypatch, classes):
    drawn = []
    monkeypatch.setattr(Axes, "text", lambda self, x, y, text, **style: drawn.append(text))
    labels = np.repeat(np.arange(classes), 3)
    predicted = np.where(np.arange(3 * classes) < 6, 2, labels)
    names = [f"class {i}" for i in range(classes)]
    result = EvaluationResult.from_predictions(labels, predicted, names, loss=1.0)
    with Image.open(io.BytesIO(plot_confusion_matrix(result, title="Test"))) as picture:
        assert picture.size == (2040, 1260)
    assert drawn == ["Labelled", "class 0", "class 1", "taken for", "class 2", "class 2", "faces", "3", "3"]


CHINESE = ("\u9a5a\u304d", "\u6050\u6016", "Disgust")


@pytest.fixture
def written(monkeypatch):
    """Every text that is drawn."""
    texts = []
    draw = Text.draw
    monkeypatch.setattr(Text, "draw", lambda self, *words: texts.append(self.get_text()) or draw(self, *words))
    return texts


def of_classes(names):
    labels = np.repeat(np.arange(len(names)), 3)
    return EvaluationResult.from_predictions(labels, labels, names, loss=1.0)


@pytest.mark.parametrize("copies", [1, 12])
def test_names_that_no_font_has_are_numbers(monkeypatch, written, copies):
    have_only(monkeypatch)
    names = [f"{name} {i}" if copies > 1 else name for i in range(copies) for name in CHINESE]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert coloured(plot_confusion_matrix(of_classes(names), title=f"Test faces, {CHINESE[0]}"))
    everything = "\n".join(written)
    assert everything.isascii() and "Test faces, \\u9a5a\\u304d" in everything
    assert "A number is a class by its place in results.json" in everything.replace("\n", " ")
    shown = [text.split(" (")[0] for text in written]
    assert {"1", "2", names[2]} <= {*shown} and "3" not in shown


def test_names_are_drawn_where_a_font_has_them(monkeypatch, tmp_path, written):
    have_only(monkeypatch, write_font(tmp_path / "h.ttf", "Han Test", "".join({*"".join(CHINESE[:2])})))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert coloured(plot_confusion_matrix(of_classes(CHINESE), title="Test"))
    assert {*CHINESE} <= {*written} and not any("number" in text for text in written)


@pytest.mark.parametrize("name", ["a class of a long name, {}", "\u9a5a\u304d\u9a5a\u304d\u9a5a\u304d {}"])
@pytest.mark.parametrize("classes", [2, 50])
def test_nothing_reaches_beyond_the_picture(classes, name):
    names = [name.format(i) for i in range(classes)]
    with Image.open(
        io.BytesIO(plot_confusion_matrix(of_classes(names), title="Test faces, " + "long " * 20))
    ) as picture:
        pixels = np.asarray(picture.convert("L"))
    edges = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    assert all((edge == 255).all() for edge in edges)
