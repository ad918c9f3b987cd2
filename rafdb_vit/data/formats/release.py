"""Reads the official release: one label file, aligned or original images in one folder each.

The release's baseline classifier outputs are not read.
"""

import os
from pathlib import Path

from rafdb_vit.data.files import IMAGE_SUFFIXES, check_inside, list_files
from rafdb_vit.data.findings import Finding, Notes, OnFinding, printable
from rafdb_vit.data.form import DataForm
from rafdb_vit.data.formats.label_file import Row, read_list_file
from rafdb_vit.data.found import SPLITS, Faces, FoundData, Layout
from rafdb_vit.data.labels import LABEL_SETS, LabelSet
from rafdb_vit.runtime.errors import UserError

LIST_FILES = ("list_patition_label.txt", "list_partition_label.txt")


def is_release(folder: Path) -> bool:
    """Tells whether a folder is `basic` or `compound` of the release."""
    return os.path.isdir(folder / "EmoLabel")


def find_label_file(root: Path, folders: list[Path], names: tuple[str, ...]) -> Path:
    """Returns the one label file that goes by one of several names.

    Raises:
        UserError: There is none, or more than one, or it leads out of `root`.
    """
    found = [path for folder in folders for name in names if (path := folder / name).is_file()]
    if not found:
        raise UserError(f"{printable(folders[0])}: no label file here; expected {' or '.join(names)}")
    if len(found) > 1:
        raise UserError(f"{printable(found[0])}: {found[1]} is a label file too; keep the one that is right")
    check_inside(root, found[0])
    return found[0]


def read_release(root: Path, folder: Path, form: DataForm, *, on_finding: OnFinding) -> FoundData[Faces]:
    """Reads one subset of the release.

    Args:
        root: What was asked for; nothing outside it is read.
        folder: The folder that holds `EmoLabel` and `Image`.
        form: What is asked of the data.
        on_finding: Is told of every fault.

    Raises:
        UserError: Label file or images are not there; or what `on_finding` raises.
    """
    labels, aligned = form.labels, form.aligned
    if folder.name in LABEL_SETS and folder.name != labels.subset:
        raise UserError(
            f"{printable(folder)}: expected RAF-DB's {labels.subset} set, found a folder named {folder.name}; use "
            f"--subset {folder.name}, or give the folder that holds {labels.subset}"
        )
    check_inside(root, folder)
    label_file = find_label_file(root, [folder / "EmoLabel"], LIST_FILES)
    image_folder = folder / "Image" / ("aligned" if aligned else "original")
    if not image_folder.is_dir():
        kind = "aligned images" if aligned else "original photographs"
        raise UserError(f"{printable(image_folder)}: no such folder; expected the {kind} of the release in it")
    notes, faces = Notes(on_finding), {split: Faces() for split in SPLITS}
    images = list_files(root, image_folder, IMAGE_SUFFIXES, notes)
    for row in read_list_file(label_file, labels, notes):
        _add_row(faces, row, images, image_folder, label_file, labels, aligned=aligned, notes=notes)
    for name in notes.names:
        images.pop(_name_image(name, aligned=aligned), None)
    for path in sorted(images.values()):
        words = f"{printable(path)}: no row in {printable(label_file)} names this image; expected one for every image"
        on_finding(Finding("image without label", words, (path,)))
    return FoundData(Layout.RELEASE, folder, labels, faces, {split: split for split in SPLITS})


def _name_image(name: str, *, aligned: bool) -> str:
    """Returns the name of the image that a row's name stands for."""
    stem, _, suffix = name.rpartition(".")
    return f"{stem}_aligned.{suffix}" if aligned else name


def _add_row(
    faces: dict[str, Faces],
    row: Row,
    images: dict[str, str],
    image_folder: Path,
    label_file: Path,
    labels: LabelSet,
    *,
    aligned: bool,
    notes: Notes,
) -> None:
    """Adds the face of a row, and takes its image out of those that are left."""
    where = f"{printable(label_file)}, row {row.number}"
    split = row.image.split("_", 1)[0]
    name = _name_image(row.image, aligned=aligned)
    path = str(image_folder / name)
    if split not in SPLITS:
        words = f"{where}: expected a name that begins with train_ or test_, found {row.image!r}"
        notes(Finding("bad row", words, names=(row.image,)))
    elif name not in images and path not in notes.files:
        words = f"{where}: no image {printable(path)}; expected one for every row"
        notes(Finding("label without image", words, (path,)))
    elif name in images:
        faces[split].add(images.pop(name), labels.id_of_code(row.code), row.image)
