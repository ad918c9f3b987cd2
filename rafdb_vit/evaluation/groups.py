"""Metrics for groups of people: accuracy and macro-F1 of each, with intervals, and the largest gap between two."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from rafdb_vit.data.found import NOT_GIVEN
from rafdb_vit.evaluation.intervals import MOST_OUTCOMES, as_pair, bootstrap_matrices, bootstrap_rates, count_draws
from rafdb_vit.evaluation.metrics import AVERAGE_RATES, compute_rates, count_confusions, rate_sums

FEW = 30
"""Groups with fewer faces are marked, and left out of the largest gap."""
_NO_GROUP = (NOT_GIVEN, "unsure")
"""Faces of which the group is not known; no gap is measured to them."""
_METRICS = ("accuracy", "macro_f1")
_PLACES = [AVERAGE_RATES.index(metric) for metric in _METRICS]


Confusions = Mapping[str, Mapping[str, Sequence[Sequence[int]]]]
"""For each attribute, such as `gender`, the confusion matrix [C, C] of each group, by its name."""


def count_groups(
    labels: np.ndarray, predicted: np.ndarray, classes: int, groups: Mapping[str, Sequence[str]]
) -> Confusions:
    """Counts the confusion matrix of each group, in their natural order.

    Args:
        labels: [N] label ids in [0, C).
        predicted: [N] predicted ids in [0, C).
        classes: C.
        groups: For each attribute, such as `gender`, the name of each face's group.
    """
    counted = {}
    for attribute, of_faces in groups.items():
        names = sorted(set(of_faces), key=_natural_order)
        ids = {name: i for i, name in enumerate(names)}
        own = np.array([ids[name] for name in of_faces])
        counted[attribute] = {
            name: count_confusions(labels[own == i], predicted[own == i], classes).tolist()
            for i, name in enumerate(names)
        }
    return counted


def score_groups(counted: Confusions) -> dict[str, Any]:
    """Computes accuracy and macro-F1 of each group.

    Macro-F1 is over the classes that a group has faces of; how many these are stands beside it. The number of draws of
    the intervals depends on how many outcomes all groups have together; of more than 50,000 there are no intervals.

    Args:
        counted: From `count_groups`.

    Returns:
        By attribute: `groups`, by name: `n`, `few` (fewer than 30 faces), `classes`, `accuracy` and `macro_f1` with
        their 95% intervals, and the `confusion_matrix`; and `largest_gap` between two groups that are known and not
        few, None where there are not two: for either metric the groups `between`, higher first, the `difference`, its
        `interval`, and of how many groups it is the largest. Macro-F1 is left out where groups have faces of different
        numbers of classes, and a metric that is the same for all groups.
    """
    matrices = {
        attribute: {name: np.asarray(matrix) for name, matrix in own.items()} for attribute, own in counted.items()
    }
    outcomes = sum(int(np.count_nonzero(matrix)) for own in matrices.values() for matrix in own.values())
    draws = count_draws(outcomes) if outcomes <= MOST_OUTCOMES else None
    return {attribute: _score_attribute(own, draws) for attribute, own in matrices.items()}


def find_wrong_group(counted: Confusions, confusion: Sequence[Sequence[int]]) -> str | None:
    """Returns an attribute whose groups, from `count_groups`, do not add up to `confusion`; None if all do."""
    for attribute, own in counted.items():
        if not np.array_equal(sum(map(np.asarray, own.values())), np.asarray(confusion)):
            return attribute
    return None


def _natural_order(name: str) -> tuple[bool, int, str]:
    """Puts 4-19 before 20-39, and what is not given last."""
    number = re.match(r"\d{1,9}", name)
    return (name == NOT_GIVEN, int(number[0]) if number else 0, name)


def _score_attribute(confusions: Mapping[str, np.ndarray], draws: int | None) -> dict[str, Any]:
    rows = {name: _score_group(confusion, draws) for name, confusion in confusions.items()}
    return {"groups": rows, "largest_gap": _find_gaps(rows, confusions, draws)}


def _score_group(confusion: np.ndarray, draws: int | None) -> dict[str, Any]:
    rates, written = compute_rates(confusion, only_present=True), confusion.tolist()
    ends = bootstrap_rates(written, only_present=True, draws=draws) if draws else None
    n = int(confusion.sum())
    row: dict[str, Any] = {"n": n, "few": n < FEW, "classes": int((confusion.sum(1) > 0).sum())}
    for metric, place in zip(_METRICS, _PLACES, strict=True):
        row |= {
            metric: float(rates[place]),
            f"{metric}_interval": None if ends is None else as_pair(ends[:, place]),
        }
    return {**row, "confusion_matrix": written}


def _find_gaps(
    rows: Mapping[str, Any], confusions: Mapping[str, np.ndarray], draws: int | None
) -> dict[str, Any] | None:
    compared = [name for name, row in rows.items() if not row["few"] and name not in _NO_GROUP]
    if len(compared) < 2:
        return None
    gaps: dict[str, Any] = {}
    for column, metric in enumerate(_METRICS):
        if metric == "macro_f1" and len({rows[name]["classes"] for name in compared}) > 1:
            continue
        best = max(compared, key=lambda name: rows[name][metric])
        worst = min(compared, key=lambda name: rows[name][metric])
        difference = rows[best][metric] - rows[worst][metric]
        if difference > 0:
            interval = None
            if draws:
                pair = (tuple(map(tuple, confusions[name].tolist())) for name in (best, worst))
                interval = as_pair(_bootstrap_gap(*pair, draws)[:, column])
            of = len(compared)
            gaps[metric] = {"between": [best, worst], "difference": difference, "interval": interval, "of": of}
    return gaps


@lru_cache(maxsize=64)
def _bootstrap_gap(one: tuple[tuple[int, ...], ...], other: tuple[tuple[int, ...], ...], draws: int) -> np.ndarray:
    """Returns [2, 2] the intervals of the differences of accuracy and macro-F1 of two groups, drawn independently."""

    def subtract(sums: np.ndarray) -> np.ndarray:
        """Returns the differences of draws [D, 2, 3, C]."""
        rates = rate_sums(sums, only_present=True)[..., _PLACES]
        return rates[:, 0] - rates[:, 1]

    return bootstrap_matrices(np.array([one, other]), subtract, draws=draws)
