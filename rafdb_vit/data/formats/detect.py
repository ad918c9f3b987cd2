"""Finds out in which form a folder holds labelled faces, and reads it.

Told apart by looking, in the folder itself or one below:

- official release: `basic/EmoLabel/list_patition_label.txt` (the release's spelling) and `basic/Image/`;
- Kaggle copy: `DATASET/{train,test}/{1..7}/`, with a CSV file of labels a split beside `DATASET` or inside it;
- class folders: `train/<class>/`, `val` or `valid`, `test`; names or codes;
- a CSV file of image paths and labels, or one a split.

The data is checked as it is found: each row has its image, each image its row, and nothing lies outside the folder.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from rafdb_vit.data.files import list_folders
from rafdb_vit.data.findings import TEST_SHARE, Reporter, printable
from rafdb_vit.data.form import DataForm
from rafdb_vit.data.formats.class_folders import (
    find_split_folders,
    is_kaggle_copy,
    is_undivided,
    read_class_folders,
    read_kaggle_copy,
)
from rafdb_vit.data.formats.csv_table import find_tables, read_tables
from rafdb_vit.data.formats.release import LIST_FILES, is_release, read_release
from rafdb_vit.data.found import Faces, FoundData, Layout
from rafdb_vit.data.labels import LABEL_SETS
from rafdb_vit.data.splits import find_split, validation_as_test
from rafdb_vit.runtime.errors import UserError


def find_faces(root: Path, form: DataForm, report: Reporter) -> FoundData[Faces]:
    """Finds labelled faces below `root` and reads which is which, without opening an image.

    `root` is the data folder itself (`basic`, or what holds `DATASET`), one above it, or a CSV file.

    Raises:
        UserError: Nothing like it is found; or what `report` raises.
    """
    _check_encoding(root)
    if os.path.isfile(root) and root.suffix.lower() == ".csv":
        found = read_tables(root.parent, {None: root}, form, report)
    elif os.path.isdir(root):
        found = _read_folder(root, form, report)
    elif os.path.isfile(root):
        raise UserError(f"{printable(root)}: is a file; expected the folder that holds the faces, or a CSV file")
    else:
        raise UserError(f"{printable(root)}: no such folder; expected the one that holds the faces, or a CSV file")
    folder = found.folder or root
    _check_encoding(folder)
    columns = {
        "--image_column_name": form.image_column,
        "--label_column_name": form.label_column,
        "--group_column": form.group_column,
    }
    if found.layout is not Layout.TABLE and (flag := next(filter(columns.get, columns), None)):
        raise UserError(f"{flag}: {printable(folder)} is no CSV file; only one has columns: leave the flag out")
    if not form.aligned and not found.release:
        raise UserError(f"--aligned False: {printable(folder)} is not the official release; only it has boxes")
    return replace(found, splits=validation_as_test(found.splits), sources=validation_as_test(found.sources))


def _check_encoding(root: Path) -> None:
    try:
        str(root).encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{root}: the path is not in UTF-8, which data sets are stored in; rename the folder"
        ) from error


def _read_folder(root: Path, form: DataForm, report: Reporter) -> FoundData[Faces]:
    releases, split_folders = _find_copies(root, form)
    if len(copies := [*releases, *split_folders]) > 1:
        listed = ", ".join(map(printable, copies))
        raise UserError(
            f"{printable(root)}: holds more than one copy of the data ({listed}); give --data_dir one of them"
        )
    if releases:
        return read_release(root, releases[0], form, report)
    if split_folders:
        ((folder, splits),) = split_folders.items()
        read = read_kaggle_copy if is_kaggle_copy(folder, splits) else read_class_folders
        return read(root, folder, splits, form, report)
    if tables := find_tables(root):
        return read_tables(root, tables, form, report)
    if form.undivided and is_undivided(root):
        found = read_class_folders(root, root, {form.undivided: root}, form, report)
        return replace(found, sources={form.undivided: form.undivided})
    _refuse_other_content(root, form)


def _find_copies(root: Path, form: DataForm) -> tuple[list[Path], dict[Path, dict[str, Path]]]:
    """Returns the copies in `root` or one folder below it, and in `DATASET` in there.

    Returns:
        Folders of the release; and the folders of splits by the folder that holds them.
    """
    folders = [root, *(folder for folder in list_folders(root) if os.access(folder, os.R_OK | os.X_OK))]
    releases = [folder for folder in folders if is_release(folder)]
    if form.subset in (folder.name for folder in releases):
        # The release's other subset is not meant.
        releases = [folder for folder in releases if folder.name not in set(LABEL_SETS) - {form.subset}]
    places = [*folders, *(folder / "DATASET" for folder in folders[1:])]
    found = {folder: find_split_folders(folder, form.needed) for folder in places if folder.is_dir()}
    found = {folder: splits for folder, splits in found.items() if splits}
    whole = {folder: splits for folder, splits in found.items() if len(splits) > 1}
    return releases, whole or found


def _refuse_other_content(root: Path, form: DataForm) -> NoReturn:
    """Refuses a folder in which no data was found, with what is missing, where that can be told.

    Raises:
        UserError: Always.
    """
    where = printable(root)
    names = os.listdir(root)  # noqa: PTH208
    if any(name in ("dataset_dict.json", "state.json") or name.endswith((".parquet", ".arrow")) for name in names):
        raise UserError(f"{where}: is a data set of `datasets`; give it to --dataset_name")
    train = next((folder for folder in list_folders(root) if find_split(folder.name) == "train"), None)
    if train is not None and list_folders(train):
        raise UserError(
            f"{where}: holds {train.name}/ but no folder test/ or val/ of class folders; expected a split that is held "
            f"out, or {TEST_SHARE}"
        )
    if is_undivided(root):
        raise UserError(
            f"{where}: holds class folders, and nothing says which faces are for test; add {TEST_SHARE}, or put the "
            "class folders into folders train/ and test/"
        )
    codes = f"1..{len(form.labels.names)}/"
    raise UserError(
        f"{where}: holds neither RAF-DB's official layout (EmoLabel/{LIST_FILES[0]} and Image/aligned/) nor the Kaggle "
        f"layout (train/{codes}, test/{codes} and a CSV file of labels each) nor class folders (train/<class>/, "
        "test/<class>/) nor a CSV file of image paths and labels"
    )
