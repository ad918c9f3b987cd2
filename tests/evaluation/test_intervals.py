import json

import numpy as np
import pytest
from scipy.stats import binomtest
from scipy.stats import bootstrap as scipy_bootstrap
from sklearn.metrics import f1_score

from rafdb_vit.evaluation.intervals import (
    DRAWS,
    METHOD,
    bootstrap,
    bootstrap_rates,
    count_draws,
    describe_intervals,
    describe_method,
)
from rafdb_vit.evaluation.metrics import AVERAGE_RATES, compute_rates

SUPPORTS = np.array([30, 12, 60])
SHARES = np.array([[0.8, 0.1, 0.1], [0.3, 0.5, 0.2], [0.05, 0.05, 0.9]])
CONFUSION = [[24, 2, 4], [4, 5, 3], [2, 4, 54]]


def simulate(rng):
    return np.stack([rng.multinomial(n, shares) for n, shares in zip(SUPPORTS, SHARES, strict=True)])


def test_intervals_are_scipys_for_several_samples():
    samples = [np.repeat(np.arange(3), row) for row in CONFUSION]

    def macro_f1(*drawn, axis=-1):
        matrices = np.stack([np.stack([(row == label).sum(axis) for label in range(3)], -1) for row in drawn], -2)
        return compute_rates(matrices)[..., AVERAGE_RATES.index("macro_f1")]

    theirs = scipy_bootstrap(samples, macro_f1, n_resamples=20_000, method="BCa", vectorized=True, rng=0)
    ours = bootstrap_rates(CONFUSION)[:, AVERAGE_RATES.index("macro_f1")]
    np.testing.assert_allclose(ours, theirs.confidence_interval, atol=0.006)


def test_a_pinned_case_is_scipys_and_not_the_percentiles():
    def share(drawn):
        return drawn[:, :1] / drawn.sum(1, keepdims=True)

    theirs = scipy_bootstrap(([1] * 24 + [0],), np.mean, n_resamples=10_000, method="BCa", rng=0).confidence_interval
    assert bootstrap([24, 1], [0, 0], share)[:, 0].tolist() == list(theirs) == [0.8, 1.0]
    percentiles = np.quantile(np.random.default_rng(0).binomial(25, 24 / 25, 10_000) / 25, [0.025, 0.975])
    assert percentiles[0] == 0.88


def test_a_skewed_metric_is_corrected_as_scipy_does():
    """Bias and acceleration both move the ends, by more than drawing does."""
    samples = [np.repeat([1, 0], (3, 27)), np.repeat([1, 0], (9, 11))]

    def ratio(first, second, axis=-1):
        return (first.mean(axis) + 0.1) / (second.mean(axis) + 0.01)

    def of_counts(drawn):
        return ((drawn[:, 0] / 30 + 0.1) / (drawn[:, 2] / 20 + 0.01))[:, None]

    theirs = scipy_bootstrap(samples, ratio, n_resamples=20_000, method="BCa", vectorized=True, rng=0)
    plain = scipy_bootstrap(samples, ratio, n_resamples=20_000, method="percentile", vectorized=True, rng=0)
    ours = bootstrap([3, 27, 9, 11], [0, 0, 1, 1], of_counts)[:, 0]
    np.testing.assert_allclose(ours, theirs.confidence_interval, rtol=0.04)
    assert abs(ours - plain.confidence_interval).max() > 0.05


def test_a_biased_metric_is_corrected_as_scipy_does():
    """How far a share is from a half: drawn anew, it is mostly further."""

    def distance(drawn, axis=-1):
        return abs(drawn.mean(axis) - 0.5)

    def of_counts(drawn):
        return abs(drawn[:, :1] / 200 - 0.5)

    samples = (np.repeat([1, 0], (103, 97)),)
    theirs = scipy_bootstrap(samples, distance, n_resamples=20_000, method="BCa", vectorized=True, rng=0)
    plain = scipy_bootstrap(samples, distance, n_resamples=20_000, method="percentile", vectorized=True, rng=0)
    low, high = bootstrap([103, 97], [0, 0], of_counts)[:, 0]
    assert (low, high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.0051)
    assert high < plain.confidence_interval.high - 0.015


def test_drawing_counts_is_drawing_faces():
    labels, predicted = (ids.ravel().repeat(np.ravel(CONFUSION)) for ids in np.indices((3, 3)))
    rng = np.random.default_rng(1)
    drawn, by_class = [], [np.flatnonzero(labels == label) for label in range(3)]
    for _ in range(800):
        rows = np.concatenate([rng.choice(own, len(own)) for own in by_class])
        drawn.append(f1_score(labels[rows], predicted[rows], average="macro"))
    spread = []
    counts, strata = np.ravel(CONFUSION), np.repeat(np.arange(3), 3)

    def keep(samples):
        rates = compute_rates(samples.reshape(-1, 3, 3))[:, [AVERAGE_RATES.index("macro_f1")]]
        spread.append(rates)
        return rates

    bootstrap(counts, strata, keep)
    assert len(spread[1]) == DRAWS
    assert spread[1].mean() == pytest.approx(np.mean(drawn), abs=0.01)
    assert spread[1].std() == pytest.approx(np.std(drawn), rel=0.12)


def test_nine_in_ten_and_more_hold_the_true_value():
    """At 95%, of 150 intervals 134 to 150 hold it, in all but one case in ten thousand."""
    truth, rng = compute_rates(SUPPORTS[:, None] * SHARES), np.random.default_rng(2)
    hits = np.zeros(len(truth))
    for _ in range(150):
        confusion = simulate(rng)
        counts, strata = confusion[confusion > 0], np.nonzero(confusion)[0]
        places = np.nonzero(confusion)

        def rates(drawn, places=places):
            matrices = np.zeros((len(drawn), 3, 3))
            matrices[:, *places] = drawn
            return compute_rates(matrices)

        low, high = bootstrap(counts, strata, rates, draws=600)
        hits += (low <= truth) & (truth <= high)
    fewest = next(k for k in range(150) if binomtest(k, 150, 0.95, alternative="less").pvalue > 1e-4)
    assert hits[: len(AVERAGE_RATES)].min() >= fewest > 130


def test_they_are_the_same_each_time_and_wider_for_fewer_faces():
    assert np.array_equal(bootstrap_rates(CONFUSION), bootstrap_rates([row[:] for row in CONFUSION]))
    many = bootstrap_rates((np.array(CONFUSION) * 25).tolist())
    width = bootstrap_rates(CONFUSION)[1] - bootstrap_rates(CONFUSION)[0]
    np.testing.assert_allclose(width / (many[1] - many[0]), 5, rtol=0.2)


def test_levels_nest():
    counts, strata = np.ravel(CONFUSION), np.repeat(np.arange(3), 3)

    def accuracy(drawn):
        return compute_rates(drawn.reshape(-1, 3, 3))[:, :1]

    wide, narrow = (bootstrap(counts, strata, accuracy, level=level)[:, 0] for level in (0.95, 0.5))
    assert wide[0] < narrow[0] < compute_rates(CONFUSION)[0] < narrow[1] < wide[1]


def test_where_nothing_can_be_known_there_is_no_interval():
    found = describe_intervals([[5, 0, 0], [0, 3, 1], [0, 0, 0]], ["a", "b", "absent"])
    assert found["per_class"]["a"] == {"precision": None, "recall": None, "f1": None}
    assert found["per_class"]["absent"] == {"precision": None, "recall": None, "f1": None}
    low, high = found["per_class"]["b"]["recall"]
    assert 0 <= low < 0.75 < high <= 1
    assert json.loads(json.dumps(found)) == found


def test_a_class_with_one_face_and_many_classes():
    assert describe_intervals([[1]], ["only"])["accuracy"] is None
    confusion = np.diag(np.full(60, 2)) + np.eye(60, k=1, dtype=int)
    low, high = bootstrap_rates(confusion.tolist())[:, 0]
    assert low < compute_rates(confusion)[0] < high


def test_sums_of_counts_are_drawn_as_the_counts_are():
    confusion = np.array([[5, 1, 0, 2], [0, 3, 4, 0], [1, 1, 9, 0], [0, 0, 0, 6]])
    places = np.nonzero(confusion)

    def rates(drawn):
        matrices = np.zeros((len(drawn), 4, 4))
        matrices[:, *places] = drawn
        return compute_rates(matrices)

    assert np.array_equal(bootstrap(confusion[places], places[0], rates), bootstrap_rates(confusion), equal_nan=True)


def test_very_many_outcomes_are_drawn_less_often_and_the_method_says_so():
    assert count_draws(1) == count_draws(2_500) == DRAWS and describe_method(2_500) == METHOD
    assert count_draws(5_000) == 5_000 and "5,000 draws" in describe_method(5_000)
    assert count_draws(10**6) == 2_000


def test_of_very_many_outcomes_there_are_none():
    matrix = np.ones((230, 230), dtype=int).tolist()
    assert np.isnan(bootstrap_rates(matrix)).all()
    assert describe_method(230**2).startswith("none; faces have 52,900 different outcomes")
