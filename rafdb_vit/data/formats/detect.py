"""Finds out in which form a folder holds labelled faces, and reads it.

Told apart by looking, in the folder itself or one below:

- official release: `basic/EmoLabel/list_patition_label.txt` (the release's spelling) and `basic/Image/`;
- Kaggle copy: `DATASET/{train,test}/{1..7}/`, with a CSV file of labels a split beside `DATASET` or inside it;
- FER2013: `fer2013.csv`, and FER+ where `fer2013new.csv` lies beside it; see `rafdb_vit.data.formats.fer2013`;
- AffectNet: `train_set/images/`, `train_set/annotations/`, `val_set`; see `rafdb_vit.data.formats.affectnet`;
- class folders: `train/<class>/`, `val` or `valid`, `test`; names or codes;
- a CSV file of image paths and labels, or one a split;
- what `datasets` reads: saved data sets, tables with images in them, images with metadata files; see `is_data_set`.

The data is checked as it is found: each row has its image, each image its row, and nothing lies outside the folder.
"""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NoReturn

from rafdb_vit.data.files import list_folders, may_be_image, scan, walk_files
from rafdb_vit.data.findings import TEST_SHARE, Reporter, printable
from rafdb_vit.data.form import DataForm
from rafdb_vit.data.formats.affectnet import find_annotated_splits, read_affectnet
from rafdb_vit.data.formats.class_folders import (
    find_split_folders,
    is_kaggle_copy,
    is_undivided,
    read_class_folders,
    read_kaggle_copy,
)
from rafdb_vit.data.formats.csv_table import check_columns, find_tables, read_tables
from rafdb_vit.data.formats.exports import describe_export, holds_tool_folders
from rafdb_vit.data.formats.fer2013 import find_pixel_tables, has_pixels, read_fer2013
from rafdb_vit.data.formats.ferplus import FILE as VOTES_FILE
from rafdb_vit.data.formats.label_file import TABLE_SUFFIXES
from rafdb_vit.data.formats.metadata_files import find_metadata, has_labels
from rafdb_vit.data.formats.release import LIST_FILES, is_release, read_release
from rafdb_vit.data.formats.saved_dataset import is_saved
from rafdb_vit.data.found import Faces, FoundData, Layout
from rafdb_vit.data.labels import LABEL_SETS
from rafdb_vit.data.splits import find_split, validation_as_test
from rafdb_vit.runtime.disk import is_inside
from rafdb_vit.runtime.errors import UserError, shorten
from rafdb_vit.runtime.neighbours import list_near

Reader = Callable[[DataForm, Reporter], FoundData[Faces]]
"""Reads labelled faces in the form that is wanted."""
_STORED = (".parquet", ".arrow", ".jsonl", ".json")
"""Files in which `datasets` keeps images."""
_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar")
_MOST_FILES = 10_000
"""Files among which those are looked for."""
_MOST_KINDS = 3
"""Kinds of files, and folders, that a message names."""
_MOST_PEEKS = 20
"""Files of a folder that are looked into for whether it holds images."""


def is_data_set(root: Path, form: DataForm) -> bool:
    """Tells whether a folder is a data set that `datasets` reads, and not in a form that `find_faces` reads.

    Raises:
        UserError: A folder cannot be read, or two are the same split.
    """
    if not os.path.isdir(root):
        return False
    if any(map(is_saved, (root, *list_folders(root)))):
        return True
    if any(entry.name.lower().endswith(TABLE_SUFFIXES) for entry in scan(root)):
        return False
    if any(not is_inside(root, path) or has_labels(path, form.label_column) for path in find_metadata(root)):
        return True
    if _find_copies(root, form) or (form.undivided and is_undivided(root)):
        return False
    stored = any(path.lower().endswith(_STORED) for path in islice(walk_files(root), _MOST_FILES))
    return stored and describe_export(root) is None


def find_faces(root: Path, form: DataForm, report: Reporter) -> FoundData[Faces]:
    """Finds labelled faces below `root` and reads which is which, without opening an image.

    `root` is the data folder itself (`basic`, or what holds `DATASET`), one above it, or a CSV file.

    Raises:
        UserError: Nothing like it is found; or what `report` raises.
    """
    found = choose_reader(root, form)(form, report)
    folder = found.folder or root
    _check_encoding(folder)
    columns = {
        "--image_column_name": form.image_column,
        "--label_column_name": form.label_column,
        "--group_column": form.group_column,
    }
    if found.layout is not Layout.TABLE and (flag := next(filter(columns.get, columns), None)):
        words = f"holds {found.layout.value}, no CSV file of image paths; only one has such columns"
        raise UserError(f"{flag}: {printable(folder)} {words}: leave the flag out")
    if not form.aligned and not found.release:
        raise UserError(f"--aligned False: {printable(folder)} is not the official release; only it has boxes")
    own = validation_as_test({split: split for split in found.splits})
    unusable = {reason: {split: of.get(was, 0) for split, was in own.items()} for reason, of in found.unusable.items()}
    splits, sources = validation_as_test(found.splits), validation_as_test(found.sources)
    return replace(found, splits=splits, sources=sources, unusable=unusable)


def refuse_missing(root: Path) -> None:
    """Refuses a data folder that is not there.

    Raises:
        UserError: It is not; the message says what lies near.
    """
    if not (os.path.isdir(root) or os.path.isfile(root)):
        words = "expected the one that holds the faces, or a CSV file"
        raise UserError(f"{printable(root)}: no such folder{list_near(root)}; {words}")


def choose_reader(root: Path, form: DataForm) -> Reader:
    """Tells what reads the labelled faces below `root`, from the names of its files and folders alone.

    Raises:
        UserError: Nothing like labelled faces is found.
    """
    _check_encoding(root)
    if os.path.isdir(root):
        return _choose_for_folder(root, form)
    refuse_missing(root)
    if has_pixels(root):
        return partial(read_fer2013, root.parent, root, None)
    if root.suffix.lower() in TABLE_SUFFIXES:
        _refuse_votes_alone(root)
        check_columns(root, form)
        return partial(read_tables, root.parent, {None: root})
    if root.suffix.lower() in _STORED:
        raise UserError(f"{printable(root)}: is one file of a data set; give the folder that holds it")
    hint = ": unpack it first" if root.suffix.lower() in _ARCHIVES else ""
    raise UserError(f"{printable(root)}: is a file; expected the folder that holds the faces, or a CSV file{hint}")


def _refuse_votes_alone(votes: Path) -> None:
    """Refuses FER+'s file where it is not beside the faces that it is about."""
    if votes.name == VOTES_FILE:
        words = "holds the votes of FER+ and no faces; give --data_dir the folder that holds it and fer2013.csv"
        raise UserError(f"{printable(votes)}: {words}")


def _check_encoding(root: Path) -> None:
    try:
        str(root).encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"{root}: the path is not in UTF-8, which data sets are stored in; rename the folder"
        ) from error


def _choose_for_folder(root: Path, form: DataForm) -> Reader:
    copies = _find_copies(root, form)
    if len(copies) > 1:
        listed = ", ".join(printable(place) for place, _ in copies)
        raise UserError(
            f"{printable(root)}: holds more than one copy of the data ({listed}); give --data_dir one of them, or move "
            "the others elsewhere"
        )
    if copies:
        ((_, reader),) = copies
        return reader
    if os.path.isfile(root / VOTES_FILE):
        _refuse_votes_alone(root / VOTES_FILE)
    if tables := find_tables(root):
        for table in tables.values():
            check_columns(table, form)
        return partial(read_tables, root, tables)
    undivided = form.undivided if is_undivided(root) else None
    if not undivided or holds_tool_folders(root):
        _refuse_export(root)
    if undivided:
        return partial(_read_undivided, root, undivided)
    _refuse_other_content(root, form)


def _read_undivided(root: Path, split: str, form: DataForm, report: Reporter) -> FoundData[Faces]:
    """Reads class folders that lie in no folder of a split, as the split that they stand for."""
    return replace(read_class_folders(root, root, {split: root}, form, report), sources={split: split})


def _find_copies(root: Path, form: DataForm) -> list[tuple[Path, Reader]]:
    """Returns the copies in `root` or one folder below it, and in `DATASET` in there: place and reader."""
    folders = [root, *(folder for folder in list_folders(root) if os.access(folder, os.R_OK | os.X_OK))]
    releases = [folder for folder in folders if is_release(folder)]
    if form.subset in (folder.name for folder in releases):
        # The release's other subset is not meant.
        releases = [folder for folder in releases if folder.name not in set(LABEL_SETS) - {form.subset}]
    copies: list[tuple[Path, Reader]] = [(folder, partial(read_release, root, folder)) for folder in releases]
    lists = [folder / VOTES_FILE for folder in folders if os.path.lexists(folder / VOTES_FILE)]
    for folder in folders:
        votes = next((path for path in lists if path.parent == folder), lists[0] if lists else None)
        copies += [(table, partial(read_fer2013, root, table, votes)) for table in find_pixel_tables(root, folder)]
    whole: list[tuple[Path, Reader]] = []
    single: list[tuple[Path, Reader]] = []
    for folder in (*folders, *(folder / "DATASET" for folder in folders[1:])):
        if not folder.is_dir():
            continue
        if splits := find_annotated_splits(folder):
            copies.append((folder, partial(read_affectnet, root, folder, splits)))
        elif splits := find_split_folders(folder, form.needed):
            places = whole if len(splits) > 1 else single
            places.append((folder, partial(_read_splits, root, folder, splits)))
    return [*copies, *whole] or single


def _read_splits(
    root: Path, folder: Path, splits: dict[str, Path], form: DataForm, report: Reporter
) -> FoundData[Faces]:
    """Reads folders of splits in which there are classes, unless they are those of another task."""
    if any(map(holds_tool_folders, splits.values())):
        _refuse_export(root)
    read = read_kaggle_copy if is_kaggle_copy(folder, splits) else read_class_folders
    return read(root, folder, splits, form, report)


def _refuse_export(root: Path) -> None:
    if found := describe_export(root):
        raise UserError(f"{printable(root)}: {found}")


def _refuse_bare_files(root: Path) -> None:
    """Refuses a folder without folders in it, or whose data lies one folder further down."""
    where, entries, folders = printable(root), scan(root), list_folders(root)
    archives = [entry.name for entry in entries if entry.name.lower().endswith(_ARCHIVES)]
    if not entries:
        raise UserError(f"{where}: is empty; expected the folder that holds the faces")
    if archives and not folders:
        raise UserError(f"{where}: holds no faces but archives, {printable(archives[0])} first; unpack them")
    if not folders and any(may_be_image(entry.path) for entry in islice(entries, _MOST_PEEKS)):
        raise UserError(
            f"{where}: holds images, and nothing says of which class each is; expected a folder of images for each "
            "class (if this is the folder of one, give --data_dir the folder above), or a CSV file of path and label"
        )
    inner = _list_open_folders(root)
    below = [] if is_undivided(root) else [folder for folder in inner[:_MOST_PEEKS] if is_undivided(folder)]
    if len(below) == 1 and not any(find_split(folder.name) for folder in inner):
        raise UserError(
            f"{where}: the folders of classes lie in {below[0].name}/; give --data_dir {printable(below[0])}"
        )


def _refuse_other_content(root: Path, form: DataForm) -> NoReturn:
    """Refuses a folder in which no data was found, with what is missing, where that can be told.

    Raises:
        UserError: Always.
    """
    where = printable(root)
    _refuse_bare_files(root)
    train = next((folder for folder in list_folders(root) if find_split(folder.name) == "train"), None)
    if train is not None and any(may_be_image(entry.path) for entry in islice(scan(train), _MOST_PEEKS)):
        raise UserError(
            f"{where}: the images in {train.name}/ lie in no folders of classes, and no CSV file says which is which; "
            f"expected {train.name}/happy/... or a CSV file of path and label"
        )
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
    if deeper := _find_deeper(root, form):
        raise UserError(
            f"{where}: holds {describe_content(root)}; the data lies deeper: give --data_dir {printable(deeper)}"
        )
    archives = [entry.name for entry in scan(root) if entry.name.lower().endswith(_ARCHIVES)]
    unpack = f"unpack {printable(archives[0])}, or " if archives else ""
    raise UserError(
        f"{where}: holds {describe_content(root)}, and no labelled faces in a known form; {unpack}put the images into "
        f"train/<class>/ and test/<class>/, or into <class>/ and add {TEST_SHARE}; or give a CSV file of path, label "
        "and split. RAF-DB's folder holds "
        f"EmoLabel/{LIST_FILES[0]} and Image/, or DATASET/ and train_labels.csv; FER2013's fer2013.csv; AffectNet's "
        "train_set/ and val_set/"
    )


def describe_content(folder: Path) -> str:
    """Says what lies directly in a folder: `312 .txt files, 2 folders (one, two)`."""
    entries = scan(folder)
    folders = [entry.name for entry in entries if os.path.isdir(entry.path)]
    kinds = Counter(
        Path(entry.name).suffix.lower() or "other" for entry in entries if not os.path.isdir(entry.path)
    ).most_common()
    counted = [f"{count:,} {printable(kind)} file{'' if count == 1 else 's'}" for kind, count in kinds[:_MOST_KINDS]]
    if rest := sum(count for _, count in kinds[_MOST_KINDS:]):
        counted.append(f"{rest:,} of other kinds")
    if folders:
        named = ", ".join(printable(shorten(name, 40)) for name in folders[:_MOST_KINDS])
        more = ", ..." if len(folders) > _MOST_KINDS else ""
        counted.append(f"{len(folders):,} folder{'' if len(folders) == 1 else 's'} ({named}{more})")
    return ", ".join(counted)


def _find_deeper(root: Path, form: DataForm) -> Path | None:
    """Returns a folder, two or three levels down, that holds data in a known form."""
    level = [root]
    for _ in range(3):
        level = [inner for folder in level for inner in _list_open_folders(folder)][:_MOST_PEEKS]
        for folder in level:
            if find_split_folders(folder, form.needed) or is_release(folder):
                return folder
    return None


def _list_open_folders(folder: Path) -> list[Path]:
    return [inner for inner in list_folders(folder) if os.access(inner, os.R_OK | os.X_OK)]
