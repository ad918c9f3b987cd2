import time
from collections import Counter

import numpy as np
import pytest

from rafdb_vit.data.dataset import load_rafdb
from rafdb_vit.data.shares import choose_share
from rafdb_vit.data.splits import (
    find_split,
    hash_files,
    is_misplaced,
    split_of_file,
    validation_as_test,
)
from rafdb_vit.runtime.errors import UserError

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
    assert validation_as_test(parts) == expected


LABELS = [0] * 50 + [1] * 20 + [2] * 2 + [3]
FILES = [f"train_{i:05d}" for i in range(len(LABELS))]


def chosen_files(labels, files, **settings):
    return {files[i] for i in choose_share(labels, files, flag="--validation_fraction", **settings)}


def test_each_class_gives_its_share_and_at_least_one_of_two():
    chosen = choose_share(LABELS, FILES, flag="--validation_fraction", fraction=0.1, seed=0)
    assert Counter(LABELS[i] for i in chosen) == {0: 5, 1: 2, 2: 1}


def test_a_large_fraction_leaves_train_a_face_of_each_class():
    chosen = choose_share(LABELS, FILES, flag="--validation_fraction", fraction=0.99, seed=0)
    assert {LABELS[i] for i in set(range(len(LABELS))) - set(chosen)} == {0, 1, 2, 3}


def test_the_choice_ignores_order_and_follows_the_seed():
    order = np.random.default_rng(0).permutation(len(LABELS))
    shuffled = [LABELS[i] for i in order], [FILES[i] for i in order]
    first = chosen_files(LABELS, FILES, fraction=0.1, seed=0)
    assert chosen_files(*shuffled, fraction=0.1, seed=0) == first
    assert chosen_files(LABELS, FILES, fraction=0.1, seed=1) != first


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(UserError, match="validation_fraction"):
        choose_share(LABELS, FILES, flag="--validation_fraction", fraction=fraction, seed=0)


def test_splits_are_disjoint_and_complete(faces_dir):
    splits = load_rafdb(faces_dir)
    files = [file for dataset in splits.values() for file in dataset["file"]]
    assert len(files) == len(set(files)) == 98
    assert all(file.startswith("test_") for file in splits["test"]["file"])


def test_hash_ignores_order():
    assert hash_files(["a", "b"]) == hash_files(["b", "a"]) != hash_files(["a", "c"])
