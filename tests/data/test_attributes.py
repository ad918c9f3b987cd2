import shutil

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value

from rafdb_vit.data import load_rafdb, load_run_data
from rafdb_vit.data.attributes import read_groups
from tests.conftest import paint_face, write_official
from tests.data.test_annotations import KINDS, file_of, write_annotations

ALL = dict.fromkeys(("train", "validation", "test"))


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return write_annotations(write_official(tmp_path_factory.mktemp("release"), train=2, test=1))


def test_the_scored_split_alone_has_the_releases_groups(release):
    data = load_run_data(release, max_samples=ALL)
    own = load_rafdb(release)
    assert "gender" not in data.splits["train"].column_names and data.without_groups is None
    assert read_groups(data.splits["test"]) == read_groups(own["test"])
    assert set(read_groups(data.splits["test"])["gender"]) == {"male", "female", "unsure"}
    assert read_groups(load_run_data(release, max_samples=ALL, scored="validation").splits["validation"])["gender"]


def test_they_follow_a_sample(release):
    data = load_run_data(release, max_samples={**ALL, "test": 3})
    whole = load_rafdb(release)["test"]
    by_file = dict(zip(whole["file"], read_groups(whole)["gender"], strict=True))
    test = data.splits["test"]
    assert len(test) == 3 and read_groups(test)["gender"] == [by_file[file] for file in test["file"]]


def test_a_group_of_all_is_none(release):
    assert set(read_groups(load_rafdb(release)["test"])) == {"gender"}  # race and age are the same of all


def test_malformed_annotations_are_said_and_do_not_keep_anyone_from_training(release, tmp_path):
    damaged = shutil.copytree(release, tmp_path / "basic")
    file_of(damaged, KINDS[0], "test_0002").write_text("?")
    data = load_run_data(damaged, max_samples=ALL)
    assert "test_0002_manu_attri.txt: expected 8 lines" in data.without_groups
    assert read_groups(data.splits["test"]) == {}
    file_of(damaged, KINDS[0], "test_0002").unlink()
    assert "expected one for every face" in load_run_data(damaged, max_samples=ALL).without_groups


def test_a_csv_file_may_have_the_columns(tmp_path):
    rows = ["path,emotion,split,Gender,AGE,race_of"]
    for i in range(28):
        paint_face(i % 7 + 1, i).save(tmp_path / f"{i}.png")
        split = "train" if i < 21 else "test"
        rows.append(f"{i}.png,{i % 7 + 1},{split},{'woman' if i % 2 else ''},{20 + i},x")
    (tmp_path / "faces.csv").write_text("\n".join(rows))
    splits = load_run_data(tmp_path, max_samples=ALL).splits
    groups = read_groups(splits["test"])
    assert groups["gender"] == ["woman", "not given"] * 3 + ["woman"] and set(groups) == {"gender", "age"}
    assert splits["train"].features["gender"] == Value("string")


def test_a_column_of_many_values_is_no_grouping():
    faces = Dataset.from_dict({"age": [str(i) for i in range(40)], "gender": ["a"] * 20 + ["b"] * 20})
    assert set(read_groups(faces)) == {"gender"}
    assert read_groups(Dataset.from_dict({"age": list(range(3))})) == {}  # numbers are years, not groups


def test_a_data_set_may_have_the_columns(tmp_path):
    features = Features(
        face=Image(),
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
    faces = Dataset.from_dict(own, features=features)
    DatasetDict(train=faces, test=faces).save_to_disk(str(tmp_path / "faces"))
    groups = read_groups(load_run_data(None, dataset_name=str(tmp_path / "faces"), max_samples=ALL).splits["test"])
    assert groups["gender"] == ["not given", "man", "woman", "woman", "man", "man", "woman", "woman"]
    assert groups["race"] == ["r1", "r2"] * 4
