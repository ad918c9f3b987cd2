"""Finds the metadata files of a folder of images as `datasets` reads it: which image has which label."""

import os
from collections.abc import Iterator
from pathlib import Path

from rafdb_vit.data.files import list_folders
from rafdb_vit.data.formats.csv_table import LABEL_COLUMNS
from rafdb_vit.data.formats.label_file import read_csv_rows, read_lines
from rafdb_vit.runtime.disk import parse_json
from rafdb_vit.runtime.errors import UserError

METADATA_FILES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_WHAT = "a table with a column file_name"


def find_metadata(root: Path) -> Iterator[Path]:
    """Yields the metadata files in a folder, in those in it, and in the folders in these.

    Raises:
        UserError: A folder cannot be read.
    """
    folders = [root, *list_folders(root)]
    inner = (folder for place in folders[1:] if os.access(place, os.R_OK | os.X_OK) for folder in list_folders(place))
    for folder in (*folders, *inner):
        yield from (path for name in METADATA_FILES if os.path.isfile(path := folder / name))


def has_labels(path: Path, label_column: str | None) -> bool:
    """Tells whether a metadata file names images and their labels; one that cannot be read may.

    `label_column` is the column that was asked for, if one was.
    """
    try:
        columns = _read_columns(path)
    except (OSError, ValueError, UserError):
        return True
    names_images = any(name == "file_name" or name.endswith("_file_name") for name in columns)
    wanted = (label_column,) if label_column is not None else LABEL_COLUMNS
    return names_images and any(name in wanted or name.lower() in wanted for name in columns)


def _read_columns(path: Path) -> list[str]:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        return list(pq.read_schema(path).names)
    if path.suffix == ".csv":
        return next(read_csv_rows(path, what=_WHAT), (0, list[str]()))[1]
    first = parse_json(next(read_lines(path, what=_WHAT), "{}"), finite=False)
    return list(first) if isinstance(first, dict) else []
