import copy
import json
import os
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rafdb_vit.data.labels import BASIC
from rafdb_vit.evaluation.comparison import compare_predictions
from rafdb_vit.evaluation.predictions import PREDICTIONS_FILE, Predictions, read_predictions
from rafdb_vit.evaluation.protocol import Protocol
from rafdb_vit.evaluation.results import RESULTS_FILE, read_results, write_results
from rafdb_vit.evaluation.summary import summarize_runs
from rafdb_vit.hub.card import render_card
from rafdb_vit.hub.license import choose_license
from rafdb_vit.report.charts import draw_history
from rafdb_vit.report.wording import render_plain, tabulate_protocol
from rafdb_vit.runtime.errors import UserError
from tests.support.finished_run import describe_data, describe_run

ODD = (
    *(None, True, False, 0, -1, 1, 3, 0.5, -0.0, 1e15, 10**15, 10**9, 10**400, -(10**30), 1e308, 1e-320),
    *("", "a", "nan", "\ud800", "\0", "a\nb", "x" * 20_000, "RAF-DB basic", "Hub", "scratch"),
    *([], {}, [[]], [1], ["a"], {"a": 1}, {"": {}}, [None], [{}], {"a": {"b": {"c": {}}}}, [[[[[[[[[[[[[]]]]]]]]]]]]]),
)


def predict(seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(70) % 7
    logits = rng.normal(size=(70, 7)) + 2 * np.eye(7)[labels]
    return Predictions([f"f{i}" for i in range(70)], labels, logits, BASIC.names, {"gender": ["male", "female"] * 35})


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    protocol = describe_run(describe_data("folder in RAF-DB layout"), {"model.safetensors": "ab"})
    row = {"epoch": 1.0, "step": 2, "eval_loss": 1.1, "eval_accuracy": 0.5, "eval_macro_f1": None}
    protocol["history"] = [row, {"epoch": 2.0, "step": 4, "loss": 1.0}]
    results = {"validation": predict(0).score(), "test": predict(1).score()}
    return json.loads(write_results(folder, **results, protocol=Protocol.read(protocol)).read_text())


def list_places(value, path=()):
    """Every place of a value of JSON, of long lists the first two."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from list_places(item, (*path, key))


def change(content, place, value, act):
    """A copy with one value replaced, deleted, or doubled under another name."""
    changed = copy.deepcopy(content)
    parent = changed
    for key in place[:-1]:
        parent = parent[key]
    if act == "delete":
        del parent[place[-1]]
    elif act == "rename" and isinstance(parent, dict):
        parent[str(value)] = parent.pop(place[-1])
    else:
        parent[place[-1]] = value
    return changed


def use(folder):
    """Everything that is made of what another has sent."""
    validation, test, protocol = read_results(folder)
    test.render_report()
    str(
        render_card(
            validation=validation,
            test=test,
            protocol=protocol,
            repo_id="ada/faces",
            license=choose_license(protocol.data.name, "mit"),
        )
    )
    for table in tabulate_protocol(protocol).values():
        list(map(render_plain, table.values()))
    write_results(folder, validation=validation, test=test, protocol=protocol)


def refuse_or_use(act, *args):
    try:
        act(*args)
    except UserError as error:
        assert "\n" not in error.line and len(error.line) < 1000
        return error.line
    return None


def test_a_changed_results_json_is_used_or_refused_in_one_line(content, tmp_path):
    places, rng = list(list_places(content)), random.Random(0)
    (tmp_path / RESULTS_FILE).write_text(json.dumps(content))
    assert refuse_or_use(use, tmp_path) is None
    refused = 0
    for place in rng.sample(places, 30):
        for act in ("delete", "rename", "replace"):
            changed = change(content, place, rng.choice(ODD), act)
            (tmp_path / RESULTS_FILE).write_text(json.dumps(changed))
            refused += refuse_or_use(use, tmp_path) is not None
    assert refused > 30


@pytest.mark.parametrize("value", [None, 0, -1, 1e99])
def test_history_of_any_numbers_can_be_drawn(content, tmp_path, value):
    history = [{**row, **dict.fromkeys(row.keys() - {"epoch"}, value)} for row in content["protocol"]["history"]]
    history[1]["epoch"] = value or 0
    (tmp_path / RESULTS_FILE).write_text(json.dumps(change(content, ("protocol", "history"), history, "replace")))
    assert len(draw_history(read_results(tmp_path)[2].history, chosen_epoch=1.0)) == 2


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("test", "confusion_matrix", 0, 0), 10**15, "test.confusion_matrix has a very large number"),
        (("test", "confusion_matrix", 0, 0), -1, "test.confusion_matrix has -1"),
        (("test", "confusion_matrix", 0, 0), 1.0, "test.confusion_matrix has 1.0"),
        (("test", "confusion_matrix", 0, 0), "1", "test.confusion_matrix has the text '1'"),
        (("test", "confusion_matrix"), [[1]], "test.confusion_matrix does not hold counts of its 7 classes"),
        (("test", "n"), 10**40, "test.n is a very large number"),
        (("test", "n"), 71, "n of test is not what its confusion matrix gives"),
        (("test", "accuracy"), "0.5", "test.accuracy is the text '0.5'; expected a number"),
        (("test", "per_class"), {str(i): {} for i in range(100_000)}, "test.per_class has 100,000 names"),
        (("test", "per_class", "Fear", "f1"), None, "test.per_class.Fear.f1 is null"),
        (("test", "groups"), [1], "test.groups is a list"),
        (("test", "groups"), {"shoe": {"groups": {}}}, "test.groups has the text 'shoe'; expected gender, race, age"),
        (("test", "groups", "gender", "groups"), {str(i): {} for i in range(21)}, "has 21 names; expected 1 to 20"),
        (("test", "groups", "gender"), 5, "test.groups.gender is 5"),
        (("test", "calibration", "bins"), "x", "test.calibration.bins is the text 'x'"),
        (("protocol", "history"), [{"epoch": 1.0}] * 200_001, "protocol.history has 200,001 entries"),
        (("protocol", "history"), [{"loss": 1.0}], r"protocol.history\[0\].epoch is null"),
        (("protocol", "history"), [{"epoch": 1.0, "loss": "x"}], r"protocol.history\[0\].loss is the text 'x'"),
        (("protocol", "training", "seed"), "1", "protocol.training.seed is the text '1'; expected a whole number"),
        (("protocol", "training", "augmentation"), [1], r"protocol.training.augmentation\[0\] is 1; expected text"),
        (("protocol", "training", "x"), "y" * 10_001, "protocol.training.x is a text of 10,001 letters"),
        (("protocol", "model", "parameters"), 1.5, "protocol.model.parameters is 1.5; expected a whole number"),
        (("protocol", "checkpoint", "value"), None, "protocol.checkpoint.value is null"),
        (("protocol", "data", "used", "train", "Fear"), -3, "protocol.data.used.train has -3"),
        (("protocol", "data", "used", "train"), {"Fear": 3}, "protocol.data.used.train lacks the class 'Surprise'"),
        (("protocol", "data", "sources"), {}, "lacks test in protocol.data.sources"),
        (("protocol", "data", "name"), "RAF-DB basic", "its counts are not those of RAF-DB basic"),
        (("protocol", "data", "name"), "RAF-DB compound", "its counts are not those of RAF-DB compound"),
        (("protocol", "scoring"), "\ud800", "protocol.scoring is the text"),
    ],
)
def test_the_key_at_fault_is_named(content, tmp_path, place, value, words):
    (tmp_path / RESULTS_FILE).write_text(json.dumps(change(content, place, value, "replace")))
    with pytest.raises(UserError, match=words):
        read_results(tmp_path)


def test_what_would_fill_the_memory_or_never_end_is_refused(tmp_path):
    path = tmp_path / RESULTS_FILE
    for text, words in (
        ('{"test": [' + "[]," * 1_000_001 + "0]}", "more values than any results"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"test": NaN}', "NaN is no number"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=words):
            read_results(tmp_path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_results(tmp_path)
    os.mkfifo(tmp_path / PREDICTIONS_FILE)
    with pytest.raises(UserError, match="no such file"):
        read_predictions(tmp_path)


def test_runs_with_changed_results_are_summarized_or_refused(content, tmp_path):
    rng, places = random.Random(1), list(list_places(content["protocol"]))
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    for place in rng.sample(places, 40):
        changed = change(content, ("protocol", *place), rng.choice(ODD), rng.choice(("delete", "rename", "replace")))
        other = copy.deepcopy(changed)
        if isinstance(other["protocol"].get("training"), dict):
            other["protocol"]["training"]["seed"] = 7
        for name, own in (("first", changed), ("second", other)):
            (tmp_path / name / RESULTS_FILE).write_text(json.dumps(own))
        refuse_or_use(lambda: summarize_runs([str(tmp_path / "first"), str(tmp_path / "second")]).render())


CELLS = st.one_of(
    st.sampled_from(
        ["", "nan", "inf", "1e999", "-1", "0", "1", "=1", "'=1", '"', '"a', "\r", "\0", "a" * 200_000, ","]
    ),
    st.text(max_size=5),
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(row=st.integers(0, 6), column=st.integers(0, 10), cell=CELLS, act=st.sampled_from(["replace", "delete", "add"]))
def test_a_changed_predictions_csv_is_compared_or_refused(tmp_path_factory, row, column, cell, act):
    path = tmp_path_factory.getbasetemp() / "changed.csv"
    rows = [line.split(",") for line in predict(0).render().splitlines()]
    if act == "delete":
        del rows[row][column]
    elif act == "add":
        rows[row].insert(column, cell)
    else:
        rows[row][column] = cell
    path.write_text("\n".join(map(",".join, rows)), encoding="utf-8", errors="replace")
    refuse_or_use(lambda: compare_predictions(read_predictions(path), predict(1)).render("a", "b"))


def test_very_many_columns_and_a_large_cell_are_refused(tmp_path):
    path = tmp_path / PREDICTIONS_FILE
    for text, words in (
        ("file,label,predicted," + ",".join(f"probability_{i}" for i in range(10**5)), "100,003 columns"),
        (f"file,label,predicted,probability_a,probability_b\n{'x' * 10**7},a,a,1,0\n", "field larger"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=words):
            read_predictions(path)
