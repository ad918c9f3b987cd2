"""Finds out in which form a folder holds labelled faces, and reads it.

Told apart by looking, in the folder itself or one below:

- official release: `basic/EmoLabel/list_patition_label.txt` (the release's spelling) and `basic/Image/`;
- Kaggle copy: `DATASET/{train,test}/{1..7}/`, with a CSV file of labels a split beside `DATASET` or inside it;
- class folders: `train/<class>/`, `val` or `valid`, `test`; names or codes;
- a CSV file of image paths and labels, or one a split.

The data is checked as it is found: each row has its image, each image its row, and nothing lies outside the folder.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rafdb_vit.data.files import list_folders
from rafdb_vit.data.findings import OnFinding, printable, refuse
from rafdb_vit.data.form import DataForm
from rafdb_vit.data.formats.class_folders import (
    find_classes,
    find_split_folders,
    is_kaggle_copy,
    read_class_folders,
    read_kaggle_copy,
)
from rafdb_vit.data.formats.csv_table import find_tables, list_tables, read_tables
from rafdb_vit.data.formats.release import LIST_FILES, is_release, read_release
from rafdb_vit.data.found import Faces, FoundData, Layout
from rafdb_vit.data.labels import LABEL_SETS, LabelSet
from rafdb_vit.data.splits import find_split
from rafdb_vit.runtime.errors import UserError


@dataclass(frozen=True)
class _Copy:
    """A copy of the data: its folder, whether it is the release, and what reads it."""

    folder: Path
    is_release: bool
    read: Callable[[], FoundData[Faces]]


def find_faces(root: Path, form: DataForm, *, on_finding: OnFinding = refuse) -> FoundData[Faces]:
    """Finds labelled faces below `root` and reads which is which, without opening an image.

    Args:
        root: The data folder itself (`basic`, or what holds `DATASET`), one above it, or a CSV file.
        form: What is asked of the data.
        on_finding: Is told of every fault; the default ends at the first.

    Raises:
        UserError: Nothing like it is found, or a file or row is not as it should be.
    """
    _check_encoding(root)
    if os.path.isfile(root) and root.suffix.lower() == ".csv":
        found = read_tables(root.parent, {None: root}, form, on_finding=on_finding)
    elif os.path.isdir(root):
        found = _read_folder(root, form, on_finding)
    elif os.path.isfile(root):
        raise UserError(f"{printable(root)}: is a file; expected the folder that holds the faces, or a CSV file")
    else:
        raise UserError(f"{printable(root)}: no such folder; expected the one that holds the faces, or a CSV file")
    folder = found.folder or root
    _check_encoding(folder)
    if (form.image_column or form.label_column) and found.layout is not Layout.TABLE:
        flag = "--image_column_name" if form.image_column else "--label_column_name"
        raise UserError(f"{flag}: {printable(folder)} is no CSV file; only one has columns: leave the flag out")
    if not form.aligned and not found.release:
        raise UserError(f"--aligned False: {printable(folder)} is not the official release; only it has boxes")
    return found


def _check_encoding(root: Path) -> None:
    try:
        str(root).encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{root}: the path is not in UTF-8, which data sets are stored in; rename the folder"
        ) from error


def _read_folder(root: Path, form: DataForm, on_finding: OnFinding) -> FoundData[Faces]:
    labels = form.labels
    copies = _choose_copies(_find_copies(root, form, on_finding), labels)
    if not copies and list_tables(root):
        return read_tables(root, find_tables(root), form, on_finding=on_finding)
    if not copies and "train" not in form.needed and (classes := find_classes(root)):
        found = read_class_folders(root, root, classes, labels, on_finding=on_finding)
        return replace(found, sources={"test": "test"})
    if not copies:
        _explain_nothing(root)
        raise UserError(
            f"{printable(root)}: holds neither RAF-DB's official layout (EmoLabel/{LIST_FILES[0]} and Image/aligned/) "
            f"nor the Kaggle layout (train/1..{len(labels.names)}/, test/1..{len(labels.names)}/ and a CSV file of "
            "labels each) nor class folders (train/<class>/, test/<class>/) nor a CSV file of image paths and labels"
        )
    if len(copies) > 1:
        listed = ", ".join(printable(copy.folder) for copy in copies)
        raise UserError(
            f"{printable(root)}: holds more than one copy of the data ({listed}); give --data_dir one of them"
        )
    return copies[0].read()


def _explain_nothing(root: Path) -> None:
    """Refuses a folder in which nothing was found with what is missing, where that can be told."""
    names = os.listdir(root)  # noqa: PTH208
    if any(name in ("dataset_dict.json", "state.json") or name.endswith((".parquet", ".arrow")) for name in names):
        raise UserError(f"{printable(root)}: is a data set of `datasets`; give it to --dataset_name")
    train = next((folder for folder in list_folders(root) if find_split(folder.name) == "train"), None)
    if train is not None and list_folders(train):
        raise UserError(
            f"{printable(root)}: holds {train.name}/ but no folder test/ or val/ of class folders; expected a split "
            "that is held out"
        )


def _choose_copies(copies: list[_Copy], labels: LabelSet) -> list[_Copy]:
    """Returns the copies that are meant: where the release has the subset asked for, its other one is not."""
    if not any(copy.is_release and copy.folder.name == labels.subset for copy in copies):
        return copies
    others = set(LABEL_SETS) - {labels.subset}
    return [copy for copy in copies if not (copy.is_release and copy.folder.name in others)]


def _find_copies(root: Path, form: DataForm, on_finding: OnFinding) -> list[_Copy]:
    """Returns every copy in `root` or one folder below it, and in `DATASET` in there."""
    folders = [root, *(folder for folder in list_folders(root) if os.access(folder, os.R_OK | os.X_OK))]
    copies = []
    for folder in folders:
        if is_release(folder):
            copies.append(_Copy(folder, True, partial(read_release, root, folder, form, on_finding=on_finding)))
    for folder in (*folders, *(folder / "DATASET" for folder in folders[1:])):
        splits = find_split_folders(folder, form.needed) if folder.is_dir() else {}
        if splits:
            reader = read_kaggle_copy if is_kaggle_copy(folder, splits) else read_class_folders
            read = partial(reader, root, folder, splits, form.labels, on_finding=on_finding)
            copies.append(_Copy(folder, False, read))
    return copies
