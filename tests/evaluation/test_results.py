import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import classification_report

from rafdb_vit.data.labels import BASIC
from rafdb_vit.evaluation.groups import count_groups
from rafdb_vit.evaluation.metrics import measure_calibration
from rafdb_vit.evaluation.protocol import Protocol
from rafdb_vit.evaluation.results import EvaluationResult, read_results, render_results, write_results
from rafdb_vit.evaluation.summary import summarize_runs
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.text_width import measure_width
from tests.support.finished_run import describe_data, describe_run, write_as_a_run

PROTOCOL = Protocol.read(describe_run(describe_data(), {"model.safetensors": "ab"}))


def random_result(n=200, seed=0, labels=None):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 7, n) if labels is None else labels
    logits = rng.normal(size=(n, 7)).astype(np.float32)
    logits[np.arange(n), labels] += 1
    return logits, labels, EvaluationResult.from_logits(logits, labels, BASIC.names)


def test_metrics_equal_scikit_learns():
    logits, labels, result = random_result()
    report = classification_report(
        labels, logits.argmax(1), labels=range(7), target_names=BASIC.names, output_dict=True, zero_division=0
    )
    for name in BASIC.names:
        ours, theirs = result.per_class[name], report[name]
        assert list(ours.values()) == [theirs[k] for k in ("precision", "recall", "f1-score", "support")]
    assert result.accuracy == report["accuracy"]
    for average in ("macro", "weighted"):
        for metric, key in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            assert getattr(result, f"{average}_{metric}") == pytest.approx(report[f"{average} avg"][key], abs=1e-15)


def test_loss_is_torchs_cross_entropy():
    logits, labels, result = random_result()
    expected = torch.nn.functional.cross_entropy(torch.tensor(logits).double(), torch.tensor(labels))
    assert result.loss == pytest.approx(expected.item(), rel=1e-12)


def test_a_hand_worked_case():
    logits = np.eye(3, dtype=np.float32)[[0, 0, 1, 1]] * 10
    result = EvaluationResult.from_logits(logits, np.array([0, 1, 1, 1]), ["a", "b", "c"])
    assert result.confusion_matrix == [[1, 0, 0], [1, 2, 0], [0, 0, 0]]
    assert result.per_class["a"] == {"precision": 0.5, "recall": 1.0, "f1": 2 / 3, "support": 1}
    assert result.per_class["b"] == {"precision": 1.0, "recall": 2 / 3, "f1": 0.8, "support": 3}
    assert result.per_class["c"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert result.macro_f1 == pytest.approx((2 / 3 + 0.8 + 0) / 3)
    assert result.accuracy == 0.75


def test_flat_scalars():
    _, _, result = random_result()
    flat = result.flat()
    assert flat["macro_f1"] == result.macro_f1
    assert flat["f1_fear"] == result.per_class["Fear"]["f1"]
    assert all(isinstance(value, float) for value in flat.values())
    assert len(flat) == 8 + 3 * 7


def test_report_has_the_form_of_scikit_learns():
    logits, labels, result = random_result()
    theirs = classification_report(labels, logits.argmax(1), labels=range(7), target_names=BASIC.names, digits=4)
    ours = result.render_report().replace("95% interval", "")
    ends = re.findall(r"(\d\.\d{4})-(\d\.\d{4})", ours)
    assert re.sub(r"\d\.\d{4}-\d\.\d{4}", "", ours).split() == theirs.split()
    assert [float(end) for end in ends[7]] == [round(end, 4) for end in result.intervals["accuracy"]]
    assert [float(end) for end in ends[1]] == [round(end, 4) for end in result.intervals["per_class"]["Fear"]["f1"]]


def test_intervals_are_written_and_computed_anew_when_read(tmp_path):
    _, _, result = random_result()
    path = write_results(tmp_path, validation=result, test=result, protocol=PROTOCOL)
    content = json.loads(path.read_text())
    assert content["test"]["intervals"] == result.intervals
    content["test"]["intervals"]["accuracy"] = [0.99, 1.0]
    path.write_text(json.dumps(content))
    assert read_results(tmp_path)[1].intervals == result.intervals


def test_results_of_runs_before_there_were_intervals_are_read(tmp_path):
    _, _, result = random_result()
    path = write_results(tmp_path, validation=result, test=result, protocol=PROTOCOL)
    content = json.loads(path.read_text())
    for split in ("validation", "test"):
        for name in ("intervals", "calibration", "groups"):
            del content[split][name]
    path.write_text(json.dumps(content))
    assert read_results(tmp_path)[1] == result


def test_calibration_and_groups_that_were_changed_are_refused(tmp_path):
    logits, labels, result = random_result()
    groups = count_groups(labels, logits.argmax(1), 7, {"gender": ["male", "female"] * 100})
    calibration = measure_calibration(softmax(logits, axis=1), labels)
    whole = replace(result, calibration=calibration, group_confusions=groups)
    path = write_results(tmp_path, validation=whole, test=whole, protocol=PROTOCOL)
    assert read_results(tmp_path)[1] == whole
    for name, keys in (
        ("calibration", ("calibration", "expected_calibration_error")),
        ("gender", ("groups", "gender", "groups", "male", "confusion_matrix", 0, 0)),
    ):
        content = json.loads(path.read_text())
        place = content["test"]
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] += 1
        (tmp_path / "changed").mkdir(exist_ok=True)
        (tmp_path / "changed" / "results.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match=f"{name} of test"):
            read_results(tmp_path / "changed")


def test_metrics_of_groups_are_computed_anew_when_read(tmp_path):
    logits, labels, result = random_result()
    groups = count_groups(labels, logits.argmax(1), 7, {"gender": ["male", "female"] * 100})
    whole = replace(result, group_confusions=groups)
    path = write_results(tmp_path, validation=whole, test=whole, protocol=PROTOCOL)
    content = json.loads(path.read_text())
    content["test"]["groups"]["gender"]["groups"]["male"] |= {"macro_f1": 0.99, "macro_f1_interval": [0.98, 1.0]}
    content["test"]["groups"]["gender"]["largest_gap"] = None
    path.write_text(json.dumps(content))
    read = read_results(tmp_path)[1]
    assert read == whole and read.groups == whole.groups


def test_written_results_are_read_back(tmp_path):
    _, _, first = random_result(seed=0)
    _, _, second = random_result(seed=1)
    path = write_results(tmp_path, validation=first, test=second, protocol=PROTOCOL)
    assert read_results(tmp_path) == (first, second, PROTOCOL)
    assert set(json.loads(path.read_text())) == {"validation", "test", "protocol"}
    assert [p.name for p in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize("content", [None, "{", "{}", '{"validation": {"n": 1}, "test": {}, "protocol": {}}'])
def test_results_that_cannot_be_read(tmp_path, content):
    if content is not None:
        (tmp_path / "results.json").write_text(content)
    with pytest.raises(UserError, match="results.json"):
        read_results(tmp_path)


def test_names_cannot_forge_lines_of_the_report():
    logits, labels, _ = random_result()
    names = ["a\nmacro avg 1.0", "\x1b[2J", "c\u202e", *BASIC.names[3:]]
    lines = EvaluationResult.from_logits(logits, labels, names).render_report().splitlines()
    assert len(lines) == 2 + 7 + 1 + 3 and lines[2].lstrip().startswith("a\\nmacro avg 1.0")
    assert all(line.isprintable() for line in lines) and len({len(line) for line in lines if line}) == 1


def test_names_in_wide_letters_leave_the_columns_of_the_report_in_line():
    logits, labels, _ = random_result()
    names = ["\u9a5a\u304d", "e\u0301tonnement tr\u00e8s long", *BASIC.names[2:]]
    lines = EvaluationResult.from_logits(logits, labels, names).render_report().splitlines()
    assert len({measure_width(line) for line in lines if line}) == 1


def test_reading_and_summarizing_draw_nothing(tmp_path, monkeypatch):
    logits, labels, result = random_result()
    whole = replace(result, group_confusions=count_groups(labels, logits.argmax(1), 7, {"age": ["a", "b"] * 100}))
    for name, seed in (("one", 1), ("two", 2)):
        protocol = replace(PROTOCOL, training={**PROTOCOL.training, "seed": seed})
        write_as_a_run(
            tmp_path / name, {"results.json": render_results(validation=whole, test=whole, protocol=protocol)}
        )
    monkeypatch.delattr("rafdb_vit.evaluation.intervals._draw")
    assert summarize_runs([str(tmp_path / "one"), str(tmp_path / "two")]).seeds == [1, 2]
