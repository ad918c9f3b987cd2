"""Charts of the page, as SVG that takes its colours from the page's style sheet, light or dark."""

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import escape as escape_html
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from rafdb_vit.evaluation.groups import FEW
from rafdb_vit.evaluation.predictions import Predictions
from rafdb_vit.evaluation.results import EvaluationResult
from rafdb_vit.report.plots import ACCURACY, F1, MUTED, TRAIN, VALIDATION, draw_losses, draw_rates
from rafdb_vit.runtime.drawing import drawing, fold_name
from rafdb_vit.runtime.errors import escape

MOST_CLASSES = 20
"""Of a chart; the weakest are shown."""
TEXT, GRID = "#000000", "#b0b0b0"
_VARIABLES = {
    TRAIN: "var(--train)",
    VALIDATION: "var(--validation)",
    ACCURACY: "var(--accuracy)",
    F1: "var(--f1)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    TEXT: "currentColor",
    "#ffffff": "var(--card)",
}
"""What replaces each colour in the SVG."""
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "rafdb_vit",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "savefig.transparent": True,
}


def rank_weakest(result: EvaluationResult) -> list[str]:
    """Returns the classes with faces, those first that the model tells worst."""
    known = [name for name, row in result.per_class.items() if row["support"]]
    return sorted(known, key=lambda name: result.per_class[name]["f1"])


def draw_class_metrics(result: EvaluationResult) -> str:
    """Draws each class's F1 with its interval, precision and recall beside it; of many classes, the weakest."""
    weakest = rank_weakest(result)[:MOST_CLASSES]
    names = [name for name in result.per_class if name in weakest]
    with drawing(_STYLE):
        folded = {name: fold_name(name, 18, lines=3).split("\n") for name in names}
        height = 0.9 + (0.4 if max(map(len, folded.values())) < 3 else 0.55) * len(names)
        figure = Figure(figsize=(3.9, height))
        axes = figure.add_axes((0.37, 0.75 / height, 0.6, 1 - 0.85 / height))
        places = np.arange(len(names))[::-1]
        for place, name in zip(places, names, strict=True):
            if ends := result.intervals["per_class"][name]["f1"]:
                axes.plot(ends, [place, place], color=F1, lw=4, alpha=0.6, solid_capstyle="round", clip_on=False)
        for metric, marker, colour in (("precision", "|", TEXT), ("recall", "x", TEXT), ("f1", "o", F1)):
            values = [result.per_class[name][metric] for name in names]
            label = "F1, 95% interval" if metric == "f1" else metric
            axes.plot(values, places, marker, color=colour, ms=7, mew=1.8, ls="", label=label, clip_on=False)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.7, len(names) - 0.3))
        axes.set_yticks(places, [""] * len(names))
        for place, name in zip(places, names, strict=True):
            _write_lines(axes, folded[name], place)
        axes.grid(axis="x", color=GRID, alpha=0.5)
        axes.set_axisbelow(True)
        spot: Any = {"loc": "upper center", "bbox_to_anchor": (0.27, 0), "columnspacing": 1, "handletextpad": 0.3}
        axes.legend(frameon=False, ncols=3, borderpad=2.2, fontsize=9, **spot)
        spoken = ", ".join(f"{name} {result.per_class[name]['f1']:.2f}" for name in names)
        return _to_svg(figure, f"F1 of each class: {spoken}. Intervals, precision and recall stand in the table above.")


def _write_lines(axes: Axes, lines: Sequence[str], place: float) -> None:
    """Writes the lines of a name beside its place on the left axis.

    Each line is a text of its own, of which the browser knows where it ends: matplotlib would reckon with the width
    that letters have in its own font.
    """
    for i, line in enumerate(lines):
        offset = 11 * ((len(lines) - 1) / 2 - i)  # points
        spot: Any = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "annotation_clip": False}
        axes.annotate(line, (0, place), xytext=(-7, offset), fontsize=9, va="center", ha="right", **spot)


_FILLED: Any = {"color": ACCURACY, "alpha": 0.5, "edgecolor": ACCURACY, "lw": 1, "label": f"{FEW} faces or more"}
_EMPTY: Any = {"color": "none", "edgecolor": MUTED, "lw": 0.8, "ls": ":", "label": "fewer"}


def draw_reliability(calibration: Mapping[str, Any]) -> str:
    """Draws accuracy by confidence, bin by bin, against the diagonal of a calibrated model; below, faces per bin.

    Bars of few faces are empty: they say little.

    Args:
        calibration: From `measure_calibration`.
    """
    bins = calibration["bins"]
    filled, empty = [row for row in bins if row["n"] >= FEW], [row for row in bins if row["n"] < FEW]
    with drawing(_STYLE):
        figure = Figure(figsize=(3.9, 4.2))
        axes, counts = figure.add_axes((0.22, 0.38, 0.74, 0.54)), figure.add_axes((0.22, 0.13, 0.74, 0.19))
        axes.plot([0, 1], [0, 1], color=TEXT, ls="--", lw=1, label="ideal")
        for rows, style in ((filled, _FILLED), (empty, _EMPTY)):
            lefts, widths = [row["from"] for row in rows], [row["to"] - row["from"] for row in rows]
            # A bar of height 0 would look like a bin without faces.
            accuracies, numbers = [max(row["accuracy"], 0.01) for row in rows], [row["n"] for row in rows]
            if rows:
                axes.bar(lefts, accuracies, widths, align="edge", **style)
                counts.bar(lefts, numbers, widths, align="edge", color=MUTED, alpha=0.6)
        axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="share that is right", xticklabels=[])
        spot: Any = {"loc": "lower center", "bbox_to_anchor": (0.42, 1), "columnspacing": 1}
        axes.legend(frameon=False, ncols=3, fontsize=8, handletextpad=0.4, **spot)
        counts.set(xlim=(0, 1), xlabel="probability that it gives its answer", ylabel="faces")
        counts.yaxis.set_major_formatter("{x:,.0f}")
        figure.align_ylabels()
        spoken = "; ".join(
            f"{row['from']:.2f} to {row['to']:.2f}: accuracy {row['accuracy']:.2f}, {row['n']} faces" for row in bins
        )
        return _to_svg(figure, f"Accuracy by confidence. {spoken}.")


def draw_precision_recall(predictions: Predictions, label: int) -> tuple[str, float] | None:
    """Draws precision by recall of one class, for every threshold on its probability.

    Args:
        predictions: Those of the model on a split.
        label: The class's id.

    Returns:
        The chart and the average precision; None if there is no face of the class.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve

    is_class, scores = predictions.labels == label, predictions.probabilities[:, label]
    if not is_class.any():
        return None
    precision, recall, _ = precision_recall_curve(is_class, scores, drop_intermediate=True)
    average = float(average_precision_score(is_class, scores))
    precision[-1] = precision[-2]  # at recall 0 scikit-learn adds a 1, where no answer is given
    with drawing(_STYLE):
        figure = Figure(figsize=(2.9, 2.4))
        axes = figure.add_axes((0.18, 0.19, 0.77, 0.76))
        axes.axhline(float(is_class.mean()), color=MUTED, ls=":", lw=1.2)
        axes.plot(recall, precision, color=TEXT, lw=1.6, drawstyle="steps-post", clip_on=False)
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.set_xlabel("recall", labelpad=2)
        axes.set_ylabel("precision", labelpad=2)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks((0, 0.5, 1), ("0", "0.5", "1"))
        name = predictions.names[label]
        return _to_svg(figure, f"Precision by recall of {name}: average precision {average:.2f}."), average


def draw_history(history: Sequence[Mapping[str, Any]], *, chosen_epoch: float) -> list[str]:
    """Draws the losses, and validation's accuracy and macro-F1, by epoch: two charts.

    Args:
        history: The Trainer's `state.log_history`.
        chosen_epoch: Epoch of the checkpoint that was kept.
    """
    last = max(row["epoch"] for row in history)
    kept = next((row for row in history if "eval_loss" in row and row["epoch"] == chosen_epoch), {})
    spoken = ", ".join(
        f"{words} {kept[name]:.3f}"
        for name, words in (("eval_loss", "loss"), ("eval_accuracy", "accuracy"), ("eval_macro_f1", "macro-F1"))
        if kept.get(name) is not None
    )
    charts = []
    for draw, words in ((draw_losses, "Losses on train and validation"), (draw_rates, "Validation accuracy, macro-F1")):
        with drawing(_STYLE):
            figure = Figure(figsize=(3.7, 3.1))
            axes = figure.add_axes((0.17, 0.16, 0.79, 0.6))
            draw(axes, history, chosen_epoch=chosen_epoch)
            axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(-0.1, 1), fontsize=9)
            end = f"by epoch, to epoch {last:.4g}; the checkpoint of epoch {chosen_epoch:.4g} was kept: {spoken}."
            charts.append(_to_svg(figure, f"{words} {end}"))
    return charts


def _to_svg(figure: Figure, words: str) -> str:
    """Returns a figure as an `svg` element; `words` are what a screen reader says in its place."""
    buffer = io.StringIO()
    canvas = FigureCanvasSVG(figure)
    canvas.print_svg(buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = buffer.getvalue()
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg[svg.index("<svg") :], flags=re.S)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg).replace("xlink:href", "href")
    own = hashlib.blake2b(words.encode(), digest_size=4).hexdigest()
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>chart-{own}-", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    head, body = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    return f'<svg class="chart" role="img" aria-label="{escape_html(escape(words))}" {box[0] if box else ""}>{body}'
