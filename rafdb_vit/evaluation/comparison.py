"""Two models on the same faces: differences with paired intervals, and McNemar's test."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rafdb_vit.evaluation.intervals import as_pair, bootstrap
from rafdb_vit.evaluation.metrics import name_rates, rate_sums, sum_cells
from rafdb_vit.evaluation.predictions import Predictions
from rafdb_vit.runtime.errors import UserError, escape
from rafdb_vit.runtime.text_width import measure_width, pad_right

_MOST_NAMED = 12
"""Of the classes that two models do not share."""


@dataclass(frozen=True)
class Difference:
    """One metric of two models.

    Attributes:
        metric: Its name, such as `macro_f1` or `f1 of Fear`.
        first: Of the first model, in [0, 1].
        second: Of the second.
        interval: 95% interval of second - first; None where every draw gives the same.
    """

    metric: str
    first: float
    second: float
    interval: list[float] | None

    @property
    def difference(self) -> float:
        """How much more the second model has."""
        return self.second - self.first


@dataclass(frozen=True)
class Comparison:
    """Two models on the same faces.

    Attributes:
        n: Number of faces.
        differences: Accuracy, macro-F1 and the F1 of each class.
        both_right: Faces that both models get right.
        only_first: That the first alone does.
        only_second: That the second alone does.
        both_wrong: That neither does.
        p_value: Of McNemar's exact test: how likely it is that the two numbers in between differ so much by chance, if
            both models are right equally often.
    """

    n: int
    differences: list[Difference]
    both_right: int
    only_first: int
    only_second: int
    both_wrong: int
    p_value: float

    def describe(self) -> dict[str, Any]:
        """Returns the comparison for programs, as it stands in JSON."""
        columns = ("first", "second", "interval", "difference")
        rows = {row.metric: {name: getattr(row, name) for name in columns} for row in self.differences}
        test = ("both_right", "only_first", "only_second", "both_wrong", "p_value")
        return {"n": self.n, "figures": rows, "mcnemar": {name: getattr(self, name) for name in test}}

    def render(self, first: str, second: str) -> str:
        """Renders one table for people; `first` and `second` are what the models are called."""
        width = max(measure_width(escape(row.metric)) for row in self.differences)
        lines = [f"A  {escape(first)}", f"B  {escape(second)}", f"{self.n:,} faces, the same for both", ""]
        lines.append(f"{'':{width}} {'A':>9} {'B':>9} {'B - A':>9}   95% interval")
        for row in self.differences:
            ends = "unknown" if row.interval is None else f"{row.interval[0]:+.4f} to {row.interval[1]:+.4f}"
            mark = "  *" if row.interval is not None and not row.interval[0] <= 0 <= row.interval[1] else ""
            rates = f"{row.first:>9.4f} {row.second:>9.4f} {row.difference:>+9.4f}"
            lines.append(f"{pad_right(escape(row.metric), width)} {rates}   {ends}{mark}")
        lines.append("")
        if any(line.endswith("*") for line in lines):
            lines.append("* the interval does not hold 0 (of several metrics, one in twenty does so by chance)")
        lines.append(
            f"Right: both {self.both_right:,}, A alone {self.only_first:,}, B alone {self.only_second:,}, neither "
            f"{self.both_wrong:,}. McNemar's exact test: p = {self.p_value:.4g}"
        )
        return "\n".join(lines)


def compare_predictions(first: Predictions, second: Predictions, *, names: tuple[str, str] = ("A", "B")) -> Comparison:
    """Compares two models on the faces that both were given, whatever their order.

    Intervals come from a bootstrap that draws faces, each with both predictions, within each labelled class.

    Args:
        first: Predictions of the first model.
        second: Predictions of the second one.
        names: What they are called in errors.

    Raises:
        UserError: The faces, their labels or the classes are not the same.
    """
    from scipy.stats import binomtest

    second = _align(first, second, names)
    first_right, second_right = first.predicted == first.labels, second.predicted == first.labels
    counts = np.bincount(2 * first_right + second_right, minlength=4).tolist()
    both_wrong, only_second, only_first, both_right = counts
    differing = only_first + only_second
    return Comparison(
        n=len(first.labels),
        differences=_find_differences(first.labels, first.predicted, second.predicted, first.names),
        both_right=both_right,
        only_first=only_first,
        only_second=only_second,
        both_wrong=both_wrong,
        p_value=float(binomtest(only_first, differing).pvalue) if differing else 1.0,
    )


def _align(first: Predictions, second: Predictions, names: tuple[str, str]) -> Predictions:
    """Returns the second model's predictions with faces and classes in the order of the first."""
    if set(first.names) != set(second.names):
        differing = sorted(set(first.names) ^ set(second.names))
        others = f" and {len(differing) - _MOST_NAMED:,} others" if len(differing) > _MOST_NAMED else ""
        listed = ", ".join(f"{name:.80}" for name in differing[:_MOST_NAMED]) + others
        raise UserError(f"{names[1]}: its classes are not those of {names[0]} ({listed}); expected the same")
    places, known = {file: i for i, file in enumerate(second.files)}, set(first.files)
    lacking = [file for file in first.files if file not in places]
    if lacking or len(places) != len(first.files):
        unmatched = lacking or [file for file in second.files if file not in known]
        raise UserError(
            f"{names[1]}: not the same faces as {names[0]} ({len(second.files):,} and {len(first.files):,}; "
            f"{unmatched[0]:.200} only in {names[0] if lacking else names[1]}); evaluate both models on the same "
            "split of the same data"
        )
    order = np.array([places[file] for file in first.files])
    classes = [list(second.names).index(name) for name in first.names]
    labels = np.argsort(classes)[second.labels[order]]
    other = np.flatnonzero(labels != first.labels)
    if len(other):
        raise UserError(
            f"{names[1]}: {first.files[other[0]]:.200} has another label than in {names[0]} ({len(other):,} do); "
            "evaluate both models on the same data"
        )
    return Predictions(first.files, labels, second.logits[order][:, classes], first.names)


def _find_differences(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray, names: Sequence[str]
) -> list[Difference]:
    """Compares the predicted ids of two models."""
    from scipy.sparse import csr_array, hstack

    classes = len(names)
    outcomes, counts = np.unique(np.stack([labels, first, second]), axis=1, return_counts=True)
    own = [sum_cells(outcomes[0], predicted, classes) for predicted in outcomes[1:]]
    sums = csr_array(hstack(own))

    def rate(drawn: np.ndarray) -> np.ndarray:
        """Returns [D, 2, F] the rates of both models."""
        return rate_sums(drawn.reshape(len(drawn), 2, 3, classes))

    def subtract(drawn: np.ndarray) -> np.ndarray:
        """Returns how much more the second model has."""
        rates = rate(drawn)
        return rates[:, 1] - rates[:, 0]

    ends = bootstrap(counts, outcomes[0], subtract, sums=sums)
    rates = rate((counts @ sums)[None])[0].tolist()
    found = name_rates(list(zip(*rates, map(as_pair, ends.T), strict=True)), names)
    shown = {"accuracy": found["accuracy"], "macro_f1": found["macro_f1"]}
    shown |= {f"f1 of {name}": found["per_class"][name]["f1"] for i, name in enumerate(names) if (labels == i).any()}
    return [Difference(name, *values) for name, values in shown.items()]
