"""Reads folders of classes: the Kaggle copy of RAF-DB, with its label files, and image folders of any classes."""

import os
from collections.abc import Collection
from pathlib import Path

from rafdb_vit.data.files import IMAGE_SUFFIXES, check_inside, list_files, list_folders, scan
from rafdb_vit.data.findings import Finding, Notes, OnFinding, printable
from rafdb_vit.data.formats.label_file import Row, read_csv_file
from rafdb_vit.data.formats.release import find_label_file
from rafdb_vit.data.found import SPLITS, Faces, FoundData, Layout, name_by_paths, name_face
from rafdb_vit.data.labels import LabelSet, match_classes, resolve_classes
from rafdb_vit.data.splits import find_split, is_misplaced, split_of_file
from rafdb_vit.runtime.errors import UserError

CSV_FILES = {"train": ("train_labels.csv", "train.csv"), "test": ("test_labels.csv", "test.csv", "tes.csv")}
Images = dict[str, tuple[str, str]]
"""Class folder's name and path of images, by file name or by path."""


def find_split_folders(folder: Path, needed: Collection[str] = SPLITS) -> dict[str, Path]:
    """Returns the folders of splits in a folder that hold folders themselves, by split.

    Args:
        folder: Where to look.
        needed: What the data is for: splits to train and test, or what is held out alone.

    Raises:
        UserError: Two folders are the same split, such as `val` and `valid`.
    """
    found: dict[str, Path] = {}
    for path in list_folders(folder):
        split = find_split(path.name)
        if split is None or not list_folders(path):
            continue
        if split in found:
            raise UserError(f"{printable(path)}: {found[split]} is the {split} split too; expected one of them")
        found[split] = path
    held_out = bool(set(found) - {"train"})
    return found if held_out and ("train" in found or "train" not in needed) else {}


def find_classes(folder: Path) -> dict[str, Path]:
    """Returns a folder of class folders that no split is over, as what is held out; nothing if it is none."""
    entries = (entry for path in list_folders(folder) for entry in scan(path))
    return {"test": folder} if any(entry.name.lower().endswith(IMAGE_SUFFIXES) for entry in entries) else {}


def is_kaggle_copy(folder: Path, splits: dict[str, Path]) -> bool:
    """Tells whether folders of splits come with the Kaggle copy's label files, beside them or one folder above."""
    names = [name for split in SPLITS for name in CSV_FILES[split]]
    beside = any((place / name).is_file() for place in (folder, folder.parent) for name in names)
    coded = any(path.name.isdigit() for split in splits.values() for path in list_folders(split))
    return set(splits) == set(SPLITS) and coded and beside


def read_kaggle_copy(
    root: Path, folder: Path, splits: dict[str, Path], labels: LabelSet, *, on_finding: OnFinding
) -> FoundData[Faces]:
    """Reads the Kaggle layout: folders by code, and a CSV file of labels a split; both have to agree.

    Args:
        root: What was asked for; nothing outside it is read, but the label files beside it.
        folder: The folder that holds the splits.
        splits: From `find_split_folders`.
        labels: The classes whose codes it uses.
        on_finding: Is told of every fault.

    Raises:
        UserError: A label file is missing; or what `on_finding` raises.
    """
    faces = {split: Faces() for split in SPLITS}
    for split in SPLITS:
        label_file = find_label_file(folder.parent, [folder, folder.parent], CSV_FILES[split])
        notes = Notes(on_finding)
        images = _list_coded_images(root, splits[split], split, labels, notes)
        for row in read_csv_file(label_file, labels, notes):
            _add_row(faces[split], row, images, splits[split], label_file, labels, notes)
        for name, (_, path) in sorted(images.items()):
            if name in notes.names or is_misplaced(name, split, SPLITS):
                continue
            words = f"no row in {printable(label_file)} names this image; expected one for every image"
            on_finding(Finding("image without label", f"{printable(path)}: {words}", (path,)))
    return FoundData(Layout.KAGGLE, folder, labels, faces, {split: split for split in SPLITS})


def _add_row(
    faces: Faces, row: Row, images: Images, folder: Path, label_file: Path, labels: LabelSet, notes: Notes
) -> None:
    where = f"{printable(label_file)}, row {row.number}"
    if row.image not in images:
        place = str(folder / str(row.code) / row.image)
        words = f"{where}: no image {printable(place)}; expected one for every row"
        if place not in notes.files:
            notes(Finding("label without image", words, (place,)))
        return
    code, image = images.pop(row.image)
    if labels.match(code) != labels.id_of_code(row.code):
        words = f"{row.image} has code {row.code} but lies in {printable(Path(image).parent)}; expected them to agree"
        notes(Finding("label and folder disagree", f"{where}: {words}", (image,)))
    faces.add(image, labels.id_of_code(row.code), row.image)


def _list_coded_images(root: Path, folder: Path, split: str, labels: LabelSet, on_finding: OnFinding) -> Images:
    """Returns the images in the folders 1 to 7 of one split, by file name."""
    check_inside(root, folder)
    images: Images = {}
    for code_folder in list_folders(folder):
        if code_folder.name not in map(str, labels.codes):
            words = f"{printable(code_folder)}: expected folders named by code, 1 to {len(labels.names)}"
            on_finding(Finding("unknown folder", words))
            continue
        for name, path in list_files(root, code_folder, IMAGE_SUFFIXES, on_finding).items():
            if name in images:
                words = f"also lies in {printable(Path(images[name][1]).parent)}; expected one label for an image"
                on_finding(Finding("image in two folders", f"{printable(path)}: {words}", (images[name][1], path)))
                continue
            _report_misplaced(path, split, SPLITS, on_finding)
            images[name] = (code_folder.name, path)
    return images


def _report_misplaced(path: str, split: str, splits: Collection[str], on_finding: OnFinding) -> None:
    name = Path(path).name
    if is_misplaced(name, split, splits):
        own = split_of_file(name)
        words = f"{printable(path)}: an image of the {own} split lies under {split}; expected none"
        on_finding(Finding(f"{own} image under {split}", words, (path,)))


def read_class_folders(
    root: Path, folder: Path, splits: dict[str, Path], labels: LabelSet, *, on_finding: OnFinding
) -> FoundData[Faces]:
    """Reads folders of class names or codes in folders of splits.

    Args:
        root: What was asked for; nothing outside it is read.
        folder: The folder that holds the splits.
        splits: From `find_split_folders`.
        labels: RAF-DB's label set to look for first.
        on_finding: Is told of every fault.

    Raises:
        UserError: The classes cannot be told; or what `on_finding` raises.
    """
    for path in splits.values():
        check_inside(root, path)
    classes = {split: list_folders(path) for split, path in splits.items()}
    _check_apart([path for paths in classes.values() for path in paths])
    written = [path.name for paths in classes.values() for path in paths]
    labels = resolve_classes(written, labels, where=printable(folder))
    found: dict[str, list[tuple[str, int]]] = {}
    for split, paths in classes.items():
        ids = match_classes([path.name for path in paths], labels, where=printable(splits[split]))
        found[split] = [
            (image, ids[path.name])
            for path in paths
            for image in list_files(root, path, IMAGE_SUFFIXES, on_finding).values()
        ]
        for image, _ in found[split]:
            _report_misplaced(image, split, splits, on_finding)
        for inner in (inner for path in paths for inner in list_folders(path)):
            words = f"{printable(inner)}: a folder within a class; expected images only: move them up"
            on_finding(Finding("unknown folder", words))
    _report_twins(found, on_finding)
    faces = {split: Faces() for split in found}
    for split, images in found.items():
        for image, label in images:
            faces[split].add(image, label, Path(image).name)
    name_by_paths(faces, folder)
    sources = {split: path.name for split, path in splits.items()}
    return FoundData(Layout.CLASS_FOLDERS, folder, labels, faces, sources)


def _check_apart(folders: Collection[Path]) -> None:
    """Refuses a folder that is there under two names: its faces would stand in two classes or splits."""
    first: dict[str, Path] = {}
    for folder in folders:
        if (twin := first.setdefault(os.path.realpath(folder), folder)) != folder:
            raise UserError(f"{printable(folder)}: is the same folder as {printable(twin)}; expected one name for it")


def _report_twins(found: dict[str, list[tuple[str, int]]], on_finding: OnFinding) -> None:
    """Reports images of one of RAF-DB's own names that lie in two folders; those names are unique."""
    seen: dict[str, str] = {}
    for image in (image for images in found.values() for image, _ in images):
        name = Path(image).name
        if (first := seen.setdefault(name_face(name), image)) != image and split_of_file(name):
            words = f"also lies in {printable(Path(first).parent)}; expected one label for an image"
            on_finding(Finding("image in two folders", f"{printable(image)}: {words}", (first, image)))
