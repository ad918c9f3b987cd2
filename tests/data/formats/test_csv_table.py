import os
import shutil
import unicodedata
from unittest.mock import patch

import pytest
from datasets import Image

from rafdb_vit.data.dataset import load_data, load_rafdb
from rafdb_vit.data.findings import Reporter
from rafdb_vit.data.form import DEFAULT_FORM
from rafdb_vit.data.formats import csv_table
from rafdb_vit.data.formats.csv_table import find_tables, read_tables
from rafdb_vit.data.labels import BASIC, COMPOUND
from tests.support.faces import paint_face
from tests.support.refusals import assert_one_line, refused

SPLITS = {"train": 2, "test": 1}


def write_images(folder, pattern="{split}/face{number}.jpg", *, classes=BASIC.names, splits=SPLITS):
    """Writes files that stand for images; returns (path, class, split) of each, paths relative to the folder."""
    entries = []
    for split, each in splits.items():
        for number in range(each * len(classes)):
            image = pattern.format(split=split, number=number)
            (folder / image).parent.mkdir(parents=True, exist_ok=True)
            (folder / image).touch()
            entries.append((image, classes[number % len(classes)], split))
    return entries


def write_table(path, entries, header="image,label,split"):
    rows = [",".join(map(str, entry)) for entry in entries]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *rows] if header else rows) + "\n")
    return path


def read(found):
    """Returns {path below the folder: class} by split, validation joined to train."""
    classes = {"train": {}, "test": {}}
    for split, dataset in found.items():
        names = dataset.features["label"].names
        paths = [image["path"] for image in dataset.cast_column("image", Image(decode=False))["image"]]
        part = classes["test" if split == "test" else "train"]
        part.update({path: names[label] for path, label in zip(paths, dataset["label"], strict=True)})
    return classes


def expected(folder, entries):
    classes = {"train": {}, "test": {}}
    for image, name, split in entries:
        classes[split][str(folder / image)] = name
    return classes


def damage(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.fixture
def table(tmp_path):
    """A CSV file with all three columns and its images, to be damaged at will."""
    folder = tmp_path / "data"
    return write_table(folder / "labels.csv", write_images(folder, "{split}_{number:04d}.jpg"))


FIRST, SECOND = "train_0000.jpg,Surprise,train\n", "train_0001.jpg,Fear,train\n"


@pytest.mark.parametrize(
    "header", ["image,label,split", "Path,EMOTION,Usage", "file_name,expression,SUBSET", "Picture,Emotion,Set"]
)
@pytest.mark.parametrize("as_folder", [False, True])
def test_one_file_with_a_column_of_splits(tmp_path, header, as_folder):
    entries = write_images(tmp_path, "faces/{split}{number}.jpg")
    path = write_table(tmp_path / "faces.csv", entries, header)
    assert read(load_rafdb(tmp_path if as_folder else path)) == expected(tmp_path, entries)


@pytest.mark.parametrize("order", ["label,split,image", "id,split,image,score,label"])
def test_columns_may_stand_in_any_order(tmp_path, order):
    entries = write_images(tmp_path)
    columns = [dict(zip(("image", "label", "split"), entry, strict=True)) for entry in entries]
    rows = [[row.get(name, "0.5") for name in order.split(",")] for row in columns]
    assert read(load_rafdb(write_table(tmp_path / "l.csv", rows, order))) == expected(tmp_path, entries)


def test_values_of_the_split_column_are_what_people_call_splits(tmp_path):
    entries = write_images(tmp_path, splits={"train": 1, "val": 1, "test": 1})
    called = {"train": "Training", "val": "VALID", "test": "test_set"}
    path = write_table(tmp_path / "l.csv", [(image, name, called[split]) for image, name, split in entries])
    assert {split: len(dataset) for split, dataset in load_rafdb(path).items()} == dict.fromkeys(
        ("train", "validation", "test"), 7
    )


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train.csv", "test.csv"),
        ("train_labels.csv", "test_labels.csv"),
        ("Labels-Train.CSV", "TEST.csv"),
        ("training.csv", "valid.csv"),
    ],
)
@pytest.mark.parametrize("header", ["image,label", "name,code", ""])
def test_a_file_for_each_split(tmp_path, train, test, header):
    entries = write_images(tmp_path, "{split}/{number}.jpg")
    for split, name in (("train", train), ("test", test)):
        write_table(tmp_path / name, [entry[:2] for entry in entries if entry[2] == split], header)
    assert read(load_rafdb(tmp_path)) == expected(tmp_path, entries)


def test_folders_of_images_beside_a_table_are_no_classes(tmp_path):
    entries = write_images(tmp_path, "{split}/faces/{number}.jpg")
    write_table(tmp_path / "labels.csv", entries)
    with refused(tmp_path):
        load_rafdb(tmp_path)
    assert read(load_rafdb(tmp_path / "labels.csv")) == expected(tmp_path, entries)


def test_what_a_run_says_of_its_tables(tmp_path):
    entries = write_images(tmp_path, splits={"train": 2, "validation": 1})
    for split, name in (("train", "train.csv"), ("validation", "val.csv")):
        write_table(tmp_path / name, [entry[:2] for entry in entries if entry[2] == split], "image,label")
    data = load_data(tmp_path, max_samples=dict.fromkeys(("train", "validation", "test")))
    assert (data.name, data.sources) == ("folder of labelled faces", {"train": "train", "test": "validation"})
    assert data.shares["validation"].fraction == 0.1
    assert {split: len(dataset) for split, dataset in data.splits.items()} == {"train": 7, "validation": 7, "test": 7}


@pytest.mark.parametrize(
    "pattern", ["{split}_{number:05d}.jpg", "{split}_{number:05d}_aligned.jpg", "aligned/{split}_{number}.png"]
)
@pytest.mark.parametrize("header", ["path,label", ""])
def test_names_that_begin_with_their_split(tmp_path, pattern, header):
    entries = write_images(tmp_path, pattern)
    path = write_table(tmp_path / "labels.csv", [entry[:2] for entry in entries], header)
    assert read(load_rafdb(path)) == expected(tmp_path, entries)


@pytest.mark.parametrize("pattern", ["{split}/{number}.jpg", "images/{split}_set/{number}.jpg"])
def test_paths_that_name_their_split(tmp_path, pattern):
    entries = write_images(tmp_path, pattern)
    path = write_table(tmp_path / "labels.csv", [entry[:2] for entry in entries], "path,label")
    assert read(load_rafdb(path)) == expected(tmp_path, entries)


@pytest.mark.parametrize("outer", ["test", "train", "val"])
def test_folders_above_the_table_name_no_split(tmp_path, outer):
    folder = tmp_path / outer / "data"
    entries = write_images(folder, "{split}/{number}.jpg")
    rows = [(folder / image, name) for image, name, _ in entries]
    assert read(load_rafdb(write_table(folder / "labels.csv", rows, "path,label"))) == expected(folder, entries)


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("picture,feeling", {"image_column": "picture", "label_column": "feeling"}),
        ("picture,feeling,split", {"image_column": "picture", "label_column": "feeling"}),
        ("picture,feeling,label", {"image_column": "picture", "label_column": "feeling"}),
        ("picture,label", {"image_column": "picture"}),
        ("image,feeling", {"label_column": "feeling"}),
        ("picture,feeling", {"image_column": "picture"}),
    ],
)
@pytest.mark.parametrize("backwards", [False, True])
def test_columns_by_the_names_that_were_asked_for(tmp_path, header, columns, backwards):
    entries = write_images(tmp_path, "{split}_{number:04d}.jpg")
    step = -1 if backwards else 1
    names = header.split(",")
    path = write_table(
        tmp_path / "labels.csv", [entry[: len(names)][::step] for entry in entries], ",".join(names[::step])
    )
    assert read(load_rafdb(path, **columns)) == expected(tmp_path, entries)


@pytest.mark.parametrize("kind", ["image", "label"])
def test_a_column_that_is_not_there(table, kind):
    with refused(f"--{kind}_column_name picture: no such column in {table}", "it has image, label, split"):
        load_rafdb(table, **{f"{kind}_column": "picture"})


def test_names_of_columns_are_as_they_are_written(table):
    with refused("--image_column_name Image"):
        load_rafdb(table, image_column="Image")


@pytest.mark.parametrize("header", ["a,b,c", "image,b,c", "a,label,split", '"a\nb",c,d', "\x1b[31m,b,c"])
def test_columns_that_cannot_be_told(table, header):
    damage(table, "image,label,split", header)
    with refused(table, "cannot tell which column is which", "--image_column_name and --label_column_name"):
        load_rafdb(table)


def test_one_column(table):
    damage(table, "image,label,split", "image")
    with refused(table, "one column", "separated by commas, semicolons or tabs"):
        load_rafdb(table)


def test_a_split_column_that_contradicts_the_file(tmp_path):
    entries = write_images(tmp_path)
    for split in ("train", "test"):
        write_table(tmp_path / f"{split}.csv", [entry for entry in entries if entry[2] == split])
    assert read(load_rafdb(tmp_path)) == expected(tmp_path, entries)
    damage(tmp_path / "test.csv", ",test\n", ",train\n")
    with refused(tmp_path / "test.csv", "stands in the file of test, but its column 'split' says 'train'"):
        load_rafdb(tmp_path)


@pytest.mark.parametrize("subset", ["basic", "compound"])
def test_codes_of_rafdb(tmp_path, subset):
    labels = {"basic": BASIC, "compound": COMPOUND}[subset]
    entries = write_images(tmp_path, classes=labels.names)
    rows = [(image, labels.names.index(name) + 1, split) for image, name, split in entries]
    path = write_table(tmp_path / "labels.csv", rows)
    assert read(load_rafdb(path, subset=subset)) == expected(tmp_path, entries)


@pytest.mark.parametrize("code", [str, "{}.0".format, "{}.00".format])
def test_numbers_that_are_no_codes_are_refused(tmp_path, code):
    entries = write_images(tmp_path)
    rows = [(image, code(BASIC.names.index(name)), split) for image, name, split in entries]
    with refused(tmp_path / "labels.csv", "codes 1 to 7", "nothing says which number is which expression"):
        load_rafdb(write_table(tmp_path / "labels.csv", rows))


def test_codes_that_became_decimals_are_no_names(tmp_path):
    rows = [(image, f"{BASIC.names.index(name) + 1}.0", split) for image, name, split in write_images(tmp_path)]
    with refused(tmp_path / "labels.csv", "'1.0'"):
        load_rafdb(write_table(tmp_path / "labels.csv", rows))


def test_one_class_may_be_written_in_several_ways(tmp_path):
    entries = write_images(tmp_path)
    ways = ["happy", "Happiness", "4"]
    rows = [
        (image, ways[i // 7 % 3] if name == "Happiness" else name, split)
        for i, (image, name, split) in enumerate(entries)
    ]
    assert read(load_rafdb(write_table(tmp_path / "labels.csv", rows))) == expected(tmp_path, entries)


def test_other_classes_keep_their_names(tmp_path):
    entries = write_images(tmp_path, classes=("neutral", "contempt", "happy"))
    found = load_rafdb(write_table(tmp_path / "labels.csv", entries))
    assert found["test"].features["label"].names == ["contempt", "happy", "neutral"]
    assert read(found) == expected(tmp_path, entries)


@pytest.mark.parametrize("write", [str, "./{}".format, "other/../{}".format, lambda image: image.replace("/", "\\")])
def test_paths_are_relative_to_the_table(tmp_path, write, monkeypatch):
    folder = tmp_path / "data"
    entries = write_images(folder, "images/{split}/{number}.jpg")
    (folder / "other").mkdir()
    path = write_table(folder / "labels.csv", [(write(image), name, split) for image, name, split in entries])
    assert read(load_rafdb(path)) == expected(folder, entries)
    monkeypatch.chdir(tmp_path)
    assert read(load_rafdb("data/labels.csv")) == expected(folder, entries)


@pytest.mark.parametrize("inside", ["images", "{split}"])
def test_paths_within_the_usual_folders(tmp_path, inside):
    entries = write_images(tmp_path, f"{inside}/{{split}}{{number}}.jpg")
    path = write_table(tmp_path / "l.csv", [(image.rsplit("/")[-1], name, split) for image, name, split in entries])
    assert read(load_rafdb(path)) == expected(tmp_path, entries)


def test_absolute_paths_in_the_folder(tmp_path):
    entries = write_images(tmp_path)
    path = write_table(tmp_path / "l.csv", [(tmp_path / image, name, split) for image, name, split in entries])
    assert read(load_rafdb(path)) == expected(tmp_path, entries)


@pytest.mark.parametrize("through_link", ["table", "paths"])
def test_absolute_paths_where_the_folder_has_two_names(tmp_path, through_link):
    folder, link = tmp_path / "data", tmp_path / "link"
    entries = write_images(folder)
    link.symlink_to(folder)
    table, paths = (link, folder) if through_link == "table" else (folder, link)
    write_table(folder / "l.csv", [(paths / image, name, split) for image, name, split in entries])
    assert sum(len(dataset) for dataset in load_rafdb(table / "l.csv").values()) == 21


@pytest.mark.parametrize(
    ("write", "words"),
    [
        ("../{}", "leads out of"),
        ("{folder}/../{}", "leads out of"),
        ("{outside}", "leads out of"),
        ("..\\{}", "'..\\\\secret.jpg'"),
        ("C:\\faces\\{}", "no image"),
        ("~/{}", "no image"),
        ("/etc/nowhere/{}", "leads out of"),
        ("../nowhere/{}", "leads out of"),
    ],
)
def test_a_path_that_leads_out_is_refused(table, write, words):
    outside = table.parent.parent / "secret.jpg"
    outside.touch()
    image = write.format(outside.name, folder=table.parent, outside=outside)
    damage(table, SECOND, f"{image},Fear,train\n")
    with refused(f"{table}, row 3: ", words):
        load_rafdb(table)


@pytest.mark.parametrize("place", ["train_0001.jpg", "more"])
def test_a_link_that_leads_out_is_refused(table, place):
    outside = table.parent.parent / "outside"
    outside.mkdir()
    shutil.move(table.parent / "train_0001.jpg", outside / "train_0001.jpg")
    (table.parent / place).symlink_to(outside / "train_0001.jpg" if place.endswith(".jpg") else outside)
    image = "train_0001.jpg" if place.endswith(".jpg") else "more/train_0001.jpg"
    damage(table, SECOND, f"{image},Fear,train\n")
    with refused(f"{table}, row 3: {image!r} leads out of {table.parent}"):
        load_rafdb(table)


def test_a_table_that_is_a_link_out_of_the_folder_is_refused(table):
    shutil.move(table, table.parent.parent / "outside.csv")
    table.symlink_to(table.parent.parent / "outside.csv")
    with refused(table, "leads out of"):
        load_rafdb(table.parent)


def test_a_link_within_the_folder_is_fine(table):
    (table.parent / "train_0001.jpg").rename(table.parent / "kept.jpg")
    (table.parent / "train_0001.jpg").symlink_to("kept.jpg")
    assert len(read(load_rafdb(table))["train"]) == 14


@pytest.mark.parametrize("name", ["pipe.csv", "folder.csv"])
def test_what_is_no_file_is_no_table(tmp_path, name):
    path = tmp_path / name
    os.mkfifo(path) if name == "pipe.csv" else path.mkdir()
    assert path not in find_tables(tmp_path).values()


@pytest.mark.parametrize("image", ["train_0001.jpeg", "more/train_0001.jpg", "x" * 300 + ".jpg", "."])
def test_a_row_without_image(table, image):
    damage(table, SECOND, f"{image},Fear,train\n")
    with refused(f"{table}, row 3: no image", image[:40]):
        load_rafdb(table)


@pytest.mark.parametrize("again", ["train_0000.jpg", "./train_0000.jpg", "{folder}/train_0000.jpg"])
@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("Surprise,train", "is listed twice"),
        ("surprised,test", "is listed twice"),
        ("1,train", "is listed twice"),
        ("Fear,train", "has two labels"),
    ],
)
def test_an_image_listed_again(table, again, entry, words):
    image = again.format(folder=table.parent)
    damage(table, SECOND, f"{SECOND}{image},{entry}\n")
    with refused(f"{table}, row 4: {image} {words} (first: {table}, row 2)", "expected one row for it"):
        load_rafdb(table)


def test_an_image_in_two_tables(tmp_path):
    entries = write_images(tmp_path, "faces/{split}{number}.jpg")
    for split in SPLITS:
        write_table(tmp_path / f"{split}.csv", [entry[:2] for entry in entries if entry[2] == split], "image,label")
    with (tmp_path / "test.csv").open("a") as file:
        file.write("faces/train3.jpg,Happiness\n")
    with refused(f"{tmp_path / 'test.csv'}, row 9", "faces/train3.jpg", f"{tmp_path / 'train.csv'}, row 5"):
        load_rafdb(tmp_path)


@pytest.mark.parametrize(
    "row",
    ["train_0001.jpg", "train_0001.jpg,Fear", "train_0001.jpg,Fear,train,1", ",Fear,train", "train_0001.jpg,,train"],
)
def test_a_row_of_another_form(table, row):
    damage(table, SECOND, f"{row}\n")
    with refused(f"{table}, row 3: expected 3 columns, image and label filled in", repr(row)):
        load_rafdb(table)


def test_a_path_with_control_characters(table):
    damage(table, SECOND, '"train_\n0001.jpg",Fear,train\n')
    with refused(table, "control characters", "'train_\\n0001.jpg'", "rename the image"):
        load_rafdb(table)


@pytest.mark.parametrize("value", ["", "Kaggle", "trein", "0", "train,test"])
def test_an_unknown_split(table, value):
    damage(table, SECOND, f'train_0001.jpg,Fear,"{value}"\n')
    with refused(f"{table}, row 3: expected train, val or test in column 'split', found {value!r}"):
        load_rafdb(table)


def test_nothing_says_which_split(tmp_path):
    entries = write_images(tmp_path, "faces/{split}{number}.jpg")
    path = write_table(tmp_path / "labels.csv", [entry[:2] for entry in entries], "image,label")
    with refused(f"{path}, row 2: nothing says which split 'faces/train0.jpg' belongs to", "train.csv and test.csv"):
        load_rafdb(path)


def test_a_table_of_one_split_only(tmp_path):
    entries = write_images(tmp_path, splits={"train": 2})
    path = write_table(tmp_path / "labels.csv", entries)
    with refused(tmp_path, "the test split is empty"):
        load_rafdb(path)


@pytest.mark.parametrize("text", ["", "\n\n , \n"])
def test_an_empty_table(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with refused(path, "is empty", "a CSV file of image paths and labels"):
        load_rafdb(tmp_path)


def test_a_table_with_a_header_only(tmp_path):
    with refused(tmp_path, "the train split is empty"):
        load_rafdb(write_table(tmp_path / "labels.csv", []))


@pytest.mark.parametrize("names", [("train.csv", "train_labels.csv"), ("train.csv", "notes.csv"), ("a.csv", "b.csv")])
def test_tables_whose_splits_cannot_be_told(tmp_path, names):
    for name in names:
        write_table(tmp_path / name, [], "image,label")
    with refused(tmp_path, "cannot tell which CSV file holds which split", *names, "rename them"):
        load_rafdb(tmp_path)


@pytest.mark.parametrize("name", ["test_0000.jpg", "train_0000.jpg"])
def test_rows_of_rafdb_in_the_wrong_split_are_refused_and_those_of_other_data_are_not(table, name):
    own = name.split("_")[0]
    other = {"train": "test", "test": "train"}[own]
    damage(table, f"{name},Surprise,{own}", f"{name},Surprise,{other}")
    assert name.removesuffix(".jpg") in load_rafdb(table)[other]["file"]
    for path in table.parent.glob("t*_*.jpg"):
        stem, number = path.stem.split("_")
        aligned = f"{stem}_{number if stem == 'test' else f'0{number}'}_aligned.jpg"
        damage(table, path.name, aligned)
        path.rename(path.with_name(aligned))
    with refused(f"{table}, row ", f"{own}_", f"an image of the {own} split stands in {other}"):
        load_rafdb(table)


def test_names_are_stems_where_these_are_unique(table):
    found = load_rafdb(table)
    assert list(found["test"]["file"]) == [f"test_{number:04d}" for number in range(7)]


def test_names_are_paths_where_stems_are_not_unique(tmp_path):
    entries = write_images(tmp_path, "{split}/{number}.jpg")
    found = load_rafdb(write_table(tmp_path / "labels.csv", entries))
    assert sorted(file for d in found.values() for file in d["file"]) == sorted(image for image, _, _ in entries)


@pytest.mark.parametrize("form", [{"aligned": False}, {"aligned": False, "box_margin": 0.2}])
def test_a_table_has_no_boxes(table, form):
    with refused("--aligned False"):
        load_rafdb(table, **form)


def test_checking_collects_every_fault_and_keeps_the_good(table):
    (table.parent / "train_0003.jpg").unlink()
    damage(table, SECOND, "train_0001.jpg,Fear\n../train_0001.jpg,Fear,train\ntrain_0000.jpg,Fear,train\n")
    findings = []
    found = read_tables(table.parent, {None: table}, DEFAULT_FORM, Reporter(findings.append))
    assert [(finding.kind, finding.message.split(": ")[0]) for finding in findings] == [
        ("bad row", f"{table}, row 3"),
        ("bad row", f"{table}, row 4"),
        ("label without image", f"{table}, row 7"),
        ("image with two labels", f"{table}, row 5"),
    ]
    for finding in findings:
        assert_one_line(finding.message)
    assert {split: len(faces.files) for split, faces in found.splits.items()} == {"train": 12, "test": 7}
    with refused(findings[0].message):
        read_tables(table.parent, {None: table}, DEFAULT_FORM, Reporter())


def test_rows_that_are_repeated_or_name_nothing_take_next_to_no_memory(tmp_path):
    write_images(tmp_path)
    rows = [("train/face0.jpg", "anger", "train"), ("train/face0.jpg", "sad", "train")] * 25
    rows += [(f"missing{i}.jpg", "fear", "test") for i in range(50)]
    table, report = write_table(tmp_path / "faces.csv", rows), Reporter(lambda finding: None)
    with patch.object(csv_table, "_drop_repeated", side_effect=lambda entries, *_: entries) as dropped:
        read_tables(tmp_path, {None: table}, DEFAULT_FORM, report)
    (entries, *_) = dropped.call_args.args
    assert len(entries) == 50 and len({id(text) for entry in entries for text in (entry.path, entry.image)}) == 2
    assert not report.files


def test_groups_that_steer_a_terminal_are_refused(tmp_path):
    entries = [(*entry, "m\x1b[31m\u202e" if i == 3 else "m") for i, entry in enumerate(write_images(tmp_path))]
    path = write_table(tmp_path / "faces.csv", entries, "image,label,split,gender")
    with refused(f"{path}, row 5: expected a name of a group in column 'gender'"):
        load_data(path)


def test_a_first_row_that_names_a_file_without_a_suffix_is_no_header(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        rows = []
        for i, name in enumerate(BASIC.names):
            paint_face(1, i).save(tmp_path / split / f"face{i}", "PNG")
            rows.append(f"{split}/face{i},{name}")
        (tmp_path / f"{split}.csv").write_text("\n".join(rows) + "\n")
    found = read_tables(tmp_path, find_tables(tmp_path), DEFAULT_FORM, Reporter())
    assert {split: len(faces.labels) for split, faces in found.splits.items()} == {"train": 7, "test": 7}


def test_images_none_of_which_is_there_are_not_looked_for_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_table, "_MOST_MISSING", 20)
    write_table(tmp_path / "labels.csv", [(f"train_{i}.jpg", "Fear", "train") for i in range(60)])
    with refused("labels.csv: none of its first 21 images is there; paths have to be relative to this file"):
        read_tables(tmp_path, find_tables(tmp_path), DEFAULT_FORM, Reporter(lambda finding: None))


def write_as(
    folder, *, separator=",", encoding="utf-8", end="\n", name="faces.csv", pattern="{split}/{number}.jpg", **more
):
    """Writes a table in another form; `first` is a line above it, `last` ends each row, `quote` stands round paths."""
    entries = write_images(folder, pattern)
    quote, last = more.get("quote", ""), more.get("last", "")
    rows = [separator.join((f"{quote}{image}{quote}", label, split)) + last for image, label, split in entries]
    text = end.join(
        [*more.get("first", []), separator.join(("image", "label", "split")) + more.get("over", ""), *rows, ""]
    )
    (folder / name).write_bytes(text.encode(encoding))
    return entries


@pytest.mark.parametrize(
    "form",
    [
        {"separator": ";"},
        {"separator": "\t"},
        {"separator": "\t", "name": "faces.tsv"},
        {"separator": ";", "encoding": "utf-8-sig", "end": "\r\n"},
        {"separator": "\t", "encoding": "utf-16", "end": "\r\n"},
        {"separator": "\t", "encoding": "utf-16-be", "first": ["\ufeffsep=\t"]},
        {"separator": ";", "first": ["sep=;"]},
        {"separator": ";", "quote": '"', "pattern": "{split}/a; b, {number}.jpg"},
        {"separator": ";", "pattern": "{split}/a, b{number}.jpg"},
        {"quote": '"', "pattern": "{split}/a, b; {number}.jpg"},
        {"last": ",", "over": ","},
        {"last": ",", "over": ",note"},
        {"separator": ";", "last": ";"},
        {"pattern": "{split}/a\u202fb\u00a0c\u3000👩\u200d🔬\u200eשלום{number}.jpg"},
        {"pattern": "\u3000{split}{number}.jpg"},
    ],
    ids=str,
)
def test_tables_as_people_and_their_spreadsheets_write_them(tmp_path, form):
    entries = write_as(tmp_path, **form)
    for place in (tmp_path, tmp_path / form.get("name", "faces.csv")):
        assert read(load_rafdb(place)) == expected(tmp_path, entries)


def test_numbers_that_are_taken_for_codes_are_said_to_be(tmp_path):
    entries = write_images(tmp_path, "faces/{split}{number}.jpg")
    coded = [(image, BASIC.names.index(name) + 1, split) for image, name, split in entries]
    (note,) = load_data(write_table(tmp_path / "labels.csv", coded)).notes
    assert note.startswith("the classes are numbers, and are taken for RAF-DB's codes: 1 Surprise, 2 Fear")
    assert load_data(write_table(tmp_path / "labels.csv", entries)).notes == ()


def test_a_table_in_an_old_encoding_is_refused_with_what_to_do(tmp_path):
    write_as(tmp_path, encoding="cp1252", pattern="{split}/ö{number}.jpg")
    with refused(tmp_path / "faces.csv", "(from row 2 on it is not UTF-8)", "save it as UTF-8 (in Excel: 'CSV UTF-8')"):
        load_rafdb(tmp_path)


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
def test_paths_whose_accents_are_written_otherwise_on_the_disk_are_found(tmp_path, on_disk):
    entries = write_images(tmp_path, unicodedata.normalize(on_disk, "für {split}/ö{number}.jpg"))
    written = unicodedata.normalize({"NFC": "NFD", "NFD": "NFC"}[on_disk], "ö")
    rows = [(unicodedata.normalize("NFC", image).replace("ö", written), *more) for image, *more in entries]
    found = load_rafdb(write_table(tmp_path / "faces.csv", rows))
    assert read(found) == expected(tmp_path, entries)
    assert all(unicodedata.is_normalized("NFC", file) for file in found["test"]["file"])


def test_a_row_that_names_no_image_is_refused(table):
    (table.parent / "notes.txt").write_text("P3 of something else")
    table.write_text(f"{table.read_text()}notes.txt,Fear,train\n")
    with refused(f"{table}, row 23: 'notes.txt' is no image of a format that is read", "take the row out"):
        load_rafdb(table)


def test_decimals_are_codes_in_rafdbs_own_files_alone(tmp_path):
    for split in SPLITS:
        entries = write_images(tmp_path, splits={split: 2})
        rows = [(image, f"{BASIC.names.index(name) + 1}.0", split) for image, name, _ in entries]
        write_table(tmp_path / f"{split}_labels.csv", rows)
    assert load_rafdb(tmp_path)["test"]["label"] == [*range(7)] * 2
    for split in SPLITS:
        (tmp_path / f"{split}_labels.csv").rename(tmp_path / f"{split}.csv")
    with refused("'1.0'", "nothing says which number is which expression", "RAF-DB's codes as whole numbers"):
        load_rafdb(tmp_path)


def test_a_column_for_each_class_is_no_label(tmp_path):
    (tmp_path / "_classes.csv").write_text("filename,angry,happy,sad\na.jpg,1,0,0\n")
    with refused("cannot tell which column is which (filename, angry", "write one column with the class of each image"):
        load_rafdb(tmp_path)
