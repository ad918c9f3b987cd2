from dataclasses import replace

import pytest

from rafdb_vit.evaluation.protocol import DataProtocol, SplitProtocol
from rafdb_vit.evaluation.small_data import describe_small_validation

SHARE = SplitProtocol("train, stratified by class", "0" * 64, fraction=0.1, seed=0)
SEEDS = "rain several times with other values of --seed and --split_seed, and take the mean with `rafdb-vit summarize`."


def describe(validation, split=SHARE, test=None, *, train=None, found=None, subsampled=False):
    train = train or {name: 9 * count for name, count in validation.items()}
    whole = {name: count + validation[name] for name, count in train.items()}
    used = {"train": train, "validation": validation, "test": validation}
    return describe_small_validation(DataProtocol("folder", found or {"train": whole}, used, subsampled), split, test)


def test_the_thresholds():
    assert describe({"a": 190, "b": 10}) == [] == describe({"a": 200, "absent": 0})
    assert describe({"a": 189, "b": 10})[0] == "Validation has 199 faces."
    assert describe({"a": 191, "b": 9})[0] == "Validation has 200 faces; fewer than 10 in b (9)."
    assert describe({"a": 300, "b": 0}, train={"a": 9, "b": 1})[0].endswith("fewer than 10 in b (0).")


def test_what_it_means():
    half = describe({"a": 50, "b": 50})[1]
    chance = "which epoch is kept is partly chance."
    assert half == f"Its accuracy can be off by about 10 percentage points either way: {chance}"
    assert "one face more or less found changes the recall of b by 20 points:" in describe({"a": 95, "b": 5, "c": 6})[1]
    assert "more or less found" not in describe({"a": 300, "b": 0}, train={"a": 9, "b": 1})[1]


def test_a_larger_share_is_proposed_as_large_as_it_has_to_be():
    start = "--validation_fraction {} sets a larger share aside; or t"
    assert describe({"a": 92, "b": 93})[2] == start.format(0.15) + SEEDS
    assert describe({"a": 60, "b": 60})[2] == start.format(0.2) + SEEDS
    assert describe({"a": 300, "b": 4})[2] == start.format(0.25) + SEEDS
    still = start.format(0.3).replace("aside;", "aside, though still a small one (more faces would help most);")
    assert describe({"a": 30, "b": 2})[2] == still + SEEDS
    assert describe({"a": 300, "b": 2})[2] == f"More faces would help most. T{SEEDS}"


def test_a_split_of_the_datas_own_has_no_share():
    own = SplitProtocol(None, "0" * 64)
    advice = describe({"a": 50, "b": 50}, own, found={"validation": {"a": 50, "b": 50}})[2]
    assert advice.startswith(
        "This is the data's own validation split: train several times with other values of --seed,"
    )


@pytest.mark.parametrize("split", [SHARE, SplitProtocol(None, "0" * 64)])
def test_a_sample_is_not_blamed_on_the_share(split):
    found = {"train": {"a": 5000, "b": 5000}, "validation": {"a": 500, "b": 500}}
    advice = describe({"a": 50, "b": 50}, split, found=found, subsampled=True)[2]
    assert advice == "Leave out --max_validation_samples, or raise it, for scores that count."


def test_another_seed_of_the_split_would_change_our_own_test_faces():
    test = replace(SHARE, carved_from="all faces, stratified by class")
    assert "--split_seed" not in describe({"a": 92, "b": 93}, test=test)[2]


def test_names_are_of_one_line_and_many_are_counted():
    assert describe({f"{i}": 1 for i in range(6)})[0].endswith("4 (1) and 1 other class.")
    names = {f"{i}\n": 1 for i in range(8)}
    assert describe(names)[0] == (
        "Validation has 8 faces; fewer than 10 in 0\\n (1), 1\\n (1), 2\\n (1), 3\\n (1), 4\\n (1) and 3 other classes."
    )
