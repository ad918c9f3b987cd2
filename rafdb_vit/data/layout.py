"""Finds out in which form a folder holds labelled faces, and reads it.

Told apart by looking, in the folder itself or one below:

- official release: `basic/EmoLabel/list_patition_label.txt` (the release's spelling) and `basic/Image/`;
- Kaggle copy: `DATASET/{train,test}/{1..7}/`, with a CSV file of labels a split beside `DATASET` or inside it;
- class folders: `train/<class>/`, `val` or `valid`, `test`; names or codes;
- a CSV file of image paths and labels, or one a split.

The data is checked as it is found: each row has its image, each image its row, and nothing lies outside the folder.
"""

import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rafdb_vit.data.class_folders import (
    find_classes,
    find_split_folders,
    is_kaggle_copy,
    read_class_folders,
    read_kaggle_copy,
)
from rafdb_vit.data.faces import SPLITS, FoundFaces
from rafdb_vit.data.finding import Report, printable, refuse
from rafdb_vit.data.folder import list_folders
from rafdb_vit.data.release import LIST_FILES, is_release, read_release
from rafdb_vit.data.split_name import find_split
from rafdb_vit.data.table import find_tables, list_tables, read_tables
from rafdb_vit.errors import UserError
from rafdb_vit.labels import LABEL_SETS, LabelSet


@dataclass(frozen=True)
class _Copy:
    """A copy of the data: its folder, whether it is the release, and what reads it."""

    folder: Path
    is_release: bool
    read: Callable[[], FoundFaces]


def find_faces(
    root: Path,
    labels: LabelSet,
    *,
    aligned: bool = True,
    columns: tuple[str | None, str | None] = (None, None),
    needed: Collection[str] = SPLITS,
    report: Report = refuse,
) -> FoundFaces:
    """Finds labelled faces below `root` and reads which is which, without opening an image.

    Args:
        root: The data folder itself (`basic`, or what holds `DATASET`), one above it, or a CSV file.
        labels: The classes whose codes the label files use.
        aligned: Take the release's aligned images; else its original photographs.
        columns: Names of the image and of the label column of a CSV file; None for the usual ones.
        needed: Splits that the data has to have. Where train is not among them, folders of classes and CSV files need
            no splits: they are what is held out.
        report: Is told of every fault; the default ends at the first.

    Raises:
        UserError: Nothing like it is found, or a file or row is not as it should be.
    """
    _check_encoding(root)
    if os.path.isfile(root) and root.suffix.lower() == ".csv":
        found = read_tables(root.parent, {None: root}, labels, columns=columns, needed=needed, report=report)
    elif os.path.isdir(root):
        found = _read_folder(root, labels, aligned=aligned, columns=columns, needed=needed, report=report)
    elif os.path.isfile(root):
        raise UserError(f"{printable(root)}: is a file; expected the folder that holds the faces, or a CSV file")
    else:
        raise UserError(f"{printable(root)}: no such folder; expected the one that holds the faces, or a CSV file")
    _check_encoding(found.folder)
    if any(columns) and not found.is_table:
        flag = "--image_column_name" if columns[0] else "--label_column_name"
        raise UserError(f"{flag}: {printable(found.folder)} is no CSV file; only one has columns: leave the flag out")
    if not aligned and not found.is_release:
        raise UserError(f"--aligned False: {printable(found.folder)} is not the official release; only it has boxes")
    return found


def _check_encoding(root: Path) -> None:
    try:
        str(root).encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{root}: the path is not in UTF-8, which data sets are stored in; rename the folder"
        ) from error


def _read_folder(
    root: Path,
    labels: LabelSet,
    *,
    aligned: bool,
    columns: tuple[str | None, str | None],
    needed: Collection[str],
    report: Report,
) -> FoundFaces:
    copies = _choose_copies(_find_copies(root, labels, aligned=aligned, needed=needed, report=report), labels)
    if not copies and list_tables(root):
        return read_tables(root, find_tables(root), labels, columns=columns, needed=needed, report=report)
    if not copies and "train" not in needed and (classes := find_classes(root)):
        return replace(read_class_folders(root, root, classes, labels, report=report), sources={"test": "test"})
    if not copies:
        _explain_nothing(root)
        raise UserError(
            f"{printable(root)}: holds neither RAF-DB's official layout (EmoLabel/{LIST_FILES[0]} and Image/aligned/) "
            f"nor the Kaggle layout (train/1..{len(labels.names)}/, test/1..{len(labels.names)}/ and a CSV file of "
            "labels each) nor class folders (train/<class>/, test/<class>/) nor a CSV file of image paths and labels"
        )
    if len(copies) > 1:
        found = ", ".join(printable(copy.folder) for copy in copies)
        raise UserError(
            f"{printable(root)}: holds more than one copy of the data ({found}); give --data_dir one of them"
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


def _find_copies(
    root: Path, labels: LabelSet, *, aligned: bool, needed: Collection[str], report: Report
) -> list[_Copy]:
    """Returns every copy in `root` or one folder below it, and in `DATASET` in there."""
    folders = [root, *(folder for folder in list_folders(root) if os.access(folder, os.R_OK | os.X_OK))]
    copies = []
    for folder in folders:
        if is_release(folder):
            read: Callable[[], FoundFaces]
            read = partial(read_release, root, folder, labels, aligned=aligned, report=report)
            copies.append(_Copy(folder, True, read))
    for folder in (*folders, *(folder / "DATASET" for folder in folders[1:])):
        splits = find_split_folders(folder, needed) if folder.is_dir() else {}
        if splits:
            reader = read_kaggle_copy if is_kaggle_copy(folder, splits) else read_class_folders
            copies.append(_Copy(folder, False, partial(reader, root, folder, splits, labels, report=report)))
    return copies
