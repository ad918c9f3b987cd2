"""Figures for groups of people: accuracy and macro-F1 of each, with intervals, and the largest gap between two."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rafdb_vit.data.found import NOT_GIVEN
from rafdb_vit.evaluation.intervals import as_pair, bootstrap, bootstrap_rates
from rafdb_vit.evaluation.metrics import AVERAGE_RATES, compute_rates

FEW = 30
"""Groups with fewer faces are marked, and left out of the largest gap."""
_NO_GROUP = (NOT_GIVEN, "unsure")
"""Those of whom nothing is known: no group that a gap would be to."""
_FIGURES = ("accuracy", "macro_f1")
_PLACES = [AVERAGE_RATES.index(figure) for figure in _FIGURES]


def score_groups(
    labels: np.ndarray, predicted: np.ndarray, classes: int, groups: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Computes accuracy and macro-F1 of each group; see `score_confusions`.

    Args:
        labels: [N] label ids in [0, C).
        predicted: [N] predicted ids in [0, C).
        classes: C.
        groups: For each attribute, such as `gender`, the name of each face's group.
    """
    confusions: dict[str, dict[str, np.ndarray]] = {}
    for attribute, written in groups.items():
        own = np.asarray(written)
        confusions[attribute] = {
            name: _count(labels[own == name], predicted[own == name], classes)
            for name in sorted(set(written), key=_natural_order)
        }
    return score_confusions(confusions)


def score_confusions(confusions: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Any]:
    """Computes accuracy and macro-F1 of each group from its confusion matrix.

    Macro-F1 is over the classes that a group has faces of: how many these are stands beside it.

    Args:
        confusions: [C, C] counts by group, by attribute.

    Returns:
        By attribute: `groups`, by name: `n`, `few` (fewer than 30 faces), `classes`, `accuracy` and `macro_f1` with
        their 95% intervals, and the `confusion_matrix`; and `largest_gap` between two groups that are known and not
        few, None where there are not two: for either figure the groups `between`, higher first, the `difference`, its
        `interval`, and of how many groups it is the largest. Macro-F1 is left out where groups have faces of different
        numbers of classes, and a figure that all share.
    """
    scored = {}
    for attribute, of_groups in confusions.items():
        rows = {name: _score_group(confusion) for name, confusion in of_groups.items()}
        scored[attribute] = {"groups": rows, "largest_gap": _find_gaps(rows, of_groups)}
    return scored


def score_again(scored: Mapping[str, Any]) -> dict[str, Any]:
    """Computes all figures of groups anew, from the confusion matrices that stand beside them.

    Args:
        scored: From `score_groups`, perhaps through a file.
    """
    return score_confusions(
        {
            attribute: {name: np.asarray(row["confusion_matrix"]) for name, row in content["groups"].items()}
            for attribute, content in scored.items()
        }
    )


def find_wrong_group(scored: Mapping[str, Any], confusion: Sequence[Sequence[int]]) -> str | None:
    """Returns an attribute whose groups do not add up to the whole; None if all do.

    Args:
        scored: From `score_groups`.
        confusion: [C, C] counts of all faces.
    """
    for attribute, content in scored.items():
        total = sum(np.asarray(row["confusion_matrix"]) for row in content["groups"].values())
        if not np.array_equal(total, np.asarray(confusion)):
            return attribute
    return None


def _natural_order(name: str) -> tuple[bool, int, str]:
    """Puts 4-19 before 20-39, and what is not given last."""
    number = re.match(r"\d{1,9}", name)
    return (name == NOT_GIVEN, int(number[0]) if number else 0, name)


def _count(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def _score_group(confusion: np.ndarray) -> dict[str, Any]:
    rates = compute_rates(confusion, only_present=True)
    ends = bootstrap_rates(confusion.tolist(), only_present=True)
    n = int(confusion.sum())
    row: dict[str, Any] = {"n": n, "few": n < FEW, "classes": int((confusion.sum(1) > 0).sum())}
    for figure, place in zip(_FIGURES, _PLACES, strict=True):
        row |= {figure: float(rates[place]), f"{figure}_interval": as_pair(ends[:, place])}
    return {**row, "confusion_matrix": confusion.tolist()}


def _find_gaps(rows: Mapping[str, Any], confusions: Mapping[str, np.ndarray]) -> dict[str, Any] | None:
    compared = [name for name, row in rows.items() if not row["few"] and name not in _NO_GROUP]
    if len(compared) < 2:
        return None
    gaps: dict[str, Any] = {}
    for column, figure in enumerate(_FIGURES):
        if figure == "macro_f1" and len({rows[name]["classes"] for name in compared}) > 1:
            continue
        best, worst = (choose(compared, key=lambda name: rows[name][figure]) for choose in (max, min))
        difference = rows[best][figure] - rows[worst][figure]
        if difference > 0:
            ends = as_pair(_bootstrap_gap(confusions[best], confusions[worst])[:, column])
            of = len(compared)
            gaps[figure] = {"between": [best, worst], "difference": difference, "interval": ends, "of": of}
    return gaps


def _bootstrap_gap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns [2, 2] the intervals of the differences of accuracy and macro-F1 of two groups, drawn apart."""
    pair = np.stack([one, other])
    group, label, predicted = np.nonzero(pair)

    def differences(drawn: np.ndarray) -> np.ndarray:
        """Returns the differences of draws."""
        matrices = np.zeros((len(drawn), *pair.shape))
        matrices[:, group, label, predicted] = drawn
        rates = compute_rates(matrices, only_present=True)[..., _PLACES]
        return rates[:, 0] - rates[:, 1]

    return bootstrap(pair[group, label, predicted], group * len(one) + label, differences, width=pair.size)
