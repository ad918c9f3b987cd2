import numpy as np
import pytest
from datasets import List, Value

from rafdb_vit.data.dataset import load_data, load_rafdb
from rafdb_vit.data.form import DataForm
from rafdb_vit.data.labels import BASIC
from rafdb_vit.data.leave_out import leave_out
from tests.support.refusals import refused
from tests.support.undivided import CLASSES, write_undivided

SCORED = ("test",)


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    return write_undivided(tmp_path_factory.mktemp("eight") / "data", CLASSES, copies=False)


@pytest.mark.parametrize("written", [("Contempt",), ("contempt",), ["CONTEMPT", ""], "Contempt"])
def test_the_seven_that_are_left_are_rafdbs(eight, written):
    found = load_data(eight, DataForm(needed=SCORED, leave_out=written))
    faces = found.splits["test"]
    assert found.labels is BASIC and faces.features["label"].names == list(BASIC.names)
    assert found.left_out == {"Contempt": 10} and len(faces) == 70
    for face in faces.select_columns(["label", "file"]):
        assert BASIC.names[face["label"]] in face["file"]
    assert found.counts == {"test": dict.fromkeys(BASIC.names, 10)}
    assert "left out: Contempt (10)" in found.describe()


@pytest.mark.parametrize("written", [["contempt,happy"], ["Contempt", "Happiness"], ["contempt , HAPPY,"]])
def test_others_keep_their_names_in_alphabetical_order(eight, written):
    found = load_data(eight, DataForm(needed=SCORED, leave_out=written))
    names = sorted(set(CLASSES) - {"Contempt", "Happiness"})
    assert found.class_names == names and found.left_out == {"Contempt": 10, "Happiness": 10}
    assert all(names[face["label"]] in face["file"] for face in found.splits["test"].select_columns(["label", "file"]))


def test_codes_of_rafdb_and_all_splits(faces_dir):
    whole, splits = load_rafdb(faces_dir), load_rafdb(faces_dir, leave_out=["7", "fear"])
    assert {split: len(faces) for split, faces in splits.items()} == {"train": 45, "validation": 5, "test": 20}
    names = splits["test"].features["label"].names
    assert names == ["Anger", "Disgust", "Happiness", "Sadness", "Surprise"]
    label_of = {
        file: BASIC.names[label] for file, label in zip(whole["test"]["file"], whole["test"]["label"], strict=True)
    }
    assert all(label_of[row["file"]] == names[row["label"]] for row in splits["test"].select_columns(["label", "file"]))


def test_what_cannot_be_left_out(eight):
    for written, words in (
        (["Boredom"], "--leave_out Boredom: the data has no such class; it has Anger, Contempt, "),
        (["4"], "--leave_out 4: the data has no such class"),
        ([",".join(CLASSES[:7])], "--leave_out: leaves 1 of 8 classes; expected two or more"),
        (["x\n" * 200], "--leave_out x x"),
    ):
        with refused(words):
            load_data(eight, DataForm(needed=SCORED, leave_out=written))


def test_a_split_of_which_nothing_is_left(tmp_path):
    write_undivided(tmp_path / "train", CLASSES[:4], copies=False)
    write_undivided(tmp_path / "test", CLASSES[:2], copies=False)
    with refused("--leave_out: leaves no face in test"):
        load_rafdb(tmp_path, leave_out=["Contempt", "Anger"])


def test_vectors_lose_the_entries_of_the_classes(eight):
    found = load_data(eight, DataForm(needed=SCORED))
    faces = found.splits["test"].select([0, 10, 20])  # of Anger, Contempt and Disgust
    vectors = [[0.5, 0.25, 0.25, *[0.0] * 5], [0.0, 1.0, *[0.0] * 6], [0.0, 1.0, *[0.0] * 6]]
    feature = List(Value("float32"), length=8)
    faces = faces.flatten_indices(keep_in_memory=True).add_column("distribution", vectors, feature=feature)
    left = leave_out(type(found)(found.layout, None, found.labels, {"test": faces}, {}), ["Contempt"]).splits["test"]
    expected = np.zeros((2, 7))
    expected[0, [BASIC.names.index("Anger"), BASIC.names.index("Disgust")]] = 2 / 3, 1 / 3
    expected[1, BASIC.names.index("Disgust")] = 1  # nobody voted for a class that is left
    np.testing.assert_allclose(left["distribution"], expected, atol=1e-6)
