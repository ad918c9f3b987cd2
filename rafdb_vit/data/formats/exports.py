"""Recognises what labelling tools export for other tasks than classification, so that a message can name it.

Boxes, outlines and several labels for one picture say no single expression; read as folders of classes, such an export
would be classes called `images` and `labels`.
"""

import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from rafdb_vit.data.files import IMAGE_SUFFIXES, list_folders, scan
from rafdb_vit.runtime.disk import open_plain

_MOST_FOLDERS = 60
"""Folders in which is looked; those of an export lie at its top."""
_MOST_PEEKS = 3
"""Files of a kind in each folder whose beginning is read."""
_PEEK = 4096
"""Bytes of a file by which it is told; an export says at once what it is."""
_TOOL_FOLDERS = frozenset(
    (
        *("images", "image", "img", "imgs", "jpegimages", "labels", "label", "annotations", "annotation", "ann"),
        *("masks", "imagesets", "segmentationclass", "segmentationobject", "obj_train_data"),
    )
)
"""Folded names of the folders that exports have, and that are no classes."""
_DARKNET = frozenset(("obj.names", "obj.data", "_darknet.labels", "darknet.labels"))
_YOLO = "a YOLO export: its text files give boxes"
_NAMES = {
    "_classes.csv": "Roboflow's multi-label export: its _classes.csv has a column for each class",
    **dict.fromkeys(_DARKNET, _YOLO),
}
"""What a file of this name says, in lower case."""
_CONTENTS = {
    ".json": (
        (rb'"_via_|"file_attributes"', "an export of VGG Image Annotator (VIA): its JSON file gives outlines"),
        (rb'"annotations"\s*:\s*\[\s*\{\s*"(label|coordinates)"', "a CreateML export: its JSON file gives boxes"),
        (rb'^\s*\[\s*\{.*"(annotations|completions|annotator|lead_time)"\s*:', "a JSON export of Label Studio"),
        (rb'"(shapes|imagePath)"\s*:', "a LabelMe export: its JSON files give outlines"),
        (rb'"objects"\s*:\s*\[', "a Supervisely export: its JSON files give outlines"),
        (
            rb'^\s*\{\s*"(info|licenses|categories|images|annotations)"\s*:\s*[\[{]',
            "a COCO export: its JSON file gives boxes or outlines",
        ),
    ),
    ".xml": (
        (rb"<annotations>", "a CVAT export: its XML file gives boxes or outlines"),
        (rb"<annotation[ >]", "a Pascal VOC export: its XML files give boxes"),
    ),
    ".txt": ((rb"^\s*\d+([ \t]+-?[\d.]+(e-?\d+)?){4,}\s*(\n|$)", _YOLO),),
    ".csv": ((rb"^[^\n]*\bx_?min\b[^\n]*\by_?min\b", "a table of boxes"),),
    ".tfrecord": ((rb"", "a TFRecord export, which TensorFlow alone reads"),),
}
"""By suffix: what the beginning of a file looks like, and what it says."""


def describe_export(root: Path) -> str | None:
    """Says what a folder is, and what to do, where it or a folder in it holds an export that is no classification.

    Files that cannot be read tell nothing.

    Raises:
        UserError: A folder cannot be read.
    """
    found = next(filter(None, map(_recognise, islice(_list_places(root), _MOST_FOLDERS))), None)
    if found is None:
        return None
    form = "'Folder Structure'" if "Roboflow" in found else "folders of classes (train/happy/...)"
    return f"is {found}; expected one class for each picture: export it as {form}, or as a CSV file of path and label"


def holds_tool_folders(folder: Path) -> bool:
    """Tells whether one of the folders in a folder is named as a part of an export, and not as a class."""
    return any(inner.name.casefold() in _TOOL_FOLDERS for inner in list_folders(folder))


def _list_places(root: Path) -> Iterator[Path]:
    """Yields a folder, those in it, and those in these."""
    yield root
    folders = list_folders(root)
    yield from folders
    for folder in folders:
        if os.access(folder, os.R_OK | os.X_OK):
            yield from list_folders(folder)


def _recognise(folder: Path) -> str | None:
    if not os.access(folder, os.R_OK | os.X_OK):
        return None
    files = [entry for entry in scan(folder) if not entry.name.lower().endswith(IMAGE_SUFFIXES)]
    if named := next((_NAMES[entry.name.lower()] for entry in files if entry.name.lower() in _NAMES), None):
        return named
    for suffix, patterns in _CONTENTS.items():
        for entry in islice((e for e in files if e.name.lower().endswith((suffix, f"{suffix}s"))), _MOST_PEEKS):
            start = _peek(entry.path)
            for pattern, words in patterns:
                if start is not None and re.search(pattern, start, re.DOTALL):
                    return words
    return None


def _peek(path: str) -> bytes | None:
    try:
        with open_plain(path, most=None) as file:
            return file.read(_PEEK).removeprefix(b"\xef\xbb\xbf")
    except OSError:
        return None
