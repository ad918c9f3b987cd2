import json

import numpy as np
import pytest

from rafdb_vit.data.pixels import METHOD
from rafdb_vit.evaluation.overlap import SeenFaces, find_overlap
from rafdb_vit.evaluation.predictions import Predictions

A, B, C, D, E = (letter * 16 for letter in "abcde")
SEEN = SeenFaces(frozenset({A, B}), frozenset({B, C}))


def predict(labels, predicted):
    logits = np.eye(3, dtype=np.float32)[predicted]
    groups = {"gender": ["male", "female"] * (len(labels) // 2)}
    return Predictions([f"f{i}" for i in range(len(labels))], np.array(labels), logits, ("x", "y", "z"), groups)


def test_faces_are_counted_and_the_others_scored():
    # Faces 0, 1 and 3 were trained on, 2 chose the checkpoint; of 4 and 5, which are one picture, one is right.
    predictions = predict([0, 1, 2, 0, 1, 1], [0, 1, 2, 0, 1, 2])
    overlap = find_overlap(predictions, [A, B, C, A, D, D], SEEN)
    assert (overlap.n, overlap.trained_on, overlap.used_to_choose, overlap.seen) == (6, 3, 1, 4)
    assert overlap.others == predict([1, 1], [1, 2]).score()
    assert (overlap.others.n, overlap.others.accuracy, overlap.others.macro_f1) == (2, 0.5, pytest.approx(2 / 9))
    described = overlap.describe()
    assert described.pop("others") == overlap.others.describe()
    assert described == {"n": 6, "trained_on": 3, "used_to_choose_checkpoint": 1}


def test_where_none_was_seen_the_others_are_all():
    predictions = predict([0, 1], [0, 2])
    overlap = find_overlap(predictions, [D, E], SEEN)
    assert overlap.seen == 0 and overlap.others == predictions.score()


def test_where_all_were_seen_there_are_no_others():
    overlap = find_overlap(predict([0, 1], [0, 2]), [A, C], SEEN)
    assert (overlap.trained_on, overlap.used_to_choose, overlap.others) == (1, 1, None)
    assert overlap.describe()["others"] is None


def test_a_run_has_also_seen_what_the_run_has_that_it_starts_from():
    hashes = {"train": [D, D], "validation": [E], "test": [A]}
    assert SeenFaces.of_run(hashes) == SeenFaces(frozenset({D}), frozenset({E}))
    assert SeenFaces.of_run(hashes, base=SEEN) == SeenFaces(frozenset({A, B, D}), frozenset({B, C, E}))


def test_what_is_written_is_read_and_tells_nothing_of_the_order():
    assert SeenFaces.read(SEEN.render()) == SEEN
    content = json.loads(SEEN.render())
    assert content == {"hash": METHOD, "train": [A, B], "validation": [B, C]}
    assert SeenFaces(frozenset({B, A}), frozenset({C, B})).render() == SEEN.render()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hash": "MD5"}, "hashed in another way"),
        ({"train": None}, "train is not a list of hashes"),
        ({"train": [A[1:]]}, "train is not a list of hashes"),
        ({"validation": [A, 3]}, "validation is not a list of hashes"),
        ({"validation": [A.upper()]}, "validation is not a list of hashes"),
    ],
)
def test_what_has_another_form_is_none(change, words):
    with pytest.raises(ValueError, match=words):
        SeenFaces.read(json.dumps({**json.loads(SEEN.render()), **change}))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"hash": ""}', "NaN"])
def test_what_is_no_such_file_is_none(text):
    with pytest.raises(ValueError):
        SeenFaces.read(text)
