"""Reads folders of classes: the Kaggle copy of RAF-DB, with its label files, and image folders of any classes."""

import os
from collections.abc import Collection, Sequence
from pathlib import Path

from rafdb_vit.data.files import IMAGE_SUFFIXES, WITHOUT_LABEL, list_folders, list_images, may_be_image, scan
from rafdb_vit.data.findings import Reporter, check_place, printable
from rafdb_vit.data.form import DataForm
from rafdb_vit.data.formats.label_file import LABEL_FILES, read_csv_file
from rafdb_vit.data.formats.release import find_label_file
from rafdb_vit.data.found import SPLITS, Faces, FoundData, Layout, compose, list_names, name_by_paths
from rafdb_vit.data.images import is_image
from rafdb_vit.data.labels import LabelSet, describe_codes, match_classes, resolve_classes
from rafdb_vit.data.names import resembles_rafdb
from rafdb_vit.data.splits import find_split, is_misplaced, split_of_file
from rafdb_vit.runtime.disk import check_inside
from rafdb_vit.runtime.errors import UserError

CSV_FILES = {"train": (LABEL_FILES[0], "train.csv"), "test": (LABEL_FILES[1], "test.csv", "tes.csv")}


def find_split_folders(folder: Path, needed: Collection[str]) -> dict[str, Path]:
    """Returns the folders of splits in a folder that hold folders themselves, by split; none if what is needed lacks.

    A split that is held out, by any name, is needed where test is.

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
    held_out = bool(set(found) - {"train"}) or "test" not in needed
    return found if held_out and ("train" in found or "train" not in needed) else {}


def is_undivided(folder: Path) -> bool:
    """Tells whether a folder holds class folders that no split is over.

    Folders of which one is named as a split are no classes: pictures lie in them that no folder tells apart.
    """
    if any(find_split(path.name) for path in list_folders(folder)):
        return False
    paths = (entry.path for path in list_folders(folder) for entry in scan(path))
    return any(path.lower().endswith(IMAGE_SUFFIXES) or is_image(path) for path in paths)


def is_kaggle_copy(folder: Path, splits: dict[str, Path]) -> bool:
    """Tells whether folders of splits come with the Kaggle copy's label files, beside them or one folder above."""
    names = [name for split in SPLITS for name in CSV_FILES[split]]
    beside = any((place / name).is_file() for place in (folder, folder.parent) for name in names)
    coded = any(path.name.isdigit() for split in splits.values() for path in list_folders(split))
    return set(splits) == set(SPLITS) and coded and beside


def read_kaggle_copy(
    root: Path, folder: Path, splits: dict[str, Path], form: DataForm, report: Reporter
) -> FoundData[Faces]:
    """Reads the Kaggle layout: folders by code, and a CSV file of labels for each split; both have to agree.

    `folder` holds the `splits` that `find_split_folders` found. Nothing outside `root` is read, except the label files
    beside it.

    Raises:
        UserError: A label file is missing; or what `report` raises.
    """
    faces = {}
    for split in SPLITS:
        label_file = find_label_file(folder.parent, [folder, folder.parent], CSV_FILES[split])
        # What the rows of train name excuses no image of test.
        faces[split] = _read_coded_split(root, splits[split], split, label_file, form.labels, Reporter(report.add))
    return FoundData(Layout.KAGGLE, folder, form.labels, faces, {split: split for split in SPLITS})


def _read_coded_split(
    root: Path, folder: Path, split: str, label_file: Path, labels: LabelSet, report: Reporter
) -> Faces:
    faces, images = Faces(), _list_coded_images(root, folder, labels, report)
    is_own = resembles_rafdb(Layout.KAGGLE, labels, {split: list(images)})
    for path in images.values():
        check_place(path, path, split, SPLITS, report, is_own=is_own)
    for row in read_csv_file(label_file, labels, report):
        where, label = f"{label_file}, row {row.number}", labels.id_of_code(row.code)
        expected = str(folder / str(row.code) / row.image)
        if (name := compose(row.image)) in images:
            path = images.pop(name)
            code_folder = Path(path).parent
            if labels.match(code_folder.name) != label:
                words = f"{row.image} has code {row.code} but lies in {code_folder}; expected them to agree"
                report("label and folder disagree", f"{where}: {words}", path)
            faces.add(path, label, row.image)
        elif expected not in report.files:
            report("label without image", f"{where}: no image {expected}; expected one for every row", expected)
    for name, path in sorted(images.items()):
        if name not in report.names and not (is_own and is_misplaced(name, split, SPLITS)):
            words = f"no row in {label_file} names this image; expected one for every image"
            report(WITHOUT_LABEL, f"{path}: {words}", path)
    return faces


def _list_coded_images(root: Path, folder: Path, labels: LabelSet, report: Reporter) -> dict[str, str]:
    """Returns the path, by file name, of the images in the folders 1 to 7 of one split."""
    check_inside(root, folder)
    images: dict[str, str] = {}
    for code_folder in list_folders(folder):
        if code_folder.name not in map(str, labels.codes):
            words = f"{code_folder}: expected folders named by code, 1 to {len(labels.names)}"
            report("unknown folder", words)
            continue
        for name, path in list_images(root, code_folder, report).items():
            if name in images:
                _report_twin(images[name], path, report)
                continue
            images[name] = path
    return images


def _report_twin(first: str, path: str, report: Reporter) -> None:
    words = f"{path}: also lies in {Path(first).parent}; expected one label for an image"
    report("image in two folders", words, first, path)


def read_class_folders(
    root: Path, folder: Path, splits: dict[str, Path], form: DataForm, report: Reporter
) -> FoundData[Faces]:
    """Reads folders of class names or codes in folders of splits.

    `folder` holds the `splits` that `find_split_folders` found. Nothing outside `root` is read.

    Raises:
        UserError: The classes cannot be told; or what `report` raises.
    """
    for path in splits.values():
        check_inside(root, path)
    classes = {split: list_folders(path) for split, path in splits.items()}
    every = [path for paths in classes.values() for path in paths]
    _check_apart(every)
    labels = resolve_classes([path.name for path in every], form.labels, where=printable(folder))
    found = {split: Faces() for split in splits}
    for split, paths in classes.items():
        ids = match_classes([path.name for path in paths], labels, where=printable(splits[split]))
        for path in paths:
            for name, image in list_images(root, path, report).items():
                found[split].add(image, ids[path.name], name)
        _report_loose(splits[split], paths, report)
    is_own = resembles_rafdb(Layout.CLASS_FOLDERS, labels, list_names(found))
    for split, image in ((split, image) for split, faces in found.items() for image in faces.images):
        check_place(image, image, split, splits, report, is_own=is_own)
    if is_own:
        _report_twins(found, report)
    name_by_paths(found, folder)
    sources = {split: path.name for split, path in splits.items()}
    notes = () if is_own else describe_codes([path.name for path in every], labels)
    return FoundData(Layout.CLASS_FOLDERS, folder, labels, found, sources, notes=notes)


def _report_loose(split: Path, classes: Sequence[Path], report: Reporter) -> None:
    """Reports what lies beside the folders of classes, or in folders within them, and so belongs to no class."""
    for inner in (inner for path in classes for inner in list_folders(path)):
        report("unknown folder", f"{inner}: a folder within a class; expected images only: move them up")
    for entry in scan(split):
        if not os.path.isdir(entry.path) and may_be_image(entry.path):
            words = "lies in no folder of a class; training does not use it: move it into one"
            report(WITHOUT_LABEL, f"{entry.path}: {words}", entry.path, blocks=False)


def _check_apart(folders: Collection[Path]) -> None:
    """Refuses a folder that is there under two names: its faces would stand in two classes or splits."""
    first: dict[str, Path] = {}
    for folder in folders:
        if (twin := first.setdefault(os.path.realpath(folder), folder)) != folder:
            raise UserError(f"{printable(folder)}: is the same folder as {printable(twin)}; expected one name for it")


def _report_twins(found: dict[str, Faces], report: Reporter) -> None:
    """Reports images of RAF-DB in two folders that have one of its names; those names are unique."""
    seen: dict[str, str] = {}
    for faces in found.values():
        for file, image in zip(faces.files, faces.images, strict=True):
            if (first := seen.setdefault(file, image)) != image and split_of_file(Path(image).name):
                _report_twin(first, image, report)
