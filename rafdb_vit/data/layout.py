"""Finds RAF-DB's files in the layouts that people hold it in, and joins label rows with image files.

Two layouts, told apart by looking:

- official: `basic/EmoLabel/list_patition_label.txt` (the release's spelling) and `basic/Image/aligned/*_aligned.jpg`;
- Kaggle: `DATASET/{train,test}/{1..7}/*_aligned.jpg`, with a CSV file of labels a split beside `DATASET` or inside it.

The data is checked as it is found: each row has its image, each image its row, and nothing lies outside the folder.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rafdb_vit.data.label_file import read_csv_file, read_list_file
from rafdb_vit.errors import UserError
from rafdb_vit.labels import LabelSet

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
LIST_FILES = ("list_patition_label.txt", "list_partition_label.txt")
CSV_FILES = {"train": ("train_labels.csv", "train.csv"), "test": ("test_labels.csv", "test.csv", "tes.csv")}
SPLITS = ("train", "test")


@dataclass
class Faces:
    """The faces of one split, in the order of the label file.

    Attributes:
        images: Path of each image.
        labels: Label id of each face, from 0.
        files: Stem of each file name without `_aligned`, the same in both layouts.
    """

    images: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


def find_faces(root: Path, labels: LabelSet) -> dict[str, Faces]:
    """Finds the label files and images below `root` and reads them, each split of them.

    Args:
        root: The data folder itself (`basic`, or what holds `DATASET`), or one above it.
        labels: The classes whose codes the label files use.

    Raises:
        UserError: Nothing like RAF-DB is found, or a file or row is not as it should be.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; --data_dir takes the folder that holds RAF-DB")
    try:
        children = sorted(Path(entry.path) for entry in os.scandir(root) if entry.is_dir())
    except OSError as error:
        raise UserError(f"{root}: cannot be read ({error.strerror}); check the folder's permissions") from error
    folders = [root, *children]
    official = [folder for folder in folders if (folder / "EmoLabel").is_dir()]
    named = [folder for folder in official if folder.name == labels.subset]
    kaggle = [folder for folder in folders + [child / "DATASET" for child in children] if _holds_splits(folder)]
    readers: list[tuple[Path, Callable[[Path, Path, LabelSet], dict[str, Faces]]]] = []
    readers += [(folder, _read_official) for folder in named or official]
    readers += [(folder, _read_kaggle) for folder in kaggle]
    if not readers:
        raise UserError(
            f"{root}: holds neither RAF-DB's official layout (EmoLabel/{LIST_FILES[0]} and Image/aligned/) nor the "
            f"Kaggle layout (train/1..{len(labels.names)}/, test/1..{len(labels.names)}/ and a CSV file of labels each)"
        )
    if len(readers) > 1:
        found = ", ".join(str(folder) for folder, _ in readers)
        raise UserError(f"{root}: holds more than one copy of the data ({found}); give --data_dir one of them")
    folder, read = readers[0]
    return read(root, folder, labels)


def _holds_splits(folder: Path) -> bool:
    return all((folder / split).is_dir() for split in SPLITS)


def _check_inside(root: Path, path: Path) -> None:
    """Refuses a path that leads out of `root`; only a link can, since names in label files are plain names."""
    if not path.resolve().is_relative_to(root.resolve()):
        raise UserError(f"{path}: leads out of {root} to {path.resolve()}; copy what it points to into the folder")


def _list_images(root: Path, folder: Path) -> dict[str, str]:
    """Returns the path of every image file directly in `folder` by its name."""
    _check_inside(root, folder)
    images = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.lower().endswith(IMAGE_SUFFIXES) and not entry.name.startswith("."):
                    if entry.is_symlink():
                        _check_inside(root, Path(entry.path))
                    if entry.is_file():
                        images[entry.name] = entry.path
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror}); check the folder's permissions") from error
    return images


def _find_label_file(root: Path, folders: list[Path], names: tuple[str, ...]) -> Path:
    """Returns the one label file that goes by one of several names."""
    found = [path for folder in folders for name in names if (path := folder / name).is_file()]
    if not found:
        raise UserError(f"{folders[0]}: no label file here; expected {' or '.join(names)}")
    if len(found) > 1:
        raise UserError(f"{found[0]}: {found[1]} is a label file too; keep the one that is right")
    if found[0].is_symlink():
        _check_inside(root, found[0])
    return found[0]


def _add(faces: dict[str, Faces], split: str, image: str, name: str, label: int) -> None:
    faces[split].images.append(image)
    faces[split].labels.append(label)
    faces[split].files.append(name.rsplit(".", 1)[0].removesuffix("_aligned"))


def _read_official(root: Path, folder: Path, labels: LabelSet) -> dict[str, Faces]:
    _check_inside(root, folder)
    label_file = _find_label_file(root, [folder / "EmoLabel"], LIST_FILES)
    image_folder = folder / "Image" / "aligned"
    if not image_folder.is_dir():
        raise UserError(f"{image_folder}: no such folder; expected the aligned images of the release in it")
    images = _list_images(root, image_folder)
    faces = {split: Faces() for split in SPLITS}
    for row in read_list_file(label_file, labels):
        where = f"{label_file}, row {row.number}"
        split = row.image.split("_", 1)[0]
        if split not in SPLITS:
            raise UserError(f"{where}: expected a name that begins with train_ or test_, found {row.image!r}")
        stem, _, suffix = row.image.rpartition(".")
        name = f"{stem}_aligned.{suffix}"
        if name not in images:
            raise UserError(f"{where}: no image {image_folder / name}; expected one for every row")
        _add(faces, split, images.pop(name), row.image, labels.id_of_code(row.code))
    if images:
        raise UserError(
            f"{min(images.values())}: no row in {label_file} names this image; expected one for every image"
        )
    return faces


def _read_kaggle(root: Path, folder: Path, labels: LabelSet) -> dict[str, Faces]:
    faces = {split: Faces() for split in SPLITS}
    for split in SPLITS:
        label_file = _find_label_file(root, [folder, folder.parent], CSV_FILES[split])
        images = _list_coded_images(root, folder / split, labels)
        for row in read_csv_file(label_file, labels):
            where = f"{label_file}, row {row.number}"
            if row.image not in images:
                place = folder / split / str(row.code) / row.image
                raise UserError(f"{where}: no image {place}; expected one for every row")
            code, image = images.pop(row.image)
            if code != row.code:
                raise UserError(
                    f"{where}: {row.image} has code {row.code} but lies in {Path(image).parent}; expected them to agree"
                )
            _add(faces, split, image, row.image, labels.id_of_code(row.code))
        if images:
            stray = min(image for _, image in images.values())
            raise UserError(f"{stray}: no row in {label_file} names this image; expected one for every image")
    return faces


def _list_coded_images(root: Path, folder: Path, labels: LabelSet) -> dict[str, tuple[int, str]]:
    """Returns code and path, by file name, of the images in the folders 1 to 7 of one split."""
    _check_inside(root, folder)
    images: dict[str, tuple[int, str]] = {}
    other = next(split for split in SPLITS if split != folder.name)
    for code_folder in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if code_folder.name not in map(str, labels.codes):
            raise UserError(f"{code_folder}: expected folders named by code, 1 to {len(labels.names)}")
        for name, path in _list_images(root, code_folder).items():
            if name in images:
                raise UserError(f"{path}: also lies in {Path(images[name][1]).parent}; expected one label for an image")
            if name.startswith(f"{other}_"):
                raise UserError(f"{path}: an image of the {other} split lies under {folder.name}; expected none")
            images[name] = (int(code_folder.name), path)
    return images
