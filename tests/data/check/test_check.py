import builtins
import io
import json
import os
import shutil
import signal
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

from rafdb_vit.data.check.check import check_data
from rafdb_vit.data.dataset import load_rafdb
from rafdb_vit.data.images import open_face
from rafdb_vit.data.labels import BASIC
from rafdb_vit.data.published import RAFDB
from rafdb_vit.model.preprocessing import with_face_transform
from rafdb_vit.runtime.errors import UserError
from tests.support.checked_data import IMAGES, SIDE, again, face, paint, paint_all, write_release, write_table
from tests.support.faces import write_kaggle, write_official, write_system_files
from tests.support.images import HTML, encode, orientation, paint_texture, write_bomb
from tests.support.undivided import write_undivided

LIST = "EmoLabel/list_patition_label.txt"
COUNTS = "counts are not the published ones"
RELATIONS = ("", " with different labels", " across splits", " across splits with different labels")


def write_classes(root, *, splits=("train", "val", "test"), classes=("cat", "dog"), each=3):
    for split in splits:
        for name in classes:
            (root / split / name).mkdir(parents=True)
            for i in range(each):
                (root / split / name / f"{split}-{name}-{i}.jpg").touch()
    return paint_all(root)


WRITERS = {
    "official": write_release,
    "kaggle": lambda root: paint_all(write_kaggle(root, train=2, test=1)),
    "classes": write_classes,
    "table": write_table,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A tree of each layout, to be copied."""
    folder = tmp_path_factory.mktemp("whole")
    return {layout: writer(folder / layout) for layout, writer in WRITERS.items()}


@pytest.fixture
def write(tmp_path, whole):
    """Puts a tree down, to be damaged at will."""
    return lambda layout: shutil.copytree(whole[layout], tmp_path / "data" / whole[layout].name)


@pytest.fixture
def release(write):
    return write("official")


def check(root, **settings):
    return check_data(root, quiet=True, **settings)


def without_counts(report):
    return [finding for finding in report.findings if finding.kind != COUNTS]


def kinds(report):
    return [finding.kind for finding in without_counts(report)]


def add_row(path, row):
    path.write_text(f"{path.read_text().rstrip()}\n{row}\n")


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def damage_in_every_way(basic, outside):
    """Damages a release of 28 and 14 faces; returns the kind, whether training refuses it, and words of each fault."""
    rows, images = basic / LIST, basic / IMAGES
    face(basic, "train_00005").unlink()
    paint(face(basic, "train_00099"), 99)
    paint(basic / "stray.jpg", 98)
    for row in ("train_00006.jpg 6", "train_00007.jpg 1", "train_00094.jpg 0", "train_00093.jpg x", "../secret.jpg 3"):
        add_row(rows, row)
    add_row(rows, "train_00092.jpg")
    add_row(rows, "face_1.jpg 1")
    face(basic, "train_00097").symlink_to(outside)
    face(basic, "train_00096").symlink_to(face(basic, "train_00096"))
    face(basic, "train_00095").mkdir()
    paint(images / "a\nb.jpg", 97)
    paint(images / os.fsdecode(b"c\xff.jpg"), 96)

    whole = face(basic, "train_00010").read_bytes()
    face(basic, "train_00009").write_bytes(b"")
    face(basic, "train_00010").write_bytes(whole[: len(whole) // 2])
    face(basic, "train_00011").write_bytes(HTML)
    face(basic, "train_00012").write_bytes(encode(paint_texture(112, SIDE).convert("L"), "JPEG"))
    face(basic, "train_00013").write_bytes(encode(paint_texture(113, SIDE).convert("CMYK"), "JPEG"))
    face(basic, "train_00014").write_bytes(encode(paint_texture(114, 30), "JPEG"))
    face(basic, "train_00015").write_bytes(encode(paint_texture(115, SIDE), "JPEG", exif=orientation(6)))
    write_bomb(face(basic, "train_00016"), 20_000)

    exact = ("train_00021 train_00028", "train_00017 train_00018", "train_00001 test_0008", "train_00002 test_0003")
    near = ("train_00008 train_00022", "train_00023 train_00024", "train_00025 test_0004", "train_00026 test_0006")
    for pairs, make in ((exact, shutil.copy), (near, again)):
        for pair in pairs:
            make(*(face(basic, name) for name in pair.split()))

    (basic / "Annotation/manual/train_00001_manu_attri.txt").unlink()
    (basic / "Annotation/auto/train_00002_auto_attri.txt").write_text("1 2\n" * 36)
    (basic / "Annotation/boundingbox/test_0001_boundingbox.txt").write_text("60 20 10 70")
    return [
        ("label without image", True, ["row 5:", "train_00005_aligned.jpg"]),
        ("image without label", True, ["train_00099_aligned.jpg"]),
        ("image without label", False, ["basic/stray.jpg"]),
        ("image listed twice", True, ["row 43", "train_00006.jpg", "row 6"]),
        ("image with two labels", True, ["row 44", "train_00007.jpg", "7 and 1", "row 7"]),
        ("bad row", True, ["row 45", "train_00094.jpg", "'0'"]),
        ("bad row", True, ["row 46", "train_00093.jpg", "'x'"]),
        ("bad row", True, ["row 47", "'../secret.jpg'"]),
        ("bad row", True, ["row 48", "'train_00092.jpg'"]),
        ("bad row", True, ["row 49", "'face_1.jpg'"]),
        ("link out of the folder", True, ["train_00097_aligned.jpg", str(outside)]),
        ("not a file", True, ["train_00096_aligned.jpg"]),
        ("not a file", True, ["train_00095_aligned.jpg"]),
        ("unusable file name", True, [r"a\nb.jpg"]),
        ("unusable file name", True, [r"c\udcff.jpg"]),
        ("annotation missing", False, ["train_00001_manu_attri.txt"]),
        ("annotation malformed", False, ["train_00002_auto_attri.txt", "37 lines, found 36"]),
        ("annotation malformed", False, ["test_0001_boundingbox.txt", "xmin < xmax"]),
        ("unreadable image", True, ["train_00009_aligned.jpg", "zero bytes"]),
        ("truncated or damaged image", True, ["train_00010_aligned.jpg"]),
        ("unreadable image", True, ["train_00011_aligned.jpg", "no"]),
        ("far too large", True, ["train_00016_aligned.jpg"]),
        ("not RGB", False, ["train_00012_aligned.jpg", "mode L"]),
        ("not RGB", False, ["train_00013_aligned.jpg", "mode CMYK"]),
        ("odd size", False, ["train_00014_aligned.jpg", "30 x 30", "40 x 40"]),
        ("turned by EXIF", False, ["train_00015_aligned.jpg", "orientation 6"]),
        *((f"exact duplicates{of}", False, pair.split()) for pair, of in zip(exact, RELATIONS, strict=True)),
        *((f"near-duplicates{of}", False, pair.split()) for pair, of in zip(near, RELATIONS, strict=True)),
        (COUNTS, False, ["train: ", "Surprise 4 (published 1,290)"]),
        (COUNTS, False, ["test: ", "Neutral 2 (published 680)"]),
    ]


@pytest.fixture
def opened(monkeypatch):
    """The files that are opened, links followed."""
    opened = set()

    def noting(real):
        def note(file, *args, **kwargs):
            if isinstance(file, str | os.PathLike):
                opened.add(os.path.realpath(file))
            return real(file, *args, **kwargs)

        return note

    for module in (builtins, io, os):
        monkeypatch.setattr(module, "open", noting(module.open))
    return opened


def test_every_fault_is_found_once(tmp_path, opened):
    basic = write_release(tmp_path / "data", train=4, test=2)
    outside = tmp_path / "outside.jpg"
    paint(outside, 1)
    expected = damage_in_every_way(basic, outside)
    before = {path: path.lstat().st_mtime_ns for path in basic.rglob("*")}
    opened.clear()
    report = check(basic)
    left = list(report.findings)
    for kind, blocks, words in expected:
        fitting = [f for f in left if (f.kind, f.blocks) == (kind, blocks) and all(word in f.message for word in words)]
        assert len(fitting) == 1, (kind, words, [f.message for f in left if f.kind == kind])
        left.remove(fitting[0])
    assert not left
    assert all(finding.message.isprintable() for finding in report.findings)
    assert str(face(basic, "train_00001")) in opened and str(outside) not in opened
    assert before == {path: path.lstat().st_mtime_ns for path in basic.rglob("*")}

    ranks = list(dict.fromkeys((f.blocks, f.kind) for f in report.findings))
    assert [blocks for blocks, _ in ranks] == sorted((blocks for blocks, _ in ranks), reverse=True)
    duplicates = [kind for _, kind in ranks if "duplicates" in kind]
    assert duplicates == [
        f"{kind} duplicates{of}".replace("near ", "near-")
        for of in (RELATIONS[3], RELATIONS[1], RELATIONS[2], RELATIONS[0])
        for kind in ("exact", "near")
    ]
    soft = [kind for blocks, kind in ranks if not blocks]
    assert soft[:8] == duplicates


@pytest.mark.parametrize("layout", WRITERS)
def test_nothing_is_found_where_nothing_is_wrong(layout, write):
    report = check(write(layout))
    assert kinds(report) == []
    assert {finding.kind for finding in report.findings} == ({COUNTS} if layout in ("official", "kaggle") else set())
    assert report.usual_size == (SIDE, SIDE)


def test_nothing_at_all_is_found_in_the_published_data(release, monkeypatch):
    for split, each in (("train", 2), ("test", 1)):
        monkeypatch.setitem(RAFDB["basic"].counts, split, (each,) * 7)
        monkeypatch.setitem(RAFDB["basic"].totals, split, 7 * each)
    report = check(release)
    assert report.findings == []
    assert (report.layout, report.images) == ("official release", 21)
    assert report.counts == {split: dict.fromkeys(BASIC.names, each) for split, each in (("train", 2), ("test", 1))}
    assert report.render().endswith("\n\nNothing found.")


def test_compound_is_compared_by_totals(tmp_path, monkeypatch):
    compound = paint_all(write_official(tmp_path / "data", train=2, test=1, subset="compound"))
    report = check(compound, subset="compound")
    assert [finding.message for finding in report.findings] == [
        "train: 22 faces, published 3,162",
        "test: 11 faces, published 792",
    ]
    monkeypatch.setitem(RAFDB["compound"].totals, "train", 22)
    monkeypatch.setitem(RAFDB["compound"].totals, "test", 11)
    assert check(compound, subset="compound").findings == []


def test_the_wrong_subset_is_a_mistake(release):
    with pytest.raises(UserError, match="--subset basic"):
        check(release, subset="compound")


def test_progress_is_shown_unless_quiet(release, capsys):
    check(release)
    assert capsys.readouterr() == ("", "")
    check_data(release)
    out, err = capsys.readouterr()
    assert out == "" and "Looking at images" in err


def test_several_processes_find_the_same(tmp_path):
    basic = write_release(tmp_path / "data", train=10, test=2)
    damage_in_every_way(basic, tmp_path / "outside.jpg")
    assert check(basic, processes=2).to_json() == check(basic, processes=1).to_json()


OFFICIAL = {
    "missing image": (lambda d: face(d, "train_00009").unlink(), "label without image"),
    "image without row": (lambda d: paint(face(d, "train_00099"), 99), "image without label"),
    "listed twice": (lambda d: add_row(d / LIST, "train_00001.jpg 1"), "image listed twice"),
    "two labels": (lambda d: add_row(d / LIST, "train_00001.jpg 2"), "image with two labels"),
    "bad code": (lambda d: add_row(d / LIST, "train_00099.jpg 8"), "bad row"),
    "bad code of a face": (lambda d: edit(d / LIST, "train_00009.jpg 2", "train_00009.jpg 8"), "bad row"),
    "no code": (lambda d: add_row(d / LIST, "train_00099.jpg"), "bad row"),
    "no code of a face": (lambda d: edit(d / LIST, "train_00009.jpg 2", "train_00009.jpg"), "bad row"),
    "path as a name": (lambda d: add_row(d / LIST, "/etc/passwd 2"), "bad row"),
    "name without split": (lambda d: add_row(d / LIST, "face.jpg 2"), "bad row"),
    "circle": (lambda d: face(d, "train_00099").symlink_to(face(d, "train_00099")), "not a file"),
    "folder": (lambda d: face(d, "train_00099").mkdir(), "not a file"),
    "pipe": (lambda d: os.mkfifo(face(d, "train_00099")), "not a file"),
    "newline": (lambda d: paint(d / IMAGES / "a\nb.jpg", 99), "unusable file name"),
    "not UTF-8": (lambda d: paint(d / IMAGES / os.fsdecode(b"\xff.jpg"), 99), "unusable file name"),
    "no annotation": (lambda d: (d / "Annotation/auto/test_0001_auto_attri.txt").unlink(), "annotation missing"),
    "bad annotation": (
        lambda d: (d / "Annotation/manual/test_0001_manu_attri.txt").write_text("x"),
        "annotation malformed",
    ),
    "binary annotation": (
        lambda d: (d / "Annotation/manual/test_0001_manu_attri.txt").write_bytes(b"\xff\xd8\xff"),
        "annotation malformed",
    ),
    "pipe as annotation": (
        lambda d: turn_into(d / "Annotation/manual/test_0001_manu_attri.txt", os.mkfifo),
        "not a file",
    ),
    "one name of two faces": (
        lambda d: (
            add_row(d / LIST, "train_00001.png 1"),
            (d / IMAGES / "train_00001_aligned.png").write_bytes(encode(paint_texture(99, SIDE), "PNG")),
        ),
        None,
    ),
    "circle of a face": (lambda d: turn_into(face(d, "train_00009"), lambda p: p.symlink_to(p)), "not a file"),
    "folder of a face": (lambda d: turn_into(face(d, "train_00009"), Path.mkdir), "not a file"),
    "pipe of a face": (lambda d: turn_into(face(d, "train_00009"), os.mkfifo), "not a file"),
    "class without faces": (lambda d: remove_faces(d, "train_00002", "train_00009"), "class without faces"),
    "no test": (lambda d: remove_faces(d, *(f"test_000{i}" for i in range(1, 8))), "empty split"),
}
KAGGLE = {
    "row without image": (
        lambda d: (d / "DATASET/train/1/train_00001_aligned.jpg").unlink(),
        "label without image",
    ),
    "image without row": (lambda d: paint(d / "DATASET/train/1/train_00099_aligned.jpg", 99), "image without label"),
    "code and folder": (
        lambda d: edit(d / "train_labels.csv", "train_00002_aligned.jpg,2", "train_00002_aligned.jpg,5"),
        "label and folder disagree",
    ),
    "unknown folder": (lambda d: (d / "DATASET/train/8").mkdir(), "unknown folder"),
    "two folders": (lambda d: paint(d / "DATASET/train/2/train_00001_aligned.jpg", 99), "image in two folders"),
    "test under train": (lambda d: paint(d / "DATASET/train/1/test_0099_aligned.jpg", 99), "test image under train"),
    "train under test": (lambda d: paint(d / "DATASET/test/1/train_00099_aligned.jpg", 99), "train image under test"),
    "three columns": (lambda d: add_row(d / "test_labels.csv", "test_0099_aligned.jpg,1,2"), "bad row"),
    "one name in both splits": (
        lambda d: [
            (add_row(d / f"{s}_labels.csv", "me.jpg,1"), paint(d / "DATASET" / s / "1/me.jpg", 90 + len(s)))
            for s in ("train", "test")
        ],
        None,
    ),
}
CLASSES = {
    "folder in a class": (lambda d: (d / "train/cat/more").mkdir(), "unknown folder"),
    "class without faces": (lambda d: (d / "train/emu").mkdir(), "class without faces"),
    "class of test alone": (
        lambda d: [(d / "test/emu").mkdir(), paint(d / "test/emu/e.jpg", 99)],
        "class without faces",
    ),
    "no validation": (lambda d: [path.unlink() for path in d.glob("val/*/*.jpg")], "empty split"),
    "newline": (lambda d: paint(d / "val/cat/a\nb.jpg", 99), "unusable file name"),
}
TABLE = {
    "row without image": (lambda d: (d / "a0.jpg").unlink(), "label without image"),
    "listed twice": (lambda d: add_row(d / "faces.csv", "./a0.jpg,a,train"), "image listed twice"),
    "two labels": (lambda d: add_row(d / "faces.csv", "a0.jpg,b,train"), "image with two labels"),
    "no label": (lambda d: add_row(d / "faces.csv", "a0.jpg,,train"), "bad row"),
    "no split": (lambda d: add_row(d / "faces.csv", "a0.jpg,a,never"), "bad row"),
    "two columns": (lambda d: add_row(d / "faces.csv", "a0.jpg,a"), "bad row"),
    "a path out": (lambda d: add_row(d / "faces.csv", "../x.jpg,a,train"), "bad row"),
}
REFUSED = [
    (layout, name)
    for layout, faults in (("official", OFFICIAL), ("kaggle", KAGGLE), ("classes", CLASSES), ("table", TABLE))
    for name in faults
]


def turn_into(path, make):
    path.unlink()
    make(path)


def remove_faces(basic, *names):
    rows = (basic / LIST).read_text().splitlines()
    (basic / LIST).write_text("\n".join(row for row in rows if row.split(".")[0] not in names))
    for name in names:
        face(basic, name).unlink()


@pytest.mark.parametrize(("layout", "name"), REFUSED)
def test_what_loading_refuses_is_one_finding_that_blocks(layout, name, write):
    root = write(layout)
    damage, kind = {"official": OFFICIAL, "kaggle": KAGGLE, "classes": CLASSES, "table": TABLE}[layout][name]
    damage(root)
    with pytest.raises(UserError):
        load_rafdb(root)
    (finding,) = without_counts(check(root))
    # Training reads no annotation, unless it cuts faces out of photographs.
    assert finding.blocks == ("annotation" not in name) and finding.message.isprintable()
    assert kind is None or finding.kind == kind


OPENED = {
    "zero bytes": (lambda path: path.write_bytes(b""), "unreadable image"),
    "HTML": (lambda path: path.write_bytes(HTML), "unreadable image"),
    "half": (lambda path: path.write_bytes(path.read_bytes()[:900]), "truncated or damaged image"),
    "bomb": (lambda path: write_bomb(path, 20_000), "far too large"),
}
TAKEN = {
    "grey": (
        lambda path: path.write_bytes(encode(paint_texture(99, SIDE).convert("L"), "JPEG")),
        "not RGB",
    ),
    "transparent": (
        lambda path: path.write_bytes(encode(paint_texture(99, SIDE).convert("RGBA"), "PNG")),
        "not RGB",
    ),
    "turned": (lambda path: paint(path, 99, exif=orientation(8)), "turned by EXIF"),
    "odd size": (lambda path: path.write_bytes(encode(paint_texture(99, SIDE + 1), "JPEG")), "odd size"),
    "exact": (lambda path: shutil.copy(path.parent / "train_00009_aligned.jpg", path), "exact duplicates"),
    "near": (lambda path: again(path.parent / "train_00009_aligned.jpg", path), "near-duplicates"),
    "stray": (lambda path: paint(path.parents[2] / "stray.jpg", 99), "image without label"),
}


@pytest.mark.parametrize("name", [*OPENED, *TAKEN])
def test_what_training_cannot_open_blocks_and_nothing_else_does(name, release):
    damage, kind = {**OPENED, **TAKEN}[name]
    damage(face(release, "train_00002"))
    (finding,) = without_counts(check(release))
    assert (finding.kind, finding.blocks) == (kind, name in OPENED)
    splits = load_rafdb(release)
    faces = [
        with_face_transform(split, lambda batch: {"image": list(map(open_face, batch["image"]))})
        for split in splits.values()
    ]
    if name in OPENED:
        with pytest.raises(UserError, match="train_00002_aligned.jpg"):
            [face for split in faces for face in split]
    else:
        assert sum(1 for split in faces for _ in split) == 21


def link_out(path, outside):
    path.unlink(missing_ok=True)
    path.symlink_to(outside)


LINKS = {
    "no face": ("official", lambda d: face(d, "train_00099")),
    "a face": ("official", lambda d: face(d, "train_00002")),
    "elsewhere": ("official", lambda d: d / "stray.jpg"),
    "newline": ("official", lambda d: d / IMAGES / "a\nb.jpg"),
    "kaggle": ("kaggle", lambda d: d / "DATASET/train/1/train_00001_aligned.jpg"),
    "kaggle stray": ("kaggle", lambda d: d / "DATASET/train/stray.jpg"),
    "class": ("classes", lambda d: d / "train/cat/x.jpg"),
    "row": ("table", lambda d: d / "a0.jpg"),
    "table's stray": ("table", lambda d: d / "stray.jpg"),
}


@pytest.mark.parametrize("name", LINKS)
def test_a_link_out_of_the_tree_is_one_finding_and_never_opened(name, write, tmp_path, opened):
    layout, place = LINKS[name]
    root, outside = write(layout), tmp_path / "outside.jpg"
    paint(outside, 3)
    link_out(place(root), outside)
    opened.clear()
    report = check(root)
    assert str(outside) not in opened and opened
    assert kinds(report) == ["unusable file name" if name == "newline" else "link out of the folder"]


@pytest.mark.parametrize(
    ("layout", "place"),
    [("official", LIST), ("table", "faces.csv"), ("official", "Annotation/auto/train_00001_auto_attri.txt")],
)
def test_a_text_file_that_is_a_link_out_is_never_opened(layout, place, write, tmp_path, opened):
    root, outside = write(layout), tmp_path / "outside.txt"
    shutil.move(root / place, outside)
    (root / place).symlink_to(outside)
    opened.clear()
    try:
        found = without_counts(check(root))
    except UserError as error:
        assert "leads out of" in str(error)
    else:
        assert [finding.kind for finding in found] == ["link out of the folder"]
    assert str(outside) not in opened


def test_a_link_within_the_tree_is_fine(release):
    (release / "kept").mkdir()
    shutil.move(face(release, "train_00002"), release / "kept/image")
    face(release, "train_00002").symlink_to(release / "kept/image")
    assert without_counts(check(release)) == []


def test_original_photographs(release):
    originals = release / "Image/original"
    originals.mkdir()
    for i, path in enumerate(sorted((release / IMAGES).iterdir())):
        size = (60 + 5 * i, 80)
        paint_texture(100 + i, 90).resize(size).save(originals / path.name.replace("_aligned", ""), quality=95)
    assert kinds(check(release)) == []
    report = check(release, aligned=False)
    assert kinds(report) == [] and report.images == 21
    Image.new("RGB", (200, 50)).save(originals / "train_00003.jpg")
    assert kinds(check(release, aligned=False)) == ["odd size"]
    box = release / "Annotation/boundingbox/train_00003_boundingbox.txt"
    for text, outside in (("190 10 230 60", False), ("200 10 230 60", True), ("-9 -9 0 5", True)):
        box.write_text(text)
        assert ("box outside the photograph" in kinds(check(release, aligned=False))) == outside
    shutil.rmtree(release / "Annotation/boundingbox")
    with pytest.raises(UserError, match="boundingbox"):
        load_rafdb(release, aligned=False)
    try:
        assert any(finding.blocks for finding in check(release, aligned=False).findings)
    except UserError as error:
        assert "boundingbox" in str(error)


def test_sizes_that_vary_are_odd_only_when_extreme(tmp_path):
    root = write_classes(tmp_path / "data", each=4)
    sizes = [(40 + 3 * i, 50) for i in range(24)]
    for i, (path, size) in enumerate(zip(sorted(root.rglob("*.jpg")), sizes, strict=True)):
        paint_texture(i, 60).resize(size).save(path)
    assert check(root).findings == []
    paint_texture(50, 60).resize((19, 50)).save(root / "train/cat/train-cat-0.jpg")
    paint_texture(51, 60).resize((151, 50)).save(root / "train/cat/train-cat-1.jpg")
    paint_texture(52, 60).resize((150, 50)).save(root / "train/cat/train-cat-2.jpg")
    found = check(root).findings
    assert [(f.kind, Path(f.files[0]).name) for f in found] == [
        ("odd size", "train-cat-0.jpg"),
        ("odd size", "train-cat-1.jpg"),
    ]
    assert all("a face's proportions" in finding.message for finding in found)


def test_a_group_of_copies_is_one_finding(release):
    for name in ("train_00003", "train_00004", "test_0001"):
        shutil.copy(face(release, "train_00002"), face(release, name))
    again(face(release, "train_00002"), face(release, "train_00005"))
    exact, near = without_counts(check(release))
    assert exact.kind == "exact duplicates across splits with different labels"
    assert near.kind == "near-duplicates across splits with different labels"
    copies = ["test_0001", "train_00002", "train_00003", "train_00004"]
    assert [Path(path).name.removesuffix("_aligned.jpg") for path in exact.files] == copies
    assert [Path(path).name.removesuffix("_aligned.jpg") for path in near.files] == [*copies, "train_00005"]
    assert "train_00002_aligned.jpg (train, Fear)" in exact.message
    assert "test_0001_aligned.jpg (test, Surprise)" in exact.message


def test_copies_without_a_label_have_no_other_label(release):
    shutil.copy(face(release, "train_00002"), release / "stray.jpg")
    found = {finding.kind: finding for finding in without_counts(check(release))}
    assert found.keys() == {"exact duplicates", "image without label"}
    assert "stray.jpg (no label)" in found["exact duplicates"].message


def test_blanks_are_copies_only_byte_by_byte(release):
    for i, name in enumerate(("train_00002", "train_00003", "train_00004")):
        Image.new("RGB", (SIDE, SIDE), (9 * (i // 2),) * 3).save(face(release, name))
    (finding,) = without_counts(check(release))
    assert finding.kind == "exact duplicates with different labels" and len(finding.files) == 2


def test_hidden_files_and_the_other_images_are_left_alone(release):
    (release / ".cache").mkdir()
    (release / "Image/original").mkdir()
    for path in (".cache/x.jpg", ".hidden.jpg", "Image/aligned/.x_aligned.jpg", "Image/original/y.jpg"):
        (release / path).write_bytes(b"")
    (release / "notes.txt").write_text("x")
    assert without_counts(check(release)) == []


def test_strays_of_a_kaggle_copy(write):
    root = write("kaggle")
    (root / "DATASET/train/more").mkdir()
    for i, place in enumerate(("train/more/a.jpg", "train/b.jpg", "test/3/c.jpg", "d.png")):
        paint(root / "DATASET" / place, 80 + i)
    found = Counter((f.kind, f.blocks, Path(f.files[0]).name if f.files else "") for f in without_counts(check(root)))
    assert found == {
        ("unknown folder", True, ""): 1,
        ("image without label", True, "c.jpg"): 1,
        ("image without label", False, "a.jpg"): 1,
        ("image without label", False, "b.jpg"): 1,
        ("image without label", False, "d.png"): 1,
    }


def test_strays_and_splits_of_class_folders(write):
    root = write("classes")
    paint(root / "train/loose.jpg", 80)
    shutil.copy(root / "train/cat/train-cat-0.jpg", root / "val/dog/val-dog-0.jpg")
    report = check(root)
    assert kinds(report) == ["exact duplicates across splits with different labels", "image without label"]
    assert "(validation, dog)" in report.findings[0].message
    assert report.counts == {split: {"cat": 3, "dog": 3} for split in ("train", "validation", "test")}
    assert report.layout == "class folders" and report.labels.names == ("cat", "dog")


def test_classes_of_rafdb_are_not_yet_rafdb(tmp_path):
    report = check(write_classes(tmp_path / "data", classes=BASIC.names, each=1))
    assert report.findings == [] and report.labels == BASIC


def test_a_validation_split_alone_is_what_is_tested_on(tmp_path):
    report = check(write_classes(tmp_path / "data", splits=("train", "valid")))
    assert report.findings == [] and list(report.counts) == ["train", "test"]


@pytest.mark.parametrize("given", ["folder", "file"])
def test_strays_of_a_table(given, write):
    root = write("table")
    paint(root / "loose.jpg", 80)
    report = check(root if given == "folder" else root / "faces.csv")
    assert kinds(report) == ["image without label"]
    assert report.layout == "table of paths and labels" and report.images == 7
    content = json.loads(report.to_json())
    assert [file["path"] for finding in content["findings"] for file in finding["files"]] == ["loose.jpg"]
    assert os.path.isfile(os.path.join(content["root"], "loose.jpg"))  # noqa: PTH118
    assert "\n  loose.jpg: no label" in report.render()


def test_a_table_of_images_that_are_elsewhere(write):
    root = write("table")
    for path in root.glob("*.jpg"):
        path.unlink()
    report = check(root)
    assert Counter(kinds(report)) == {"label without image": 6}
    assert "label without image" in report.render()


def test_no_image_and_no_row(release):
    shutil.rmtree(release / IMAGES)
    (release / IMAGES).mkdir()
    (release / LIST).write_text("")
    report = check(release)
    assert Counter(kinds(report)) == {"empty split": 2}
    assert (report.images, report.usual_size) == (0, None)


def test_one_image(release):
    remove_faces(release, *(path.name.removesuffix("_aligned.jpg") for path in list((release / IMAGES).iterdir())[1:]))
    report = check(release)
    assert report.images == 1 and "empty split" in kinds(report) and COUNTS in report.render()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path), Path.touch])
def test_what_is_no_data_folder(make, tmp_path):
    make(tmp_path / "data")
    with pytest.raises(UserError, match=r"^[^\n]+$"):
        check(tmp_path / "data")


def test_a_name_that_is_too_long_is_no_folder(tmp_path):
    with pytest.raises(UserError):
        check(tmp_path / ("x" * 5000))


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
@pytest.mark.parametrize(("layout", "place"), [("official", LIST), ("kaggle", "train_labels.csv")])
def test_a_label_file_that_is_no_file(make, layout, place, write):
    root = write(layout)
    turn_into(root / place, make)
    with pytest.raises(UserError, match=r"^[^\n]+$"):
        check(root)


def test_a_table_that_is_a_pipe_is_not_waited_for(write):
    root = write("table")
    turn_into(root / "faces.csv", os.mkfifo)

    def give_up(*_):
        raise TimeoutError

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, 2)
    try:
        with pytest.raises(UserError, match=r"^[^\n]+$"):
            check(root)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_class_names_that_cannot_be_printed(tmp_path):
    root = write_classes(tmp_path / "data", classes=("a\nb", os.fsdecode(b"c\xff")))
    shutil.copy(root / "train/a\nb/train-a\nb-0.jpg", root / "test" / os.fsdecode(b"c\xff") / "x.jpg")
    try:
        report = check(root)
    except UserError as error:
        assert str(error).isprintable()
    else:
        report.render().encode()
        assert all(finding.message.isprintable() for finding in report.findings)


def test_a_class_that_is_not_scored(write):
    root = write("classes")
    shutil.rmtree(root / "test/cat")
    (finding,) = check(root).findings
    assert (finding.kind, finding.blocks) == ("class absent from test", False)
    assert "no face of class cat in test" in finding.message


def test_columns_of_a_table(write):
    root = write("table")
    edit(root / "faces.csv", "image,label,split", "The Path,Feeling,split")
    with pytest.raises(UserError, match="cannot tell which column is which"):
        check(root)
    assert check(root, image_column="The Path", label_column="Feeling").findings == []


def test_copies_by_the_hundred_are_one_finding(tmp_path):
    root = write_classes(tmp_path / "data", each=1)
    for i in range(150):
        paint(root / "train/cat" / f"same{i}.jpg", 7, comment=str(i).encode())
    (finding,) = check(root).findings
    assert finding.kind == "near-duplicates" and len(finding.files) == 150


def test_images_of_formats_that_are_not_read(write):
    root = write("classes")
    for name in ("b.HEIC", "notes.txt", ".c.heic"):
        (root / "train/cat" / name).write_bytes(b"x")
    (root / "outside.heic").write_bytes(b"x")
    found = check(root).findings
    assert [(f.kind, f.blocks, Path(f.files[0]).name) for f in found] == [
        ("file that is no image", False, "b.HEIC"),
        ("file that is no image", False, "notes.txt"),
        ("image of another format", False, "outside.heic"),
    ]


def test_names_like_those_of_another_split_are_a_finding_in_other_data(tmp_path):
    root = write_classes(tmp_path / "data")
    paint(root / "train/cat/test_12.jpg", 99)
    (finding,) = check(root).findings
    assert (finding.kind, finding.blocks) == ("image under train that is named test", False)
    assert "test_12.jpg: stands in train, but is named test_12.jpg as if it were of test" in finding.message
    assert len(load_rafdb(root)["test"]) == 6


def test_published_counts_are_said_of_rafdb_alone(tmp_path, kaggle):
    root = write_classes(tmp_path / "other", splits=("train", "test"), classes=BASIC.names)
    for path in list(root.rglob("*.jpg")):
        split, name, number = path.stem.split("-")
        path.rename(path.with_name(f"{split}_{BASIC.names.index(name) * 3 + int(number)}.jpg"))
    other, own = check(root), check(kaggle)
    assert COUNTS not in other.kinds and COUNTS in own.kinds
    assert "\npublished" not in other.render() and other.describe()["published_counts"] == {}
    assert own.describe()["published_totals"] == RAFDB["basic"].totals


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_pictures_of_more_than_8_bits_are_a_finding(tmp_path, suffix):
    root = write_classes(tmp_path / "data")
    grey = np.asarray(paint_texture(99, SIDE).convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(root / f"train/cat/deep.{suffix}")
    (finding,) = check(root).findings
    assert (finding.kind, finding.blocks) == ("more than 8 bits", False)
    assert "mode I;16: scaled to 8 bits here, and clipped to white by transformers' pipeline" in finding.message
    assert "convert it to 8 bits before" in finding.message


def test_what_systems_leave_is_no_finding(release):
    write_system_files(release, *(release / place for place in ("EmoLabel", IMAGES, "Annotation", "Annotation/manual")))
    assert without_counts(check(release)) == []


def test_a_data_set_is_said_to_be_none_that_is_looked_into(tmp_path):
    table = Dataset.from_dict({"image": [None], "label": ["sad"]})
    table.save_to_disk(tmp_path / "faces")
    with pytest.raises(UserError, match="is a data set of `datasets`; `rafdb-vit check` looks into folders of images"):
        check(tmp_path / "faces")


def test_data_without_splits_is_checked_and_the_flag_is_named(tmp_path):
    result = check_data(write_undivided(tmp_path / "data"), quiet=True)
    assert result.counts["train"] == {"Anger": 12, "Contempt": 13} and not sum(result.counts["test"].values())
    (empty,) = result.kinds["empty split"]
    assert empty.blocks and empty.message.endswith(
        "or add --test_fraction 0.2, which sets that share of each class aside as test"
    )
    assert result.numbers["exact duplicates"] == 2 and result.numbers["near-duplicates with different labels"] == 1


@pytest.mark.parametrize("form", ["pattern", "column"])
def test_persons_in_two_splits_are_found(tmp_path, form):
    rows = []
    for number, name in enumerate(("a1", "a2", "b1", "b2", "c1", "c2")):
        split, label = ("test" if name in ("a2", "c1", "c2") else "train"), "xy"[number % 2]
        path = tmp_path / split / label / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        paint(path, number)
        rows.append(f"{path.relative_to(tmp_path)},{label},{name[0]}")
    root, asked = tmp_path, {"group_pattern": "^([abc])"}
    if form == "column":
        root, asked = tmp_path / "faces.csv", {"group_column": "who"}
        root.write_text("\n".join(["image,label,who", *rows]))
    (finding,) = check_data(root, quiet=True, **asked).kinds["person across splits"]
    assert not finding.blocks and "person 'a' has pictures in several splits (1 in train, 1 in test)" in finding.message
    assert [Path(file).name for file in finding.files] == ["a1.jpg", "a2.jpg"]
    assert "person across splits" not in check_data(root, quiet=True).kinds


def test_rows_without_a_split_beside_rows_of_test_are_a_fault(tmp_path):
    for name in ("train_1", "test_1", "x", "y"):
        paint(tmp_path / f"{name}.jpg", len(name))
    (tmp_path / "faces.csv").write_text("image,label\ntrain_1.jpg,a\ntest_1.jpg,b\nx.jpg,a\ny.jpg,b\n")
    bad = check_data(tmp_path, quiet=True).kinds["bad row"]
    assert [finding.message.split(": ")[1][:24] for finding in bad] == ["nothing says which split"] * 2


ROWS = [(f"faces/{name}-{split}.jpg", name, split) for split in ("train", "test") for name in ("cat", "dog")]


def paint_at(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    paint(path, seed)


@pytest.fixture
def table(tmp_path):
    """Writes a table of rows beside the faces that `ROWS` names, and checks it."""

    def write(rows, header="image,label,split"):
        root = tmp_path / "table"
        for i, (image, *_) in enumerate(ROWS):
            paint_at(root / image, 50 + i)
        (root / "faces.csv").write_text("\n".join([header, *map(",".join, rows)]))
        return root

    return write


@pytest.mark.parametrize(
    ("rows", "kind", "words"),
    [
        (
            [(f"pics/{Path(image).name}", *rest) for image, *rest in ROWS],
            "label without image",
            "; there is faces/cat-",
        ),
        ([(Path(image).stem, *rest) for image, *rest in ROWS], "label without image", "; there is faces/cat-train.jpg"),
        ([(f"/old/{image}", *rest) for image, *rest in ROWS], "bad row", "leads out of"),
        ([(image, label, "fold1") for image, label, _ in ROWS], "bad row", "column 'split', found 'fold1'"),
        ([(image, "", split) for image, _, split in ROWS], "bad row", "image and label filled in"),
    ],
    ids=["other folder", "no suffix", "other root", "other splits", "no labels"],
)
def test_one_cause_is_one_finding_in_so_many_cases(table, rows, kind, words):
    report = check(table(rows))
    assert dict(report.numbers) == {kind: 4} and words in report.findings[0].message
    assert "\n\n1 finding in 4 cases; training cannot use the data" in report.render()


def test_a_table_without_splits_lacks_test_and_nothing_else(table):
    report = check(table([row[:2] for row in ROWS], header="image,label"))
    assert kinds(report) == ["empty split"] and "\n\n1 finding; training" in report.render()


def test_some_rows_without_their_image_are_all_that_is_found(table):
    rows = [(f"face/{Path(ROWS[0][0]).name}", *ROWS[0][1:]), *ROWS[1:]]
    report = check(table([*rows, ("faces/more.jpg", "cat", "train")]))
    found = [finding.message.split(": ", 1)[1] for finding in report.findings if finding.kind == "label without image"]
    assert found == [
        "no image 'face/cat-train.jpg'; looked for beside the table, in train/ and in images/; there is "
        "faces/cat-train.jpg",
        "no image 'faces/more.jpg'; looked for beside the table, in train/ and in images/",
    ]
    assert "image without label" not in kinds(report)


@pytest.mark.parametrize("given", ["folder", "file"])
def test_beside_a_table_only_folders_that_it_names_are_looked_into(table, given):
    root = table(ROWS)
    for place in ("runs/one/figures/a.png", "holidays/b.jpg"):
        paint_at(root / place, 90)
    report = check(root if given == "folder" else root / "faces.csv")
    assert report.findings == [] and report.images == 4
    paint_at(root / "faces/stray.jpg", 91)
    assert kinds(check(root)) == ["image without label"]


def test_runs_beside_splits_are_no_part_of_the_data(write):
    root = write("classes")
    paint_at(root / "runs/one/figures/a.png", 90)
    assert check(root).findings == []


def test_columns_that_were_taken_for_each_other_are_named(table):
    root = table(ROWS, header="label,image,split")
    with pytest.raises(UserError, match="the column 'label' holds the images, and 'image' does not; .*--image_column"):
        check(root)
    assert check(root, image_column="label", label_column="image").findings == []
    with pytest.raises(UserError, match="the labels are names of images .*--label_column_name"):
        check(table([(image, image, split) for image, _, split in ROWS]))
