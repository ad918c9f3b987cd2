import json

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from rafdb_vit.evaluation.groups import count_groups, find_wrong_group, score_groups
from rafdb_vit.evaluation.intervals import bootstrap_rates
from rafdb_vit.evaluation.metrics import AVERAGE_RATES

AGES = ["4-19", "0-3", "20-39", "70+", "not given"]


def score(labels, predicted, classes, groups):
    return score_groups(count_groups(labels, predicted, classes, groups))


@pytest.fixture(scope="module")
def answers():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400)
    predicted = np.where(rng.random(400) < 0.7, labels, rng.integers(0, 4, 400))
    groups = {
        "gender": rng.choice(["male", "female"], 400).tolist(),
        "age": rng.choice(AGES, 400, p=[0.3, 0.4, 0.2, 0.05, 0.05]).tolist(),
    }
    return labels, predicted, groups


@pytest.fixture(scope="module")
def scored(answers):
    labels, predicted, groups = answers
    return score(labels, predicted, 4, groups)


def test_metrics_are_scikit_learns_of_each_group(answers, scored):
    labels, predicted, groups = answers
    for attribute, written in groups.items():
        for name, row in scored[attribute]["groups"].items():
            own = np.array(written) == name
            assert row["n"] == own.sum() and row["few"] == (own.sum() < 30)
            assert row["classes"] == len(set(labels[own]))
            assert row["accuracy"] == pytest.approx(accuracy_score(labels[own], predicted[own]), abs=1e-12)
            expected = f1_score(labels[own], predicted[own], labels=np.unique(labels[own]), average="macro")
            assert row["macro_f1"] == pytest.approx(expected, abs=1e-12)
            low, high = row["macro_f1_interval"]
            assert low < row["macro_f1"] < high
    assert json.loads(json.dumps(scored)) == scored


def test_intervals_are_those_of_the_groups_own_faces(answers, scored):
    labels, predicted, groups = answers
    own = np.array(groups["gender"]) == "male"
    confusion = np.zeros((4, 4), dtype=int)
    np.add.at(confusion, (labels[own], predicted[own]), 1)
    ends = bootstrap_rates(confusion.tolist(), only_present=True)[:, AVERAGE_RATES.index("accuracy")]
    assert scored["gender"]["groups"]["male"]["accuracy_interval"] == ends.tolist()


def test_groups_stand_in_their_natural_order(scored):
    assert list(scored["age"]["groups"]) == ["0-3", "4-19", "20-39", "70+", "not given"]
    assert list(scored["gender"]["groups"]) == ["female", "male"]


def test_the_largest_gap_is_between_groups_that_are_not_few(scored):
    rows = {name: row for name, row in scored["age"]["groups"].items() if row["n"] >= 30}
    assert len(rows) < 5
    for metric, gap in scored["age"]["largest_gap"].items():
        values = [row[metric] for row in rows.values()]
        assert gap["difference"] == max(values) - min(values) and gap["of"] == len(rows)
        assert rows[gap["between"][0]][metric] == max(values) and rows[gap["between"][1]][metric] == min(values)
        assert gap["interval"][0] < gap["difference"] < gap["interval"][1]


def test_the_gaps_interval_is_that_of_two_independent_groups():
    labels = np.zeros(400, dtype=int)
    groups = {"gender": ["male"] * 200 + ["female"] * 200}
    predicted = np.array([0] * 160 + [1] * 40 + [0] * 120 + [1] * 80)
    gap = score(labels, predicted, 2, groups)["gender"]["largest_gap"]["accuracy"]
    error = 1.96 * np.sqrt(0.8 * 0.2 / 200 + 0.6 * 0.4 / 200)
    assert gap["between"] == ["male", "female"] and gap["difference"] == pytest.approx(0.2)
    assert gap["interval"] == pytest.approx([0.2 - error, 0.2 + error], abs=0.015)


def test_no_gap_where_there_are_not_two_groups_of_thirty():
    labels = np.zeros(40, dtype=int)
    scored = score(labels, labels, 2, {"gender": ["male"] * 35 + ["female"] * 5})
    assert scored["gender"]["largest_gap"] is None


def test_equal_groups_have_no_gap():
    labels = np.zeros(80, dtype=int)
    assert score(labels, labels, 2, {"gender": ["male", "female"] * 40})["gender"]["largest_gap"] == {}


def test_nobody_knows_who_the_unsure_are():
    labels = np.zeros(120, dtype=int)
    predicted = np.where(np.arange(120) % 3 == 2, 1, np.where(np.arange(120) < 30, 1, 0))
    gap = score(labels, predicted, 2, {"gender": ["male", "female", "unsure"] * 40})["gender"]["largest_gap"]
    assert gap == {}  # the two who are known are right equally often


def test_macro_f1_over_other_classes_is_no_gap():
    labels = np.array([0, 1] * 20 + [0] * 40)
    predicted = labels.copy()
    predicted[:5] = 1 - predicted[:5]
    gap = score(labels, predicted, 2, {"gender": ["male"] * 40 + ["female"] * 40})["gender"]["largest_gap"]
    assert set(gap) == {"accuracy"} and gap["accuracy"]["of"] == 2


def test_groups_that_do_not_add_up_are_noticed(answers):
    labels, predicted, groups = answers
    counted = count_groups(labels, predicted, 4, groups)
    confusion = confusion_matrix(labels, predicted).tolist()
    assert find_wrong_group(counted, confusion) is None
    counted["age"]["20-39"][0][1] += 1
    assert find_wrong_group(counted, confusion) == "age"


def test_names_that_differ_in_what_nobody_sees_are_two_groups():
    labels = np.zeros(4, dtype=int)
    assert count_groups(labels, labels, 1, {"age": ["a", "a\0", "a ", "a"]}) == {
        "age": {"a": [[2]], "a\0": [[1]], "a ": [[1]]}
    }


def test_groups_of_very_many_outcomes_have_no_intervals():
    counted = {"age": {name: np.ones((160, 160), dtype=int).tolist() for name in ("0-3", "4-19")}}
    scored = score_groups(counted)["age"]
    assert scored["groups"]["0-3"]["accuracy"] == pytest.approx(1 / 160)
    assert scored["groups"]["0-3"]["accuracy_interval"] is None and scored["largest_gap"] == {}


def test_faces_are_drawn_within_each_class_of_each_group():
    """Where each class of a group is answered one way, drawing within it changes nothing."""
    labels = np.array([0] * 40 + [1] * 40 + [0] * 30 + [1] * 50)
    predicted = np.zeros_like(labels)
    scored = score(labels, predicted, 2, {"gender": ["male"] * 80 + ["female"] * 80})["gender"]
    assert scored["groups"]["male"]["accuracy_interval"] is None
    gap = scored["largest_gap"]["accuracy"]
    assert gap["difference"] == 0.125 and gap["interval"] is None
