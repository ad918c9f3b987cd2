import os
import shutil

import pytest
from PIL import Image

from rafdb_vit.data.dataset import load_data, load_rafdb
from rafdb_vit.data.form import DataForm
from rafdb_vit.runtime.errors import UserError
from tests.support.faces import paint_face, write_kaggle, write_official

LIST = "EmoLabel/list_patition_label.txt"


def columns(splits):
    return {split: (d["file"], d["label"]) for split, d in splits.items()}


def assert_refused(root, *parts):
    """Checks that `root` is refused in one line that holds all `parts`."""
    with pytest.raises(UserError) as caught:
        load_rafdb(root)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message, message
    return message


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_both_layouts_hold_the_same_faces(official, tmp_path):
    kaggle = write_kaggle(tmp_path / "kaggle")
    assert columns(load_rafdb(official)) == columns(load_rafdb(kaggle))


def test_root_may_be_the_folder_or_one_above(official, tmp_path):
    kaggle = write_kaggle(tmp_path / "k" / "copy")
    expected = columns(load_rafdb(official))
    for root in (official.parent, kaggle, kaggle / "DATASET", kaggle.parent):
        assert columns(load_rafdb(root)) == expected, root


def test_the_other_spelling_of_the_list_file(official):
    (official / LIST).rename(official / "EmoLabel" / "list_partition_label.txt")
    assert len(load_rafdb(official)["test"]) == 21


@pytest.mark.parametrize(("train", "test"), [("train.csv", "test.csv"), ("train.csv", "tes.csv")])
@pytest.mark.parametrize("inside", [False, True])
def test_names_and_places_of_the_csv_files(kaggle, train, test, inside):
    folder = kaggle / "DATASET" if inside else kaggle
    (kaggle / "train_labels.csv").rename(folder / train)
    (kaggle / "test_labels.csv").rename(folder / test)
    assert len(load_rafdb(kaggle)["test"]) == 21


def test_a_basic_folder_is_preferred_to_its_neighbours(official):
    write_official(official.parent / "more")
    shutil.move(official.parent / "more" / "basic", official.parent / "compound")
    shutil.rmtree(official.parent / "more")
    assert len(load_rafdb(official.parent)["test"]) == 21


def test_missing_folder(tmp_path):
    assert_refused(tmp_path / "nowhere", tmp_path / "nowhere", "no such folder")


def test_neither_layout(tmp_path):
    (tmp_path / "holiday.docx").touch()
    assert_refused(tmp_path, f"{tmp_path}: holds 1 .docx file, and no labelled faces", "EmoLabel", "train/<class>/")


def test_what_was_seen_is_said(tmp_path):
    for i in range(12):
        (tmp_path / f"{i}.txt").touch()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.npy").touch()
    assert_refused(tmp_path, "holds 12 .txt files, 2 folders (one, two), and no labelled faces", "--test_fraction 0.2")
    (tmp_path / "faces.zip").touch()
    assert_refused(tmp_path, "12 .txt files, 1 .zip file, 2 folders", "unpack faces.zip, or put the images into")


def test_data_that_lies_deeper_is_named(tmp_path, kaggle):
    deeper = tmp_path / "a" / "b" / "c"
    deeper.parent.mkdir(parents=True)
    (kaggle / "DATASET").rename(deeper)
    assert_refused(tmp_path / "a", "holds 1 folder (b); the data lies deeper: give --data_dir", deeper)


def test_a_folder_without_folders_is_said_to_be_what_it_is(tmp_path):
    assert_refused(tmp_path, f"{tmp_path}: is empty")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "faces.rar").touch()
    assert_refused(tmp_path, "holds no faces but archives, faces.rar first; unpack them")
    (tmp_path / "faces.rar").rename(tmp_path / "a.jpg")
    assert_refused(tmp_path, "nothing says of which class each is", "give --data_dir the folder above")


def test_class_folders_that_lie_one_folder_further_down_are_named(tmp_path):
    for code in (1, 2):
        (tmp_path / "high" / "FACES" / str(code)).mkdir(parents=True)
        paint_face(code, 1).save(tmp_path / "high" / "FACES" / str(code) / "a.jpg")
    there = tmp_path / "high" / "FACES"
    assert_refused(tmp_path / "high", f"the folders of classes lie in FACES/; give --data_dir {there}")
    assert_refused(there, "add --test_fraction 0.2")


def test_both_layouts_at_once(official):
    write_kaggle(official.parent / "copy")
    assert_refused(official.parent, "more than one copy", official, "DATASET")


def test_no_list_file(official):
    (official / LIST).unlink()
    assert_refused(official, official / "EmoLabel", "list_patition_label.txt or list_partition_label.txt")


def test_no_aligned_images(official):
    shutil.rmtree(official / "Image")
    assert_refused(official, official / "Image" / "aligned", "aligned images")


def test_no_csv_file(kaggle):
    (kaggle / "test_labels.csv").unlink()
    assert_refused(kaggle, "test_labels.csv or test.csv or tes.csv")


def test_two_csv_files(kaggle):
    shutil.copy(kaggle / "test_labels.csv", kaggle / "tes.csv")
    assert_refused(kaggle, "test_labels.csv", "tes.csv", "keep the one")


def test_row_without_image(official):
    (official / "Image/aligned/train_00003_aligned.jpg").unlink()
    assert_refused(official, f"{official / LIST}, row 3", "train_00003_aligned.jpg", "no image")


def test_row_without_image_in_the_kaggle_layout(kaggle):
    (kaggle / "DATASET/test/2/test_0002_aligned.jpg").unlink()
    assert_refused(kaggle, f"{kaggle / 'test_labels.csv'}, row 3", "test/2/test_0002_aligned.jpg", "no image")


@pytest.mark.parametrize("layout", ["official", "kaggle"])
def test_image_without_row(layout, request):
    root = request.getfixturevalue(layout)
    folder = root / ("Image/aligned" if layout == "official" else "DATASET/train/3")
    stray = folder / "train_99999_aligned.jpg"
    Image.new("RGB", (8, 8)).save(stray)
    assert_refused(root, stray, "no row")


@pytest.mark.parametrize("code", ["0", "8", "-1", "x", "3.5", "٣"])
def test_code_out_of_range(official, code):
    edit(official / LIST, "train_00002.jpg 2", f"train_00002.jpg {code}")
    assert_refused(official, f"{official / LIST}, row 2", "1 to 7", "train_00002.jpg", repr(code))


def test_code_that_differs_from_the_folder(kaggle):
    edit(kaggle / "train_labels.csv", "train_00002_aligned.jpg,2", "train_00002_aligned.jpg,5")
    assert_refused(kaggle, f"{kaggle / 'train_labels.csv'}, row 3", "has code 5", kaggle / "DATASET/train/2")


def test_a_folder_that_is_no_code(kaggle):
    (kaggle / "DATASET/train/happy").mkdir()
    assert_refused(kaggle, kaggle / "DATASET/train/happy", "1 to 7")


def test_one_image_in_two_rows(official):
    edit(official / LIST, "train_00002.jpg 2", "train_00001.jpg 2")
    assert_refused(official, "row 2", "train_00001.jpg", "two labels, 1 and 2", "row 1")


def test_one_image_in_two_folders(kaggle):
    shutil.copy(kaggle / "DATASET/train/1/train_00001_aligned.jpg", kaggle / "DATASET/train/2")
    assert_refused(kaggle, "train/2/train_00001_aligned.jpg", kaggle / "DATASET/train/1", "one label")


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/secret.jpg", "..\\secret.jpg", "C:\\secret.jpg", ".."])
@pytest.mark.parametrize("layout", ["official", "kaggle"])
def test_a_row_that_leaves_the_root(layout, name, request):
    root = request.getfixturevalue(layout)
    path, old = (
        (root / LIST, "train_00002.jpg")
        if layout == "official"
        else (root / "train_labels.csv", "train_00002_aligned.jpg")
    )
    edit(path, old, name)
    assert_refused(root, path, "row", "plain name", repr(name))


def test_an_image_link_that_leaves_the_root(official, tmp_path):
    image = official / "Image/aligned/train_00004_aligned.jpg"
    shutil.move(image, tmp_path / "outside.jpg")
    image.symlink_to(tmp_path / "outside.jpg")
    assert_refused(official, image, "leads out of", tmp_path / "outside.jpg")


def test_a_folder_link_that_leaves_the_root(kaggle, tmp_path):
    shutil.move(kaggle / "DATASET/test", tmp_path / "outside")
    (kaggle / "DATASET/test").symlink_to(tmp_path / "outside")
    assert_refused(kaggle, kaggle / "DATASET/test", "leads out of")


def test_a_link_within_the_root_is_fine(official):
    image = official / "Image/aligned/train_00004_aligned.jpg"
    image.rename(official / "kept.jpg")
    image.symlink_to(os.path.relpath(official / "kept.jpg", image.parent))
    assert "train_00004" in {*load_rafdb(official)["train"]["file"], *load_rafdb(official)["validation"]["file"]}


def test_an_empty_split(official):
    rows = [row for row in (official / LIST).read_text().splitlines() if row.startswith("train")]
    (official / LIST).write_text("\n".join(rows))
    for image in (official / "Image/aligned").glob("test_*"):
        image.unlink()
    assert_refused(official, official, "test split is empty")


def test_an_empty_label_file(official):
    (official / LIST).write_text("")
    shutil.rmtree(official / "Image/aligned")
    (official / "Image/aligned").mkdir()
    assert_refused(official, official, "train split is empty")


def test_a_class_absent_from_train(kaggle):
    rows = (kaggle / "train_labels.csv").read_text().splitlines()
    (kaggle / "train_labels.csv").write_text("\n".join(row for row in rows if not row.endswith(",2")))
    shutil.rmtree(kaggle / "DATASET/train/2")
    assert_refused(kaggle, "2 (Fear)", "train")


@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0\x00\x10JFIF", b"train_00001.jpg 1\x00\n"])
def test_a_label_file_that_is_not_text(official, content):
    (official / LIST).write_bytes(content)
    assert_refused(official, official / LIST, "not a text file")


def test_a_row_of_another_form(official):
    edit(official / LIST, "train_00005.jpg 5", "train_00005.jpg")
    assert_refused(official, "row 5", "'train_00001.jpg 5'")


def test_a_csv_row_of_another_form(kaggle):
    edit(kaggle / "train_labels.csv", "train_00005_aligned.jpg,5", "train_00005_aligned.jpg")
    assert_refused(kaggle, "row 6", "two columns")


def test_a_name_without_its_split(official):
    edit(official / LIST, "train_00005.jpg", "face_00005.jpg")
    assert_refused(official, "row 5", "train_ or test_", "face_00005.jpg")


def test_a_test_image_under_train(kaggle):
    source = kaggle / "DATASET/test/1/test_0001_aligned.jpg"
    shutil.copy(source, kaggle / "DATASET/train/1")
    assert_refused(kaggle, "train/1/test_0001_aligned.jpg", "test split")


def test_csv_with_bom_crlf_quotes_and_no_header(kaggle):
    rows = (kaggle / "test_labels.csv").read_text().splitlines()[1:]
    quoted = "\r\n".join(f'"{row.split(",")[0]}", {row.split(",")[1]}' for row in rows)
    (kaggle / "test_labels.csv").write_bytes(b"\xef\xbb\xbf" + quoted.encode())
    assert len(load_rafdb(kaggle)["test"]) == 21


def write_classes(folder):
    for i, name in enumerate(("happy", "sad", "happy", "fear")):
        (folder / name).mkdir(parents=True, exist_ok=True)
        paint_face(i + 1, i).save(folder / name / f"{i}.png")


def find_held_out(root):
    return load_data(root, DataForm(needed=("test",)))


def test_what_is_held_out_alone_needs_no_train_and_no_splits(tmp_path):
    for place in ("plain", "split/test", "val_only/val"):
        write_classes(tmp_path / place)
    (tmp_path / "table").mkdir()
    write_classes(tmp_path / "table")
    rows = ["image,label", "happy/0.png,happy", "sad/1.png,sad", "happy/2.png,happy", "fear/3.png,fear"]
    (tmp_path / "table" / "faces.csv").write_text("\n".join(rows))
    for root in (tmp_path / "plain", tmp_path / "split", tmp_path / "val_only", tmp_path / "table" / "faces.csv"):
        data = find_held_out(root)
        assert list(data.splits) == ["test"] and len(data.splits["test"]) == 4
        names = data.splits["test"].features["label"].names
        assert sorted(names[label] for label in data.splits["test"]["label"]) == ["fear", "happy", "happy", "sad"]
        with pytest.raises(UserError):
            load_data(root)


def test_a_train_split_alone_is_not_what_is_held_out(tmp_path):
    write_classes(tmp_path / "train")
    with pytest.raises(UserError):
        find_held_out(tmp_path)


def test_with_train_it_is_found_as_ever(official, tmp_path):
    own = load_data(official)
    assert find_held_out(official).splits["test"]["file"] == own.splits["test"]["file"]
