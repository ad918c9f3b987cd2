"""Reads CSV files of image paths and labels."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rafdb_vit.data.files import LINK_OUT, check_inside, is_inside, scan
from rafdb_vit.data.findings import Finding, OnFinding, printable
from rafdb_vit.data.form import DataForm
from rafdb_vit.data.formats.label_file import read_csv_rows
from rafdb_vit.data.found import ATTRIBUTES, Faces, FoundData, Layout, name_by_paths
from rafdb_vit.data.labels import match_classes, resolve_classes
from rafdb_vit.data.splits import find_split, is_misplaced, split_of_file
from rafdb_vit.runtime.errors import UserError

IMAGE_COLUMNS = ("image", "path", "file", "filename", "file_name", "filepath", "file_path", "image_path", "img", "pth")
LABEL_COLUMNS = ("label", "labels", "class", "emotion", "expression", "target")
SPLIT_COLUMNS = ("split", "subset", "partition", "usage", "set")
_WHAT = "a CSV file of image paths and labels"


@dataclass(frozen=True)
class Entry:
    """A row: where it stands, the image as written, its path, its class as written, its split, gender, race, age."""

    where: str
    image: str
    path: str
    written: str
    split: str
    attributes: dict[str, str] = field(default_factory=dict)


def list_tables(folder: Path) -> list[Path]:
    """Returns the CSV files directly in a folder."""
    return [Path(e.path) for e in scan(folder) if e.name.lower().endswith(".csv") and os.path.isfile(e.path)]


def find_tables(folder: Path) -> dict[str | None, Path]:
    """Returns a folder's CSV files by split: one for each, or one for all, under None.

    Raises:
        UserError: It cannot be told which file is which.
    """
    files = list_tables(folder)
    for path in files:
        check_inside(folder, path)
    if len(files) == 1:
        return {None: files[0]}
    by_split: dict[str | None, Path] = {}
    for path in files:
        split = find_split(path.stem.casefold().replace("labels", "").replace("label", "").strip("_- "))
        if split is None or split in by_split:
            named = ", ".join(printable(file.name) for file in files[:6])
            raise UserError(
                f"{printable(folder)}: cannot tell which CSV file holds which split ({named}); expected train.csv and "
                "test.csv: rename them, or give --data_dir the one that holds all"
            )
        by_split[split] = path
    return by_split


def read_tables(
    root: Path, tables: dict[str | None, Path], form: DataForm, *, on_finding: OnFinding
) -> FoundData[Faces]:
    """Reads tables of image paths, relative to the table, and labels: names, or RAF-DB's codes.

    Args:
        root: The folder that no path may lead out of.
        tables: From `find_tables`.
        form: What is asked of the data. Where that is not train, rows that name no split are held out.
        on_finding: Is told of every fault.

    Raises:
        UserError: A table has no such columns, or its classes or splits cannot be told; or what `on_finding` raises.
    """
    entries = [entry for split, path in tables.items() for entry in _read_table(root, path, split, form, on_finding)]
    names = ", ".join(printable(path) for path in tables.values())
    classes = {entry.written for entry in entries}
    labels = resolve_classes(classes, form.labels, where=names)
    ids = {written: match_classes([written], labels, where=names)[written] for written in classes}
    entries = _drop_repeated(entries, ids, on_finding)
    faces = _gather_faces(entries, ids)
    for entry in entries:
        if is_misplaced(Path(entry.path).name, entry.split, faces):
            own = split_of_file(Path(entry.path).name)
            words = f"{entry.where}: {entry.image!r:.90} is an image of the {own} split, listed under {entry.split}"
            on_finding(Finding(f"{own} image under {entry.split}", f"{words}; expected none", (entry.path,)))
    name_by_paths(faces, root)
    return FoundData(Layout.TABLE, root, labels, faces, {split: split for split in faces})


def _gather_faces(entries: Sequence[Entry], ids: Mapping[str, int]) -> dict[str, Faces]:
    """Returns the faces by split, with those attributes that every table has."""
    faces: dict[str, Faces] = {}
    in_every_table = set(ATTRIBUTES).intersection(*(entry.attributes for entry in entries))
    for entry in entries:
        attributes = {name: entry.attributes[name] for name in ATTRIBUTES if name in in_every_table}
        found = faces.setdefault(entry.split, Faces())
        found.add(entry.path, ids[entry.written], Path(entry.path).name, attributes)
    return faces


def _drop_repeated(entries: Sequence[Entry], ids: Mapping[str, int], on_finding: OnFinding) -> list[Entry]:
    """Returns the first row of each image; others are reported."""
    seen: dict[str, Entry] = {}
    for entry in entries:
        first = seen.setdefault(entry.path, entry)
        if first is not entry:
            same = ids[first.written] == ids[entry.written]
            kind = "image listed twice" if same else "image with two labels"
            words = "is listed twice" if same else "has two labels"
            where = f"{entry.where}: {entry.image}"
            on_finding(Finding(kind, f"{where} {words} (first: {first.where}); expected one row for it"))
    return list(seen.values())


def _find_columns(path: Path, header: list[str], form: DataForm) -> tuple[tuple[int, int, int | None], bool]:
    """Returns the positions of image, label and split columns, and whether the first row is a header."""
    folded = [name.casefold() for name in header]
    positions: list[int | None] = []
    for flag, name, usual in (
        ("image", form.image_column, IMAGE_COLUMNS),
        ("label", form.label_column, LABEL_COLUMNS),
    ):
        if name is not None and name not in header:
            found = ", ".join(header[:12])
            raise UserError(f"--{flag}_column_name {name}: no such column in {printable(path)}; it has {found}")
        usual_names = (folded.index(other) for other in usual if other in folded)
        positions.append(header.index(name) if name is not None else next(usual_names, None))
    split = next((folded.index(name) for name in SPLIT_COLUMNS if name in folded), None)
    if positions[0] is not None and positions[1] is not None:
        return (positions[0], positions[1], split), True
    if len(header) == 2 and positions != [None, None]:
        image, label = (at if at is not None else 1 - (other or 0) for at, other in (positions, positions[::-1]))
        return (image, label, None), True
    if len(header) == 2:
        return (0, 1, None), Path(header[0]).suffix == ""
    if len(header) == 1:
        raise UserError(f"{printable(path)}: one column; expected image and label, separated by commas")
    raise UserError(
        f"{printable(path)}: cannot tell which column is which ({', '.join(header[:12])}); expected image and label: "
        "name them with --image_column_name and --label_column_name"
    )


def _read_table(root: Path, path: Path, split: str | None, form: DataForm, on_finding: OnFinding) -> Iterator[Entry]:
    rows = read_csv_rows(path, what=_WHAT)
    if not rows:
        raise UserError(f"{printable(path)}: is empty; expected {_WHAT}")
    columns_at, has_header = _find_columns(path, rows[0][1], form)
    folded = [name.strip().lower() for name in rows[0][1]] if has_header else []
    attributes_at = {name: at for at, name in enumerate(folded) if name in ATTRIBUTES and at not in columns_at}
    otherwise = None if "train" in form.needed else "test"
    for number, fields in rows[1:] if has_header else rows:
        entry = _read_row(root, path, split, columns_at, fields, len(rows[0][1]), otherwise)
        where = f"{printable(path)}, row {number}"
        if isinstance(entry, Finding):
            on_finding(Finding(entry.kind, f"{where}: {entry.message}", entry.files))
        else:
            yield Entry(where, *entry, {name: fields[at].strip() for name, at in attributes_at.items()})


def _read_row(
    root: Path,
    path: Path,
    split: str | None,
    columns_at: tuple[int, int, int | None],
    fields: list[str],
    width: int,
    otherwise: str | None,
) -> tuple[str, str, str, str] | Finding:
    """Returns the image as written, its path, its class and its split; or what is wrong with the row."""
    image_at, label_at, split_at = columns_at
    if len(fields) != width or not fields[image_at] or not fields[label_at]:
        found = repr(",".join(fields))
        return Finding("bad row", f"expected {width} columns, image and label filled in, found {found:.90}")
    image = fields[image_at]
    written = find_split(fields[split_at]) if split_at is not None else None
    if split_at is not None and written is None and split is None:
        return Finding("bad row", f"expected train, val or test in column 'split', found {fields[split_at]!r:.90}")
    if split and written and written != split and (split, written) != ("train", "validation"):
        return Finding(
            "bad row", f"stands in the file of {split}, but its column 'split' says {fields[split_at or 0]!r}"
        )
    own = written or split or _split_of_path(root, image) or otherwise
    if own is None:
        words = f"nothing says which split {image!r:.90} belongs to; expected a column 'split', files train.csv and "
        return Finding("bad row", f"{words}test.csv, or names that begin with train_ or test_")
    place = _find_image(root, path.parent, own, image)
    return place if isinstance(place, Finding) else (image, place, fields[label_at], own)


def _split_of_path(root: Path, image: str) -> str | None:
    parts = image.replace("\\", "/").removeprefix(f"{root.as_posix()}/").split("/")
    return next((split for part in parts[:-1] if (split := find_split(part))), None) or split_of_file(parts[-1])


def _find_image(root: Path, folder: Path, split: str, image: str) -> str | Finding:
    """Returns the path of an image as a table names it, or what is wrong with it."""
    if not image.isprintable():
        return Finding("bad row", f"expected the path of an image, found {image!r:.90}")
    names = (image, image.replace("\\", "/"))
    places = [os.path.abspath(base / name) for name in names for base in (folder, folder / split, folder / "images")]
    if not (Path(places[0]).is_relative_to(root) or is_inside(root, places[0])):
        return Finding("bad row", f"{image!r:.90} leads out of {printable(root)}; expected a path in it")
    path = next((path for path in places if os.path.isfile(path)), None)
    if path is None:
        return Finding("label without image", f"no image {image!r:.90}; expected one for every row", (places[0],))
    if not is_inside(root, path):
        return Finding(
            LINK_OUT, f"{image!r:.90} leads out of {printable(root)}; copy what it points to into it", (path,)
        )
    return path
