import io
import json
import os
import shutil
import unicodedata

import datasets
import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Audio, ClassLabel, Dataset, DatasetDict, DatasetInfo, Features, Image, List, Value, Video
from PIL.PngImagePlugin import PngInfo

from rafdb_vit.data.dataset import add_distributions, find_splits, load_data
from rafdb_vit.data.form import DataForm
from rafdb_vit.data.formats import hub_dataset
from rafdb_vit.data.formats.hub_dataset import find_named_splits
from rafdb_vit.data.found import Layout
from rafdb_vit.data.labels import BASIC, COMPOUND
from rafdb_vit.data.splits import split_of_file
from tests.support.images import EPS
from tests.support.refusals import refused

NO_LIMIT = {"train": None, "validation": None, "test": None}
ALPHABETICAL = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]
IDS = [5, 2, 1, 3, 6, 4, 0]
"""RAF-DB's ids of the classes in alphabetical order."""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def encode(grey, note=""):
    file, text = io.BytesIO(), PngInfo()
    text.add_text("note", note)
    PIL.Image.new("L", (8, 8), grey).save(file, "PNG", pnginfo=text)
    return file.getvalue()


def build(labels, feature, *, paths=None, image="image", label="label", note="", **more):
    """Returns a split whose pictures are as grey as the position of their face, with a note in each file."""
    paths = paths or [None] * len(labels)
    columns = {
        image: [{"bytes": encode(number, note), "path": path} for number, path in enumerate(paths)],
        label: labels,
        **more,
    }
    features = {image: Image(), label: feature, **{name: Value("string") for name in more}}
    return Dataset.from_dict(columns, features=Features(features))


def build_splits(labels=tuple(range(7)), feature=None, splits=("train", "test"), **settings):
    feature = feature or ClassLabel(names=list(BASIC.names))
    return DatasetDict({split: build(list(labels), feature, note=split, **settings) for split in splits})


def save(data, tmp_path):
    data.save_to_disk(tmp_path / "faces")
    return str(tmp_path / "faces")


def read(splits):
    """Returns {grey level: class} by split."""
    names = splits["train"].features["label"].names
    return {
        split: {face["image"].getpixel((0, 0))[0]: names[face["label"]] for face in d} for split, d in splits.items()
    }


OFFICIAL = [f"train_{i:05d}.jpg" for i in range(1, 8)] + [f"test_{i:04d}.jpg" for i in range(1, 8)]
DIVIDED = {
    "train": dict(enumerate(BASIC.names)),
    "test": {number + 7: name for number, name in enumerate(BASIC.names)},
}


def test_a_saved_dict_of_splits(tmp_path):
    data = build_splits(paths=[f"a/{i}.png" for i in range(7)], person=[*"abcdefg"])
    found = find_named_splits(save(data, tmp_path))
    assert (found.layout, found.labels) == (Layout.ON_DISK, BASIC)
    assert found.sources == {"train": "train", "test": "test"}
    for split, dataset in found.splits.items():
        assert dataset.column_names == ["image", "label", "file"]
        assert dataset.features["image"] == Image(mode="RGB")
        assert dataset.features["label"].names == list(BASIC.names)
        assert list(dataset["file"]) == [f"{split}/{i}" for i in range(7)]
    assert read(found.splits) == dict.fromkeys(("train", "test"), dict(enumerate(BASIC.names)))


def test_pictures_are_decoded_from_their_bytes(tmp_path):
    dataset = find_named_splits(save(build_splits(), tmp_path)).splits["test"]
    assert (dataset[3]["image"].mode, dataset[3]["image"].size) == ("RGB", (8, 8))
    assert (np.asarray(dataset[3]["image"]) == 3).all()
    stored = dataset.cast_column("image", Image(decode=False))[3]["image"]
    assert stored["bytes"] == encode(3, "test")


def test_a_folder_that_load_dataset_reads(tmp_path):
    folder = tmp_path / "faces" / "data"
    folder.mkdir(parents=True)
    for split, dataset in build_splits(splits=("train", "validation", "test")).items():
        dataset.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    found = find_named_splits(str(tmp_path / "faces"))
    assert found.layout is Layout.ON_DISK
    assert read(found.splits) == dict.fromkeys(("train", "validation", "test"), dict(enumerate(BASIC.names)))


@pytest.mark.parametrize(
    ("labels", "feature"),
    [
        (range(7), ClassLabel(names=ALPHABETICAL)),
        (range(7), ClassLabel(names=[name.upper() for name in ALPHABETICAL])),
        (range(7), ClassLabel(names=[*ALPHABETICAL, "contempt"])),
        (range(1, 8), ClassLabel(names=["contempt", *ALPHABETICAL])),
        (ALPHABETICAL, Value("string")),
        (["Anger", "Disgusted", "AFRAID", "joy", "Neutral", "Sadness", "surprised"], Value("large_string")),
        ([label + 1 for label in IDS], Value("int64")),
        ([label + 1 for label in IDS], Value("uint8")),
        ([str(label + 1) for label in IDS], Value("string")),
        (range(7), ClassLabel(names=[str(label + 1) for label in IDS])),
    ],
)
def test_labels_are_mapped_by_name_or_code(tmp_path, labels, feature):
    splits = find_named_splits(save(build_splits(labels, feature), tmp_path)).splits
    for dataset in splits.values():
        assert dataset.features["label"].names == list(BASIC.names)
        assert list(dataset["label"]) == IDS


def test_splits_may_number_their_classes_differently(tmp_path):
    train = build(list(range(7)), ClassLabel(names=ALPHABETICAL))
    test = build(list(range(7)), ClassLabel(names=ALPHABETICAL[::-1]), note="test")
    splits = find_named_splits(save(DatasetDict(train=train, test=test), tmp_path)).splits
    assert (list(splits["train"]["label"]), list(splits["test"]["label"])) == (IDS, IDS[::-1])


@pytest.mark.parametrize(
    ("labels", "feature"),
    [
        (range(7), Value("int64")),
        ([str(i) for i in range(7)], Value("string")),
        (range(7), ClassLabel(num_classes=7)),
        ([1, 2, 3, 4, 5, 6, -1], Value("int64")),
        (range(1, 9), Value("int64")),
    ],
)
def test_numbers_that_are_no_codes_are_refused(tmp_path, labels, feature):
    name = save(build_splits(labels, feature), tmp_path)
    with refused(f"--dataset_name {name}", "codes 1 to 7", "nothing says which number is which expression"):
        find_named_splits(name)


def test_compound_codes(tmp_path):
    name = save(build_splits(range(1, 12), Value("int32")), tmp_path)
    found = find_named_splits(name, DataForm("compound"))
    assert (found.labels, list(found.splits["test"]["label"])) == (COMPOUND, list(range(11)))
    with refused(name, "--subset compound"):
        find_named_splits(name)


def test_other_classes_keep_their_names(tmp_path):
    found = find_named_splits(save(build_splits(range(3), ClassLabel(names=["smile", "None", "frown"])), tmp_path))
    assert (found.labels.subset, found.labels.names) == ("own", ("frown", "None", "smile"))
    assert list(found.splits["train"]["label"]) == [2, 1, 0]


@pytest.mark.parametrize("folder", ["", "RAF-DB/", "C:\\faces\\"])
@pytest.mark.parametrize("aligned", ["", "_aligned"])
@pytest.mark.parametrize("column", [None, "filename", "source"])
def test_a_single_split_is_divided_as_rafdbs_names_say(tmp_path, folder, aligned, column):
    names = [folder + name.replace(".", f"{aligned}.") for name in OFFICIAL]
    where = {"paths": names} if column is None else {column: names, "paths": [f"{i}.png" for i in range(14)]}
    data = build([*range(7)] * 2, ClassLabel(names=list(BASIC.names)), **where)
    found = find_named_splits(save(data, tmp_path))
    assert read(found.splits) == DIVIDED
    assert found.sources == dict.fromkeys(("train", "test"), "train, divided by file names")
    assert list(found.splits["test"]["file"]) == [f"test_{i:04d}" for i in range(1, 8)]


def test_a_single_split_of_a_dict_is_divided_too(tmp_path):
    data = DatasetDict(everything=build([*range(7)] * 2, ClassLabel(names=list(BASIC.names)), paths=OFFICIAL))
    found = find_named_splits(save(data.shuffle(seed=1), tmp_path))
    assert read(found.splits) == DIVIDED
    assert found.sources == dict.fromkeys(("train", "test"), "everything, divided by file names")


@pytest.mark.parametrize(
    "names",
    [
        None,
        [f"{i}.jpg" for i in range(14)],
        [*OFFICIAL[:13], "face.jpg"],
        [*OFFICIAL[:13], None],
        [f"train_{i:05d}.jpg" for i in range(14)],
    ],
)
def test_a_single_split_whose_names_say_nothing_is_refused(tmp_path, names):
    name = save(build([*range(7)] * 2, ClassLabel(names=list(BASIC.names)), paths=names), tmp_path)
    with refused(f"--dataset_name {name}: has a single split (train)", "train_00001.jpg and test_0001.jpg"):
        find_named_splits(name)


def test_columns_of_text_are_read_as_far_as_they_name_files(tmp_path, monkeypatch):
    rows = 1001
    texts = {f"text{i}": ["train_1.jpg", *["x"] * (rows - 1)] for i in range(25)}
    data = build([i % 7 for i in range(rows)], ClassLabel(names=list(BASIC.names)), **texts)
    looked_at = []
    monkeypatch.setattr(hub_dataset, "split_of_file", lambda name: looked_at.append(name) or split_of_file(name))
    find_named_splits(save(data, tmp_path), DataForm(needed=("test",)))
    assert len(looked_at) == 1 + 20 * 2


@pytest.mark.parametrize(
    ("image", "label", "asked"),
    [
        ("image", "label", {}),
        ("pixels", "emotion", {}),
        ("Img", "Expression", {}),
        ("picture", "feeling", {}),
        ("picture", "feeling", {"image_column": "picture", "label_column": "feeling"}),
    ],
)
def test_names_of_columns(tmp_path, image, label, asked):
    data = build_splits(image=image, label=label, person=[*"abcdefg"])
    assert read(find_named_splits(save(data, tmp_path), DataForm(**asked)).splits)["test"] == dict(
        enumerate(BASIC.names)
    )


def test_columns_that_were_asked_for_are_preferred_to_the_usual_ones(tmp_path):
    data = build_splits(image="cropped", label="voted", label2=[*"abcdefg"])
    for split in data:
        others = [{"bytes": encode(200, split), "path": None}] * 7
        data[split] = data[split].add_column("image", others, feature=Image()).add_column("label", [split] * 7)
    splits = find_named_splits(save(data, tmp_path), DataForm(image_column="cropped", label_column="voted")).splits
    assert read(splits)["test"] == dict(enumerate(BASIC.names))


def test_a_column_of_the_usual_name_is_preferred_among_images(tmp_path):
    data = build_splits()
    data = data.map(lambda face: {"mask": PIL.Image.new("L", (8, 8), 200)})
    assert sum(isinstance(feature, Image) for feature in data["train"].features.values()) == 2
    assert read(find_named_splits(save(data, tmp_path)).splits)["test"] == dict(enumerate(BASIC.names))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"image_column": "picture"}, "--image_column_name picture: expected a column of images"),
        ({"image_column": "label"}, "--image_column_name label: expected a column of images"),
        ({"label_column": "feeling"}, "--label_column_name feeling: expected a column of labels"),
    ],
)
def test_a_column_that_is_not_there(tmp_path, asked, words):
    name = save(build_splits(), tmp_path)
    with refused(words, name, "which has image (Image), label (ClassLabel)"):
        find_named_splits(name, DataForm(**asked))


def test_columns_that_cannot_be_told(tmp_path):
    name = save(build_splits(emotion=[*"abcdefg"]), tmp_path)
    with refused("--label_column_name: expected a column of labels", "label (ClassLabel), emotion (Value)"):
        find_named_splits(name)


def test_data_without_images_is_refused(tmp_path):
    name = save(DatasetDict(train=Dataset.from_dict({"image": ["a.jpg"], "label": ["sad"]})), tmp_path)
    with refused(f"--dataset_name {name}: holds no images, only names of them (image, label)", "--data_dir"):
        find_named_splits(name)
    with refused("--image_column_name label: expected a column of images", "image (Value), label (Value)"):
        find_named_splits(name, DataForm(image_column="label"))


@pytest.mark.parametrize("column", ["image", "label"])
def test_a_split_that_lacks_a_column_is_refused(tmp_path, column):
    data = build_splits()
    data["test"] = data["test"].rename_column(column, "other")
    name = save(data, tmp_path)
    with refused(f"--dataset_name {name}: not every split has the column {column}"):
        find_named_splits(name)


@pytest.mark.parametrize(
    ("labels", "feature"),
    [
        ([0, 1, 2, 3, 4, 5, -1], ClassLabel(names=list(BASIC.names))),
        ([0, 1, 2, None, 4, 5, 6], ClassLabel(names=list(BASIC.names))),
        ([1, 2, None, 4, 5, 6, 7], Value("int64")),
        ([*BASIC.names[:6], None], Value("string")),
        ([*BASIC.names[:6], ""], Value("string")),
        ([*BASIC.names, " "], Value("string")),
    ],
)
def test_a_face_without_label_is_refused(tmp_path, labels, feature):
    name = save(build_splits(labels, feature), tmp_path)
    with refused(f"--dataset_name {name}: row ", "has no label in column label"):
        find_named_splits(name)


@pytest.mark.parametrize("label", [-1, -2, -7])
def test_a_class_below_0_is_none(tmp_path, label):
    data = build_splits()
    for split in data:
        image = data[split].data.column("image")
        table = pa.table({"image": image, "label": pa.array([0, 1, 2, label, 4, 5, 6], pa.int64())})
        data[split] = Dataset(table.cast(data[split].features.arrow_schema))
    name = save(data, tmp_path)
    with refused(f"--dataset_name {name}", "label"):
        find_named_splits(name)


@pytest.mark.parametrize(
    ("labels", "feature"),
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], Value("float32")),
        ([[1]] * 7, List(Value("int64"))),
        ([b"a"] * 7, Value("binary")),
    ],
)
def test_labels_of_another_type_are_refused(tmp_path, labels, feature):
    name = save(build_splits(labels, feature), tmp_path)
    with refused("--label_column_name label: expected names or codes of classes"):
        find_named_splits(name)


@pytest.mark.parametrize("stored", [{"bytes": EPS, "path": None}, {"bytes": None, "path": "http://127.0.0.1:9/x.png"}])
@pytest.mark.parametrize("kind", [Image, Audio, Video])
@pytest.mark.parametrize("column", ["label", "gender"])
def test_nothing_but_faces_is_decoded(tmp_path, monkeypatch, kind, stored, column):
    decoded = []
    for feature in (Image, Audio, Video):
        monkeypatch.setattr(feature, "decode_example", lambda *_, **__: decoded.append(1))
    plain = build_splits()
    storage = pa.array([{"bytes": EPS, "path": None}] * 7, plain["train"].features.arrow_schema.field("image").type)
    data = DatasetDict()
    for split, faces in plain.items():
        table = faces.data.table.replace_schema_metadata(None)
        if column in table.column_names:
            table = table.drop_columns([column])
        features = Features({**faces.features, column: kind()})
        data[split] = Dataset(table.append_column(column, storage), info=DatasetInfo(features=features))
    name = save(data, tmp_path)
    for split in data:
        rewrite(tmp_path / "faces" / split, data[split], {column: [stored] * 7})
    if column == "label":
        with refused("--label_column_name label: expected names or codes of classes"):
            find_named_splits(name)
    else:
        assert find_named_splits(name).splits["test"].column_names == ["image", "label", "file"]
    assert not decoded


def test_a_split_whose_images_are_none_is_refused(tmp_path):
    data = build_splits()
    data["test"] = Dataset.from_dict({"image": ["x"] * 7, "label": [*range(7)]})
    data["test"] = data["test"].cast_column("label", data["train"].features["label"])
    name = save(data, tmp_path)
    with refused(f"--dataset_name {name}: column image of test holds no images"):
        find_named_splits(name)


@pytest.mark.parametrize("column", ["paths", "gender"])
def test_names_that_steer_a_terminal_are_refused(tmp_path, column):
    names = [f"test_{i:04d}\x1b[31m\u202e.jpg" for i in range(7)]
    name = save(build_splits(**{column: names}), tmp_path)
    with refused(f"--dataset_name {name}: ", "control characters", "rename it"):
        find_named_splits(name)


def test_codes_that_became_decimals_are_no_names(tmp_path):
    labels = [f"{code}.0" for code in range(1, 8)]
    name = save(build_splits(labels, Value("string")), tmp_path)
    with refused(name, "'1.0'"):
        find_named_splits(name)


def test_its_own_validation_split_is_used_as_it_is(tmp_path):
    name = save(build_splits(splits=("train", "validation", "test")), tmp_path)
    data = load_data(None, dataset_name=name, max_samples=NO_LIMIT)
    assert {split: list(d["file"])[:1] for split, d in data.splits.items()} == {
        split: [f"{split}/000000"] for split in ("train", "validation", "test")
    }
    assert not data.shares
    with refused("--validation_fraction 0.1", "(validation)"):
        load_data(None, dataset_name=name, validation_fraction=0.1, max_samples=NO_LIMIT)


def test_a_held_out_split_is_scored_as_test(tmp_path):
    labels = [*range(7)] * 2
    name = save(build_splits(labels, splits=("train", "validation")), tmp_path)
    data = load_data(None, dataset_name=name, validation_fraction=0.5, max_samples=NO_LIMIT)
    assert {split: len(dataset) for split, dataset in data.splits.items()} == {"train": 7, "validation": 7, "test": 14}
    assert all(file.startswith("validation/") for file in data.splits["test"]["file"])
    assert all(file.startswith("train/") for file in data.splits["validation"]["file"])
    assert data.sources == {"train": "train", "test": "validation"}
    assert (data.name, data.describe()) == ("data set on disk", "data set on disk; test is its split validation")


@pytest.mark.parametrize(
    "splits",
    [("train", "extra"), ("train", "test", "extra"), ("validation", "test"), ("train", "dev", "valid"), ("a", "b")],
)
def test_splits_that_cannot_be_told(tmp_path, splits):
    name = save(build_splits(splits=splits), tmp_path)
    with refused(f"--dataset_name {name}: has the splits {', '.join(splits)}; expected train"):
        find_named_splits(name)


@pytest.mark.parametrize("stray", ["train", "test", "validation"])
def test_rafdbs_names_tell_of_faces_in_the_wrong_split(tmp_path, stray):
    data = build_splits(splits=("train", "validation", "test"))
    for number, split in enumerate(data):
        kind = {"train": "train", "validation": "train", "test": "test"}[split]
        kinds = [kind] * 6 + [{"train": "test", "test": "train"}[kind] if split == stray else kind]
        names = [f"{own}_{number * 7 + i:04d}.jpg" for i, own in enumerate(kinds)]
        data[split] = data[split].add_column("name", names)
    name = save(data, tmp_path)
    with refused(f"--dataset_name {name}: ", f"of another split stands in {stray}"):
        find_named_splits(name)


def test_a_face_of_rafdb_in_two_splits_is_refused(tmp_path):
    data = build_splits(splits=("train", "validation", "test"))
    for split, own in (("train", "train"), ("validation", "train"), ("test", "test")):
        data[split] = data[split].add_column("name", [f"{own}_{i:04d}.jpg" for i in range(7)])
    name = save(data, tmp_path)
    with refused(f"--dataset_name {name}", "train_0000"):
        find_named_splits(name)


def test_a_face_of_rafdb_listed_twice_is_refused(tmp_path):
    names = [*OFFICIAL[:13], OFFICIAL[12]]
    name = save(build([*range(7)] * 2, ClassLabel(names=list(BASIC.names)), paths=names), tmp_path)
    with refused(f"--dataset_name {name}", "test_0006"):
        find_named_splits(name)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("saved", [True, False])
def test_an_empty_split_is_refused(tmp_path, split, saved):
    data = build_splits(splits=("train", "validation", "test"))
    data[split] = build([], ClassLabel(names=list(BASIC.names)))
    name = str(tmp_path / "faces")
    if saved:
        save(data, tmp_path)
    else:
        (tmp_path / "faces").mkdir()
        for part, dataset in data.items():
            dataset.to_parquet(f"{name}/{part}.parquet")
    with refused(f"--dataset_name {name}"):
        find_named_splits(name)


@pytest.mark.parametrize("paths", [None, ["a/1.png"] * 7, ["1.png", *[None] * 6]])
def test_faces_without_names_are_numbered(tmp_path, paths):
    splits = find_named_splits(save(build_splits(paths=paths), tmp_path)).splits
    assert list(splits["train"]["file"]) == [f"train/{i:06d}" for i in range(7)]
    assert list(splits["test"]["file"])[6] == "test/000006"


@pytest.mark.parametrize("form", [{"aligned": False}, {"aligned": False, "box_margin": 0.1}])
def test_boxes_are_the_releases_only(form):
    with refused("--aligned False", "--dataset_name"):
        find_named_splits("someone/faces", DataForm(**form))


@pytest.mark.parametrize(
    "name",
    ["someone/faces", "faces", "a b c", "a/b/c", "../nowhere", "/nowhere/at/all", "x" * 300, "x/" * 3000],
)
def test_what_cannot_be_reached_is_told_in_one_line(name):
    with refused(f"--dataset_name {name}: cannot be loaded", "USER/NAME"):
        find_named_splits(name)


def test_a_name_with_control_characters_is_told_in_one_line():
    with refused("--dataset_name", "cannot be loaded"):
        find_named_splits("a\n\x1b[31mb")


@pytest.mark.parametrize("text", ["", "{", '{"splits": 3, "_data_files": 3, "features": 3}', "[]", "null"])
@pytest.mark.parametrize("file", ["dataset_dict.json", "train/state.json", "train/dataset_info.json"])
def test_a_damaged_folder_is_told_in_one_line(tmp_path, file, text):
    name = save(build_splits(), tmp_path)
    (tmp_path / "faces" / file).write_text(text)
    with refused(f"--dataset_name {name}"):
        find_named_splits(name)


def test_a_folder_that_lacks_a_split_is_told_in_one_line(tmp_path):
    name = save(build_splits(), tmp_path)
    shutil.rmtree(tmp_path / "faces/train")
    with refused(f"--dataset_name {name}"):
        find_named_splits(name)


@pytest.mark.parametrize("keep", [0, 100, -100])
def test_a_truncated_file_is_told_in_one_line(tmp_path, keep):
    name = save(build_splits(), tmp_path)
    arrow = next((tmp_path / "faces/train").glob("*.arrow"))
    arrow.write_bytes(arrow.read_bytes()[:keep])
    with refused(f"--dataset_name {name}"):
        find_named_splits(name)


@pytest.mark.parametrize("content", [{}, {"a.txt": b"x"}, {"train.parquet": b"x"}, {"train.csv": b"a,b\n1,2\n"}])
def test_a_folder_of_something_else_is_told_in_one_line(tmp_path, content):
    (tmp_path / "faces").mkdir()
    for name, data in content.items():
        (tmp_path / "faces" / name).write_bytes(data)
    with refused(str(tmp_path / "faces")):
        find_named_splits(str(tmp_path / "faces"))


def test_a_folder_below_home_is_on_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save(build_splits([*range(1, 8)] * 2, Value("int64")), tmp_path)
    assert find_named_splits("~/faces").layout is Layout.ON_DISK
    assert load_data(None, dataset_name="~/faces", max_samples=NO_LIMIT).name == "data set on disk"


def point_to(path, tmp_path):
    """Parquet files whose fourth training image is a file; `datasets` itself would write the file's bytes."""
    data = build_splits()
    rows = [{"bytes": encode(i), "path": None} for i in range(7)]
    rows[3] = path and {"bytes": None, "path": str(path)}
    columns = {"image": rows, "label": list(range(7))}
    data["train"] = Dataset.from_dict(columns, features=data["train"].features)
    (tmp_path / "faces").mkdir(exist_ok=True)
    for split, dataset in data.items():
        table = dataset.data.table.replace_schema_metadata(dataset.features.arrow_schema.metadata)
        pq.write_table(table, tmp_path / "faces" / f"{split}.parquet")
    return str(tmp_path / "faces")


@pytest.mark.parametrize("kind", ["outside", "nothing", "pipe", "link"])
def test_images_that_are_no_files_of_the_data_set_are_refused(tmp_path, kind):
    path = tmp_path / "secret.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind != "nothing":
        path.write_bytes(encode(0))
    if kind == "link":
        (tmp_path / "faces").mkdir()
        (tmp_path / "faces" / "link.png").symlink_to(path)
        path = tmp_path / "faces" / "link.png"
    name = point_to(path, tmp_path)
    with refused(f"--dataset_name {name}: the image of row 3 of train is {path}, no file in the data set"):
        find_named_splits(name)


def test_a_face_without_image_is_refused(tmp_path):
    name = point_to(None, tmp_path)
    with refused(f"--dataset_name {name}: row 3 of train has no image"):
        find_named_splits(name)


def test_vectors_write_nothing_into_the_data(tmp_path):
    name = save(build([*range(7)] * 2, ClassLabel(names=list(BASIC.names)), paths=OFFICIAL), tmp_path)
    vectors = [[1.0 if i == label else 0.0 for i in range(7)] for label in range(7)] * 2
    lines = [f"{file} {' '.join(map(str, row))}" for file, row in zip(OFFICIAL, vectors, strict=True)]
    (tmp_path / "vectors.txt").write_text("\n".join(lines))
    before = sorted(tmp_path.rglob("*"))
    found = add_distributions(find_named_splits(name), tmp_path / "vectors.txt")
    assert [face.index(1.0) for face in found.splits["test"]["distribution"]] == list(range(7))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_single_split_is_what_is_held_out_where_nothing_is_trained(tmp_path):
    name = save(DatasetDict(faces=build_splits()["test"]), tmp_path)
    data = load_data(None, dataset_name=name, form=DataForm(needed=("test",)))
    assert list(data.splits) == ["test"] and data.sources == {"test": "faces"}


def rewrite(folder, dataset, columns):
    """Puts other values into the columns of a saved split, as they are stored: its features stay what they say."""
    table = dataset.data.table
    for name, values in columns.items():
        at = table.column_names.index(name)
        table = table.set_column(at, table.schema.field(name), pa.array(values, table.schema.field(name).type))
    (file,) = folder.glob("*.arrow")
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize("column", ["label", "gender"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_an_id_of_no_class_is_refused(tmp_path, column, split):
    data = DatasetDict()
    for name in ("train", "test"):
        faces = build(list(range(7)), ClassLabel(names=list(BASIC.names)), note=name)
        data[name] = faces.add_column("gender", [0, 1] * 3 + [None], feature=ClassLabel(names=["f", "m"]))
    name = save(data, tmp_path)
    assert find_named_splits(name).labels == BASIC
    rewrite(tmp_path / "faces" / split, data[split], {column: [0, 1, 0, 1, 99, 0, 1]})
    with refused(f"--dataset_name {name}: row 4 of {split} has 99 in column {column}, which has"):
        find_named_splits(name)


@pytest.mark.parametrize(
    ("column", "feature"),
    [
        ("label", {"names": ["a", "a"], "_type": "ClassLabel"}),
        ("label", {"names": [], "_type": "ClassLabel"}),
        ("label", {"_type": "ClassLabel"}),
        ("label", {"dtype": "float32", "_type": "Value"}),
        ("label", {"feature": {"dtype": "int64", "_type": "Value"}, "_type": "List"}),
        ("label", {"_type": "Image"}),
        ("label", {"_type": "__import__"}),
        ("label", [1]),
        ("image", {"dtype": "int64", "_type": "Value"}),
        ("image", {"names": ["a", "b"], "_type": "ClassLabel"}),
        ("image", {"_type": "Audio"}),
        ("other", {"_type": "Image"}),
    ],
)
def test_columns_that_are_not_what_they_are_said_to_be_are_refused(tmp_path, column, feature):
    name = save(build_splits(), tmp_path)
    path = tmp_path / "faces/train/dataset_info.json"
    info = json.loads(path.read_text())
    info["features"][column] = feature
    path.write_text(json.dumps(info))
    with refused("-"):
        find_named_splits(name)


def test_empty_bytes_are_no_image(tmp_path):
    outside = tmp_path / "outside.png"
    outside.write_bytes(encode(1))
    data = build_splits()
    name = save(data, tmp_path)
    images = [{"bytes": encode(i), "path": None} for i in range(6)] + [{"bytes": b"", "path": str(outside)}]
    rewrite(tmp_path / "faces/train", data["train"], {"image": images})
    with refused(f"the image of row 6 of train is {outside}, no file in the data set"):
        find_named_splits(name)


def test_an_image_that_a_folders_table_lists_twice_is_refused(tmp_path):
    tmp_path = tmp_path / "faces"
    for split in ("train", "test"):
        (tmp_path / split).mkdir(parents=True)
        for i in range(2):
            (tmp_path / split / f"{i}.png").write_bytes(encode(i, split))
        rows = ["file_name,label", "0.png,happy", "1.png,sad"]
        (tmp_path / split / "metadata.csv").write_text("\n".join(rows) + "\n")
    assert len(find_named_splits(str(tmp_path)).splits["train"]) == 2
    (tmp_path / "test" / "2.png").write_bytes(encode(2, "more"))
    words = f"1 of its images are in no row, {tmp_path / 'test' / '2.png'} first"
    assert find_named_splits(str(tmp_path)).passed_over == words
    (tmp_path / "test" / "metadata.csv").write_text("\n".join([*rows, "1.png,happy"]) + "\n")
    with refused("test/1.png is there twice; expected each face once"):
        find_named_splits(str(tmp_path))


@pytest.mark.parametrize("form", ["saved", "copied", "named twice"])
def test_one_table_is_not_both_train_and_test(tmp_path, form):
    train = build_splits()["train"]
    if form == "saved":
        DatasetDict(train=train, test=train).save_to_disk(tmp_path)
    else:
        train.to_parquet(tmp_path / "train.parquet")
    if form == "copied":
        train.to_parquet(tmp_path / "test.parquet")
    if form == "named twice":
        splits = "".join(f"  - split: {split}\n    path: train.parquet\n" for split in ("train", "test"))
        (tmp_path / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n{splits}---\n")
    with refused("7 images of train stand in test too; expected each face once"):
        find_named_splits(str(tmp_path))


@pytest.mark.parametrize("change", ["another order", "one face more"])
def test_most_of_test_is_not_in_train(tmp_path, change):
    train = build_splits()["train"]
    test = train.select(range(7)[::-1]) if change == "another order" else train.select(range(6))
    with refused("images of train stand in test too; expected each face once"):
        find_named_splits(save(DatasetDict(train=train, test=test), tmp_path))


def test_a_folder_of_the_same_name_is_read_anew(tmp_path):
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n"
    card += "".join(f"  - split: {split}\n    path: {split}.parquet\n" for split in ("train", "test")) + "---\n"
    for place, labels in (("a", range(7)), ("b", [6, 5, 4, 3, 2, 1, 0]), ("a", [1, 0, 2, 3, 4, 5, 6])):
        folder = tmp_path / place / "faces"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "README.md").write_text(card)
        for split, dataset in build_splits(labels).items():
            dataset.to_parquet(folder / f"{split}.parquet")
        assert list(find_named_splits(str(folder)).splits["test"]["label"]) == list(labels)


def write_pictures(folder, *, kind="csv", name="{split}{i}.png", below=""):
    """Writes pictures of two classes with a metadata file in each split; `below` is the folder in which they lie."""
    for split in ("train", "test"):
        (folder / split / below).mkdir(parents=True)
        rows = [(f"{below}{name.format(split=split, i=i)}", ("happy", "sad")[i % 2]) for i in range(4)]
        for i, (file, _) in enumerate(rows):
            (folder / split / file).write_bytes(encode(i, split))
        table = Dataset.from_dict({"file_name": [file for file, _ in rows], "label": [label for _, label in rows]})
        path = str(folder / split / f"metadata.{kind}")
        {"csv": table.to_csv, "jsonl": table.to_json, "parquet": table.to_parquet}[kind](path)
    return folder


def write_form(folder, form):
    """Writes a data set in one of the forms in which they lie on disks; returns the folder to give."""
    if form.startswith("metadata"):
        _, kind, below = form.split(" ")
        return write_pictures(folder, kind=kind, below=below.strip("-"))
    data = build_splits()
    if form.startswith("saved"):
        data.save_to_disk(folder / ("faces" if form == "saved below" else ""))
        return folder
    for split, dataset in data.items():
        name = {"parquet": f"{split}.parquet", "data": f"data/{split}-00000-of-00001.parquet"}.get(
            form, f"{split}/0.parquet"
        )
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        dataset.to_parquet(folder / name)
    if form != "cache":
        return folder
    datasets.load_dataset(str(folder), cache_dir=str(folder.parent / "kept"))
    return folder.parent / "kept"


@pytest.mark.parametrize(
    ("form", "needed"),
    [
        *((form, ("train", "test")) for form in ("saved", "saved below", "parquet", "data", "splits", "cache")),
        *((f"metadata {form}", ("train", "test")) for form in ("csv -", "jsonl -", "parquet -", "jsonl images/")),
        *((form, ("test",)) for form in ("parquet", "metadata csv images/")),
    ],
)
def test_a_data_set_is_the_same_by_either_flag(tmp_path, form, needed):
    folder = write_form(tmp_path / "data", form)
    named, found = (find(str(folder), DataForm(needed=needed)) for find in (find_named_splits, find_splits))
    assert (found.layout, found.labels, found.sources) == (named.layout, named.labels, named.sources)
    assert read(found.splits) == read(named.splits)
    for split in named.splits:
        assert list(found.splits[split]["file"]) == list(named.splits[split]["file"])


def test_messages_name_the_flag_that_was_given(tmp_path):
    name = save(build_splits(splits=("train",)), tmp_path)
    with refused(f"--data_dir {name}: has a single split (train)"):
        load_data(name)
    with refused(f"--aligned False: --data_dir {name} is a data set"):
        load_data(name, DataForm(aligned=False))
    (tmp_path / "faces/train/state.json").write_text("[]")
    with refused(f"--data_dir {name}: "):
        load_data(name)


def test_links_out_of_a_data_set_are_refused_by_either_flag(tmp_path):
    folder = write_form(tmp_path / "data", "parquet")
    shutil.move(folder / "test.parquet", tmp_path)
    (folder / "test.parquet").symlink_to(tmp_path / "test.parquet")
    with refused(f"--data_dir {folder}: names ", "which is not in it"):
        load_data(folder)


def test_folders_of_classes_are_not_read_by_a_description_without_labels(tmp_path):
    for split in ("train", "test"):
        for i, name in enumerate(("happy", "sad")):
            (tmp_path / split / name).mkdir(parents=True)
            (tmp_path / split / name / f"{split}{i}.png").write_bytes(encode(i, split))
        (tmp_path / split / "metadata.csv").write_text("file_name,text\nhappy/0.png,a smile\n")
    assert find_splits(tmp_path).layout is Layout.CLASS_FOLDERS


def test_a_file_of_a_data_set_is_not_the_data_set(tmp_path):
    folder = write_form(tmp_path / "data", "parquet")
    with refused(f"{folder / 'train.parquet'}: is one file of a data set; give the folder that holds it"):
        load_data(folder / "train.parquet")


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
def test_images_whose_accents_are_written_otherwise_on_the_disk_are_found(tmp_path, on_disk):
    folder = write_pictures(tmp_path / "data", name="ö{split}{i}.png")
    for path in list(folder.rglob("*.png")):
        path.rename(path.with_name(unicodedata.normalize(on_disk, path.name)))
    found = find_splits(folder)
    assert list(found.splits["test"]["file"]) == [f"test/ötest{i}" for i in range(4)]
    assert [face["image"].getpixel((0, 0))[0] for face in found.splits["test"]] == [0, 1, 2, 3]


def test_files_among_the_images_that_are_none_are_said(tmp_path):
    folder = write_pictures(tmp_path / "data", below="images/")
    for name in ("train/images/notes.txt", "test/images/a.heic", "train/README.md", "licence.txt"):
        (folder / name).write_text("x")
    words = f"2 files that are no images are passed over, {folder}/test/images/a.heic first"
    assert find_splits(folder).passed_over == words


def test_names_like_rafdbs_in_other_data_stop_nothing(tmp_path):
    feature = ClassLabel(names=["smile", "frown", *"abcde"])
    data = build_splits(feature=feature, paths=[f"train_{i}.jpg" for i in range(7)])
    data["train"] = build_splits(feature=feature, paths=[f"train_{i + 7}.jpg" for i in range(7)])["train"]
    assert list(find_named_splits(save(data, tmp_path)).splits["test"]["file"])[0] == "train_0"


def test_images_without_labels_are_told_what_is_missing(tmp_path):
    folder = write_pictures(tmp_path / "data")
    for path in folder.rglob("metadata.csv"):
        path.unlink()
    with refused(f"--dataset_name {folder}: nothing says which of its images is of which class", "metadata.csv"):
        find_named_splits(str(folder))
