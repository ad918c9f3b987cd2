import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from rafdb_vit.evaluation.predictions import Predictions
from rafdb_vit.report.charts import draw_class_metrics, draw_history, draw_precision_recall, draw_reliability
from rafdb_vit.runtime.drawing import fold_name

NAMES = ("Surprise", "a $x$ & <b>", "absent")
HISTORY = [
    {"epoch": 1.0, "step": 2, "loss": 1.0},
    {"epoch": 1.0, "step": 2, "eval_loss": 1.1, "eval_accuracy": 0.5, "eval_macro_f1": 0.4},
    {"epoch": 2.0, "step": 4, "eval_loss": 0.9, "eval_accuracy": 0.6, "eval_macro_f1": 0.5},
]


@pytest.fixture(scope="module")
def predictions():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 80)
    logits = rng.normal(size=(80, 3))
    logits[np.arange(80), labels] += 1
    return Predictions([f"f{i}" for i in range(80)], labels, logits, NAMES)


def parse(svg):
    """Parses a chart; checks what all have."""
    root = ET.fromstring(svg)
    assert root.tag.endswith("svg") and root.get("role") == "img" and root.get("viewBox")
    assert root.get("width") is None
    assert not re.search(r"#[0-9a-f]{6}|https?://(?!www\.w3\.org)|<style", svg)
    ids = re.findall(r'\bid="([^"]*)"', svg)
    assert len(set(ids)) == len(ids) and all(target in ids for target in re.findall(r'(?:url\(|href=")#([^")]*)', svg))
    return root


def texts(root):
    return [element.text for element in root.iter() if element.tag.endswith("text") and element.text]


def test_class_metrics(predictions):
    root = parse(draw_class_metrics(predictions.score()))
    assert {"Surprise", "a $x$ & <b>"} <= set(texts(root)) and "absent" not in texts(root)
    assert f"Surprise {predictions.score().per_class['Surprise']['f1']:.2f}" in root.get("aria-label")


def test_reliability(predictions):
    calibration = predictions.score().calibration
    root = parse(draw_reliability(calibration))
    row = calibration["bins"][0]
    assert f"{row['from']:.2f} to {row['to']:.2f}: accuracy {row['accuracy']:.2f}, {row['n']} faces" in root.get(
        "aria-label"
    )


def test_bars_of_few_faces_are_empty():
    def fill(n):
        """Whether a bar of so many faces is filled."""
        row = {"from": 0.8, "to": 0.9, "n": n, "confidence": 0.85, "accuracy": 0.5}
        return "fill: var(--accuracy)" in draw_reliability({"bins": [row]})

    assert fill(30) and not fill(29)


def test_a_curve_ends_at_its_last_answer():
    predictions = Predictions(["a", "b", "c"], np.array([1, 0, 1]), np.array([[0, 3], [0, 2], [0, 1.0]]), NAMES[:2])
    svg, _ = draw_precision_recall(predictions, 0)
    (curve,) = re.findall(r'd="([^"]*)"[^>]*stroke-width: 1.6', svg)
    heights = [float(y) for y in re.findall(r"[ML] [\d.]+ ([\d.]+)", curve)]
    assert min(heights) == pytest.approx(72 * 2.4 * (0.05 + 0.76 / 2))  # precision 0.5, the best there is: not 1


def test_precision_by_recall(predictions):
    svg, average = draw_precision_recall(predictions, 0)
    expected = average_precision_score(predictions.labels == 0, predictions.probabilities[:, 0])
    assert average == pytest.approx(expected)
    assert f"average precision {average:.2f}" in parse(svg).get("aria-label")
    assert draw_precision_recall(predictions, 2) is None


def test_history():
    losses, rates = (parse(svg) for svg in draw_history(HISTORY, chosen_epoch=2.0))
    assert "train (augmented)" in texts(losses) and "macro-F1 on validation" in texts(rates)
    assert "epoch 2 was kept" in losses.get("aria-label")


def ticks(root):
    """The whole epochs that are written below a chart; other axes have decimals."""
    return [text for text in texts(root) if text.isdigit()]


@pytest.mark.parametrize(("first", "expected"), [(1.0, ["1", "2"]), (0.0, ["0", "1", "2"])])
def test_an_epoch_without_a_point_has_no_place(first, expected):
    history = [{"epoch": first, "step": 0, "eval_loss": 2.0, "eval_accuracy": 1.0, "eval_macro_f1": 0.0}, *HISTORY]
    for svg in draw_history(history, chosen_epoch=2.0):
        assert ticks(parse(svg)) == expected


def test_one_colour_has_one_meaning():
    losses, rates = draw_history(HISTORY, chosen_epoch=2.0)
    assert {"var(--train)", "var(--validation)"} <= {*re.findall(r"var\(--\w+\)", losses)}
    assert not {"var(--train)", "var(--validation)"} & {*re.findall(r"var\(--\w+\)", rates)}
    assert {"var(--accuracy)", "var(--f1)"} <= {*re.findall(r"var\(--\w+\)", rates)}


def test_points_on_the_edge_are_whole():
    history = [{"epoch": 1.0, "step": 1, "eval_loss": 0.0, "eval_accuracy": 1.0, "eval_macro_f1": 0.0}]
    for svg in draw_history(history, chosen_epoch=1.0):
        marked = [one for one in parse(svg).iter() if one.tag.endswith("use") and "clip-path" not in one.attrib]
        assert marked and not re.search(r'<g clip-path="[^"]*">\s*<use', svg)


def test_of_many_classes_the_weakest_are_drawn():
    labels = np.repeat(np.arange(30), 4)
    predicted = np.where(np.arange(120) % 4 < labels // 8, (labels + 1) % 30, labels)
    names = [f"{i:02d} {'long ' * 12}" for i in range(30)]
    predictions = Predictions([f"f{i}" for i in range(120)], labels, np.eye(30)[predicted] * 3, names)
    drawn = [text for text in texts(parse(draw_class_metrics(predictions.score()))) if "long" in text]
    assert len({text for text in drawn if text[:2].isdigit()}) == 20


@pytest.mark.parametrize(
    "name", ["\u9a5a\u304d", "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0633\u0639\u0627\u062f\u0629", "\U0001f922"]
)
def test_letters_that_the_font_lacks_are_no_warning(recwarn, predictions, name):
    result = Predictions(predictions.files, predictions.labels, predictions.logits, (name, "b", "c")).score()
    assert name in texts(parse(draw_class_metrics(result)))
    assert not recwarn.list


def test_the_same_each_time(predictions):
    assert draw_reliability(predictions.score().calibration) == draw_reliability(predictions.score().calibration)


def test_names_are_never_formulas(predictions):
    names = ("pay $5_$", "$\\frac{$", "_b\0")
    result = Predictions(predictions.files, predictions.labels, predictions.logits, names).score()
    root = parse(draw_class_metrics(result))
    assert {"pay $5_$", "$\\frac{$"} <= set(texts(root)) and "$\\frac{$ 0." in root.get("aria-label")
    assert "\0" not in draw_precision_recall(replace(predictions, names=names[::-1]), 0)[0]


@pytest.mark.parametrize("name", ["\u9a5a\u304d" * 20, "a class of a long name", "\u0633\u0639\u0627\u062f\u0629"])
def test_each_line_of_a_name_ends_at_the_axis_whatever_its_font(predictions, name):
    result = Predictions(predictions.files, predictions.labels, predictions.logits, (name, "b", "c")).score()
    lines = fold_name(name, 18, lines=3).split("\n")
    written = [one for one in parse(draw_class_metrics(result)).iter() if one.text in (*lines, "b")]
    assert len(written) == len(lines) + 1
    assert all("text-anchor: end" in one.get("style") for one in written)
    assert len({re.search(r"[\d.]+", one.get("transform") or one.get("x"))[0] for one in written}) == 1
