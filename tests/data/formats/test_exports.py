"""Exports for other tasks are named, and never read as classes."""

import json

import pytest

from rafdb_vit.data.dataset import load_data
from rafdb_vit.data.form import DataForm
from rafdb_vit.data.formats.exports import describe_export
from tests.support.faces import paint_face
from tests.support.refusals import refused

BOXES = "0 0.5 0.5 0.2 0.2\n1 0.1 0.1 1e-2 .2\n"
COCO = json.dumps({"info": {}, "images": [], "annotations": [], "categories": []})
LABELME = json.dumps({"version": "5.0", "flags": {}, "shapes": [], "imagePath": "0.png"})
TASKS = [{"id": 1, "annotations": [{"id": 1, "result": []}], "data": {"image": "/data/upload/1/a.png"}}]
EXPORTS = {
    "yolo": (
        "train/images train/labels valid/images valid/labels",
        {"train/labels/0.txt": BOXES, "data.yaml": "nc: 2"},
    ),
    "yolo by kind": ("images/train images/val", {"labels/train/0.txt": BOXES}),
    "yolo flat": ("images", {"labels/0.txt": BOXES, "classes.txt": "a\nb\n"}),
    "yolo polygons": ("images", {"labels/0.txt": "0" + " 0.5" * 9}),
    "darknet": ("obj_train_data", {"obj.names": "a\nb\n"}),
    "coco": ("train2017 val2017", {"annotations/instances_train2017.json": COCO}),
    "coco by split": ("train valid test", {"train/_annotations.coco.json": COCO}),
    "voc": (
        "VOC2012/JPEGImages",
        {"VOC2012/Annotations/0.xml": "<annotation>\n<object/>", "VOC2012/ImageSets/a.txt": "0"},
    ),
    "voc by split": ("train test", {"train/0.xml": '<?xml version="1.0"?><annotation verified="yes">'}),
    "multi-label": ("train valid", {"train/_classes.csv": "filename, happy\n0.png, 1\n"}),
    "labelme": (".", {"0.json": LABELME}),
    "label studio": ("images", {"project.json": json.dumps(TASKS)}),
    "cvat": ("images", {"annotations.xml": '<?xml version="1.0"?>\n<annotations>\n  <version>1.1</version>'}),
    "via": (".", {"via.json": '{"_via_settings": {}}'}),
    "supervisely": ("ds/img", {"ds/ann/0.png.json": '{"tags": [], "objects": []}', "meta.json": "{}"}),
    "createml": (
        "train valid",
        {"train/_annotations.createml.json": '[{"image": "0.png", "annotations": [{"label": "a"}]}]'},
    ),
    "boxes": ("train test", {"train/_annotations.csv": "filename,width,height,class,xmin,ymin,xmax,ymax\n"}),
    "tfrecord": (".", {"train.tfrecord": "x"}),
}
NAMES = {
    "yolo": "YOLO", "darknet": "YOLO", "coco": "COCO", "voc": "Pascal VOC", "multi-label": "multi-label", "via": "VIA",
    "labelme": "LabelMe", "label studio": "Label Studio", "cvat": "CVAT", "supervisely": "Supervisely",
    "createml": "CreateML", "boxes": "table of boxes", "tfrecord": "TFRecord",
}  # fmt: skip


@pytest.mark.parametrize("kind", EXPORTS)
def test_an_export_is_named_whatever_is_asked_of_it(tmp_path, kind):
    places, files = EXPORTS[kind]
    for i, place in enumerate(places.split()):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        paint_face(1, i).save(tmp_path / place / "0.png")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    name = next(name for start, name in NAMES.items() if kind.startswith(start))
    form = "'Folder Structure'" if kind == "multi-label" else "folders of classes (train/happy/...)"
    for needed in (("train", "test"), ("test",)):
        with refused(f"{tmp_path}: is ", name, f"export it as {form}, or as a CSV file of path and label"):
            load_data(tmp_path, DataForm(needed=needed))


def test_folders_of_classes_may_hold_what_a_tool_wrote_beside_them(tmp_path):
    for split in ("train", "test"):
        for code, name in enumerate(("happy", "smile"), start=1):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(2):
                paint_face(code, i).save(tmp_path / split / name / f"{split}{name}{i}.png")
    for name, text in {"data.yaml": "nc: 2", "annotations.json": COCO, "train/happy/0.json": LABELME}.items():
        (tmp_path / name).write_text(text)
    assert len(load_data(tmp_path).splits["test"]) == 4


def test_splits_without_classes_are_no_classes(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        paint_face(1, len(split)).save(tmp_path / split / "0.png")
    for needed in (("train", "test"), ("test",)):
        with refused(
            f"{tmp_path}: the images in train/ lie in no folders of classes", "expected train/happy/... or a CSV"
        ):
            load_data(tmp_path, DataForm(needed=needed))


def test_what_cannot_be_read_tells_nothing(tmp_path):
    (tmp_path / "a.json").mkdir()
    (tmp_path / "b.json").symlink_to(tmp_path / "nowhere")
    (tmp_path / "c.xml").write_bytes(b"\xff" * 5000)
    assert describe_export(tmp_path) is None


def test_archives_are_to_be_unpacked(tmp_path):
    (tmp_path / "faces.zip").touch()
    with refused(f"{tmp_path}: holds no faces but archives, faces.zip first; unpack them"):
        load_data(tmp_path)
    with refused("faces.zip: is a file", "unpack it first"):
        load_data(tmp_path / "faces.zip")
