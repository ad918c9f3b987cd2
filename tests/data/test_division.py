"""Data without splits, from the folder or table to train, validation and test."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from datasets import Image as ImageFeature

from rafdb_vit.data.dataset import load_data, load_rafdb
from rafdb_vit.data.division import Division, divide
from rafdb_vit.data.form import DataForm
from rafdb_vit.data.grouping import Grouping
from tests.data.test_grouping import ALIKE
from tests.support.refusals import refused
from tests.support.undivided import write_undivided

BY_PERSON = "^(p[0-9])_"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_undivided(tmp_path_factory.mktemp("undivided") / "data")


@pytest.fixture(scope="module")
def divided(data):
    return load_rafdb(data, test_fraction=0.25)


def files_of(splits):
    return {split: set(faces["file"]) for split, faces in splits.items()}


def write_rows(path, root, *columns):
    """Writes a table of the faces, with the columns image, label and those of `columns`, made of a file's name."""
    files = sorted(file.relative_to(path.parent) for file in root.rglob("*.*g"))
    rows = [[file.as_posix(), file.parent.name, *(make(file.name) for _, make in columns)] for file in files]
    lines = [",".join(row) for row in [["image", "label", *(name for name, _ in columns)], *rows]]
    path.write_text("\n".join(lines))
    return path


def test_a_share_of_each_class_is_test_and_validation_is_of_the_rest(divided):
    counts = {split: Counter(faces["label"]) for split, faces in divided.items()}
    assert counts == {"test": {0: 3, 1: 3}, "validation": {0: 1, 1: 1}, "train": {0: 8, 1: 9}}
    assert divided["train"].column_names == ["image", "label", "file"]


def test_duplicates_are_on_one_side(data):
    for seed in range(4):
        splits = files_of(load_rafdb(data, test_fraction=0.25, split_seed=seed))
        assert sum(map(len, splits.values())) == len(set.union(*splits.values())) == 25
        for group in ALIKE:
            assert sum(bool(group & files) for files in splits.values()) == 1, seed


def test_the_same_split_wherever_the_folder_lies_and_as_a_table(data, divided, tmp_path):
    elsewhere = shutil.copytree(data, tmp_path / "test" / "another name")
    assert files_of(load_rafdb(elsewhere, test_fraction=0.25)) == files_of(divided)
    table = write_rows(elsewhere / "faces.csv", elsewhere)
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *reversed(lines[1:])]))
    assert files_of(load_rafdb(table, test_fraction=0.25)) == files_of(divided)


@pytest.mark.parametrize("form", ["pattern", "column", "data set"])
def test_a_person_is_in_one_split(data, tmp_path, form):
    if form == "pattern":
        found = load_data(data, DataForm(group_pattern=BY_PERSON), test_fraction=0.25)
    elif form == "column":
        table = write_rows(
            shutil.copytree(data, tmp_path / "d") / "x.csv", tmp_path / "d", ("who", lambda name: name[:2])
        )
        found = load_data(table, DataForm(group_column="who"), test_fraction=0.25)
    else:
        rows = [(file, file.parent.name) for file in sorted(data.rglob("*.*g"))]
        columns = {
            "image": [{"bytes": file.read_bytes(), "path": file.name} for file, _ in rows],
            "label": [("Anger", "Contempt").index(name) for _, name in rows],
            "who": [int(file.name[1]) for file, _ in rows],
        }
        features = Features(image=ImageFeature(), label=ClassLabel(names=["Anger", "Contempt"]), who=Value("int8"))
        Dataset.from_dict(columns, features=features).save_to_disk(str(tmp_path / "saved"))
        form = DataForm(group_column="who")
        found = load_data(None, form, dataset_name=str(tmp_path / "saved"), test_fraction=0.25)
    splits = {split: {file.split("/")[-1][:2] for file in faces["file"]} for split, faces in found.splits.items()}
    assert set.union(*splits.values()) == {"p0", "p1", "p2", "p3", "p4"} and sum(map(len, splits.values())) == 5
    assert {"p1", "p2"} & splits["train"] in (set(), {"p1", "p2"})  # they share a picture
    assert all(faces.column_names == ["image", "label", "file"] for faces in found.splits.values())
    assert "persons" in found.shares["test"].kept_together and found.shares["test"].fraction == 0.25
    assert any("5 persons were found" in note for note in found.notes)


def test_how_far_the_share_is_from_what_was_asked_for(data):
    found = load_data(data, DataForm(group_pattern=BY_PERSON), test_fraction=0.05)
    note = next(note for note in found.notes if note.startswith("test is"))
    assert "of the faces rather than 5.0%" in note and "groups stay whole" in note


def test_what_is_refused_says_what_to_add(data, tmp_path):
    with refused(f"{data}: holds class folders", "add --test_fraction 0.2"):
        load_rafdb(data)
    table = write_rows(shutil.copytree(data, tmp_path / "d") / "faces.csv", tmp_path / "d")
    with refused("row 2: nothing says which split", "or --test_fraction 0.2"):
        load_rafdb(table)
    shutil.copytree(data, tmp_path / "only" / "train")
    with refused("expected a split that is held out, or --test_fraction 0.2"):
        load_rafdb(tmp_path / "only")
    assert len(load_rafdb(tmp_path / "only", test_fraction=0.2)["test"]) == 5
    lines = table.read_text().splitlines()
    table.write_text("\n".join(f"{line},{'split' if line is lines[0] else 'train'}" for line in lines))
    with refused("the test split is empty", "or add --test_fraction 0.2"):
        load_rafdb(table)


def test_data_with_a_test_split_of_its_own_refuses_a_share(official, data, tmp_path):
    with refused("--test_fraction 0.2: the data has a test split of its own (test); leave the flag out"):
        load_rafdb(official, test_fraction=0.2)
    for split in ("train", "val"):
        shutil.copytree(data, tmp_path / "two" / split)
    with refused("--test_fraction 0.2: the data has a test split of its own (val)"):
        load_rafdb(tmp_path / "two", test_fraction=0.2)
    table = write_rows(shutil.copytree(data, tmp_path / "d") / "x.csv", tmp_path / "d")
    first, *rest = table.read_text().splitlines()
    table.write_text(
        "\n".join([f"{first},split", *(f"{row},test" for row in rest[:3]), *(f"{row}," for row in rest[3:])])
    )
    with refused("x.csv, row 5"):
        load_rafdb(table, test_fraction=0.2)


@pytest.mark.parametrize("fraction", [0, 1, 1.2, -1, float("nan")])
def test_a_share_that_is_none_is_refused_before_an_image_is_opened(data, fraction, monkeypatch):
    monkeypatch.setattr("rafdb_vit.data.grouping.inspect_files", None)
    with refused(f"--test_fraction {fraction}: expected a share"):
        load_rafdb(data, test_fraction=fraction)


def test_a_data_set_of_a_single_split(data, tmp_path):
    rows = [(file, file.parent.name) for file in sorted(data.rglob("*.*g"))]
    columns = {"image": [str(file) for file, _ in rows], "label": [name for _, name in rows]}
    whole = Dataset.from_dict(columns, features=Features(image=ImageFeature(), label=Value("string")))
    embedded = whole.map(lambda row: {"image": {"bytes": Path(row["image"].filename).read_bytes(), "path": None}})
    embedded.save_to_disk(str(tmp_path / "single"))
    DatasetDict(test=embedded).save_to_disk(str(tmp_path / "test"))
    with refused("has a single split (train)", "or --test_fraction 0.2"):
        load_data(None, dataset_name=str(tmp_path / "single"))
    splits = load_data(None, dataset_name=str(tmp_path / "single"), test_fraction=0.2).splits
    assert {split: len(faces) for split, faces in splits.items()} == {"train": 18, "validation": 2, "test": 5}
    with refused("has a single split (test)"):
        load_data(None, dataset_name=str(tmp_path / "test"), test_fraction=0.2)


def test_a_column_or_a_pattern_that_cannot_be(data, official, tmp_path):
    table = write_rows(shutil.copytree(data, tmp_path / "d") / "x.csv", tmp_path / "d", ("who", lambda name: name[1:2]))
    with refused("--group_column person: no such column in", "it has image, label, who"):
        load_rafdb(table, test_fraction=0.2, group_column="person")
    with refused(f"--group_column: {official} holds official release, no CSV file"):
        load_rafdb(official, group_column="who")
    table.write_text(table.read_text().replace(",0\n", ",\n", 1))
    with refused("x.csv, row ", "the column of persons is empty"):
        load_rafdb(table, test_fraction=0.2, group_column="who")
    with refused("--group_pattern: has no effect where all faces are scored"):
        load_data(data, DataForm(needed=("test",), group_pattern="p"))


def test_the_persons_of_validation_are_not_in_train_and_those_of_test_are_told(faces_dir):
    pattern = r"_0*([0-9]+)(?=[0-9])"  # tens of faces are one person's, in train as in test
    found = load_data(faces_dir, DataForm(group_pattern=pattern), validation_fraction=0.3)
    persons = {
        split: {file[:-1].rsplit("_", 1)[1].lstrip("0") for file in faces["file"]}
        for split, faces in found.splits.items()
    }
    assert persons["validation"] and not persons["validation"] & persons["train"]
    assert "test" not in found.shares and found.shares["validation"].kept_together.startswith("persons")
    assert any("persons have pictures in several splits of the data" in note for note in found.notes)


def test_a_share_that_is_merely_rounded_is_not_blamed_on_groups(tmp_path):
    found = load_data(write_undivided(tmp_path / "data"), DataForm(needed=("test",)), scored=None)
    whole = replace(found, splits={"train": found.splits["test"]}, shares={}, notes=())
    each_for_itself = Grouping(range(len(whole.splits["train"])), "duplicates")
    divided = divide(whole, Division(test_fraction=0.01, validation_fraction=0.3), each_for_itself)
    assert {*divided.splits} == {"train", "validation", "test"} and divided.notes == ()
