import shutil
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from datasets import Image as ImageFeature

from rafdb_vit.data.annotations import KINDS, parse_automatic, parse_box, parse_manual, read_annotations
from rafdb_vit.data.attributes import read_groups
from rafdb_vit.data.dataset import load_data, load_rafdb
from rafdb_vit.data.findings import Reporter
from rafdb_vit.data.images import open_face
from tests.support.faces import AUTOMATIC, MANUAL, paint_face, write_annotations, write_kaggle, write_official
from tests.support.refusals import assert_one_line, refused

POINTS = List(List(Value("float32"), length=2))
MALE, FEMALE, UNSURE = range(3)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return write_annotations(write_official(tmp_path_factory.mktemp("release"), train=2, test=1))


@pytest.fixture
def damaged(release, tmp_path):
    """A copy of the release, to be damaged at will."""
    return Path(shutil.copytree(release, tmp_path / "basic"))


def file_of(release, kind, file="train_00003"):
    return release / "Annotation" / kind.folder / f"{file}{kind.suffix}"


def test_columns_and_their_types(release):
    for dataset in load_rafdb(release).values():
        features = dict(dataset.features)
        del features["image"], features["label"], features["file"]
        assert features == {
            "gender": ClassLabel(names=["male", "female", "unsure"]),
            "race": ClassLabel(names=["Caucasian", "African-American", "Asian"]),
            "age": ClassLabel(names=["0-3", "4-19", "20-39", "40-69", "70+"]),
            "landmarks": POINTS,
            "automatic_landmarks": POINTS,
            "box": List(Value("float32"), length=4),
        }


def test_values_go_with_their_faces(release):
    numbers = {path.stem: i for i, path in enumerate(sorted((release / "Image/original").iterdir()))}
    for dataset in load_rafdb(release).values():
        for face in dataset.remove_columns("image"):
            number = numbers[face["file"]]
            assert face["landmarks"] == [[38, 52], [62.5, 52], [50, 66], [40, 80], [61, 80]]
            assert (face["gender"], face["race"], face["age"]) == (number % 3, 2, 3)
            assert face["automatic_landmarks"] == [[i, i + 0.5] for i in range(37)]
            assert face["box"] == [10, 20 + number, 50, 40 + number]


def test_shapes(release):
    test = load_rafdb(release)["test"].with_format("numpy")
    shapes = {name: test[name][:].shape for name in ("gender", "landmarks", "automatic_landmarks", "box")}
    assert shapes == {"gender": (7,), "landmarks": (7, 5, 2), "automatic_landmarks": (7, 37, 2), "box": (7, 4)}


@pytest.mark.parametrize("kinds", [(0,), (1,), (2,), (0, 2), ()])
def test_only_the_kinds_that_are_there_become_columns(damaged, kinds):
    for number, kind in enumerate(KINDS):
        if number not in kinds:
            shutil.rmtree(damaged / "Annotation" / kind.folder)
    expected = [name for number in kinds for name in KINDS[number].columns]
    assert load_rafdb(damaged)["train"].column_names == ["image", "label", "file", *expected]


def test_annotations_may_be_left_out(damaged):
    file_of(damaged, KINDS[0]).write_text("no annotation")
    assert load_rafdb(damaged, annotations=False)["train"].column_names == ["image", "label", "file"]


def test_other_layouts_have_none(tmp_path, release):
    root = write_kaggle(tmp_path, train=2, test=1)
    shutil.copytree(release / "Annotation", root / "DATASET/Annotation")
    assert load_rafdb(root)["train"].column_names == ["image", "label", "file"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.folder)
def test_a_missing_file_is_named(damaged, kind):
    file_of(damaged, kind).unlink()
    with refused(file_of(damaged, kind), "no such file; expected one for every face"):
        load_rafdb(damaged)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.folder)
@pytest.mark.parametrize("write", ["\r\n".join, "\n\n  ".join, lambda lines: "\ufeff" + "\r".join(lines) + "\r \r"])
def test_line_ends_and_spaces_do_not_matter(damaged, kind, write):
    path = file_of(damaged, kind)
    before = read_annotations(damaged, damaged, kind, ["train_00003"], Reporter(pytest.fail))
    path.write_bytes(write(path.read_text().replace(" ", "\t ").splitlines()).encode())
    assert read_annotations(damaged, damaged, kind, ["train_00003"], Reporter(pytest.fail)) == before


MALFORMED = [
    (0, MANUAL.removesuffix("3\n"), "expected 8 lines, found 7"),
    (0, MANUAL + "1\n", "expected 8 lines, found 9"),
    (0, "", "expected 8 lines, found 0"),
    (0, MANUAL.replace("\n3\n", "\n5\n"), "expected a code from 0 to 4 in line 8 (age), found '5'"),
    (0, MANUAL.replace("\n1\n", "\n3\n"), "expected a code from 0 to 2 in line 6 (gender), found '3'"),
    (0, MANUAL.replace("\n2\n", "\nAsian\n"), "expected a code from 0 to 2 in line 7 (race), found 'Asian'"),
    (0, MANUAL.replace("\n2\n", "\n2.0\n"), "line 7 (race), found '2.0'"),
    (0, MANUAL.replace("\n1\n", "\n-1\n"), "line 6 (gender), found '-1'"),
    (0, MANUAL.replace("50 66", "50 nose"), "expected 2 numbers in line 3, found '50 nose'"),
    (0, MANUAL.replace("50 66", "50"), "expected 2 numbers in line 3, found '50'"),
    (0, MANUAL.replace("50 66", "50 66 1"), "expected 2 numbers in line 3"),
    (0, MANUAL.replace("50 66", "NaN 66"), "expected 2 numbers in line 3, found 'NaN 66'"),
    (0, MANUAL.replace("50 66", "50 inf"), "expected 2 numbers in line 3"),
    (0, MANUAL.replace("50 66", "50 1e400"), "expected 2 numbers in line 3"),
    (0, MANUAL.replace("50 66", "50 1e39"), "line 3"),
    (0, MANUAL.replace("50 66", "50,66"), "expected 2 numbers in line 3"),
    (1, AUTOMATIC.removesuffix("36\t36.5\n"), "expected 37 lines, found 36"),
    (1, AUTOMATIC.replace("36\t36.5", "36\tx"), "expected 2 numbers in line 37, found '36\\tx'"),
    (2, "", "expected 1 lines, found 0"),
    (2, "10 20 50 40\n10 20 50 40\n", "expected 1 lines, found 2"),
    (2, "10 20 50", "expected 4 numbers in line 1, found '10 20 50'"),
    (2, "10 20 50 x", "expected 4 numbers in line 1"),
    (2, "nan 20 50 40", "expected 4 numbers in line 1"),
    (2, "50 20 10 40", "expected xmin < xmax and ymin < ymax, found '50 20 10 40'"),
    (2, "10 40 50 20", "expected xmin < xmax and ymin < ymax"),
    (2, "10 20 10 40", "expected xmin < xmax and ymin < ymax"),
    (2, "0 0 1e12 1e12", "line 1"),
    (2, "-1e300 0 1e300 9", "line 1"),
]


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize(("kind", "text", "words"), MALFORMED)
def test_a_malformed_file_is_named(damaged, kind, text, words, aligned):
    path = file_of(damaged, KINDS[kind])
    path.write_text(text)
    with refused(path, words):
        load_rafdb(damaged, aligned=aligned)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.folder)
def test_a_file_that_is_no_text_is_named(damaged, kind):
    file_of(damaged, kind).write_bytes(b"\xff\xfe1\x00")
    with refused(file_of(damaged, kind), "not a text file", "an annotation of RAF-DB"):
        load_rafdb(damaged)


@pytest.mark.parametrize("parse", [parse_manual, parse_automatic, parse_box])
def test_parsers_raise_a_value_error_that_says_where(parse):
    with pytest.raises(ValueError, match="lines, found 2"):
        parse("1 2\n3 4\n")


def test_a_link_that_leads_out_is_refused(damaged):
    for place in (file_of(damaged, KINDS[2]), damaged / "Annotation/manual"):
        shutil.move(place, damaged.parent / "outside")
        place.symlink_to(damaged.parent / "outside")
        with refused(place, "leads out of"):
            load_rafdb(damaged)
        place.unlink()
        shutil.move(damaged.parent / "outside", place)


def test_checking_collects_every_fault(damaged):
    findings = []
    file_of(damaged, KINDS[2]).unlink()
    file_of(damaged, KINDS[2], "train_00001").write_text("4 3 2 1")
    files = ["train_00001", "train_00002", "train_00003"]
    columns = read_annotations(damaged, damaged, KINDS[2], files, Reporter(findings.append))
    assert [finding.kind for finding in findings] == ["annotation malformed", "annotation missing"]
    for finding, file in zip(findings, ("train_00001", "train_00003"), strict=True):
        assert_one_line(finding.message, file_of(damaged, KINDS[2], file))
        assert finding.files == (str(file_of(damaged, KINDS[2], file)),)
    assert columns["box"][0] is columns["box"][2] is None
    assert columns["box"][1] is not None


@pytest.mark.parametrize(("margin", "offset", "side"), [(0, 0, 40), (0.25, 10, 60), (-0.25, -10, 20)])
def test_photographs_are_cut_to_the_square_around_their_box(release, margin, offset, side):
    """The box of face i: 40 wide from 10, 20 high from 20 + i; so a square from (10, 10 + i)."""
    splits = load_rafdb(release, aligned=False, box_margin=margin, annotations=False)
    numbers = {path.stem: i for i, path in enumerate(sorted((release / "Image/original").iterdir()))}
    for dataset in splits.values():
        assert dataset.column_names == ["image", "label", "file", "box", "crop"]
        assert dataset.features["crop"] == List(Value("int32"), length=3)
        for face in dataset:
            assert face["crop"] == [10 - offset, 10 + numbers[face["file"]] - offset, side]
            assert face["image"].size == (160, 120)


def test_a_face_is_not_squashed(release):
    face = load_rafdb(release, aligned=False)["test"][0]
    cut = np.asarray(open_face(face["image"], face["file"], face["crop"]))[..., 0]
    assert cut.shape == (40, 40)
    assert (cut[10:30] == 200).all()
    assert (cut[:10] == 99).all() and (cut[30:] == 99).all()


def test_photographs_keep_all_annotations(release):
    names = load_rafdb(release, aligned=False)["train"].column_names
    assert set(names) == {"image", "label", "file", "crop", *(name for kind in KINDS for name in kind.columns)}


@pytest.mark.parametrize(
    ("folder", "words"), [("Image/original", "original photographs"), ("Annotation/boundingbox", "no such folder")]
)
def test_photographs_need_boxes_and_themselves(damaged, folder, words):
    shutil.rmtree(damaged / folder)
    with refused(damaged / folder, words):
        load_rafdb(damaged, aligned=False)


def test_aligned_images_need_no_photographs(damaged):
    shutil.rmtree(damaged / "Image/original")
    assert len(load_rafdb(damaged)["test"]) == 7


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"box_margin": 0.2}, "goes with --aligned False"),
        ({"box_margin": 9, "aligned": False}, "-0.4 to 5"),
        ({"box_margin": float("nan")}, "-0.4 to 5"),
    ],
)
def test_margins_that_are_refused(release, form, words):
    with refused(f"--box_margin {form['box_margin']}", words):
        load_rafdb(release, **form)


def test_other_layouts_have_no_photographs(kaggle):
    with refused("--aligned False", kaggle / "DATASET", "not the official release"):
        load_rafdb(kaggle, aligned=False)


ALL = dict.fromkeys(("train", "validation", "test"))


def test_the_scored_split_alone_has_the_releases_groups(release):
    data = load_data(release, max_samples=ALL)
    own = load_rafdb(release)
    assert "gender" not in data.splits["train"].column_names and data.without_groups is None
    assert read_groups(data.splits["test"]) == read_groups(own["test"])
    assert set(read_groups(data.splits["test"])["gender"]) == {"male", "female", "unsure"}
    assert read_groups(load_data(release, max_samples=ALL, scored="validation").splits["validation"])["gender"]


def test_they_follow_a_sample(release):
    data = load_data(release, max_samples={**ALL, "test": 3})
    whole = load_rafdb(release)["test"]
    by_file = dict(zip(whole["file"], read_groups(whole)["gender"], strict=True))
    test = data.splits["test"]
    assert len(test) == 3 and read_groups(test)["gender"] == [by_file[file] for file in test["file"]]


def test_a_group_of_all_is_none(release):
    assert set(read_groups(load_rafdb(release)["test"])) == {"gender"}  # race and age are the same of all


def test_malformed_annotations_are_said_and_do_not_keep_anyone_from_training(release, tmp_path):
    damaged = shutil.copytree(release, tmp_path / "basic")
    file_of(damaged, KINDS[0], "test_0002").write_text("?")
    data = load_data(damaged, max_samples=ALL)
    assert "test_0002_manu_attri.txt: expected 8 lines" in data.without_groups
    assert read_groups(data.splits["test"]) == {}
    file_of(damaged, KINDS[0], "test_0002").unlink()
    assert "expected one for every face" in load_data(damaged, max_samples=ALL).without_groups


def test_a_csv_file_may_have_the_columns(tmp_path):
    rows = ["path,emotion,split,Gender,AGE,race_of"]
    for i in range(28):
        paint_face(i % 7 + 1, i).save(tmp_path / f"{i}.png")
        split = "train" if i < 21 else "test"
        rows.append(f"{i}.png,{i % 7 + 1},{split},{'woman' if i % 2 else ''},{20 + i},x")
    (tmp_path / "faces.csv").write_text("\n".join(rows))
    splits = load_data(tmp_path, max_samples=ALL).splits
    groups = read_groups(splits["test"])
    assert groups["gender"] == ["woman", "not given"] * 3 + ["woman"] and set(groups) == {"gender", "age"}
    assert splits["train"].features["gender"] == Value("string")


def test_a_column_of_many_values_is_no_grouping():
    faces = Dataset.from_dict({"age": [str(i) for i in range(40)], "gender": ["a"] * 20 + ["b"] * 20})
    assert set(read_groups(faces)) == {"gender"}
    assert read_groups(Dataset.from_dict({"age": list(range(3))})) == {}  # numbers are years, not groups


def test_a_data_set_may_have_the_columns(tmp_path):
    features = Features(
        face=ImageFeature(),
        label=ClassLabel(names=["Happiness", "Sadness"]),
        Gender=ClassLabel(names=["man", "woman"]),
        race=Value("string"),
    )
    own = {
        "face": [paint_face(i % 2 + 1, i) for i in range(8)],
        "label": [i % 2 for i in range(8)],
        "Gender": [-1, 0, 1, 1, 0, 0, 1, 1],
        "race": ["r1", "r2"] * 4,
    }
    test = Dataset.from_dict(own, features=features)
    train = Dataset.from_dict({**own, "face": [paint_face(i % 2 + 1, i + 50) for i in range(8)]}, features=features)
    DatasetDict(train=train, test=test).save_to_disk(str(tmp_path / "faces"))
    groups = read_groups(load_data(None, dataset_name=str(tmp_path / "faces"), max_samples=ALL).splits["test"])
    assert groups["gender"] == ["not given", "man", "woman", "woman", "man", "man", "woman", "woman"]
    assert groups["race"] == ["r1", "r2"] * 4
