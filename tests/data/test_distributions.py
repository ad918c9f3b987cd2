import numpy as np
import pytest

from rafdb_vit.data.dataset import find_splits, load_data, load_rafdb
from rafdb_vit.data.distributions import match_distributions, read_distributions
from rafdb_vit.data.form import DataForm
from rafdb_vit.data.labels import BASIC, COMPOUND
from tests.support.refusals import refused

NO_LIMIT = {"train": None, "validation": None, "test": None}


def write(path, *rows):
    path.write_text("\n".join(rows))
    return path


def vector(label, peak=0.7, classes=7):
    """A vector with its peak at a class and the rest shared among the others."""
    rest = (1 - peak) / (classes - 1)
    return [peak if i == label else rest for i in range(classes)]


def row(file, entries):
    return " ".join([f"{file}.jpg", *(f"{entry:.6f}" for entry in entries)])


@pytest.fixture(scope="module")
def faces(faces_dir):
    """The label of each face of `faces_dir`."""
    splits = find_splits(faces_dir).splits
    return {file: label for d in splits.values() for file, label in zip(d["file"], d["label"], strict=True)}


def test_rows_by_hand(tmp_path):
    path = write(
        tmp_path / "distribution.txt",
        "train_00001.jpg 0.5 0.25 0 0 0 0 0.25",
        "train_00002_aligned.jpg\t1\t0 0 0 0 0 0 ",
        "",
        "test_0001,0,0,.75,0,0,0,2.5e-1",
        " test_0002.jpg, 0, 0, 0, 0, 0, 1, 0",
    )
    assert read_distributions(path, BASIC) == {
        "train_00001": [0.5, 0.25, 0, 0, 0, 0, 0.25],
        "train_00002": [1, 0, 0, 0, 0, 0, 0],
        "test_0001": [0, 0, 0.75, 0, 0, 0, 0.25],
        "test_0002": [0, 0, 0, 0, 0, 1, 0],
    }


def test_vectors_are_scaled_to_sum_to_1(tmp_path):
    path = write(tmp_path / "d.txt", "a.jpg 0.3334 0.3334 0.3334 0 0 0 0", "b.jpg 0.4996 0.4996 0 0 0 0 0")
    assert read_distributions(path, BASIC) == {
        "a": pytest.approx([1 / 3, 1 / 3, 1 / 3, 0, 0, 0, 0], abs=1e-15),
        "b": [0.5, 0.5, 0, 0, 0, 0, 0],
    }


def test_thirds_of_three_decimals_are_taken(tmp_path):
    path = write(tmp_path / "d.txt", "a.jpg 0.333 0.333 0.333 0 0 0 0")
    assert read_distributions(path, BASIC)["a"] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0, 0, 0, 0], abs=1e-15)


def test_a_bom_and_other_line_ends(tmp_path):
    path = tmp_path / "d.txt"
    path.write_bytes(b"\xef\xbb\xbfa.jpg 1 0 0 0 0 0 0\r\nb.jpg 0 1 0 0 0 0 0\rc.jpg 0 0 1 0 0 0 0")
    assert list(read_distributions(path, BASIC)) == ["a", "b", "c"]


def test_compound_vectors_have_eleven_entries(tmp_path):
    path = write(tmp_path / "d.txt", row("train_0001", vector(10, 0.5, 11)))
    assert len(read_distributions(path, COMPOUND)["train_0001"]) == 11
    with refused(f"--distribution_file {path}, row 1", "7 numbers"):
        read_distributions(path, BASIC)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("b.jpg -0.1 1.1 0 0 0 0 0", "b.jpg has a negative entry, -0.1; expected probabilities"),
        ("b.jpg -1e-9 1 0 0 0 0 0", "negative entry"),
        ("b.jpg 0.5 0.4 0 0 0 0 0", "the entries of b.jpg sum to 0.9; expected 1"),
        ("b.jpg 0.5 0.52 0 0 0 0 0", "sum to 1.02; expected 1"),
        ("b.jpg 0 0 0 0 0 0 0", "sum to 0; expected 1"),
        ("b.jpg 5 3 2 0 0 0 0", "sum to 10; expected 1"),
        ("b.jpg 0.5 0.5 0 0 0 0", "expected a file name and 7 numbers, found 'b.jpg 0.5 0.5 0 0 0 0'"),
        ("b.jpg 0.5 0.5 0 0 0 0 0 0", "expected a file name and 7 numbers"),
        ("b.jpg 0.5 half 0 0 0 0 0", "expected a file name and 7 numbers, found 'b.jpg 0.5 half"),
        ("b.jpg nan 1 0 0 0 0 0", "expected a file name and 7 numbers"),
        ("b.jpg inf 0 0 0 0 0 0", "expected a file name and 7 numbers"),
        ("b.jpg", "expected a file name and 7 numbers, found 'b.jpg'"),
        ("0.5 0.5 0 0 0 0 0", "expected a file name and 7 numbers"),
        (", ,", "expected a file name and 7 numbers"),
        ("image p1 p2 p3 p4 p5 p6 p7", "expected a file name and 7 numbers"),
        ("a.jpg 1 0 0 0 0 0 0", "a is listed twice; expected one row for a face"),
        ("a_aligned.jpg 1 0 0 0 0 0 0", "a is listed twice"),
        ("\x1b[31m.jpg -1 2 0 0 0 0 0", "negative entry"),
    ],
)
def test_a_bad_row_is_named(tmp_path, bad, words):
    path = write(tmp_path / "distribution.txt", "a.jpg 0 1 0 0 0 0 0", bad, "c.jpg 1 0 0 0 0 0 0")
    with refused(f"--distribution_file {path}, row 2: ", words):
        read_distributions(path, BASIC)


@pytest.mark.parametrize(("name", "content"), [("gone.txt", None), ("folder", None), ("d.txt", b"\xff\xd8\xff\xe0")])
def test_a_file_that_cannot_be_read(tmp_path, name, content):
    (tmp_path / "folder").mkdir()
    if content:
        (tmp_path / name).write_bytes(content)
    with refused(tmp_path / name):
        read_distributions(tmp_path / name, BASIC)


FILES = [f"train_{i:05d}" for i in range(20)]
IDS = [i % 7 for i in range(20)]


def test_vectors_come_in_the_order_of_the_faces():
    vectors = {file: vector(label) for file, label in zip(FILES, IDS, strict=True)}
    vectors["unused"] = vector(0)
    matched = match_distributions("d.txt", vectors, FILES[::-1], IDS[::-1], BASIC)
    assert matched == [vector(label) for label in IDS[::-1]]


@pytest.mark.parametrize("disagreeing", [0, 1, 2])
def test_a_tenth_may_disagree_with_the_label(disagreeing):
    vectors = {
        file: vector((label + (i < disagreeing)) % 7) for i, (file, label) in enumerate(zip(FILES, IDS, strict=True))
    }
    assert len(match_distributions("d.txt", vectors, FILES, IDS, BASIC)) == 20


def test_more_than_a_tenth_may_not():
    vectors = {file: vector((label + (i >= 17)) % 7) for i, (file, label) in enumerate(zip(FILES, IDS, strict=True))}
    with refused(
        "--distribution_file d.txt: the largest entry is another class than the label for 15% of the faces",
        "(first: train_00017, labelled Happiness)",
        "in the order Surprise, Fear, Disgust, Happiness, Sadness, Anger, Neutral",
    ):
        match_distributions("d.txt", vectors, FILES, IDS, BASIC)


def test_ties_agree():
    ties = {
        file: [0.5 if i in (label, (label + 1) % 7) else 0 for i in range(7)]
        for file, label in zip(FILES, IDS, strict=True)
    }
    assert match_distributions("d.txt", ties, FILES, IDS, BASIC) == [ties[file] for file in FILES]


def test_ties_agree_after_scaling(tmp_path):
    path = write(tmp_path / "d.txt", *(f"{file} 0.143 0.143 0.143 0.143 0.143 0.143 0.143" for file in FILES))
    matched = match_distributions(path, read_distributions(path, BASIC), FILES, IDS, BASIC)
    np.testing.assert_allclose(matched, np.full((len(FILES), 7), 1 / 7))


def test_every_split_has_the_vectors_of_its_faces(tmp_path, faces_dir, faces):
    path = write(
        tmp_path / "d.txt", *(row(file, vector(label, 0.4 + i / 1000)) for i, (file, label) in enumerate(faces.items()))
    )
    peaks = {file: 0.4 + i / 1000 for i, file in enumerate(faces)}
    splits = load_rafdb(faces_dir, distribution_file=path)
    assert list(splits) == ["train", "validation", "test"]
    for dataset in splits.values():
        assert dataset.column_names == ["image", "label", "file", "distribution"]
        for face in dataset.remove_columns("image"):
            assert face["distribution"] == pytest.approx(vector(faces[face["file"]], peaks[face["file"]]), abs=2e-6)
            assert sum(face["distribution"]) == pytest.approx(1, abs=1e-6)


def test_what_a_run_says_of_them(tmp_path, faces_dir, faces):
    path = write(tmp_path / "d.txt", *(row(file, vector(label)) for file, label in faces.items()))
    data = load_data(faces_dir, DataForm(distribution_file=str(path)))
    assert data.targets == "distribution vectors; scored on single labels"
    assert data.describe() == "folder in RAF-DB layout; trained on distribution vectors; scored on single labels"


@pytest.mark.parametrize("gone", ["train_00003", "test_0028"])
def test_a_face_without_a_row_is_named(tmp_path, faces_dir, faces, gone):
    path = write(tmp_path / "d.txt", *(row(file, vector(label)) for file, label in faces.items() if file != gone))
    with refused(f"--distribution_file {path}: no row for {gone}", "expected one for every face"):
        load_rafdb(faces_dir, distribution_file=path)


def test_an_empty_file_has_no_row_for_any_face(tmp_path, faces_dir):
    path = write(tmp_path / "d.txt", "\n")
    with refused(f"--distribution_file {path}: no row for train_00001 and 97 more"):
        load_rafdb(faces_dir, distribution_file=path)


def test_classes_in_reverse_order_are_refused(tmp_path, faces_dir, faces):
    path = write(tmp_path / "d.txt", *(row(file, vector(label)[::-1]) for file, label in faces.items()))
    # The middle class, Happiness, stays where it is: 6 of 7 disagree.
    with refused(f"--distribution_file {path}", "for 86% of the faces", "labelled Surprise"):
        load_rafdb(faces_dir, distribution_file=path)


def test_files_that_are_paths_have_their_rows_too(tmp_path):
    root, rows = tmp_path / "data", []
    for split in ("train", "test"):
        for label, name in enumerate(BASIC.names):
            (root / split / name).mkdir(parents=True)
            for number in range(2):
                (root / split / name / f"{number}.jpg").touch()
                rows.append(row(f"{split}/{name}/{number}", vector(label)))
    splits = load_rafdb(root, distribution_file=write(tmp_path / "d.txt", *rows))
    assert all(
        max(face) == face[label]
        for d in splits.values()
        for face, label in zip(d["distribution"], d["label"], strict=True)
    )
