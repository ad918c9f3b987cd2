"""Reads CSV files of image paths and labels."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from sys import intern
from types import MappingProxyType

from rafdb_vit.data.files import IMAGE_SUFFIXES, LINK_OUT, NO_IMAGE, ImageNames, Names, scan
from rafdb_vit.data.findings import TEST_SHARE, Reporter, check_place, printable
from rafdb_vit.data.form import DataForm
from rafdb_vit.data.formats.label_file import LABEL_FILES, TABLE_SUFFIXES, drop_empty_end, read_csv_rows
from rafdb_vit.data.found import ATTRIBUTES, ORDER, PERSON, Faces, FoundData, Layout, list_names, name_by_paths
from rafdb_vit.data.images import is_image
from rafdb_vit.data.labels import describe_codes, match_classes, resolve_classes
from rafdb_vit.data.names import resembles_rafdb
from rafdb_vit.data.splits import find_split, split_of_file
from rafdb_vit.runtime.disk import check_inside, is_inside
from rafdb_vit.runtime.errors import NOT_PLAIN, UserError, is_plain

IMAGE_COLUMNS = (
    *("image", "path", "file", "filename", "file_name", "filepath", "file_path", "image_path", "img", "pth"),
    *("picture", "photo", "image_name", "picture_name", "photo_name"),
)
LABEL_COLUMNS = ("label", "labels", "class", "emotion", "expression", "target", "category")
SPLIT_COLUMNS = ("split", "subset", "partition", "usage", "set")
_FOLDERS = ("", *ORDER, "images")
"""Where images lie that a table names, relative to it."""
_WHAT = "a CSV file of image paths and labels"
_LONGEST = 4096
"""Characters of a path; no system takes longer ones."""
_MOST_MISSING = 50_000
"""Rows that name no image, and no row before that names one: then more are not looked for."""
_WITHOUT_IMAGE = "label without image"
_OUTSIDE = "path out of the folder"
_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Entry:
    """A row: its table and its number there, the image as written, its path, its class as written, its split.

    The split is None where nothing says which it is, and that is no fault. `attributes` are gender, race and age, where
    the table has them, and the person, where a column of persons was asked for.
    """

    table: Path
    number: int
    image: str
    path: str
    written: str
    split: str | None
    attributes: Mapping[str, str]

    @property
    def where(self) -> str:
        """The row's place, for messages."""
        return f"{self.table}, row {self.number}"


class _BadRow(Exception):
    """A row that cannot be taken: the kind of fault, what is wrong, and the file concerned where there is one."""


def find_tables(folder: Path) -> dict[str | None, Path]:
    """Returns the CSV files directly in a folder by split: one for each, or one for all, under None.

    Raises:
        UserError: It cannot be told which file is which.
    """
    files = [Path(e.path) for e in scan(folder) if e.name.lower().endswith(TABLE_SUFFIXES) and os.path.isfile(e.path)]
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


def read_tables(root: Path, tables: dict[str | None, Path], form: DataForm, report: Reporter) -> FoundData[Faces]:
    """Reads the tables that `find_tables` found: paths of images, relative to the table, and names or codes of classes.

    No path may lead out of `root`. Where train is not needed, rows that name no split are held out.

    Raises:
        UserError: A table has no such columns, or its classes or splits cannot be told; or what `report` raises.
    """
    entries = [entry for split, path in tables.items() for entry in _read_table(root, path, split, form, report)]
    entries = _divide_rest(entries, form, report)
    names = ", ".join(printable(path) for path in tables.values())
    classes = {entry.written for entry in entries}
    _refuse_paths(classes, names)
    labels = resolve_classes(classes, form.labels, where=names)
    # One by one: rows may write a class in several ways.
    ids = {written: match_classes([written], labels, where=names)[written] for written in classes}
    entries = _drop_repeated(entries, ids, report)
    faces: dict[str, Faces] = {}
    known = (*ATTRIBUTES, PERSON)
    in_every_table = set(known).intersection(*(entry.attributes for entry in entries))
    for entry in entries:
        attributes = {name: entry.attributes[name] for name in known if name in in_every_table}
        of_split = faces.setdefault(str(entry.split), Faces())
        of_split.add(entry.path, ids[entry.written], Path(entry.path).name, attributes)
    is_own = resembles_rafdb(Layout.TABLE, labels, list_names(faces))
    for entry in entries:
        where = f"{entry.where}, {entry.image:.300}"
        check_place(where, entry.path, str(entry.split), faces, report, is_own=is_own)
    name_by_paths(faces, root)
    notes = () if is_own else describe_codes(classes, labels)
    return FoundData(Layout.TABLE, root, labels, faces, {split: split for split in faces}, notes=notes)


def _divide_rest(entries: list[Entry], form: DataForm, report: Reporter) -> list[Entry]:
    """Returns the rows with a split for those of which nothing says it; beside rows of test, that is a fault."""
    if form.undivided == "train" and any(entry.split == "test" for entry in entries):
        for entry in entries:
            if entry.split is None:
                report("bad row", f"{entry.where}: {_phrase_undivided(entry.image)}", entry.path)
        return [entry for entry in entries if entry.split is not None]
    return [entry if entry.split else replace(entry, split=form.undivided) for entry in entries]


def _phrase_undivided(image: str) -> str:
    return (
        f"nothing says which split {image!r:.90} belongs to; expected a column 'split', files train.csv and test.csv, "
        "or names that begin with train_ or test_"
    )


def _drop_repeated(entries: Sequence[Entry], ids: Mapping[str, int], report: Reporter) -> list[Entry]:
    """Returns the first row of each image; others are reported."""
    seen: dict[str, Entry] = {}
    for entry in entries:
        first = seen.setdefault(entry.path, entry)
        if first is not entry:
            same = ids[first.written] == ids[entry.written]
            kind, words = ("listed twice", "is listed twice") if same else ("with two labels", "has two labels")
            words = f"{entry.image:.300} {words} (first: {first.where}); expected one row for it"
            report(f"image {kind}", f"{entry.where}: {words}")
    return list(seen.values())


def _read_table(root: Path, path: Path, split: str | None, form: DataForm, report: Reporter) -> Iterator[Entry]:
    rows = read_csv_rows(path, what=_WHAT)
    first = next(rows, None)
    header, (image_at, label_at, split_at), attributes_at, has_header = _read_head(path, first, form)
    found_any, missing, names, elsewhere = False, 0, Names(root), ImageNames(root)
    for number, fields in rows if has_header else chain([(first[0] if first else 1, header)], rows):
        if missing > _MOST_MISSING and not found_any:
            words = "paths have to be relative to this file, or to the split's folder or images/ beside it"
            raise UserError(f"{printable(path)}: none of its first {missing:,} images is there; {words}")
        fields = drop_empty_end(fields, len(header))
        try:
            if len(fields) != len(header) or not fields[image_at] or not fields[label_at]:
                found = repr(",".join(fields)[:_LONGEST])
                words = f"expected {len(header)} columns, image and label filled in, found {found:.90}"
                raise _BadRow("bad row", words)
            image, written = fields[image_at], None if split_at is None else fields[split_at]
            row_split = _choose_split(root, image, split, written, form)
            place = _find_image(root, path.parent, row_split or form.undivided or "", image, names)
            attributes = _read_attributes(fields, attributes_at)
        except _BadRow as bad:
            kind, words, *files = bad.args
            image = Path(fields[image_at].replace("\\", "/")[:_LONGEST]).name if len(fields) > image_at else ""
            if kind in (_WITHOUT_IMAGE, _OUTSIDE):
                if not missing and not found_any:
                    _refuse_swapped(root, path, header, (image_at, label_at), fields, names)
                missing += 1
                words += "" if (there := elsewhere.find(image)) is None else f"; there is {there}"
            report(
                "bad row" if kind == _OUTSIDE else kind, f"{path}, row {number}: {words}", *files, name=image or None
            )
        else:
            found_any = True
            # Once each, however many rows have them.
            image, place, written = intern(image), intern(place), intern(_read_label(path, fields[label_at], form))
            yield Entry(path, number, image, place, written, row_split, attributes or _NONE)


def check_columns(path: Path, form: DataForm) -> None:
    """Refuses a table whose columns cannot be told, by its first row alone.

    Raises:
        UserError: It is empty, or has no such columns.
    """
    _read_head(path, next(read_csv_rows(path, what=_WHAT), None), form)


def _read_head(
    path: Path, first: tuple[int, list[str]] | None, form: DataForm
) -> tuple[list[str], tuple[int, int, int | None], dict[str, int], bool]:
    """Reads the first row of a table.

    Returns:
        Its cells; the positions of the columns of images, labels and splits; those of attributes, by name; whether the
        row is a header.
    """
    if first is None:
        raise UserError(f"{printable(path)}: is empty; expected {_WHAT}")
    header = [name.strip() for name in first[1]]
    header = header[: len(header) - (not header[-1])]
    places, has_header = _find_columns(path, header, form)
    folded = [name.lower() for name in header] if has_header else []
    attributes_at = {name: at for at, name in enumerate(folded) if name in ATTRIBUTES and at not in places}
    if form.group_column is not None:
        at = _find_column(path, header if has_header else [], "group", form.group_column, ())
        attributes_at[PERSON] = -1 if at is None else at
    return header, places, attributes_at, has_header


def _refuse_swapped(
    root: Path, table: Path, header: Sequence[str], at: tuple[int, int], fields: Sequence[str], names: Names
) -> None:
    """Refuses a table in which the column of labels names the images; its first row shows it."""
    image_at, label_at = at
    try:
        _find_image(root, table.parent, "", fields[label_at], names)
    except _BadRow:
        return
    raise UserError(
        f"{printable(table)}: the column {header[label_at]!r:.60} holds the images, and {header[image_at]!r:.60} does "
        "not; say which is which with --image_column_name and --label_column_name"
    )


def _refuse_paths(classes: Collection[str], where: str) -> None:
    """Refuses labels that are names of images: another column is meant."""
    paths = [written for written in classes if written.lower().endswith(IMAGE_SUFFIXES)]
    if 2 * len(paths) > len(classes):
        raise UserError(
            f"{where}: the labels are names of images ({min(paths):.60}); name their column: --label_column_name"
        )


def _read_label(table: Path, written: str, form: DataForm) -> str:
    """Returns the label of a row; in RAF-DB's own files `4.0` is its code 4, elsewhere nothing says what it is."""
    code = form.labels.read_code(written) if table.name.casefold() in LABEL_FILES else None
    return written if code is None else str(code)


def _read_attributes(fields: Sequence[str], attributes_at: Mapping[str, int]) -> Mapping[str, str]:
    """Returns the groups of a row's person.

    Raises:
        _BadRow: One has a name that cannot be written in a line.
    """
    for name, at in attributes_at.items():
        if not is_plain(fields[at]):
            raise _BadRow("bad row", f"expected a name of a group in column {name!r}, found {fields[at]!r:.90}")
        if name == PERSON and not fields[at]:
            raise _BadRow("bad row", "the column of persons is empty; expected a person for every image")
    return {name: intern(fields[at]) for name, at in attributes_at.items()}


def _find_columns(path: Path, header: list[str], form: DataForm) -> tuple[tuple[int, int, int | None], bool]:
    """Returns the positions of image, label and split columns, and whether the first row is a header."""
    image = _find_column(path, header, "image", form.image_column, IMAGE_COLUMNS)
    label = _find_column(path, header, "label", form.label_column, LABEL_COLUMNS)
    if image is not None and label is not None:
        return (image, label, _find_column(path, header, "split", None, SPLIT_COLUMNS)), True
    if len(header) == 2:
        places = (os.path.join(path.parent, folder, header[0]) for folder in _FOLDERS)  # noqa: PTH118
        is_face = Path(header[0]).suffix or any(map(os.path.isfile, places))
        has_header = image is not None or label is not None or not is_face
        if image is None:
            image = 0 if label is None else 1 - label
        return (image, 1 - image, None), has_header
    if header[0].lower().startswith(("<!doctype", "<html")):
        raise UserError(f"{printable(path)}: is a web page, not the data; download it anew, signed in if need be")
    if "subdirectory_filepath" in map(str.lower, header):
        raise UserError(
            f"{printable(path)}: is a list of AffectNet's first release, which is not read; write its images and their "
            "classes as a CSV file of path, label and split"
        )
    if len(header) == 1:
        raise UserError(
            f"{printable(path)}: one column; expected image and label, separated by commas, semicolons or tabs"
        )
    hint = "" if image is None else "; where each class has a column, write one column with the class of each image"
    raise UserError(
        f"{printable(path)}: cannot tell which column is which ({list_columns(header)}); expected image and label: "
        f"name them with --image_column_name and --label_column_name{hint}"
    )


def list_columns(header: Sequence[str]) -> str:
    """Returns the names of a table's columns, as many as a message can hold."""
    return f"{', '.join(name[:40] for name in header[:12])}{' ...' if len(header) > 12 else ''}"


def _find_column(path: Path, header: list[str], kind: str, asked: str | None, usual: Sequence[str]) -> int | None:
    """Returns the position of the column asked for, else of the first that has a usual name; None without one."""
    if asked is not None and asked not in header:
        found, flag = list_columns(header), "--group_column" if kind == "group" else f"--{kind}_column_name"
        raise UserError(f"{flag} {asked}: no such column in {printable(path)}; it has {found or 'no header'}")
    if asked is not None:
        return header.index(asked)
    folded = [name.casefold() for name in header]
    return next((folded.index(name) for name in usual if name in folded), None)


def _choose_split(root: Path, image: str, of_file: str | None, written: str | None, form: DataForm) -> str | None:
    """Returns the split of a row: as its column `split` says, else its file, else the image's path.

    Where nothing says which it is, it is None if the form does without.

    Raises:
        _BadRow: Nothing says which split it is, and that is a fault; or two disagree.
    """
    of_row = find_split(written or "")
    if written is not None and of_row is None and of_file is None:
        raise _BadRow("bad row", f"expected train, val or test in column 'split', found {written!r:.90}")
    if of_file and of_row and of_row != of_file and (of_file, of_row) != ("train", "validation"):
        raise _BadRow("bad row", f"stands in the file of {of_file}, but its column 'split' says {written!r:.90}")
    split = of_row or of_file or _split_of_path(root, image)
    if split is None and form.undivided is None:
        raise _BadRow("bad row", f"{_phrase_undivided(image)}; or {TEST_SHARE}")
    return split


def _split_of_path(root: Path, image: str) -> str | None:
    parts = image.replace("\\", "/").removeprefix(f"{root.as_posix()}/").split("/")
    return next((split for part in parts[:-1] if (split := find_split(part))), None) or split_of_file(parts[-1])


def _find_image(root: Path, folder: Path, split: str, image: str, on_disk: Names) -> str:
    """Returns the path of an image as a table in `folder` names it.

    Raises:
        _BadRow: It is no image, or leads out of `root`.
    """
    if not is_plain(image):
        raise _BadRow("bad row", f"{image!r:.90} has {NOT_PLAIN}; rename the image, and mend the row")
    if len(image) > _LONGEST:
        raise _BadRow("bad row", f"expected the path of an image, found {image!r:.90}")
    places = _list_places(folder, split, image)
    first = next(places)
    if not (first.startswith(os.path.join(root, "")) or is_inside(root, first)):  # noqa: PTH118
        raise _BadRow(_OUTSIDE, f"{image!r:.90} leads out of {printable(root)}; expected a path in it")
    path = next((path for path in chain([first], places) if os.path.isfile(path)), None)
    path = path or next(filter(None, (on_disk.find(place) for place in _list_places(folder, split, image))), None)
    if path is None:
        beside = f", in {split}/" if split else ""
        words = f"no image {image!r:.90}; looked for beside the table{beside} and in images/"
        raise _BadRow(_WITHOUT_IMAGE, words, first)
    if not is_inside(root, path):
        words = f"{image!r:.90} leads out of {printable(root)}; copy what it points to into it"
        raise _BadRow(LINK_OUT, words, path)
    if not path.lower().endswith(IMAGE_SUFFIXES) and not is_image(path):
        words = f"{image!r:.90} is no image of a format that is read; convert it to JPEG or PNG, or take the row out"
        raise _BadRow(NO_IMAGE, words, path)
    return path


def _list_places(folder: Path, split: str, image: str) -> Iterator[str]:
    """Yields where an image may lie that a table in `folder` names."""
    names = dict.fromkeys((image, image.replace("\\", "/"), image.strip()))
    bases = (str(folder), os.path.join(folder, split), os.path.join(folder, "images"))  # noqa: PTH118 (see below)
    # Path is slow for a million rows.
    yield from (os.path.abspath(os.path.join(base, name)) for name in names for base in bases)  # noqa: PTH100, PTH118
