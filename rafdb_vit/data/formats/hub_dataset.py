"""Loads a `datasets` data set of labelled faces, on the Hub or on disk."""

import operator
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, DatasetDict, Image, Value
from datasets.config import HF_DATASETS_CACHE
from huggingface_hub.constants import HF_HUB_CACHE

from rafdb_vit.data.attributes import is_attribute
from rafdb_vit.data.files import Names, describe_no_images, may_be_image, walk_files
from rafdb_vit.data.findings import printable
from rafdb_vit.data.form import DEFAULT_FORM, DataForm
from rafdb_vit.data.formats.csv_table import IMAGE_COLUMNS, LABEL_COLUMNS, list_columns
from rafdb_vit.data.formats.dataset_division import divide_dataset
from rafdb_vit.data.formats.named_dataset import find_folder, is_description, open_named
from rafdb_vit.data.found import PERSON, FoundData, Layout, name_face
from rafdb_vit.data.labels import describe_codes, match_classes, resolve_classes
from rafdb_vit.data.names import resembles_rafdb
from rafdb_vit.data.splits import split_of_file
from rafdb_vit.runtime.disk import is_inside
from rafdb_vit.runtime.errors import NOT_PLAIN, UserError, is_plain

_STORED_IMAGE = "image as it was stored"
_MOST_TEXTS = 20
"""Columns of text in which the names of RAF-DB's files are looked for."""


def find_named_splits(name: str, form: DataForm = DEFAULT_FORM) -> FoundData[Dataset]:
    """Loads a data set by its name on the Hub, or its folder, and gives its columns our names.

    A data set of a single split is divided as RAF-DB's file names say (`train_00001.jpg`, `test_0001.jpg`).

    The name is `USER/NAME` on the Hub, a folder that `save_to_disk` wrote, or one that `load_dataset` reads. Where the
    form does not need train, a single split is what is held out.

    Raises:
        UserError: It cannot be loaded, or columns, classes or splits cannot be told.
    """
    if not form.aligned:
        words = f"--dataset_name {name} is a data set, and only the official release has boxes; leave it out"
        raise UserError(f"--aligned False: {words}")
    where = f"--dataset_name {name}"
    loaded, image, label = _open_columns(name, form)
    paths = {split: _read_paths(name, split, dataset, image) for split, dataset in loaded.items()}
    stored = [path for of_split in paths.values() for path in of_split if path and path.startswith(os.sep)]
    _refuse_repeated(where, stored)
    for split, dataset in loaded.items():
        _check_groups(name, split, dataset, label)
    written = {split: _read_classes(name, split, dataset, label) for split, dataset in loaded.items()}
    classes = sorted({value for values in written.values() for value in values})
    labels = resolve_classes(classes, form.labels, where=where)
    ids = match_classes(classes, labels, where=where)
    named = DatasetDict()
    for split, dataset in loaded.items():
        faces = _set_paths(_select_columns(dataset, image, label), paths[split])
        of_class = [ids[value] for value in written[split]]
        faces = faces.add_column("label", of_class, feature=ClassLabel(names=labels.names))
        files = _name_faces(name, split, dataset, paths[split])
        faces = faces.add_column("file", files, feature=Value("string"))
        if form.group_column is not None:
            persons = _read_persons(name, split, dataset, form.group_column)
            faces = faces.add_column(PERSON, persons, feature=Value("string"))
        named[split] = faces.cast_column("image", Image(mode="RGB"))
    splits, sources = divide_dataset(where, named, form.needed, labels)
    names = {split: dataset["file"][:] for split, dataset in splits.items()}
    _refuse_repeated(where, [file for files in names.values() for file in files])
    _refuse_shared(where, loaded, image)
    folder = find_folder(name)
    layout = Layout.HUB if folder is None else Layout.ON_DISK
    notes = () if resembles_rafdb(layout, labels, names) else describe_codes(classes, labels)
    unread = _describe_unread(folder, stored)
    return FoundData(layout, folder, labels, splits, sources, passed_over=unread, notes=notes)


def _describe_unread(folder: Path | None, stored: Sequence[str]) -> str:
    """Says which files of a folder are in no row of its data set, where rows name files: images, and what is none.

    Of the latter those that lie among images; files that describe the data set lie there too.
    """
    if folder is None or not stored:
        return ""
    named, places = {os.path.realpath(path) for path in stored}, {os.path.dirname(path) for path in stored}  # noqa: PTH120
    unread = [path for path in walk_files(folder) if os.path.realpath(path) not in named]
    images = [path for path in unread if may_be_image(path)]
    others = set(unread) - set(images)
    others = {path for path in others if os.path.dirname(path) in places and not is_description(path)}  # noqa: PTH120
    notes = [f"{len(images):,} of its images are in no row, {printable(images[0])} first"] if images else []
    return "; ".join([*notes, *filter(None, [describe_no_images(len(others), min(others, default=""))])])


def _set_paths(faces: Dataset, paths: Sequence[str | None]) -> Dataset:
    """Returns a split whose images are found under the names that they have on the disk; see `_read_paths`."""
    stored = faces.select_columns(["image"]).with_format("arrow").iter(1000)
    written = (path for table in stored for path in table.column("image").combine_chunks().field("path").to_pylist())
    if all(map(operator.eq, written, paths)):
        return faces
    # Only of rows without the bytes of an image is the path changed.
    images = [{"bytes": None, "path": path} for path in paths]
    renamed = faces.rename_column("image", _STORED_IMAGE).add_column("image", images, feature=Image())
    return renamed.remove_columns(_STORED_IMAGE)


def _open_columns(name: str, form: DataForm) -> tuple[DatasetDict, str, str]:
    """Opens a data set, and returns the columns of it that are read, and which are those of images and labels.

    Raises:
        UserError: They cannot be told, or hold something else.
    """
    where = f"--dataset_name {name}"
    loaded = open_named(name)
    first = next(iter(loaded.values()))
    image = _find_column(name, first, "image", form.image_column)
    label = _find_column(name, first, "label", form.label_column)
    if form.group_column is not None and form.group_column not in first.features:
        listed = list_columns(list(first.features))
        raise UserError(f"--group_column {form.group_column}: no such column in {name}; it has {listed}")
    needed = [image, label] if form.group_column is None else [image, label, form.group_column]
    missing = [column for split in loaded.values() for column in needed if column not in split.features]
    if missing:
        raise UserError(f"{where}: not every split has the column {missing[0]}; expected the same columns in all")
    for split, dataset in loaded.items():
        if not isinstance(dataset.features[image], Image):
            raise UserError(f"{where}: column {image} of {split} holds no images; expected them in every split")
        _check_label_type(label, dataset.features[label])
    kept = {split: _keep_columns(dataset, needed) for split, dataset in loaded.items()}
    return DatasetDict(kept), image, label


def _refuse_repeated(where: str, files: Sequence[str]) -> None:
    """Refuses a face that is listed twice, in one split or in two."""
    if repeated := [file for file, count in Counter(files).items() if count > 1]:
        raise UserError(f"{where}: {printable(repeated[0])} is there twice; expected each face once in the data")


def _refuse_shared(where: str, loaded: DatasetDict, image: str) -> None:
    """Refuses two splits that are the same, or share most of the images that stand in them."""
    stored = {split: _hash_images(dataset, image) for split, dataset in loaded.items()}
    for (split, images), (other, others) in combinations(stored.items(), 2):
        fewer = min(len(images), len(others))
        if fewer and 2 * len(images & others) > fewer:
            words = f"{len(images & others):,} images of {split} stand in {other} too"
            raise UserError(f"{where}: {words}; expected each face once in the data")


def _hash_images(dataset: Dataset, image: str) -> set[int]:
    """Returns a number for each image whose bytes stand in a split; other images are files, told by their paths."""
    hashes: set[int] = set()
    for table in dataset.select_columns([image]).with_format("arrow").iter(100):
        contents = table.column(image).combine_chunks().field("bytes")
        hashes.update(hash(content.as_buffer().to_pybytes()) for content in contents if content.is_valid)
    return hashes


def _check_label_type(column: str, feature: object) -> None:
    """Refuses labels that are not text, numbers or classes, before one is read: `datasets` would decode a picture."""
    if not _is_plain(feature) and not isinstance(feature, ClassLabel):
        raise UserError(f"--label_column_name {column}: expected names or codes of classes, found {feature!s:.200}")


def _keep_columns(dataset: Dataset, needed: Sequence[str]) -> Dataset:
    """Returns a split with the columns that are read: those that are needed, text and people's groups."""
    columns = dataset.features
    kept = [name for name, feature in columns.items() if _is_text(feature) or is_attribute(name, feature)]
    return dataset.select_columns(list(dict.fromkeys((*needed, *kept))))


def _is_plain(feature: object) -> bool:
    return isinstance(feature, Value) and bool(re.fullmatch(r"(large_)?string|u?int\d+|bool", feature.dtype))


def _is_text(feature: object) -> bool:
    return isinstance(feature, Value) and feature.dtype in ("string", "large_string")


def _read_stored(dataset: Dataset, column: str) -> list[Any]:
    """Returns a column as it is stored; `dataset[column]` would decode it, and open files for that."""
    return dataset.select_columns([column]).with_format("arrow")[:].column(column).to_pylist()


def _select_columns(dataset: Dataset, image: str, label: str) -> Dataset:
    """Returns a split with the column `image`, and people's groups where it has them, by our names."""
    own = {name.strip().lower(): name for name, feature in dataset.features.items() if is_attribute(name, feature)}
    renamed = {"image": image, **{attribute: name for attribute, name in own.items() if name != label}}
    faces = dataset.select_columns(list(renamed.values()))
    return faces.rename_columns({name: ours for ours, name in renamed.items() if name != ours})


def _find_column(name: str, dataset: Dataset, kind: str, asked: str | None) -> str:
    columns = dataset.features
    if asked is not None:
        found = [column for column in columns if column == asked]
    elif kind == "image":
        found = [column for column, feature in columns.items() if isinstance(feature, Image)]
        found = [column for column in found if column.lower() in IMAGE_COLUMNS] or found
    else:
        found = [column for column in columns if column.lower() in LABEL_COLUMNS]
        found = found or [column for column, feature in columns.items() if isinstance(feature, ClassLabel)]
    if asked is None and not found:
        _explain_missing(name, kind, columns)
    if len(found) != 1 or (kind == "image" and not isinstance(columns[found[0]], Image)):
        flag = f"--{kind}_column_name {asked}" if asked else f"--{kind}_column_name"
        expected = "a column of images" if kind == "image" else "a column of labels"
        listed = list_columns([f"{column} ({type(feature).__name__})" for column, feature in columns.items()])
        raise UserError(f"{flag}: expected {expected} of {name}, which has {listed}")
    return found[0]


def _refuse_unlabelled(name: str) -> NoReturn:
    raise UserError(
        f"--dataset_name {name}: nothing says which of its images is of which class; expected folders of classes in "
        "those of the splits (train/happy/...), a metadata.csv with the columns file_name and label in each of these, "
        "or a CSV file of path and label"
    )


def _explain_missing(name: str, kind: str, columns: Mapping[str, object]) -> None:
    """Refuses data sets that lack a column in one of the ways in which people's do, and says how it is mended."""
    if kind == "label" and len(columns) == 1:
        _refuse_unlabelled(name)
    if kind == "image" and any(column.lower() in IMAGE_COLUMNS for column in columns):
        raise UserError(
            f"--dataset_name {name}: holds no images, only names of them ({list_columns(list(columns))}); write these "
            "as a CSV file of path and label beside the images, and give that to --data_dir"
        )


def _read_classes(name: str, split: str, dataset: Dataset, column: str) -> list[str]:
    """Returns the class of every face as the data set writes it."""
    feature = dataset.features[column]
    if isinstance(feature, ClassLabel):
        ids = _read_ids(name, split, dataset, column)
        if set(ids) == {None}:
            _refuse_unlabelled(name)  # `datasets` takes the splits for classes, and gives none to any image
        _refuse_first(name, split, column, [None if label is None or label < 0 else label for label in ids])
        return [feature.names[label] for label in ids]
    values = _read_stored(dataset, column)
    _refuse_first(name, split, column, [value if str(value).strip() else None for value in values])
    return [str(value) for value in values]


def _read_persons(name: str, split: str, dataset: Dataset, column: str) -> list[str]:
    """Returns the person of every face, from a column of text, whole numbers or classes."""
    feature = dataset.features[column]
    if not isinstance(feature, ClassLabel) and not _is_plain(feature):
        raise UserError(f"--group_column {column}: expected names or numbers of persons, found {feature!s:.200}")
    values = _read_ids(name, split, dataset, column) if isinstance(feature, ClassLabel) else None
    values = _read_stored(dataset, column) if values is None else values
    empty = next((row for row, value in enumerate(values) if value is None or not str(value).strip()), None)
    if empty is not None:
        words = f"row {empty} of {split} has no person in column {column}; expected one for every face"
        raise UserError(f"--dataset_name {name}: {words}")
    return [str(value).strip() for value in values]


def _refuse_first(name: str, split: str, column: str, values: Sequence[object]) -> None:
    row = next((row for row, value in enumerate(values) if value is None), None)
    if row is not None:
        words = f"row {row} of {split} has no label in column {column}; expected one for every face"
        raise UserError(f"--dataset_name {name}: {words}")


def _read_ids(name: str, split: str, dataset: Dataset, column: str) -> list[int | None]:
    """Returns the ids of a column of classes as they are stored: nothing but this checks them.

    Raises:
        UserError: One is not the id of a class.
    """
    names = dataset.features[column].names
    ids: list[int | None] = _read_stored(dataset, column)
    for row, label in enumerate(ids):
        if label is not None and label >= len(names):
            words = f"row {row} of {split} has {label} in column {column}, which has {len(names)} classes, from 0"
            raise UserError(f"--dataset_name {name}: {words}; expected the number of one")
    return ids


def _check_groups(name: str, split: str, dataset: Dataset, label: str) -> None:
    """Checks the columns that name groups of people, which are read at the end of a run."""
    for column, feature in dataset.features.items():
        if column == label or not is_attribute(column, feature):
            continue
        if isinstance(feature, ClassLabel):
            _read_ids(name, split, dataset, column)
        values = feature.names if isinstance(feature, ClassLabel) else set(_read_stored(dataset, column))
        _refuse_unprintable(name, f"column {column} of {split}", values)


def _refuse_unprintable(name: str, place: str, values: Iterable[str | None]) -> None:
    odd = next((value for value in values if value and not is_plain(value)), None)
    if odd is not None:
        raise UserError(f"--dataset_name {name}: {place} has the name {odd!r:.90}, with {NOT_PLAIN}; rename it")


def _read_paths(name: str, split: str, dataset: Dataset, image: str) -> list[str | None]:
    """Returns the path of each image as the data set has it; of a file as the disk does, accents and all.

    Raises:
        UserError: A row has no image, or one that is a file elsewhere than in the data set or the Hub's cache.
    """
    roots = [find_folder(name) or Path(name), Path(HF_DATASETS_CACHE), Path(HF_HUB_CACHE)]
    paths: list[str | None] = []
    on_disk = Names(roots[0])
    for table in dataset.select_columns([image]).with_format("arrow").iter(1000):
        storage = table.column(image).combine_chunks()
        holds = pc.greater(pc.binary_length(storage.field("bytes")), 0).to_pylist()  # of none: None
        for held, path in zip(holds, storage.field("path").to_pylist(), strict=True):
            row = f"row {len(paths)} of {split}"
            if not held and not path:
                raise UserError(f"--dataset_name {name}: {row} has no image; expected one for every label")
            if not held and not os.path.isfile(path):
                path = on_disk.find(path) or path  # noqa: PLW2901
            if not held and not (os.path.isfile(path) and any(is_inside(root, path) for root in roots)):
                raise UserError(
                    f"--dataset_name {name}: the image of {row} is {path}, no file in the data set; give the folder in "
                    "which its images lie, or save the data set with its images in it"
                )
            paths.append(path)
    return paths


def _name_faces(name: str, split: str, dataset: Dataset, paths: list[str | None]) -> list[str]:
    files = _choose_names(dataset, paths, split)
    _refuse_unprintable(name, split, files)
    return files


def _choose_names(dataset: Dataset, paths: list[str | None], split: str) -> list[str]:
    """Returns a name for each face: the file's, from the image column or from another; else split and number."""
    texts = [name for name, feature in dataset.features.items() if _is_text(feature)]
    for column in ([paths], *(_iterate(dataset, name) for name in texts[:_MOST_TEXTS])):
        if names := _read_official_names(column):
            return names
    stems = [name_face(_file_name(path)) for path in paths]
    if len({*stems, ""}) == len(stems) + 1:
        return [f"{split}/{stem}" for stem in stems]
    return [f"{split}/{number:06d}" for number in range(len(dataset))]


def _iterate(dataset: Dataset, column: str) -> Iterator[list[str | None]]:
    for table in dataset.select_columns([column]).with_format("arrow").iter(1000):
        yield table.column(column).to_pylist()


def _read_official_names(column: Iterable[list[str | None]]) -> list[str]:
    """Returns the names of faces where all values of a column are names of RAF-DB's files, else none."""
    faces: list[str] = []
    for values in column:
        names = [_file_name(value) for value in values]
        if not all(map(split_of_file, names)):
            return []
        faces += map(name_face, names)
    return faces


def _file_name(path: str | None) -> str:
    return PurePosixPath(path.replace("\\", "/")).name if path else ""
