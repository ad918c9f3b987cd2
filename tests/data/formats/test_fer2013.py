import io
import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from datasets import Image as ImageFeature
from PIL import Image

from rafdb_vit.data.check.check import check_data
from rafdb_vit.data.dataset import load_data, load_rafdb
from rafdb_vit.data.form import DataForm
from rafdb_vit.data.images import open_picture
from rafdb_vit.data.labels import BASIC
from rafdb_vit.data.published import PUBLISHED
from tests.support.faces import write_official
from tests.support.other_data import FER2013_CODES, USAGES, write_fer2013
from tests.support.refusals import refused

SPLITS = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A file in FER2013's form, to be copied, and its faces."""
    path = tmp_path_factory.mktemp("whole") / "fer2013.csv"
    return path, write_fer2013(path)


@pytest.fixture
def table(tmp_path, whole):
    """A copy, to be damaged at will."""
    (tmp_path / "data").mkdir()
    return Path(shutil.copy(whole[0], tmp_path / "data"))


def edit_row(path, number, change):
    """Changes the fields (emotion, pixels, usage) of a row, by its number in the file."""
    lines = path.read_text().split("\n")
    lines[number - 1] = ",".join(change(*lines[number - 1].split(",")))
    path.write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("fer2013.csv", ("emotion", "pixels", "Usage")),
        ("icml_face_data.csv", ("emotion", " Usage", " pixels")),
        ("faces.csv", ("Usage", "emotion", "pixels")),
    ],
)
def test_codes_pixels_and_splits_are_those_of_the_file(tmp_path, name, columns):
    path = tmp_path / "data" / name
    faces = write_fer2013(path, columns=columns)
    found = load_data(path, scored=None)
    assert found.sources == {split: usage for usage, split in SPLITS.items()}
    assert found.name == "folder in FER2013 layout"
    assert {split: len(of) for split, of in found.splits.items()} == {"train": 28, "validation": 7, "test": 14}
    rows = iter([row for usage in USAGES for row in faces if row[2] == usage])
    for split in SPLITS.values():
        assert found.splits[split].features["label"].names == list(BASIC.names)
        for face in found.splits[split]:
            code, levels, usage = next(rows)
            assert SPLITS[usage] == split
            assert BASIC.names[face["label"]] == FER2013_CODES[code]
            assert (np.asarray(face["image"]) == levels[..., None]).all() and face["image"].mode == "RGB"
    assert found.splits["train"]["file"][:2] == ["row00000", "row00001"]


def test_the_folder_may_be_given_and_one_above(table):
    expected = load_rafdb(table)["test"]["file"][:]
    for root in (table.parent, table.parent.parent):
        assert load_rafdb(root)["test"]["file"][:] == expected


def test_images_are_no_files_and_opened_as_any_others(table):
    stored = load_rafdb(table)["test"].cast_column("image", ImageFeature(decode=False))[0]["image"]
    assert stored["path"] is None
    picture = open_picture(stored["bytes"])
    assert (picture.mode, picture.size) == ("RGB", (48, 48))
    with Image.open(io.BytesIO(stored["bytes"])) as image:
        assert (image.format, image.mode) == ("PPM", "L")
    assert os.listdir(table.parent) == ["fer2013.csv"]


def test_quotes_and_spaces_and_windows_line_ends(table):
    whole = [face["image"].tobytes() for face in load_rafdb(table)["test"]]
    lines = [line.split(",") for line in table.read_text().splitlines()]
    text = "\r\n".join(f'"{code}"," {pixels} ",{usage} ' for code, pixels, usage in lines)
    table.write_text(f"\ufeff{text}\r\n", newline="")
    assert [face["image"].tobytes() for face in load_rafdb(table)["test"]] == whole


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda code, pixels, usage: (code, pixels[: pixels.rindex(" ")], usage), "2,304 pixels, found 2,303"),
        (lambda code, pixels, usage: (code, f"{pixels} 7", usage), "2,304 pixels, found 2,305"),
        (lambda code, pixels, usage: (code, "", usage), "pixels"),
        (lambda code, pixels, usage: (code, "1 " * 30_000, usage), "2,304 pixels, found 59,999 letters"),
        (lambda code, pixels, usage: (code, f"256{pixels[pixels.index(' ') :]}", usage), "from 0 to 255, found '256'"),
        (lambda code, pixels, usage: (code, f"-1{pixels[pixels.index(' ') :]}", usage), "from 0 to 255, found '-1'"),
        (lambda code, pixels, usage: (code, f"1e1{pixels[pixels.index(' ') :]}", usage), "from 0 to 255, found '1e1'"),
        (lambda code, pixels, usage: (code, f"{2**64}{pixels[pixels.index(' ') :]}", usage), f"found '{2**64}'"),
        (lambda code, pixels, usage: (code, f"{pixels[: pixels.rindex(' ')]} x", usage), "from 0 to 255, found 'x'"),
        (lambda code, pixels, usage: (code, pixels, "Validation"), "Training, PublicTest, PrivateTest as Usage"),
        (lambda code, pixels, usage: ("7", pixels, usage), "code from 0 (Angry) to 6 (Neutral), found '7'"),
        (lambda code, pixels, usage: ("-0", pixels, usage), "found '-0'"),
        (lambda code, pixels, usage: ("\x1b[2J", pixels, usage), r"\x1b"),
        (lambda code, pixels, usage: (code, pixels), "expected 3 columns, found 2"),
        (lambda code, pixels, usage: (code, pixels, usage, "more"), "expected 3 columns, found 4"),
    ],
)
def test_a_malformed_row_is_named(table, change, words):
    edit_row(table, 9, change)
    with refused(f"{table}, row 9: ", words, "copy the file anew"):
        load_rafdb(table.parent)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("emotion,pixels\n0,1 2 3\n", "no column Usage; expected FER2013's file"),
        ("emotion,pixels,Usage\n", "the train split is empty; expected faces of every class in it: FER2013 has one"),
        (f"0,{'7 ' * 2304},Training\n", "no column emotion; expected FER2013's file"),
        ("<!DOCTYPE html><html>\n", "is a web page, not the data; download it anew"),
        ('emotion,pixels,Usage\n0,"1 2 3,Training\n', "a quote that is opened here is never closed"),
        ("emotion,pixels,Usage\n0,\0,Training\n", "NUL byte"),
        ("emotion,pixels,Usage\n" + "0" * 2**21, "row 2 is longer than"),
    ],
)
def test_a_file_that_is_broken_is_one_line(table, content, words):
    table.write_text(content)
    with refused(table.parent, words):
        load_rafdb(table)


def test_a_file_that_is_far_too_large_is_not_read(table):
    with table.open("ab") as file:
        file.truncate(2**40)
    with refused(table, "expected FER2013's file"):
        load_rafdb(table)


def test_rows_that_are_all_bad_take_no_time(table):
    table.write_text("emotion,pixels,Usage\n" + "0,1 2 3,Training\n" * 10_000)
    start = time.monotonic()
    result = check_data(table, quiet=True, processes=1)
    assert result.numbers["bad row"] == 10_000 and len(result.kinds["bad row"]) == 1_000
    assert time.monotonic() - start < 20


def test_what_goes_with_other_data_is_refused(table):
    with refused("--subset compound", "FER2013"):
        load_rafdb(table, subset="compound")
    with refused("--image_column_name", "holds FER2013"):
        load_data(table, DataForm(image_column="pixels"))
    with refused("--aligned False"):
        load_rafdb(table, aligned=False)
    with refused("--validation_fraction 0.2", "validation split of its own (PublicTest)"):
        load_rafdb(table, validation_fraction=0.2)


def test_two_copies_are_refused(table):
    write_fer2013(table.parent / "icml_face_data.csv")
    with refused("more than one copy", "fer2013.csv", "icml_face_data.csv"):
        load_rafdb(table.parent)
    assert len(load_rafdb(table)["test"]) == 14
    (table.parent / "icml_face_data.csv").unlink()
    write_official(table.parent)
    with refused("more than one copy", "fer2013.csv", "basic"):
        load_rafdb(table.parent)


def test_a_file_that_lies_elsewhere_is_not_opened(table, tmp_path):
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "fer2013.csv").symlink_to(table)
    with refused(folder / "fer2013.csv", "leads out of", table):
        load_rafdb(folder)
    assert len(load_rafdb(folder / "fer2013.csv")["test"]) == 14


@pytest.mark.parametrize(("separator", "encoding"), [(";", "utf-8"), ("\t", "utf-8-sig"), (";", "utf-16")])
def test_tables_as_spreadsheets_write_them(table, separator, encoding):
    expected = load_rafdb(table)["test"]
    table.write_text(table.read_text().replace(",", separator), encoding=encoding)
    found = load_rafdb(table)["test"]
    assert found["file"][:] == expected["file"][:] and found["label"][:] == expected["label"][:]


@pytest.mark.parametrize("lost", ["emotion", "Usage"])
def test_a_column_that_is_lost_is_named(table, lost):
    table.write_text(table.read_text().replace(lost, "x", 1))
    with refused(table, f"has no column {lost}"):
        load_rafdb(table)


def test_what_else_kaggle_has_beside_it_does_not_matter(table):
    headers = {"train.csv": "emotion,pixels\n", "test.csv": "pixels\n", "example_submission.csv": "id,emotion\n1,2\n"}
    for name, header in headers.items():
        (table.parent / name).write_text(header)
    assert len(load_rafdb(table.parent)["test"]) == 14
    table.unlink()
    with refused(table.parent / "train.csv", "no column Usage", "icml_face_data.csv"):
        load_rafdb(table.parent)


def test_without_privatetest_publictest_is_what_is_tested_on(table):
    write_fer2013(table, usages={"Training": 4, "PublicTest": 1})
    found = load_data(table, validation_fraction=0.25, scored=None)
    assert found.sources["test"] == "PublicTest"
    assert {split: len(of) for split, of in found.splits.items()} == {"train": 21, "validation": 7, "test": 7}


def test_a_check_compares_counts_and_finds_duplicates_and_bad_rows(table):
    (table.parent / "holiday.jpg").write_bytes(b"\xff\xd8\xff")
    edit_row(table, 30, lambda *fields: table.read_text().split("\n")[2].split(",")[:2] + [fields[2]])
    for row in (12, 13):
        edit_row(table, row, lambda code, pixels, usage: (code, f"x{pixels}", usage))
    result = check_data(table, quiet=True, processes=1)
    assert result.images == 47 and result.usual_size == (48, 48)
    assert [finding.message.split(":")[0] for finding in result.kinds["bad row"]] == [
        f"{table}, row {row}" for row in (12, 13)
    ]
    assert result.blocking == 2
    duplicates = {kind: of for kind, of in result.kinds.items() if kind.startswith("exact")}
    (found,) = duplicates["exact duplicates across splits"]
    assert found.files == (f"{table}, row 3", f"{table}, row 30")
    assert set(result.contents) >= set(found.files)
    assert not any("RGB" in kind or "without label" in kind for kind in result.kinds)
    counts = result.kinds["counts are not the published ones"]
    assert [finding.message.split(":")[0] for finding in counts] == ["train", "validation", "test"]
    assert "Surprise 4 (published 3,171)" in counts[0].message
    assert re.search("published +3171 +4097 +436 +7215", result.render())
    assert result.describe()["published_totals"] == {"train": 28709, "validation": 3589, "test": 3589}


def test_data_of_the_published_counts_is_fer2013(table, monkeypatch):
    fer2013 = next(of for of in PUBLISHED if of.name == "FER2013")
    for split, each in (("train", 4), ("validation", 1), ("test", 2)):
        monkeypatch.setitem(fer2013.counts, split, (each,) * 7)
        monkeypatch.setitem(fer2013.totals, split, each * 7)
    assert load_data(table, scored=None).name == "FER2013"
    assert "counts are not the published ones" not in check_data(table, quiet=True, processes=1).kinds
