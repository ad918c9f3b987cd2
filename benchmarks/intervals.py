"""Seconds for the 95% intervals of accuracy and macro-F1 on RAF-DB's test split: ours against `scipy.stats.bootstrap`.

Both draw faces anew within each labelled class, equally often, and give BCa intervals. SciPy draws every face; ours
draws how often each outcome occurs.

Run: python benchmarks/intervals.py [--draws 10000] [--rounds 3]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from scipy.stats import bootstrap

from rafdb_vit.data.published import RAFDB
from rafdb_vit.evaluation.intervals import bootstrap as bootstrap_counts
from rafdb_vit.evaluation.metrics import AVERAGE_RATES, compute_rates

FIGURES = [AVERAGE_RATES.index(name) for name in ("accuracy", "macro_f1")]


def simulate() -> np.ndarray:
    """Returns a confusion matrix of RAF-DB's test faces, 80% of each class right."""
    shares = np.full((7, 7), 0.2 / 6)
    np.fill_diagonal(shares, 0.8)
    rng = np.random.default_rng(0)
    return np.stack([rng.multinomial(n, row) for n, row in zip(RAFDB["basic"].counts["test"], shares, strict=True)])


def measure(run: Callable[[], object]) -> float:
    """Returns how many seconds a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Runs both in turn and prints the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    confusion = simulate()
    labels, predicted = np.nonzero(confusion)
    samples = [np.repeat(np.arange(7), row) for row in confusion]

    def rates_of_counts(drawn: np.ndarray) -> np.ndarray:
        """Returns the figures of draws of counts."""
        matrices = np.zeros((len(drawn), 7, 7))
        matrices[:, labels, predicted] = drawn
        return compute_rates(matrices)[:, FIGURES]

    def rates_of_faces(*drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        """Returns the figures of draws of faces."""
        rows = [np.stack([(row == label).sum(axis) for label in range(7)], -1) for row in drawn]
        return np.moveaxis(compute_rates(np.stack(rows, -2))[..., FIGURES], -1, 0)

    def ours() -> object:
        """Draws counts."""
        counts = confusion[labels, predicted]
        return bootstrap_counts(counts, labels, rates_of_counts, width=49, draws=options.draws)

    def theirs() -> object:
        """Draws faces."""
        return bootstrap(samples, rates_of_faces, n_resamples=options.draws, batch=500, vectorized=True, rng=0)

    mine, scipys = [], []
    for round_ in range(options.rounds):
        mine.append(measure(ours))
        scipys.append(measure(theirs))
        print(f"round {round_ + 1}: ours {mine[-1]:.3f} s, scipy.stats.bootstrap {scipys[-1]:.1f} s")
    print(f"ratio of medians: {statistics.median(scipys) / statistics.median(mine):.0f}")


if __name__ == "__main__":
    main()
