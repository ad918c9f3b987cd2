from dataclasses import replace

import numpy as np
import pytest

from rafdb_vit.data.published import RAFDB
from rafdb_vit.evaluation.metrics import measure_calibration
from rafdb_vit.evaluation.overlap import Overlap
from rafdb_vit.evaluation.protocol import DataProtocol, Protocol, SplitProtocol, describe_evaluation
from rafdb_vit.evaluation.results import EvaluationResult
from rafdb_vit.report.wording import (
    describe_absent,
    describe_calibration,
    describe_leaks,
    describe_left_out,
    describe_overlap,
    describe_sample,
    describe_test_share,
    describe_weakest,
    keep_flags,
    render_count,
    render_interval,
    render_plain,
    render_share,
    tabulate_evaluation,
    tabulate_protocol,
)
from tests.support.finished_run import describe_data, describe_run

NAMES = ("a", "b", "c")
COPIES = "Duplicates of a picture are on its side."


def result(labels, predicted):
    return EvaluationResult.from_predictions(np.array(labels), np.array(predicted), NAMES, loss=1.0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (render_interval([0.123, 0.456]), "0.12–0.46"),
        (render_interval([-0.0123, 0.456], 3, " to "), "−0.012 to 0.456"),
        (render_interval(None), "unknown"),
        (render_count(1, "face"), "1 face"),
        (render_count(12345, "face"), "12,345 faces"),
        (render_count(0), "0"),
        (render_share(0, 10), "0%"),
        (render_share(1, 1000), "<1%"),
        (render_share(999, 1000), ">99%"),
        (render_share(1, 3), "33%"),
        (render_share(10, 10), "100%"),
        (render_share(0, 0), "0%"),
        (render_plain({"carved_from": "train", "seed": 0}), "set aside from: train, seed: 0"),
        (render_plain({"preprocessor_config.json": "ab"}), "preprocessor_config.json: ab"),
        (render_plain([]), "none"),
        (render_plain({}), "none"),
        (render_plain(None), "none"),
        (render_plain(True), "yes"),
        (render_plain(85_804_039), "85,804,039"),
        (render_plain(0.2966992635), "0.2967"),
        (render_plain(["x", 2]), "x; 2"),
    ],
)
def test_numbers_and_values(value, expected):
    assert value == expected


def test_the_weakest_classes_are_named():
    two = describe_weakest(result([0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 0]), few=2)
    assert two == "Weakest on c (2 faces), a (2 faces): F1 0.67, 0.80."
    never = describe_weakest(result([0, 0, 1, 2], [0, 0, 0, 0]), few=2)
    assert never == "Never right on b (1 face, too few to be sure), c (1 face, too few to be sure)."
    assert describe_weakest(result([0, 1, 2], [0, 1, 2]), few=2) == ""


def test_absent_classes_are_named():
    assert describe_absent(result([0, 1, 2], [0, 1, 2])) == ""
    assert describe_absent(result([0, 1, 1], [0, 1, 0])) == (
        "1 of 3 classes have no faces here and count as 0 in macro-F1: c. Over the others it is 0.6667."
    )


def test_whether_it_is_surer_than_right():
    sure = np.array([[0.9, 0.1]] * 10)
    rates = "On average it gives its answer a probability of 90.0%, and {} of its answers are right."
    for right, word, share in (
        (5, "Overconfident by 40.0 percentage points.", "50.0%"),
        (10, "Underconfident by 10.0 percentage points.", "100.0%"),
        (9, "On the whole as sure as it is right.", "90.0%"),
    ):
        labels = np.array([0] * right + [1] * (10 - right))
        assert describe_calibration(measure_calibration(sure, labels)) == (word, rates.format(share))


def test_classes_that_go_to_another_one_are_named():
    counts = np.array([[5, 4, 1], [9, 1, 0], [1, 1, 2]])
    leaks = describe_leaks(EvaluationResult.from_confusion(counts, ("a", "b\n", "c"), loss=1.0))
    assert leaks == ["90% of b\\n goes to a (9 of 10 faces)."]
    half = np.array([[0, 0, 0], [1, 1, 0], [0, 3, 0]])
    result = EvaluationResult.from_confusion(half, NAMES, loss=1.0)
    assert describe_leaks(result) == ["100% of c goes to b (3 of 3 faces).", "50% of b goes to a (1 of 2 faces)."]
    assert describe_leaks(result, most=1) == ["100% of c goes to b (3 of 3 faces)."]


def test_a_sample_says_of_how_many_faces():
    found = {"train": {"a": 90, "b": 10}, "test": {"a": 20, "b": 0}}
    used = {"train": {"a": 9, "b": 1}, "validation": {"a": 5, "b": 1}, "test": {"a": 20, "b": 0}}
    assert describe_sample(DataProtocol("x", found, used, True))[0].startswith(
        "A trial on 36 of 120 faces: do not report"
    )
    scored = {"test": {"a": 7, "b": 0}}
    assert describe_sample(DataProtocol("x", found, scored, True))[0].startswith("A trial on 7 of 20 faces:")
    assert describe_sample(DataProtocol("x", {}, scored, True))[0].startswith("A trial on a sample of the data:")


def test_no_line_ends_within_a_flag():
    shown = keep_flags("<b> --max_train_samples\n")
    assert shown == '&lt;b&gt; <span class="flag">--max_train_samples</span>\\n'


def test_every_part_of_a_protocol_stands_in_a_table():
    described = {**describe_run(describe_data(), {"model.safetensors": "ab"}), "intervals": "95%"}
    tables = tabulate_protocol(Protocol.read({**described, "history": [{"epoch": 1.0}]}))
    assert list(tables) == ["Protocol", "Model", "Training settings", "Environment"]
    assert tables["Protocol"]["test"] == described["test"] and tables["Protocol"]["intervals"] == "95%"
    assert tables["Protocol"]["data"] == "RAF-DB basic" and "history" not in tables["Protocol"]
    assert tables["Protocol"]["checkpoint"] == described["checkpoint"]
    unset = {"schedule_settings": {}, "max_steps": -1, "sharding": None}
    assert {**tables["Training settings"], **unset} == described["training"]
    assert not unset.keys() & tables["Training settings"].keys()
    assert tables["Model"]["SHA-256 of files"] == {"model.safetensors": "ab"}
    assert tables["Environment"] == described["versions"]


def test_an_evaluation_says_what_was_scored():
    data = DataProtocol(**describe_data())
    protocol = describe_evaluation(data, split="test", model={"source": "m"}, device="cpu")
    assert protocol.scoring == f"fp32, without autocast, on cpu; {sum(RAFDB['basic'].counts['test'])} faces"
    tables = tabulate_evaluation(protocol)
    assert tables["This evaluation"]["images"] == "aligned" and tables["Model"] == {"source": "m"}
    assert "torch" in tables["Environment"]


OWN = SplitProtocol("all faces, stratified by class", "0" * 64, 0.125, 5, "duplicates", "1" * 64)


def test_our_own_test_split_is_told_with_whether_it_is_by_person():
    assert describe_test_share(None) == "" == describe_test_share(SplitProtocol(None, "0" * 64))
    start = "Test is our own share of the data: 12.5% of each class, chosen with seed 5"
    assert describe_test_share(OWN) == f"{start}, not by person: one may be in training too. " + COPIES
    by_person = replace(OWN, kept_together="duplicates and persons (column who)")
    assert describe_test_share(by_person) == f"{start} and by person, none of whom is also in training. " + COPIES


def test_the_tables_show_our_own_test_split_and_what_was_left_out():
    data = {**describe_data("folder of labelled faces"), "left_out": {"Contempt": 3}, "sources": {}}
    protocol = Protocol.read({**describe_run(data, {}), "test_split": OWN.describe()})
    assert protocol.test_split == OWN and protocol.describe()["test_split"] == OWN.describe()
    rows = tabulate_protocol(protocol)["Protocol"]
    assert rows["left out"] == {"Contempt": 3} and rows["test split"]["fraction"] == 0.125
    assert not any("sha256" in name for name in rows["test split"])
    evaluation = describe_evaluation(protocol.data, split="test", model={}, device="cpu")
    rows = tabulate_evaluation(replace(evaluation, test_split=OWN))["This evaluation"]
    assert rows["left out"] == {"Contempt": 3} and rows["test split"]["seed"] == 5
    assert describe_left_out(protocol.data) == "Left out on demand: Contempt (3 faces)."
    assert describe_left_out(Protocol.read(describe_run(describe_data(), {})).data) == ""


@pytest.mark.parametrize(
    ("counts", "sentence"),
    [
        ((200, 200, 0), "All 200 faces were trained on: none is left to tell how good the model is on new ones."),
        ((1, 1, 0), "The only face was trained on: none is left to tell how good the model is on new ones."),
        ((1404, 0, 1404), "All 1,404 faces were used to choose the checkpoint, so the metrics are somewhat too high."),
        (
            (12, 11, 1),
            "11 of these 12 faces were trained on, and 1 other was used to choose the checkpoint: none is left to tell "
            "how good the model is on new ones.",
        ),
        (
            (12, 0, 0),
            "None of these 12 faces were trained on, pixel for pixel; copies that were resized, cut or saved again as "
            "JPEG are not found.",
        ),
    ],
)
def test_faces_that_training_has_seen(counts, sentence):
    assert describe_overlap(Overlap(*counts, None)) == sentence


@pytest.mark.parametrize(
    ("trained", "chosen", "sentence"),
    [
        (143, 0, "143 of these 2,000 faces were trained on."),
        (1, 12, "1 of these 2,000 faces was trained on, and 12 others were used to choose the checkpoint."),
        (0, 12, "12 of these 2,000 faces were used to choose the checkpoint."),
    ],
)
def test_results_on_faces_that_it_has_not(trained, chosen, sentence):
    others = result([0, 0, 1, 1], [0, 0, 1, 0])
    accuracy, macro_f1 = (
        " to ".join(f"{end:.4f}" for end in others.intervals[name]) for name in ("accuracy", "macro_f1")
    )
    assert describe_overlap(Overlap(2000, trained, chosen, others)) == (
        f"{sentence} Results on the other 4: accuracy 0.7500 (95% interval {accuracy}), macro-F1 0.4889 (95% interval "
        f"{macro_f1}). 1 of 3 classes have no faces here and count as 0 in macro-F1: c. Over the others it is 0.7333."
    )
