"""Bootstrap intervals of metrics that follow from counts.

Faces are drawn anew within each stratum, such as a labelled class. How often each outcome is then drawn has a
multinomial distribution, so that 10,000 draws of a whole test split take a fraction of a second. Intervals are
bias-corrected and accelerated (BCa; Efron, 1987, "Better Bootstrap Confidence Intervals"), with the acceleration of
`scipy.stats.bootstrap` for several samples: of the plain percentiles, as few as 85% hold the true value where a class
has ten faces.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from rafdb_vit.evaluation.metrics import name_rates, rate_sums, sum_cells

if TYPE_CHECKING:
    from scipy.sparse import csr_array

LEVEL = 0.95
DRAWS = 10_000
FEWEST_DRAWS = 2_000
"""Of matrices with very many outcomes; the ends of intervals are then a little less sure."""
SEED = 0
_MOST_DRAWN = 25_000_000
"""Counts that are drawn for one bootstrap, where that leaves `FEWEST_DRAWS`; they take a second or two."""
MOST_OUTCOMES = 50_000
"""Of more, no intervals are computed: that would take minutes. Faces have at most as many as there are faces."""
_AT_ONCE = 2_000_000
"""Numbers of a statistic's input that are in memory together."""
Statistic = Callable[[np.ndarray], np.ndarray]
"""From D draws of counts, or of sums of counts, [D, W], to [D, F] metrics."""


def count_draws(outcomes: int) -> int:
    """Returns how often faces are drawn anew where they have that many different outcomes."""
    return max(FEWEST_DRAWS, min(DRAWS, _MOST_DRAWN // max(outcomes, 1)))


def describe_method(outcomes: int = 1) -> str:
    """Returns in words how the intervals of faces with that many different outcomes are computed."""
    if outcomes > MOST_OUTCOMES:
        return f"none; faces have {outcomes:,} different outcomes, and intervals are of {MOST_OUTCOMES:,} at most"
    draws = count_draws(outcomes)
    return f"{LEVEL:.0%}, BCa bootstrap within each labelled class, {draws:,} draws, seed {SEED}"


METHOD = describe_method()
"""For all but matrices of very many outcomes."""


def bootstrap(
    counts: Sequence[int] | np.ndarray,
    strata: Sequence[int] | np.ndarray,
    statistic: Statistic,
    *,
    sums: "csr_array | None" = None,
    width: int = 1,
    draws: int | None = None,
    level: float = LEVEL,
) -> np.ndarray:
    """Returns the intervals of metrics of counted outcomes.

    Memory grows with the number of sums and of metrics, not with that of outcomes.

    Args:
        counts: [K] how many faces have each outcome, each more than 0.
        strata: [K] the stratum of each outcome; the number of faces in each stratum stays as it is.
        statistic: From [D, W] sums of counts to [D, F] metrics.
        sums: [K, W] what each outcome adds to each sum; None where the statistic is of the K counts themselves.
        width: Numbers that `statistic` makes of one draw on its way, which limits how many draws it gets at once.
        draws: How often faces are drawn anew; None for what `count_draws` says.
        level: Share of such intervals that hold the true value, in (0, 1).

    Returns:
        [2, F] lower and upper ends; NaN where every draw gives the same value, which says nothing of how far it varies,
        and where there are more than `MOST_OUTCOMES`.
    """
    from scipy.sparse import csr_array, eye_array

    counts, strata = np.asarray(counts), np.asarray(strata)
    sums = csr_array(eye_array(len(counts), dtype=np.int32)) if sums is None else sums
    size, whole = max(1, _AT_ONCE // max(width, sums.shape[1])), (counts @ sums)[None]
    estimate = next(_apply(statistic, whole, 1))[0]
    if len(counts) > MOST_OUTCOMES:
        return np.full((2, len(estimate)), np.nan)
    strata_of_outcomes = [np.flatnonzero(strata == stratum) for stratum in np.unique(strata)]
    drawn = _draw(counts, strata_of_outcomes, sums, draws or count_draws(len(counts)))
    samples = np.concatenate(list(_apply(statistic, drawn.T, size)))
    cubes, squares = np.zeros(len(estimate)), np.zeros(len(estimate))
    for own in strata_of_outcomes:
        rows = (sums[own[i : i + size]].toarray() for i in range(0, len(own), size))
        without = np.concatenate([next(_apply(statistic, whole - block, size)) for block in rows])
        _add_influence(counts[own, None], without, cubes=cubes, squares=squares)
    acceleration = np.divide(cubes, 6 * squares**1.5, out=np.zeros_like(cubes), where=squares > 1e-18)
    return _cut(samples, estimate, acceleration, level)


def _draw(counts: np.ndarray, strata: Sequence[np.ndarray], sums: "csr_array", draws: int) -> np.ndarray:
    """Returns [W, D] sums of counts drawn anew, one stratum after the other; `strata` are the outcomes of each."""
    generator = np.random.default_rng(SEED)
    drawn = np.zeros((sums.shape[1], draws), dtype=np.int32)
    for own in strata:
        of_outcomes = generator.multinomial(counts[own].sum(), counts[own] / counts[own].sum(), size=draws)
        part = sums[own]
        touched = np.unique(part.indices)
        drawn[touched] += part[:, touched].T @ of_outcomes.T
    return drawn


def _apply(statistic: Statistic, counts: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yields the metrics of `size` draws at a time.

    They are rounded: equal counts give equal metrics, in whatever order they are added.
    """
    for i in range(0, len(counts), size):
        yield statistic(np.ascontiguousarray(counts[i : i + size])).round(12)


def _add_influence(weights: np.ndarray, without: np.ndarray, *, cubes: np.ndarray, squares: np.ndarray) -> None:
    """Adds what the outcomes of a stratum do to the acceleration, from the metrics `without` [K, F] a face of each."""
    total = weights.sum()
    influence = (total - 1) * ((weights * without).sum(0) / total - without)
    cubes += (weights * influence**3).sum(0) / total**3
    squares += (weights * influence**2).sum(0) / total**2


def _cut(samples: np.ndarray, estimate: np.ndarray, acceleration: np.ndarray, level: float) -> np.ndarray:
    """Returns [2, F] the ends: quantiles of the draws, corrected for bias and acceleration."""
    from scipy.special import ndtr, ndtri  # which takes longer to import than many commands to end

    draws = len(samples)
    below = ((samples < estimate).sum(0) + 0.5 * (samples == estimate).sum(0)) / draws
    bias = ndtri(below.clip(1 / draws, 1 - 1 / draws))
    tails = ndtri(np.array([[(1 - level) / 2], [(1 + level) / 2]]))
    shares = ndtr(bias + (bias + tails) / (1 - acceleration * (bias + tails)))
    ordered = np.sort(samples, axis=0)
    places = shares * (draws - 1)
    places = np.stack([np.floor(places[0]), np.ceil(places[1])]).astype(int)
    return np.where(ordered[0] == ordered[-1], np.nan, np.take_along_axis(ordered, places, axis=0))


def as_pair(ends: np.ndarray) -> list[float] | None:
    """Returns lower and upper end as they stand in JSON; None where the bootstrap cannot tell them."""
    return None if np.isnan(ends).any() else ends.tolist()


def bootstrap_matrices(counts: np.ndarray, statistic: Statistic, *, draws: int | None = None) -> np.ndarray:
    """Returns the intervals of metrics of confusion matrices, of which each row is drawn anew.

    Args:
        counts: [..., C, C] counts of one or several matrices; rows are the labelled classes.
        statistic: From [D, ..., 3, C] sums, as `rafdb_vit.evaluation.metrics.sum_matrices` gives them, to [D, F].
        draws: See `bootstrap`.
    """
    classes, places = counts.shape[-1], np.flatnonzero(counts)
    shape = (*counts.shape[:-2], 3, classes)

    def of_sums(drawn: np.ndarray) -> np.ndarray:
        """Returns the metrics of draws [D, W] of the sums."""
        return statistic(drawn.reshape(-1, *shape))

    matrix, labels, predicted = np.unravel_index(places, (counts.size // classes**2, classes, classes))
    sums = sum_cells(labels, predicted, classes, matrix=matrix, matrices=counts.size // classes**2)
    return bootstrap(counts.ravel()[places], places // classes, of_sums, sums=sums, draws=draws)


def bootstrap_rates(
    confusion: Sequence[Sequence[int]], *, only_present: bool = False, draws: int | None = None
) -> np.ndarray:
    """Returns [2, 7 + 3 C] the intervals of the rates of one confusion matrix; see `rate_sums` and `bootstrap`."""
    return _bootstrap_rates(tuple(map(tuple, confusion)), only_present, draws)


@lru_cache(maxsize=64)
def _bootstrap_rates(confusion: tuple[tuple[int, ...], ...], only_present: bool, draws: int | None) -> np.ndarray:
    return bootstrap_matrices(np.asarray(confusion), partial(rate_sums, only_present=only_present), draws=draws)


def describe_intervals(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> dict[str, Any]:
    """Returns the intervals of every rate by name, those of classes under `per_class`, as they stand in JSON.

    A class without faces has none.
    """
    return name_rates([as_pair(ends) for ends in bootstrap_rates(confusion).T], names)
