import time

import pytest

from rafdb_vit.data.split_name import find_split, is_misplaced, settle_test, split_of_file

CALLED = {
    "train": [
        "train",
        "Train",
        "TRAINING",
        "train_set",
        "trainset",
        "train set",
        "train-images",
        "TrainData",
        " train ",
    ],
    "validation": ["val", "Valid", "validation", "dev", "val_set", "VALIDATION_IMAGES", "dev-data"],
    "test": ["test", "Testing", "test_set", "Test Set", "testdata", "test__images"],
    None: [
        "",
        "set",
        "data",
        "images",
        "_",
        "dataset",
        "trains",
        "tests",
        "pretest",
        "train2",
        "train_test",
        "0",
        "all",
    ],
}


@pytest.mark.parametrize(("split", "written"), [(split, name) for split, names in CALLED.items() for name in names])
def test_what_people_call_a_split(split, written):
    assert find_split(written) == split


@pytest.mark.parametrize("written", ["_" * 15_000 + "x", "train" + " " * 15_000 + "x"])
def test_a_long_value_takes_no_time(written):
    started = time.perf_counter()
    assert find_split(written) is None
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train_00001.jpg", "train"),
        ("train_00001_aligned.jpg", "train"),
        ("test_0001.png", "test"),
        ("test_0001", "test"),
        ("train_1", "train"),
        ("train_00001_aligned", "train"),
        ("train_00001_flipped.jpg", None),
        ("train_.jpg", None),
        ("train.jpg", None),
        ("my_train_00001.jpg", None),
        ("Train_00001.jpg", None),
        ("train/00001.jpg", None),
        ("validation_0001.jpg", None),
        ("train_\u0661.jpg", None),
        ("", None),
    ],
)
def test_what_a_files_name_says(name, split):
    assert split_of_file(name) == split


BOTH, HELD_OUT = ("train", "validation", "test"), ("train", "validation")


@pytest.mark.parametrize(
    ("name", "split", "splits", "misplaced"),
    [
        ("train_00001.jpg", "train", BOTH, False),
        ("train_00001.jpg", "validation", BOTH, False),
        ("train_00001.jpg", "test", BOTH, True),
        ("test_0001.jpg", "train", BOTH, True),
        ("test_0001.jpg", "validation", BOTH, True),
        ("test_0001.jpg", "test", BOTH, False),
        ("test_0001.jpg", "train", HELD_OUT, True),
        ("test_0001.jpg", "validation", HELD_OUT, False),
        ("face.jpg", "train", BOTH, False),
        ("face.jpg", "test", BOTH, False),
    ],
)
def test_where_rafdbs_files_may_stand(name, split, splits, misplaced):
    assert is_misplaced(name, split, splits) is misplaced


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"train": 1, "test": 2}, {"train": 1, "test": 2}),
        ({"train": 1, "validation": 2, "test": 3}, {"train": 1, "validation": 2, "test": 3}),
        ({"train": 1, "validation": 2}, {"train": 1, "test": 2}),
        ({"train": 1}, {"train": 1}),
        ({}, {}),
    ],
)
def test_what_is_held_out_is_scored_as_test(parts, expected):
    assert settle_test(parts) == expected
