import csv
import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, log_loss

from rafdb_vit.evaluation.predictions import Predictions, read_predictions
from rafdb_vit.runtime.errors import UserError

NAMES = ("Surprise", "Fear, mild", 'Dis"gust"')
HEAD = "file,label,predicted,probability_a,probability_b\n"


def random_predictions(n=60, seed=0, names=NAMES, groups=True):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(names), n)
    logits = rng.normal(size=(n, len(names))).astype(np.float32)
    logits[np.arange(n), labels] += 1
    own = {"gender": rng.choice(["male", "female"], n).tolist(), "age": rng.choice(["0-3", "70+"], n).tolist()}
    return Predictions([f"test_{i:04d}" for i in range(n)], labels, logits, names, own if groups else {})


def test_what_is_written_is_read_back_to_the_last_bit(tmp_path):
    first = random_predictions()
    again = read_predictions(first.write(tmp_path / "predictions.csv"))
    assert list(again.files) == list(first.files) and list(again.names) == list(NAMES)
    assert np.array_equal(again.labels, first.labels) and np.array_equal(again.predicted, first.predicted)
    assert again.groups == first.groups
    with (tmp_path / "predictions.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head[:4] == ["file", "label", "predicted", "probability_Surprise"] and head[-1] == "group_age"
    written = np.array([[float(cell) for cell in row[3:6]] for row in rows])
    assert np.array_equal(written, first.probabilities)
    np.testing.assert_allclose(again.probabilities, first.probabilities, rtol=1e-14)


def test_metrics_are_scikit_learns_on_the_file(tmp_path):
    predictions = random_predictions()
    result = predictions.score()
    with predictions.write(tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    labels, predicted = [row["label"] for row in rows], [row["predicted"] for row in rows]
    assert result.accuracy == accuracy_score(labels, predicted)
    assert result.macro_f1 == pytest.approx(f1_score(labels, predicted, average="macro"), abs=1e-15)
    probabilities = np.array([[float(row[f"probability_{name}"]) for name in sorted(NAMES)] for row in rows])
    assert result.loss == pytest.approx(log_loss(labels, probabilities, labels=sorted(NAMES)), rel=1e-12)
    assert result.groups["age"]["groups"]["70+"]["n"] == sum(row["group_age"] == "70+" for row in rows)
    assert result.find_contradiction() is None


def test_a_selection_has_the_rows_that_were_asked_for():
    whole = random_predictions()
    part = whole.select(np.array([3, 5, 4]))
    assert part.files == [whole.files[i] for i in (3, 5, 4)] and part.names == whole.names
    np.testing.assert_array_equal(part.logits, whole.logits[[3, 5, 4]])
    assert part.labels.tolist() == [whole.labels[i] for i in (3, 5, 4)]
    assert {name: [of_faces[i] for i in (3, 5, 4)] for name, of_faces in whole.groups.items()} == part.groups


def test_without_groups():
    assert random_predictions(groups=False).score().groups is None


def test_a_folder_stands_for_its_file_and_nothing_is_left_half_written(tmp_path):
    random_predictions().write(tmp_path / "predictions.csv")
    assert len(read_predictions(tmp_path).files) == 60
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.csv"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "not what"),
        ("a,b\n1,2\n", "its columns are others"),
        (HEAD, "no rows"),
        (f"{HEAD}x,a,a,0.5\n", "4 cells of 5"),
        (f"{HEAD}x,c,a,0.6,0.4\n", "no class is called 'c'"),
        (f"{HEAD}x,a,b,0.6,0.4\n", "not the most probable"),
        (f"{HEAD}x,a,a,0.6,0.6\n", "do not add up to 1"),
        (f"{HEAD}x,a,a,nan,0.6\n", "do not add up to 1"),
        (f"{HEAD}x,a,a,1.5,-0.5\n", "do not add up to 1"),
        (f"{HEAD}x,a,a,much,0.4\n", "could not convert"),
        (f"{HEAD}x,a,a,0.6,0.4\nx,a,a,0.6,0.4\n", "twice"),
        (b"\xff\xfe\x00", "not what"),
    ],
)
def test_another_file_is_refused_in_one_line(tmp_path, content, words):
    path = tmp_path / "predictions.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=words) as error:
        read_predictions(path)
    assert error.value.line.startswith(str(path)) and "\n" not in error.value.line


def test_no_file(tmp_path):
    with pytest.raises(UserError, match="rafdb-vit evaluate"):
        read_predictions(tmp_path)


def test_probabilities_of_nothing_and_all_are_read(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text(f"{HEAD}x,b,a,1.0,0.0\n")
    assert read_predictions(path).probabilities.tolist() == [[1.0, 0.0]]


NAME = st.one_of(
    st.sampled_from(
        [
            "=1+1",
            "+a",
            "-a",
            "@a",
            "\ta",
            "\ra",
            " =1",
            '"=1',
            "'=1",
            "''=1",
            "'a",
            "＝1",
            "\u200b=1",
            "a\r",
            "q;=1",
            "q|'+1",
            "q\t @1",
            ";",
            "q;'=1",
        ]
    ),
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=6),
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    classes=st.lists(NAME, min_size=2, max_size=3, unique=True), files=st.lists(NAME, min_size=1, unique=True), own=NAME
)
def test_names_are_read_back_as_they_were_and_none_is_a_formula(tmp_path_factory, classes, files, own):
    rng = np.random.default_rng(len(files))
    labels, logits = rng.integers(0, len(classes), len(files)), rng.normal(size=(len(files), len(classes)))
    first = Predictions(files, labels, logits, classes, {own: [classes[label] for label in labels]})
    path = first.write(tmp_path_factory.getbasetemp() / "names.csv")
    again = read_predictions(path)
    assert (list(again.files), list(again.names), dict(again.groups)) == (files, classes, dict(first.groups))
    assert np.array_equal(again.labels, labels)
    with path.open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [
        cell
        for cell in cells
        if unicodedata.normalize("NFKC", cell.strip(" \"'"))[:1] in ("=", "+", "-", "@") and not cell.startswith("'")
    ]


@pytest.mark.parametrize("end", [";", "|", "\t", "\n", "\r\n"])
@pytest.mark.parametrize("formula", ["=1+0", " =1", "'=1", '"@x', "-1", ";=1", "\t=1", "+1|=2;-3"])
def test_what_ends_a_cell_in_other_countries_begins_no_formula(tmp_path, end, formula):
    names, odd = ["a", f"b{end}{formula}"], f"q{end}{formula}"
    first = Predictions([odd, "c"], np.array([0, 1]), np.eye(2), names, {odd: [odd, "d"]})
    path = first.write(tmp_path / "predictions.csv")
    again = read_predictions(path)
    assert (list(again.files), list(again.names), again.groups) == ([odd, "c"], names, first.groups)
    for cell in re.split(r"[,;|\t\r\n]", path.read_text()):
        assert not cell.strip(' "').startswith(("=", "+", "@", "-"))


def test_files_of_earlier_versions_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text("file,label,predicted,probability_=a,probability_'b\n-1,=a,=a,0.6,0.4\n'x,'b,=a,1e-0,0\n")
    read = read_predictions(path)
    assert (list(read.files), list(read.names), read.labels.tolist()) == (["-1", "'x"], ["=a", "'b"], [0, 1])


@pytest.mark.parametrize("names", [("a", "a"), ("a", "b", "a")])
def test_a_column_that_stands_twice_is_refused(tmp_path, names):
    path = tmp_path / "predictions.csv"
    path.write_text("file,label,predicted," + ",".join(f"probability_{name}" for name in names) + "\n")
    with pytest.raises(UserError, match="two of its columns are alike"):
        read_predictions(path)
