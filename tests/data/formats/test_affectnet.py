import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rafdb_vit.data.check.check import check_data
from rafdb_vit.data.dataset import load_data, load_rafdb
from rafdb_vit.data.form import DataForm
from rafdb_vit.data.formats.affectnet import parse_code
from rafdb_vit.data.labels import BASIC, EIGHT
from rafdb_vit.data.published import PUBLISHED
from tests.support.other_data import AFFECTNET_CODES, encode_npy, write_affectnet
from tests.support.refusals import refused


@pytest.fixture
def data(tmp_path):
    return write_affectnet(tmp_path / "data")


def annotate(data, number, content, split="train_set"):
    path = data / split / "annotations" / f"{number}_exp.npy"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "value",
    ["3", 3, np.int8(3), np.float64(3), "3.0", " 3 ", b"3", [3], np.array([["3"]]), np.array("3", dtype=">U1")],
)
def test_codes_are_read_however_they_are_written(value):
    assert parse_code(encode_npy(value)) == 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "expected a NumPy file of one code"),
        (b"3", "expected a NumPy file of one code"),
        (b"PK\x03\x04", "expected a NumPy file of one code"),
        (encode_npy("3")[:-1], "expected a NumPy file of one code"),
        (encode_npy(["3", "4"]), "expected a NumPy file of one code"),
        (encode_npy(np.zeros(0)), "expected a NumPy file of one code"),
        (encode_npy(3 + 0j), "expected a NumPy file of one code"),
        (encode_npy("3").replace(b"()", b"(1000000000000,)"), "expected a NumPy file of one code"),
        (encode_npy("3").replace(b"()", b"(" * 50), "expected a NumPy file of one code"),
        (encode_npy("3").replace(b"<U1", b"<U9"), "expected a NumPy file of one code"),
        (encode_npy(3.0).replace(b"<f8", b"<f3"), "expected a NumPy file of one code"),
        (encode_npy("\U0010ffff").replace(b"\xff\xff", b"\xff\xff\xff"), "expected a NumPy file of one code"),
        (pickle.dumps(3), "expected a NumPy file of one code"),
        (encode_npy("11"), "a code from 0 to 10, found '11'"),
        (encode_npy("-1"), "a code from 0 to 10, found '-1'"),
        (encode_npy("3.5"), "a code from 0 to 10, found '3.5'"),
        (encode_npy(np.nan), "a code from 0 to 10, found 'nan'"),
        (encode_npy("happy"), "a code from 0 to 10, found 'happy'"),
        (encode_npy("٣"), "a code from 0 to 10"),
    ],
)
def test_anything_else_is_no_code(content, words):
    with pytest.raises(ValueError, match=words):
        parse_code(content)


def test_no_pickle_is_loaded(data, tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "trap"),)

    content = np.lib.format.magic(1, 0)
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"
    path = annotate(data, 5, content + len(header).to_bytes(2, "little") + header + pickle.dumps(Trap()))
    with refused(path, "NumPy file of one code"):
        load_rafdb(data)
    assert not (tmp_path / "trap").exists()


@given(st.binary(max_size=40), st.integers(0, 130))
@settings(max_examples=200, deadline=None)
def test_damage_is_a_code_or_a_value_error(damage, at):
    whole = encode_npy("3")
    try:
        assert 0 <= parse_code(whole[:at] + damage + whole[at + len(damage) :]) <= 10
    except ValueError:
        pass


def test_labels_are_those_of_the_annotations(data):
    found = load_data(data, validation_fraction=0.3, scored=None)
    assert found.class_names == list(EIGHT.names) and found.name == "folder in AffectNet layout"
    assert found.sources == {"train": "train_set", "test": "val_set"}
    assert found.shares["validation"].fraction == 0.3 and "test is its split val_set" in found.describe()
    assert {split: len(of) for split, of in found.splits.items()} == {"train": 16, "validation": 8, "test": 16}
    for dataset in found.splits.values():
        for face in dataset:
            assert found.class_names[face["label"]] == AFFECTNET_CODES[int(face["file"]) % 8]
    assert load_rafdb(data.parent)["test"]["file"][:] == found.splits["test"]["file"][:]


def test_without_contempt_the_classes_are_those_of_rafdb(tmp_path):
    found = load_data(write_affectnet(tmp_path / "seven", classes=7), scored=None)
    assert found.class_names == list(BASIC.names)
    assert found.counts["test"] == dict.fromkeys(BASIC.names, 2)


def test_a_split_alone_is_what_is_evaluated_on(data):
    found = load_data(data / "val_set" / "..", DataForm(needed=("test",)), scored=None)
    assert len(found.splits["test"]) == 16
    for path in sorted((data / "train_set").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert len(load_data(data, DataForm(needed=("test",)), scored=None).splits["test"]) == 16
    with refused("the train split is empty", "AffectNet has one, so a part is missing or cut off; download it anew"):
        load_rafdb(data)


def test_a_test_set_of_ones_own(data):
    (data / "train_set").rename(data / "test_set")
    write_affectnet(data / "more", splits=("train_set", "unused"))
    (data / "more" / "train_set").rename(data / "train_set")
    for path in sorted((data / "more").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (data / "more").rmdir()
    found = load_data(data, scored=None)
    assert found.sources == {"test": "test_set", "train": "train_set", "validation": "val_set"}


def test_what_cannot_be_used_is_counted_and_said(data):
    for number, code in ((1, "8"), (2, "9"), (9, "10")):
        annotate(data, number, encode_npy(code))
    images, annotations = data / "train_set" / "images", data / "train_set" / "annotations"
    (images / "3.jpg").unlink()
    (annotations / "4_exp.npy").unlink()
    found = load_data(data, scored=None)
    words = (
        "5 faces are left out: 3 of no expression (codes 8 to 10: none, uncertain, no face), "
        "1 without an annotation, 1 without an image"
    )
    assert words in found.describe()
    assert sum(sum(of.values()) for of in found.counts.values()) == 35
    result = check_data(data, quiet=True, processes=1)
    assert result.render().splitlines()[1] == words
    assert not result.blocking
    (missing,), (stray,) = result.kinds["image without annotation"], result.kinds["annotation without image"]
    assert str(images / "4.jpg") in missing.message and str(annotations / "3_exp.npy") in stray.message
    assert "image without label" not in result.kinds
    (path,) = (path for path in images.iterdir() if path.name == "1.jpg")
    assert str(path) not in result.places and result.images == 36


def test_one_reason_is_a_sentence(data):
    annotate(data, 1, encode_npy("8"))
    words = "1 face of no expression (codes 8 to 10: none, uncertain, no face) is left out"
    assert words in load_data(data, scored=None).describe()


@pytest.mark.parametrize("code", ["11", "x"])
def test_a_bad_annotation_is_named(data, code):
    path = annotate(data, 5, encode_npy(code))
    with refused(path, "code from 0 to 10", repr(code), "put AffectNet's file in its place"):
        load_rafdb(data)
    result = check_data(data, quiet=True, processes=1)
    assert result.numbers["bad annotation"] == 1 and result.blocking == 1
    assert "image without annotation" not in result.kinds


def test_an_annotation_of_any_size_is_not_read(data):
    path = annotate(data, 5, b"")
    with path.open("ab") as file:
        file.truncate(2**40)
    with refused(path, "cannot be read"):
        load_rafdb(data)


def test_nothing_outside_is_read(data, tmp_path):
    annotations = data / "val_set" / "annotations"
    (annotations / "24_exp.npy").rename(tmp_path / "24.npy")
    (annotations / "24_exp.npy").symlink_to(tmp_path / "24.npy")
    with refused(annotations / "24_exp.npy", "leads out of"):
        load_rafdb(data)
    annotations.rename(tmp_path / "elsewhere")
    annotations.symlink_to(tmp_path / "elsewhere")
    with refused(annotations, "leads out of"):
        load_rafdb(data)


def test_no_images(data):
    (data / "val_set" / "images").rename(data / "val_set" / "pictures")
    with refused(data / "val_set" / "images", "no such folder", "images of AffectNet"):
        load_rafdb(data)


def test_a_split_twice(data):
    (data / "valid").mkdir()
    (data / "valid" / "annotations").symlink_to(data / "val_set" / "annotations")
    with refused(data / "valid", data / "val_set", "expected one of them"):
        load_rafdb(data)


def test_rafdbs_subsets_are_not_for_affectnet(data):
    with refused("--subset compound", "AffectNet"):
        load_rafdb(data, subset="compound")


def test_data_of_the_published_counts_is_affectnet(data, monkeypatch):
    edition = next(of for of in PUBLISHED if of.name == "AffectNet")
    for split, each in (("train", 3), ("test", 2)):
        monkeypatch.setitem(edition.counts, split, (each,) * 8)
        monkeypatch.setitem(edition.totals, split, each * 8)
    assert load_data(data, scored=None).name == "AffectNet"
    assert "counts are not the published ones" not in check_data(data, quiet=True, processes=1).kinds
