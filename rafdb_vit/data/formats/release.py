"""Reads the official release: one label file, and a folder each of aligned and of original images.

The release's baseline classifier outputs are not read.
"""

import os
from pathlib import Path

from rafdb_vit.data.files import WITHOUT_LABEL, list_images
from rafdb_vit.data.findings import Reporter, printable
from rafdb_vit.data.form import DataForm
from rafdb_vit.data.formats.label_file import read_list_file
from rafdb_vit.data.found import SPLITS, Faces, FoundData, Layout, compose
from rafdb_vit.data.labels import LABEL_SETS
from rafdb_vit.runtime.disk import check_inside
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


def read_release(root: Path, folder: Path, form: DataForm, report: Reporter) -> FoundData[Faces]:
    """Reads one subset of the release, `folder` with `EmoLabel` and `Image` in it; nothing outside `root` is read.

    Raises:
        UserError: Label file or images are not there; or what `report` raises.
    """
    labels = form.labels
    if folder.name in LABEL_SETS and folder.name != labels.subset:
        raise UserError(
            f"{printable(folder)}: expected RAF-DB's {labels.subset} set, found a folder named {folder.name}; use "
            f"--subset {folder.name}, or give the folder that holds {labels.subset}"
        )
    check_inside(root, folder)
    label_file = find_label_file(root, [folder / "EmoLabel"], LIST_FILES)
    image_folder = folder / "Image" / ("aligned" if form.aligned else "original")
    if not image_folder.is_dir():
        kind = "aligned images" if form.aligned else "original photographs"
        raise UserError(f"{printable(image_folder)}: no such folder; expected the {kind} of the release in it")
    faces = {split: Faces() for split in SPLITS}
    images = list_images(root, image_folder, report)
    for row in read_list_file(label_file, labels, report):
        where = f"{label_file}, row {row.number}"
        split = row.image.split("_", 1)[0]
        name = compose(_name_image(row.image, aligned=form.aligned))
        path = str(image_folder / name)
        if split not in SPLITS:
            words = f"{where}: expected a name that begins with train_ or test_, found {row.image!r}"
            report("bad row", words, name=row.image)
        elif name in images:
            faces[split].add(images.pop(name), labels.id_of_code(row.code), row.image)
        elif path not in report.files:
            report("label without image", f"{where}: no image {path}; expected one for every row", path)
    spoken_of = {compose(_name_image(name, aligned=form.aligned)) for name in report.names}
    for path in sorted(path for name, path in images.items() if name not in spoken_of):
        words = f"{path}: no row in {label_file} names this image; expected one for every image"
        report(WITHOUT_LABEL, words, path)
    return FoundData(Layout.RELEASE, folder, labels, faces, {split: split for split in SPLITS})


def _name_image(name: str, *, aligned: bool) -> str:
    """Returns the name of the image that a row's name stands for."""
    stem, _, suffix = name.rpartition(".")
    return f"{stem}_aligned.{suffix}" if aligned else name
