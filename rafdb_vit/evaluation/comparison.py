"""Two models on the same faces: differences with paired intervals, and McNemar's test."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rafdb_vit.evaluation.intervals import as_pair, bootstrap
from rafdb_vit.evaluation.metrics import AVERAGE_RATES, CLASS_FIGURES, compute_rates
from rafdb_vit.evaluation.predictions import Predictions
from rafdb_vit.runtime.errors import UserError, escape


@dataclass(frozen=True)
class Difference:
    """One figure of two models.

    Attributes:
        figure: Its name, such as `macro_f1` or `f1 of Fear`.
        first: Of the first model, in [0, 1].
        second: Of the second.
        interval: 95% interval of second - first; None where every draw gives the same.
    """

    figure: str
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
        rows = {row.figure: {**vars(row), "difference": row.difference} for row in self.differences}
        for row in rows.values():
            del row["figure"]
        names = ("both_right", "only_first", "only_second", "both_wrong", "p_value")
        return {"n": self.n, "figures": rows, "mcnemar": {name: getattr(self, name) for name in names}}

    def render(self, first: str, second: str) -> str:
        """Renders one table for people.

        Args:
            first: What the first model is called.
            second: What the second one is.
        """
        width = max(len(row.figure) for row in self.differences)
        lines = [
            f"A  {escape(first)}",
            f"B  {escape(second)}",
            f"{self.n:,} faces, the same for both",
            "",
            f"{'':{width}} {'A':>9} {'B':>9} {'B - A':>9}   95% interval",
        ]
        for row in self.differences:
            ends = "unknown" if row.interval is None else f"{row.interval[0]:+.4f} to {row.interval[1]:+.4f}"
            mark = "  *" if row.interval is not None and not row.interval[0] <= 0 <= row.interval[1] else ""
            rates = f"{row.first:>9.4f} {row.second:>9.4f} {row.difference:>+9.4f}"
            lines.append(f"{escape(row.figure):{width}} {rates}   {ends}{mark}")
        marked = any(line.endswith("*") for line in lines)
        note = "* the interval does not hold 0 (of several figures, one in twenty does so by chance)"
        return "\n".join(
            [
                *lines,
                "",
                *([note] if marked else []),
                f"Right: both {self.both_right:,}, A alone {self.only_first:,}, B alone {self.only_second:,}, neither "
                f"{self.both_wrong:,}. McNemar's exact test: p = {self.p_value:.4g}",
            ]
        )


def compare_predictions(first: Predictions, second: Predictions, *, names: tuple[str, str] = ("A", "B")) -> Comparison:
    """Compares two models on the faces that both were given, whatever their order.

    Intervals come from a bootstrap that draws faces, each with both answers, within each labelled class.

    Args:
        first: What the first model answers.
        second: What the second one does.
        names: What they are called in errors.

    Raises:
        UserError: The faces, their labels or the classes are not the same.
    """
    from scipy.stats import binomtest

    second = _align(first, second, names)
    labels, answers = first.labels, (first.predicted, second.predicted)
    right = [predicted == labels for predicted in answers]
    only_first, only_second = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    differing = only_first + only_second
    return Comparison(
        n=len(labels),
        differences=_find_differences(labels, *answers, first.names),
        both_right=int((right[0] & right[1]).sum()),
        only_first=only_first,
        only_second=only_second,
        both_wrong=int((~right[0] & ~right[1]).sum()),
        p_value=float(binomtest(only_first, differing).pvalue) if differing else 1.0,
    )


def _align(first: Predictions, second: Predictions, names: tuple[str, str]) -> Predictions:
    """Returns the second model's predictions with faces and classes in the order of the first."""
    if set(first.names) != set(second.names):
        differing = ", ".join(sorted(set(first.names) ^ set(second.names)))
        raise UserError(f"{names[1]}: its classes are not those of {names[0]} ({differing}); expected the same")
    places = {file: i for i, file in enumerate(second.files)}
    missing = next((file for file in first.files if file not in places), None)
    if missing is not None or len(places) != len(first.files):
        surplus = missing if missing is not None else next(iter(set(second.files) - set(first.files)))
        only = names[0] if missing is not None else names[1]
        raise UserError(
            f"{names[1]}: not the same faces as {names[0]} ({len(second.files):,} and {len(first.files):,}; {surplus} "
            f"only in {only}); evaluate both models on the same split of the same data"
        )
    order = np.array([places[file] for file in first.files])
    classes = [list(second.names).index(name) for name in first.names]
    labels = np.argsort(classes)[second.labels[order]]
    other = np.flatnonzero(labels != first.labels)
    if len(other):
        raise UserError(
            f"{names[1]}: {first.files[other[0]]} has another label than in {names[0]} ({len(other):,} do); "
            "evaluate both models on the same data"
        )
    return Predictions(first.files, labels, second.logits[order][:, classes], first.names)


def _find_differences(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray, names: Sequence[str]
) -> list[Difference]:
    from scipy.sparse import csr_array

    classes = len(names)
    outcomes, counts = np.unique(np.stack([labels, first, second]), axis=1, return_counts=True)
    rows, ones = np.arange(len(counts)), np.ones(len(counts))
    # Which cell of a model's confusion matrix each outcome counts in.
    cells = [(rows, outcomes[0] * classes + outcomes[1 + model]) for model in (0, 1)]
    cell_of = [csr_array((ones, cell), shape=(len(counts), classes**2)) for cell in cells]

    def rates(drawn: np.ndarray) -> np.ndarray:
        """Returns [D, 2, F] the rates of both models."""
        matrices = np.stack([drawn @ cell_of[model] for model in (0, 1)], axis=1)
        return compute_rates(matrices.reshape(len(drawn), 2, classes, classes))

    def differences(drawn: np.ndarray) -> np.ndarray:
        """Returns how much more the second model has."""
        both = rates(drawn)
        return both[:, 1] - both[:, 0]

    ends = bootstrap(counts, outcomes[0], differences, width=2 * classes**2)
    found = rates(counts[None])[0]
    f1 = len(AVERAGE_RATES) + CLASS_FIGURES.index("f1") * classes
    shown = {name: AVERAGE_RATES.index(name) for name in ("accuracy", "macro_f1")}
    shown |= {f"f1 of {name}": f1 + label for label, name in enumerate(names) if (labels == label).any()}
    return [
        Difference(name, float(found[0, place]), float(found[1, place]), as_pair(ends[:, place]))
        for name, place in shown.items()
    ]
