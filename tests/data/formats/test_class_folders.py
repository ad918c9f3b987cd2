import os
import shutil
import unicodedata
from itertools import count
from pathlib import Path

import PIL.Image
import pytest
from datasets import Image

from rafdb_vit.data.dataset import find_splits, load_data, load_rafdb
from rafdb_vit.data.labels import BASIC, COMPOUND
from tests.support.faces import write_kaggle, write_system_files
from tests.support.refusals import refused

NOT_UTF8 = os.fsdecode(b"sm\xffile")
NO_LIMIT = {"train": None, "validation": None, "test": None}


def write_classes(root, classes, splits=("train", "test"), *, each=2):
    """Writes folders of classes with files that stand for images, no two of one name; returns `root`."""
    numbers, classes = count(sum(path.is_file() for path in root.rglob("*"))), list(classes)
    for folder in [root / split / name for split in splits for name in classes]:
        folder.mkdir(parents=True, exist_ok=True)
        for _ in range(each):
            (folder / f"face{next(numbers):03d}.jpg").touch()
    return root


def write_rafdb_names(root):
    """Writes folders of RAF-DB's classes with a file each that is named as RAF-DB's aligned images are."""
    for split, name in (("train", "train_{:05d}"), ("valid", "train_1{:04d}"), ("test", "test_{:04d}")):
        for i, folder in enumerate(BASIC.names, start=100):
            (root / split / folder).mkdir(parents=True, exist_ok=True)
            (root / split / folder / f"{name.format(i)}_aligned.jpg").touch()


def paths_of(dataset):
    return [Path(image["path"]) for image in dataset.cast_column("image", Image(decode=False))["image"]]


def classes_of(splits):
    """Returns the class's name by the folder of its images."""
    names = splits["train"].features["label"].names
    return {
        path.parent.name: names[label]
        for dataset in splits.values()
        for path, label in zip(paths_of(dataset), dataset["label"], strict=True)
    }


def basic_but(**renamed):
    return [renamed.get(name, name) for name in BASIC.names]


@pytest.fixture(scope="module")
def own_validation(tmp_path_factory):
    root = tmp_path_factory.mktemp("own")
    return write_classes(root, BASIC.names, ("train", "valid", "test"))


@pytest.fixture(scope="module")
def train_and_val(tmp_path_factory):
    return write_classes(tmp_path_factory.mktemp("held-out"), BASIC.names, ("train", "val"))


@pytest.mark.parametrize(
    "happy", ["Happiness", "happiness", "HAPPINESS", "happy", "Happy", "HAPPY", "joy", "Joyful", "4", "04", " happy_"]
)
def test_happiness_is_id_3_whatever_it_is_called(tmp_path, happy):
    splits = load_rafdb(write_classes(tmp_path, basic_but(Happiness=happy)))
    assert splits["train"].features["label"].names == list(BASIC.names)
    assert {label for path, label in _faces(splits) if path.parent.name == happy} == {3}


def _faces(splits):
    return [pair for dataset in splits.values() for pair in zip(paths_of(dataset), dataset["label"], strict=True)]


@pytest.mark.parametrize(
    "classes",
    [
        ["surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"],
        ["Surprised", "Fearful", "Disgusted", "HAPPY", "SAD", "Angry", "Neutrality"],
        ["SURPRISE", "afraid", "dis_gust", "hap-piness", "Sad ness", "ANGER", "neutral"],
        ["1", "2", "3", "4", "5", "6", "7"],
        ["001", "2", "Disgust", "joy", "05", "angry", "7"],
    ],
)
def test_ids_are_in_the_order_of_rafdb(tmp_path, classes):
    splits = load_rafdb(write_classes(tmp_path, classes))
    assert classes_of(splits) == dict(zip(classes, BASIC.names, strict=True))
    assert {classes.index(path.parent.name) - label for path, label in _faces(splits)} == {0}


def test_each_split_may_write_its_classes_in_its_own_way(tmp_path):
    write_classes(tmp_path, basic_but(Happiness="happy"), ["train"])
    write_classes(tmp_path, map(str, BASIC.codes), ["test"])
    splits = load_rafdb(tmp_path)
    assert {label for path, label in _faces(splits) if path.parent.name in ("happy", "4")} == {3}
    assert set(splits["test"]["label"]) == set(range(7))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("train", "val", "test"), ("train", "validation", "test")),
        (("Train", "Valid", "Test"), ("train", "validation", "test")),
        (("training", "validation", "testing"), ("train", "validation", "test")),
        (("train_set", "dev", "test_set"), ("train", "validation", "test")),
        (("train-images", "VAL data", "testdata"), ("train", "validation", "test")),
    ],
)
def test_what_splits_are_called(tmp_path, names, expected):
    splits = load_rafdb(write_classes(tmp_path, BASIC.names, names))
    assert {s: {path.parts[-3] for path in paths_of(d)} for s, d in splits.items()} == {
        split: {name} for split, name in zip(expected, names, strict=True)
    }


@pytest.mark.parametrize("inner", [".", "faces", "faces/DATASET"])
def test_the_folder_may_be_one_above(tmp_path, inner):
    write_classes(tmp_path / inner, BASIC.names)
    assert len(load_rafdb(tmp_path)["test"]) == 14


def test_codes_from_0_are_refused(tmp_path):
    write_classes(tmp_path, map(str, range(7)))
    with refused(tmp_path, "codes 1 to 7", "'0', '1'", "nothing says which number is which expression"):
        load_rafdb(tmp_path)


@pytest.mark.parametrize("odd", ["0", "8", "-1", "\u0663", "1.0"])
def test_a_number_that_is_no_code_is_refused(tmp_path, odd):
    write_classes(tmp_path, ["1", "2", odd, "4", "5", "6", "7"])
    with refused(tmp_path, "codes 1 to 7", odd):
        load_rafdb(tmp_path)


def test_eleven_codes_are_compound_only_when_asked_for(tmp_path):
    write_classes(tmp_path, map(str, range(1, 12)))
    with refused(tmp_path, "codes 1 to 7", "with --subset compound, 1 to 11"):
        load_rafdb(tmp_path)
    splits = load_rafdb(tmp_path, subset="compound")
    assert splits["train"].features["label"].names == list(COMPOUND.names)
    assert {label - int(path.parent.name) for path, label in _faces(splits)} == {-1}


def test_the_kaggle_layout_with_eleven_codes(tmp_path):
    for split in ("train", "test"):
        write_classes(tmp_path, map(str, range(1, 12)), [split])
        images = sorted((tmp_path / split).rglob("*.jpg"))
        rows = [f"{image.name},{image.parent.name}\n" for image in images]
        (tmp_path / f"{split}_labels.csv").write_text("".join(["image,label\n", *rows]))
    assert set(load_rafdb(tmp_path, subset="compound")["test"]["label"]) == set(range(11))
    with refused("1 to 7"):
        load_rafdb(tmp_path)


@pytest.mark.parametrize("subset", ["basic", "compound"])
@pytest.mark.parametrize("write", [str, str.lower, lambda name: name.replace(" ", "_").upper()])
def test_names_of_compound_classes_are_known(tmp_path, write, subset):
    written = [write(name) for name in COMPOUND.names]
    splits = load_rafdb(write_classes(tmp_path, written), subset=subset)
    assert classes_of(splits) == dict(zip(written, COMPOUND.names, strict=True))
    assert splits["train"].features["label"].names == list(COMPOUND.names)


@pytest.mark.parametrize("classes", [BASIC.names, ["a", "b", "c"], ["1", "2", "3", "4", "5", "6", "12"]])
def test_compound_asked_for_and_not_there(tmp_path, classes):
    write_classes(tmp_path, classes)
    with refused(tmp_path, "classes of RAF-DB's compound set (1 to 11, Happily Surprised to"):
        load_rafdb(tmp_path, subset="compound")


def test_an_unknown_subset_is_refused(own_validation):
    with refused("--subset both", "basic, compound"):
        load_rafdb(own_validation, subset="both")


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (
            ["neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt"],
            ["anger", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise"],
        ),
        (
            ["Happiness", "contempt", "Anger", "Fear", "disgust", "Neutral", "Sadness", "Surprise"],
            ["Anger", "contempt", "disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise"],
        ),
        (
            ["happy", "sad", "surprise", "fear", "disgust", "angry"],
            ["angry", "disgust", "fear", "happy", "sad", "surprise"],
        ),
        (["smile", "no smile"], ["no smile", "smile"]),
    ],
)
def test_other_classes_keep_their_names_in_alphabetical_order(tmp_path, classes, expected):
    splits = load_rafdb(write_classes(tmp_path, classes))
    assert splits["train"].features["label"].names == expected
    assert classes_of(splits) == {name: name for name in classes}


def test_a_single_class_is_refused(tmp_path):
    write_classes(tmp_path, ["images"])
    with refused(tmp_path, "images"):
        load_rafdb(tmp_path)


def test_own_classes_written_differently_are_one(tmp_path):
    write_classes(tmp_path, ["No Smile", "smile"], ["train"])
    write_classes(tmp_path, ["no_smile", "Smile"], ["test"])
    splits = load_rafdb(tmp_path)
    assert splits["test"].features["label"].names == ["No Smile", "Smile"]
    assert set(splits["test"]["label"]) == set(splits["train"]["label"]) == {0, 1}


@pytest.mark.parametrize("twin", ["Happiness", "HAPPY", "joy", "4"])
def test_twins_in_one_split_are_refused(tmp_path, twin):
    write_classes(tmp_path, basic_but(Happiness="happy"))
    write_classes(tmp_path, [twin], ["train"])
    with refused(tmp_path / "train", "'happy'", repr(twin), "both mean Happiness"):
        load_rafdb(tmp_path)


@pytest.mark.parametrize("twin", ["Happiness", "joy"])
def test_twins_in_two_splits_are_fine(tmp_path, twin):
    write_classes(tmp_path, basic_but(Happiness="happy"), ["train"])
    write_classes(tmp_path, basic_but(Happiness=twin), ["test"])
    assert classes_of(load_rafdb(tmp_path))[twin] == "Happiness"


def test_a_class_that_train_lacks_is_named(tmp_path):
    write_classes(tmp_path, ["contempt", *BASIC.names])
    for image in (tmp_path / "train/contempt").iterdir():
        image.unlink()
    with refused(tmp_path, "no face of class contempt in train"):
        load_rafdb(tmp_path)


def test_a_class_that_only_test_has_is_named_in_one_line(tmp_path):
    write_classes(tmp_path, BASIC.names)
    write_classes(tmp_path, ["con\ntempt"], ["test"])
    with refused(tmp_path):
        load_rafdb(tmp_path)


def test_a_validation_split_of_its_own_is_used_as_it_is(own_validation):
    splits = load_rafdb(own_validation)
    assert {split: len(dataset) for split, dataset in splits.items()} == {"train": 14, "validation": 14, "test": 14}
    assert {path.parts[-3] for path in paths_of(splits["validation"])} == {"valid"}
    data = load_data(own_validation, validation_fraction=None, max_samples=NO_LIMIT)
    assert data.sources == {"train": "train", "validation": "valid", "test": "test"}
    assert not data.shares
    assert data.describe() == "folder of labelled faces; validation is its split valid"


def test_a_fraction_for_data_with_its_own_validation_split_is_refused(own_validation):
    with refused("--validation_fraction 0.2", "valid", "leave the flag out"):
        load_rafdb(own_validation, validation_fraction=0.2)


def test_a_held_out_split_is_scored_as_test_whatever_it_is_called(train_and_val):
    data = load_data(train_and_val, validation_fraction=0.5, max_samples=NO_LIMIT)
    assert {path.parts[-3] for path in paths_of(data.splits["test"])} == {"val"}
    assert {path.parts[-3] for path in paths_of(data.splits["validation"])} == {"train"}
    assert {split: len(dataset) for split, dataset in data.splits.items()} == {"train": 7, "validation": 7, "test": 14}
    assert data.sources == {"train": "train", "test": "val"}
    assert (data.shares["validation"].fraction, data.shares["validation"].seed) == (0.5, 0)
    assert data.describe() == "folder of labelled faces; test is its split val"


def test_splits_come_in_one_order(own_validation, train_and_val):
    for root in (own_validation, train_and_val):
        assert list(load_rafdb(root)) == ["train", "validation", "test"]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_without_images_is_refused(tmp_path, split):
    write_classes(tmp_path, BASIC.names, {"train", "validation", "test"} - {split})
    write_classes(tmp_path, BASIC.names, [split], each=0)
    with refused(tmp_path, f"the {split} split is empty"):
        load_rafdb(tmp_path)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_split_folder_without_classes_is_none(tmp_path, split):
    write_classes(tmp_path, BASIC.names, {"train", "validation", "test"} - {split})
    (tmp_path / split).mkdir()
    (tmp_path / split / "readme.txt").touch()
    assert len(load_rafdb(tmp_path)["test"]) == 14


def test_train_alone_is_refused(tmp_path):
    write_classes(tmp_path, BASIC.names, ["train"])
    with refused(tmp_path, "holds train/ but no folder test/ or val/"):
        load_rafdb(tmp_path)


@pytest.mark.parametrize("parent", ["plain", "new\nline"])
def test_two_folders_for_one_split_are_refused(tmp_path, parent):
    write_classes(tmp_path / parent, BASIC.names, ("train", "val", "valid", "test"), each=1)
    with refused("valid: ", "/val is the validation split too"):
        load_rafdb(tmp_path / parent)


@pytest.mark.parametrize(
    ("split", "name"),
    [
        ("train", "test_0001_aligned.jpg"),
        ("test", "train_00001.jpg"),
        ("valid", "test_0001_aligned.jpg"),
    ],
)
def test_images_of_rafdb_in_the_wrong_split_are_refused_and_those_of_other_data_are_not(tmp_path, split, name):
    write_classes(tmp_path, BASIC.names, ("train", "valid", "test"), each=1)
    stray = tmp_path / split / "Happiness" / name
    stray.touch()
    assert (
        Path(name).stem.removesuffix("_aligned")
        in load_rafdb(tmp_path)[{"valid": "validation"}.get(split, split)]["file"]
    )
    for path in tmp_path.rglob("face*.jpg"):
        path.unlink()
    write_rafdb_names(tmp_path)
    own = name.split("_")[0]
    with refused(stray, f"an image of the {own} split stands in {split if split != 'valid' else 'validation'}"):
        load_rafdb(tmp_path)


def test_training_images_may_stand_in_validation(tmp_path):
    write_classes(tmp_path, BASIC.names, ("train", "valid", "test"), each=1)
    (tmp_path / "valid/Happiness/train_00001_aligned.jpg").touch()
    assert "train_00001" in load_rafdb(tmp_path)["validation"]["file"]


def test_test_images_may_stand_in_a_validation_split_that_is_scored_as_test(tmp_path):
    write_classes(tmp_path, BASIC.names, ("train", "val"))
    (tmp_path / "val/Happiness/test_0001_aligned.jpg").touch()
    assert "test_0001" in load_rafdb(tmp_path)["test"]["file"]


@pytest.mark.parametrize("second", ["train/Fear/train_00001.jpg", "valid/Happiness/train_00001_aligned.jpg"])
def test_one_image_of_rafdb_in_two_places_is_refused(tmp_path, second):
    write_rafdb_names(tmp_path)
    for name in ("train/Happiness/train_00001_aligned.jpg", second):
        (tmp_path / name).touch()
    with refused("train_00001", "also lies in", tmp_path / "train"):
        load_rafdb(tmp_path)


def test_nested_folders_are_refused(tmp_path):
    write_classes(tmp_path, BASIC.names)
    (tmp_path / "train/Fear/more").mkdir()
    with refused(tmp_path / "train/Fear/more", "a folder within a class", "move them up"):
        load_rafdb(tmp_path)


def test_the_same_stems_in_several_classes(tmp_path):
    write_classes(tmp_path, BASIC.names, each=0)
    for folder in [*tmp_path.glob("*/*")]:
        for name in ("1.jpg", "1.png", "2.jpg"):
            (folder / name).touch()
    splits = load_rafdb(tmp_path)
    files = [file for dataset in splits.values() for file in dataset["file"]]
    assert len(files) == len(set(files)) == 42
    assert "test/Happiness/1.png" in splits["test"]["file"]
    assert [str(path.relative_to(tmp_path)) for path in paths_of(splits["test"])] == list(splits["test"]["file"])


def test_unique_stems_are_the_names(tmp_path):
    test = load_rafdb(write_classes(tmp_path, BASIC.names))["test"]
    assert [path.stem for path in paths_of(test)] == list(test["file"])


@pytest.mark.parametrize("place", ["train", "train/Fear", "train/Fear/face002.jpg"])
def test_links_that_lead_out_are_refused(tmp_path, place):
    root = write_classes(tmp_path / "data", BASIC.names)
    (root / place).rename(tmp_path / "outside")
    (root / place).symlink_to(tmp_path / "outside")
    with refused(root / place, "leads out of", tmp_path / "outside"):
        load_rafdb(root)


@pytest.mark.parametrize("place", ["train/Fear", "train/Fear/face002.jpg"])
def test_links_within_are_fine(tmp_path, place):
    root = write_classes(tmp_path / "data", BASIC.names)
    (root / place).rename(root / "kept")
    (root / place).symlink_to(root / "kept")
    assert sum(len(dataset) for dataset in load_rafdb(root).values()) == 28


@pytest.mark.parametrize(
    ("first", "second"),
    [("test", "valid"), ("train", "valid"), ("train/Fear", "valid/Fear"), ("test/Fear", "test/Anger")],
)
def test_one_folder_under_two_names_is_refused(tmp_path, first, second):
    root = write_classes(tmp_path, BASIC.names, ("train", "valid", "test"))
    shutil.rmtree(root / second)
    (root / second).symlink_to(root / first)
    with refused(second, first):
        load_rafdb(root)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_beside_the_data_that_cannot_be_read_does_not_matter(tmp_path):
    root = write_classes(tmp_path, BASIC.names)
    (root / "lost+found").mkdir(mode=0)
    assert len(load_rafdb(root)["test"]) == 14


@pytest.mark.parametrize("place", ["loop", "train/loop", "train/Fear/loop"])
def test_a_link_in_a_circle_is_no_folder(tmp_path, place):
    root = write_classes(tmp_path, BASIC.names)
    (root / f"{place}2").symlink_to(root / place)
    (root / place).symlink_to(root / f"{place}2")
    assert sum(len(dataset) for dataset in load_rafdb(root).values()) == 28


@pytest.mark.parametrize("target", [".", "..", "../.."])
def test_a_link_to_a_folder_above_is_not_followed(tmp_path, target):
    root = write_classes(tmp_path, BASIC.names)
    (root / "train/Fear/again").symlink_to(target)
    with refused(root / "train/Fear/again", "a folder within a class"):
        load_rafdb(root)


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("circle.jpg", "a link that leads nowhere"),
        ("gone.jpg", "a link that leads nowhere"),
        ("folder.jpg", "a folder"),
    ],
)
def test_what_is_no_file_is_refused(tmp_path, place, words):
    path = write_classes(tmp_path, BASIC.names) / "test/Anger" / place
    path.mkdir() if place == "folder.jpg" else path.symlink_to(place if place == "circle.jpg" else "nowhere.jpg")
    with refused(path, "expected a file", words):
        load_rafdb(tmp_path)


@pytest.mark.parametrize("name", ["sm\nile", "sm\x1b[31mile", "\u2028", NOT_UTF8])
def test_an_image_whose_name_cannot_be_written_is_refused(tmp_path, name):
    (write_classes(tmp_path, BASIC.names) / "train/Fear" / f"{name}.jpg").touch()
    with refused(
        tmp_path / "train/Fear", "its name has control characters, ", "bytes that are not UTF-8; rename the file"
    ):
        load_rafdb(tmp_path)


@pytest.mark.parametrize("name", ["sm\nile", "sm\x1b[31mile", NOT_UTF8])
def test_a_class_whose_name_cannot_be_written_is_refused(tmp_path, name):
    write_classes(tmp_path, [*BASIC.names, name])
    with refused(tmp_path, "sm"):
        load_rafdb(tmp_path)


@pytest.mark.parametrize("above", [False, True])
def test_a_folder_whose_name_is_not_utf8_is_refused(tmp_path, above):
    write_classes(tmp_path / NOT_UTF8, BASIC.names)
    with refused("sm\\udcffile"):
        load_rafdb(tmp_path if above else tmp_path / NOT_UTF8)


def test_a_folder_is_named_with_all_its_spaces(tmp_path):
    with refused(f"{tmp_path}/my  faces: no such folder"):
        load_rafdb(tmp_path / "my  faces")


def test_a_folder_whose_name_is_too_long_is_none(tmp_path):
    with refused("no such folder"):
        load_rafdb(tmp_path / ("x" * 300))


def test_hidden_files_and_other_files_are_not_images(tmp_path):
    write_classes(tmp_path, BASIC.names)
    for name in (".DS_Store", "._face001.jpg", "Thumbs.db", "notes.txt"):
        (tmp_path / "train/Fear" / name).touch()
    (tmp_path / "train/.ipynb_checkpoints").mkdir()
    assert sum(len(dataset) for dataset in load_rafdb(tmp_path).values()) == 28


def test_a_list_of_csv_files_far_away_does_not_make_it_a_kaggle_copy(tmp_path):
    write_classes(tmp_path / "a/b", BASIC.names)
    (tmp_path / "train_labels.csv").touch()
    assert len(load_rafdb(tmp_path / "a/b")["test"]) == 14


def test_class_folders_of_the_kaggle_copy_without_its_csv_files(tmp_path):
    root = write_kaggle(tmp_path, train=2, test=1)
    with_files = load_rafdb(root)
    for split in ("train", "test"):
        (root / f"{split}_labels.csv").unlink()
    without = load_rafdb(root)
    assert {s: sorted(zip(d["file"], d["label"], strict=True)) for s, d in without.items()} == {
        s: sorted(zip(d["file"], d["label"], strict=True)) for s, d in with_files.items()
    }


def test_images_are_told_by_their_content_and_what_is_none_is_said(tmp_path):
    root = write_classes(tmp_path, BASIC.names)
    folder, picture = root / "train" / "Fear", PIL.Image.new("RGB", (9, 9), "teal")
    before = len(find_splits(root).splits["train"])
    names = {"happytest0": "JPEG", "face.jpg_": "PNG", "face.001": "WEBP", "new.avif": "AVIF", "old.jp2": "JPEG2000"}
    for name, kind in names.items():
        picture.save(folder / name, kind)
    found = find_splits(root)
    assert len(found.splits["train"]) == before + 5 and found.passed_over == ""
    undecoded = found.splits["train"].cast_column("image", Image(decode=False))
    added = [i for i, face in enumerate(undecoded) if Path(face["image"]["path"]).name in names]
    assert [found.splits["train"][i]["image"].size for i in added] == [(9, 9)] * 5
    for name in ("notes", "film.mp4", "Thumbs.db"):
        (folder / name).write_bytes(b"P3 of something else")
    (root / "train" / "Anger" / "pipe").symlink_to(tmp_path / "nowhere")
    found = find_splits(root)
    assert len(found.splits["train"]) == before + 5
    assert found.passed_over == f"3 files that are no images are passed over, {root}/train/Anger/pipe first"
    assert found.describe().endswith(found.passed_over)


def test_what_systems_leave_in_folders_is_no_class_and_no_file_that_is_none(tmp_path):
    root = write_classes(tmp_path, BASIC.names)
    before = find_splits(root)
    write_system_files(root, root / "train", root / "train/Fear", root / "test/Anger")
    found = find_splits(root)
    assert found.passed_over == "" and found.class_names == before.class_names
    assert [list(found.splits[s]["file"]) for s in found.splits] == [
        list(before.splits[s]["file"]) for s in found.splits
    ]


def test_images_beside_the_folders_of_classes_are_said(tmp_path):
    root = write_classes(tmp_path, BASIC.names)
    for name in ("train/loose.jpg", "train/more.jpg", "test/loose"):
        PIL.Image.new("RGB", (9, 9)).save(root / name, "PNG")
    (root / "train/notes.txt").touch()
    words = f"3 images lie in no class and are passed over, {root}/test/loose first"
    assert find_splits(root).passed_over == words


@pytest.mark.parametrize(
    "name", ["a\u202fb", "a\u00a0b", "\u3000b", "👩\u200d🔬", "❤\ufe0f", "שלום", "\u200eIMG", "a\u200bb"]
)
def test_names_of_every_script_are_names_of_files_and_classes(tmp_path, name):
    root = write_classes(tmp_path, [name, "two"])
    (root / "train" / name / f"{name}.jpg").touch()
    found = load_rafdb(root)
    assert name.strip() in found["train"].features["label"].names
    assert name in {*found["train"]["file"], *found["validation"]["file"]}


def test_classes_whose_accents_are_written_otherwise_in_test_are_the_same(tmp_path):
    for split, form in (("train", "NFD"), ("test", "NFC")):
        write_classes(tmp_path, [unicodedata.normalize(form, "fröhlich"), "sad"], (split,))
    assert load_rafdb(tmp_path)["test"].features["label"].names == ["fröhlich", "sad"]


def test_classes_that_differ_by_what_nobody_sees_are_one(tmp_path):
    with refused("both mean", "expected one of them"):
        load_rafdb(write_classes(tmp_path, ["chat", "chat\u200b", "chien"]))
    with refused("nothing can be seen"):
        load_rafdb(write_classes(tmp_path / "more", ["\u200b", "chien"]))


def test_files_of_other_data_may_have_one_of_rafdbs_names_in_every_class(tmp_path):
    root = write_classes(tmp_path, BASIC.names, each=1)
    for name in BASIC.names:
        (root / "train" / name / "train_1.jpg").touch()
    assert len(find_splits(root).splits["train"]) == 14
