import json

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import accuracy_score, f1_score

from rafdb_vit.evaluation.comparison import compare_predictions
from rafdb_vit.evaluation.predictions import Predictions
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.text_width import measure_width

NAMES = ("a", "b", "c")
LABELS = np.random.default_rng(0).integers(0, 3, 300)


def answer(predicted, labels=LABELS, names=NAMES, files=None):
    files = [f"f{i}" for i in range(len(labels))] if files is None else files
    return Predictions(files, np.asarray(labels), np.eye(len(names))[predicted] * 5, names)


def noisy(share, seed):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(300) < share, LABELS, rng.integers(0, 3, 300))


def reorder(predictions, order, classes=(0, 1, 2)):
    """The same predictions, faces and classes in another order."""
    classes = list(classes)
    return Predictions(
        [predictions.files[i] for i in order],
        np.argsort(classes)[predictions.labels[order]],
        predictions.logits[order][:, classes],
        [predictions.names[i] for i in classes],
    )


@pytest.fixture(scope="module")
def compared():
    return compare_predictions(answer(noisy(0.5, 1)), answer(noisy(0.7, 2)))


def test_metrics_are_scikit_learns_and_differences_theirs(compared):
    rows = {row.metric: row for row in compared.differences}
    assert list(rows) == ["accuracy", "macro_f1", "f1 of a", "f1 of b", "f1 of c"]
    first, second = noisy(0.5, 1), noisy(0.7, 2)
    assert rows["accuracy"].first == pytest.approx(accuracy_score(LABELS, first))
    assert rows["accuracy"].second == pytest.approx(accuracy_score(LABELS, second))
    assert rows["macro_f1"].second == pytest.approx(f1_score(LABELS, second, average="macro"))
    assert rows["f1 of b"].first == pytest.approx(f1_score(LABELS, first, average=None)[1])
    for row in rows.values():
        assert row.difference == row.second - row.first
        assert row.interval[0] < row.difference < row.interval[1]


def test_mcnemars_test_by_hand(compared):
    first, second = noisy(0.5, 1) == LABELS, noisy(0.7, 2) == LABELS
    only_first, only_second = (first & ~second).sum(), (second & ~first).sum()
    assert (compared.only_first, compared.only_second) == (only_first, only_second)
    assert compared.both_right + compared.both_wrong + only_first + only_second == compared.n == 300
    tail = 2 * binom.cdf(min(only_first, only_second), only_first + only_second, 0.5)
    assert compared.p_value == pytest.approx(tail)


def test_the_interval_is_of_pairs_not_of_two_samples():
    """Two models that differ on 12 faces of 300: the interval is that of the 12, not of 600 answers."""
    first = LABELS.copy()
    first[:60] = (first[:60] + 1) % 3
    second = first.copy()
    second[:12] = LABELS[:12]
    row = compare_predictions(answer(first), answer(second)).differences[0]
    share = 12 / 300
    error = 1.96 * np.sqrt(share * (1 - share) / 300)
    assert row.difference == pytest.approx(share)
    assert row.interval == pytest.approx([share - error, share + error], abs=0.01)


def test_faces_are_drawn_within_each_class():
    """Where each class has one outcome, drawing within it changes nothing, whatever the mix of classes."""
    labels = np.array([0] * 30 + [1] * 50)
    row = compare_predictions(answer(labels, labels), answer(np.zeros(80, dtype=int), labels)).differences[0]
    assert row.difference == pytest.approx(-50 / 80) and row.interval is None


def test_many_classes_are_compared_in_seconds():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 60, 1500)
    names = [f"c{i}" for i in range(60)]
    answers = [answer(np.where(rng.random(1500) < 0.8, labels, rng.integers(0, 60, 1500)), labels, names) for _ in "ab"]
    assert len(compare_predictions(*answers).differences) == 62


def test_the_order_of_faces_and_classes_is_nothing(compared):
    first, second = answer(noisy(0.5, 1)), answer(noisy(0.7, 2))
    shuffled = reorder(second, np.random.default_rng(3).permutation(300), classes=(2, 0, 1))
    assert compare_predictions(first, shuffled) == compared


def test_the_same_model_twice():
    first = answer(noisy(0.5, 1))
    compared = compare_predictions(first, first)
    assert compared.p_value == 1.0 and compared.only_first == compared.only_second == 0
    assert all(row.difference == 0 and row.interval is None for row in compared.differences)
    assert "*" not in compared.render("a", "b")


def test_other_faces_labels_or_classes_are_refused():
    first = answer(noisy(0.5, 1))
    others = {
        "f299 only in A": reorder(first, np.arange(299)),
        "x0 only in B": answer(noisy(0.5, 1), files=[f"x{i}" for i in range(300)]),
        "has another label": answer(noisy(0.5, 1), labels=(LABELS + 1) % 3),
        "its classes are not those of A": answer(noisy(0.5, 1), names=("a", "b", "d")),
    }
    for words, other in others.items():
        match = words if words != "x0 only in B" else "f0 only in A"
        with pytest.raises(UserError, match=match) as error:
            compare_predictions(first, other)
        assert "\n" not in error.value.line
    longer = answer(np.append(noisy(0.5, 1), 0), labels=np.append(LABELS, 0))
    with pytest.raises(UserError, match="f300 only in B"):
        compare_predictions(first, longer)


def test_a_class_without_faces_has_no_row():
    labels = np.zeros(40, dtype=int)
    compared = compare_predictions(answer(labels, labels), answer(np.arange(40) % 2, labels))
    assert [row.metric for row in compared.differences] == ["accuracy", "macro_f1", "f1 of a"]


def test_the_table_and_its_json(compared):
    table = compared.render("runs/one", "runs/two").splitlines()
    assert table[0] == "A  runs/one" and table[1] == "B  runs/two" and "300 faces" in table[2]
    row = compared.differences[0]
    assert f"{row.first:.4f}" in table[5] and f"{row.difference:+.4f}" in table[5] and table[5].endswith("*")
    described = json.loads(json.dumps(compared.describe()))
    assert described["figures"]["macro_f1"]["difference"] == compared.differences[1].difference
    assert described["mcnemar"]["p_value"] == compared.p_value


def test_many_long_names_that_differ_are_said_in_a_short_line():
    first = Predictions(["a"], np.array([0]), np.eye(1, 500), [f"{i}{'x' * 5000}" for i in range(500)])
    second = Predictions(["y" * 9000], np.array([0]), np.eye(1, 2), ["a", "b"])
    for other in (first, Predictions(["a"], np.array([0]), np.eye(1, 2), ["a", "b"])):
        with pytest.raises(UserError) as error:
            compare_predictions(other, second)
        assert len(error.value.line) < 2000


def test_names_in_wide_letters_leave_the_columns_in_line():
    names = ("\u9a5a\u304d", "b", "c")
    lines = compare_predictions(*(answer(noisy(0.5, i), names=names) for i in (1, 2))).render("A", "B").splitlines()
    heads = [line for line in lines if line.startswith(("f1 of", "accuracy"))]
    assert len({measure_width(line[: line.index(" 0.")]) for line in heads}) == 1
