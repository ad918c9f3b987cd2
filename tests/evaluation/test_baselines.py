from dataclasses import replace

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.metrics import accuracy_score, f1_score

from rafdb_vit.data.labels import BASIC
from rafdb_vit.evaluation.baselines import REPORT_OF_2023, is_official_test, score_majority
from rafdb_vit.evaluation.protocol import DataProtocol
from tests.support.finished_run import describe_data, random_result


def test_the_majority_class_is_scikit_learns_dummy():
    result = random_result(0)
    labels = np.repeat(np.arange(7), list(result.supports.values()))
    dummy = DummyClassifier(strategy="most_frequent").fit(labels[:, None], labels).predict(labels[:, None])
    name, majority = score_majority(result)
    assert name == BASIC.names[dummy[0]]
    assert majority.accuracy == pytest.approx(accuracy_score(labels, dummy))
    assert majority.macro_f1 == pytest.approx(f1_score(labels, dummy, average="macro", zero_division=0))


def test_the_report_has_an_f1_for_each_class():
    assert tuple(REPORT_OF_2023["f1"]) == BASIC.names
    assert np.mean(list(REPORT_OF_2023["f1"].values())) == pytest.approx(REPORT_OF_2023["macro_f1"], abs=0.01)


def test_only_the_whole_official_test_split_is_official():
    official = DataProtocol(**describe_data("RAF-DB basic"))
    assert is_official_test(official, "test")
    assert not is_official_test(official, "validation")
    assert not is_official_test(DataProtocol(**describe_data("RAF-DB compound")), "test")
    assert not is_official_test(replace(official, sources={"test": "val"}), "test")
    used = {**official.used, "test": dict.fromkeys(BASIC.names, 5)}
    assert not is_official_test(replace(official, used=used), "test")
