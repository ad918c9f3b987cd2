"""Plots of a run: the confusion matrix and the learning curves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rafdb_vit.evaluation.results import EvaluationResult
from rafdb_vit.runtime.drawing import drawing, fit_name, fold_name, render_png

_MOST_CELLS, _MOST_TICKS, _MOST_PAIRS = 30, 60, 30
"""Classes whose cells hold counts, classes whose names stand at the axes, and pairs beside them."""
_NUMBERS = "A number is a class by its place in results.json: its name could not be drawn"
_LETTERS_OF_AN_INCH = 9
TRAIN, VALIDATION, ACCURACY, F1, MUTED = "#4477aa", "#cc6677", "#228833", "#aa3377", "#666666"
"""One colour, one meaning, in all charts: the two losses, accuracy, F1, and what stands beside them."""


def plot_confusion_matrix(result: EvaluationResult, *, title: str) -> bytes:
    """Draws a confusion matrix as PNG; a row is a labelled class, a column a predicted one.

    Counts and row shares stand in the cells. Of more than 30 classes only colours do, and beside them the pairs of
    classes that are confused most: the picture does not grow any further. A number, from 1, stands for a name that
    cannot be drawn with this machine's fonts.

    Args:
        result: Metrics of one split.
        title: Above the matrix.
    """
    counts = np.asarray(result.confusion_matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with drawing(texts=[*result.per_class, title]) as lettering:
        names = [
            fit_name(name) if lettering.draws(name) else str(number) for number, name in enumerate(result.per_class, 1)
        ]
        title = fit_name(lettering.show(title), 120)
        if not all(map(lettering.draws, result.per_class)):
            title = f"{title}\n{_NUMBERS}"
        draw = _draw_cells if len(names) <= _MOST_CELLS else _draw_overview
        return render_png(draw(names, counts, shares, title))


def _draw_cells(names: Sequence[str], counts: np.ndarray, shares: np.ndarray, title: str) -> Figure:
    """Draws a matrix with counts and row shares in its cells."""
    side = 1.6 + 0.85 * len(names)
    figure = Figure(figsize=(side + 0.8, side), dpi=120, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(counts.shape):
        colour = "white" if shares[row, column] > 0.55 else "black"
        text = f"{counts[row, column]}\n{shares[row, column]:.0%}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    labels = [f"{name} ({support})" for name, support in zip(names, counts.sum(axis=1), strict=True)]
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_yticks(range(len(names)), labels)
    axes.set(xlabel="Predicted", ylabel="Labelled (faces)")
    most = int(_LETTERS_OF_AN_INCH * (side + 0.8))
    figure.suptitle("\n".join(fold_name(line, most, lines=4) for line in title.split("\n")))
    figure.colorbar(image, label="Share of the labelled class", shrink=0.8)
    return figure


def _draw_overview(names: Sequence[str], counts: np.ndarray, shares: np.ndarray, title: str) -> Figure:
    """Draws a matrix in colours alone, and the most confused pairs beside it; its size is always the same."""
    width, height, left, bottom, side = 17, 10.5, 1.6, 1.35, 8.3  # inches
    figure = Figure(figsize=(width, height), dpi=120)
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    scale = figure.add_axes(((left + side + 0.3) / width, 2.5 / height, 0.25 / width, 6 / height))
    beside = figure.add_axes((11.6 / width, bottom / height, 5.1 / width, side / height))
    # The root shows single errors too, which are many and pale where there are many classes.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
    if len(names) <= _MOST_TICKS:
        axes.set_xticks(range(len(names)), [fit_name(name, 20) for name in names], rotation=90, fontsize=7)
        axes.set_yticks(range(len(names)), [fit_name(name, 20) for name in names], fontsize=7)
    else:
        axes.set(xticks=[], yticks=[])
    above = f"{title}\nRows: the {len(names)} labelled classes; columns: the predicted ones"
    axes.set_title(above, fontsize=11)
    figure.colorbar(image, cax=scale, label="Share of the labelled class")
    beside.axis("off")
    beside.set_title("Confused most often", loc="left")
    columns: list[list[str]] = [["Labelled", "taken for", "faces"]]
    columns += [[fit_name(names[row], 26), fit_name(names[column], 26), f"{n:,}"] for row, column, n in _rank(counts)]
    for place, column, edge in zip((0, 0.46, 1), zip(*columns, strict=True), ("left", "left", "right"), strict=True):
        for line, text in enumerate(column):
            weight = "normal" if line else "bold"
            beside.text(place, 0.98 - line * 0.031, text, ha=edge, va="top", fontsize=9, weight=weight)
    return figure


def _rank(counts: np.ndarray) -> list[tuple[int, int, int]]:
    """Returns the pairs of classes that are confused most often: labelled, predicted, faces."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_PAIRS]
    places = zip(*np.unravel_index(order, wrong.shape), strict=True)
    return [(int(row), int(column), int(wrong[row, column])) for row, column in places if wrong[row, column]]


def plot_learning_curves(history: Sequence[Mapping[str, Any]], *, chosen_epoch: float) -> bytes:
    """Draws the losses, and validation's accuracy and macro-F1, by epoch as PNG.

    Args:
        history: The Trainer's `state.log_history`.
        chosen_epoch: Epoch of the checkpoint that was kept, marked in both plots.
    """
    with drawing():
        figure = Figure(figsize=(11, 4), dpi=120, layout="constrained")
        losses, rates = figure.subplots(1, 2)
        draw_losses(losses, history, chosen_epoch=chosen_epoch)
        draw_rates(rates, history, chosen_epoch=chosen_epoch)
        losses.set_title("Loss")
        rates.set_title("Accuracy and macro-F1")
        return render_png(figure)


def draw_losses(axes: Axes, history: Sequence[Mapping[str, Any]], *, chosen_epoch: float) -> None:
    """Draws the losses on train and validation by epoch; see `plot_learning_curves` for the arguments."""
    _draw_curve(axes, history, "loss", label="train (augmented)", color=TRAIN)
    _draw_curve(axes, history, "eval_loss", label="validation", color=VALIDATION)
    axes.set_ylabel("loss (cross-entropy)")
    axes.set_ylim(0, 1.05 * axes.dataLim.y1 if np.isfinite(axes.dataLim.y1) and axes.dataLim.y1 > 0 else None)
    _finish_curves(axes, history, chosen_epoch)


def draw_rates(axes: Axes, history: Sequence[Mapping[str, Any]], *, chosen_epoch: float) -> None:
    """Draws validation's accuracy and macro-F1 by epoch; see `plot_learning_curves` for the arguments."""
    _draw_curve(axes, history, "eval_accuracy", label="accuracy on validation", color=ACCURACY)
    _draw_curve(axes, history, "eval_macro_f1", label="macro-F1 on validation", color=F1)
    axes.set(ylabel="score, from 0 to 1", ylim=(0, 1))
    _finish_curves(axes, history, chosen_epoch)


def _draw_curve(axes: Axes, history: Sequence[Mapping[str, Any]], metric: str, **style: Any) -> None:
    """Draws a metric by epoch, if it was logged; the line breaks where it is None, which stands for NaN."""
    rows = [row for row in history if metric in row]
    if rows:
        values = np.array([row[metric] for row in rows], dtype=np.float64)
        marker = "o" if sum("eval_loss" in row for row in history) < 40 else None
        axes.plot([row["epoch"] for row in rows], values, marker=marker, ms=3, clip_on=False, **style)


def _finish_curves(axes: Axes, history: Sequence[Mapping[str, Any]], chosen_epoch: float) -> None:
    axes.axvline(chosen_epoch, color=MUTED, ls="--", lw=1, label=f"chosen checkpoint (epoch {chosen_epoch:.4g})")
    epochs = [row["epoch"] for row in history] or [chosen_epoch]
    first, last = min(epochs), max(epochs)
    margin = 0.04 * (last - first) or 0.5
    axes.set_xlim(first - min(margin, first / 2), last + margin)  # no epoch 0, unless something was logged there
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
