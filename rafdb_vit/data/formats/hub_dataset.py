"""Loads a `datasets` data set of labelled faces, on the Hub or on disk."""

import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from datasets import ClassLabel, Dataset, DatasetDict, Image, Value, load_dataset, load_from_disk
from datasets.config import HF_DATASETS_CACHE
from huggingface_hub.constants import HF_HUB_CACHE

from rafdb_vit.data.annotations import is_attribute
from rafdb_vit.data.files import is_inside
from rafdb_vit.data.findings import printable
from rafdb_vit.data.form import DEFAULT_FORM, DataForm
from rafdb_vit.data.formats.csv_table import IMAGE_COLUMNS, LABEL_COLUMNS
from rafdb_vit.data.found import ORDER, SPLITS, FoundData, Layout, name_face
from rafdb_vit.data.labels import match_classes, resolve_classes
from rafdb_vit.data.splits import find_split, is_misplaced, split_of_file, validation_as_test
from rafdb_vit.runtime.errors import UserError


def find_named_splits(name: str, form: DataForm = DEFAULT_FORM) -> FoundData[Dataset]:
    """Loads a data set by its name on the Hub, or its folder, and gives its columns our names.

    A data set of a single split is divided as RAF-DB's file names say (`train_00001.jpg`, `test_0001.jpg`).

    The name is `USER/NAME` on the Hub, a folder that `save_to_disk` wrote, or one that `load_dataset` reads. Where the
    form does not need train, a single split is what is held out.

    Raises:
        UserError: It cannot be loaded, or columns, classes or splits cannot be told.
    """
    if not form.aligned:
        raise UserError("--aligned False: only the official release has boxes; with --dataset_name leave it out")
    where = f"--dataset_name {name}"
    loaded = _load(name)
    first = next(iter(loaded.values()))
    image = _find_column(name, first, "image", form.image_column)
    label = _find_column(name, first, "label", form.label_column)
    missing = [column for split in loaded.values() for column in (image, label) if column not in split.features]
    if missing:
        raise UserError(f"{where}: not every split has the column {missing[0]}; expected the same columns in all")
    paths = {split: _read_paths(name, split, dataset, image) for split, dataset in loaded.items()}
    written = {split: _read_classes(where, dataset, label) for split, dataset in loaded.items()}
    every = sorted({value for values in written.values() for value in values})
    labels = resolve_classes(every, form.labels, where=where)
    ids = match_classes(every, labels, where=where)
    named = DatasetDict()
    for split, dataset in loaded.items():
        files = _choose_names(dataset, paths[split], split)
        faces = _select_columns(dataset, image, label)
        faces = faces.add_column(
            "label", [ids[value] for value in written[split]], feature=ClassLabel(names=labels.names)
        )
        faces = faces.add_column("file", files, feature=Value("string"))
        named[split] = faces.cast_column("image", Image(mode="RGB"))
    splits, sources = _divide(where, named, form.needed)
    times = Counter(file for dataset in splits.values() for file in dataset["file"])
    if repeated := [file for file, count in times.items() if count > 1]:
        raise UserError(f"{where}: {repeated[0]} is there twice; expected each face once in the data")
    on_disk = os.path.exists(os.path.expanduser(name))  # noqa: PTH110, PTH111
    return FoundData(Layout.ON_DISK if on_disk else Layout.HUB, None, labels, splits, sources)


def _select_columns(dataset: Dataset, image: str, label: str) -> Dataset:
    """Returns a split with the column `image`, and people's groups where it has them, by our names."""
    own = {name.strip().lower(): name for name, feature in dataset.features.items() if is_attribute(name, feature)}
    renamed = {"image": image, **{attribute: name for attribute, name in own.items() if name != label}}
    faces = dataset.select_columns(list(renamed.values()))
    return faces.rename_columns({name: ours for ours, name in renamed.items() if name != ours})


def _load(name: str) -> DatasetDict:
    try:
        path = Path(name).expanduser()
        if "/" not in name and not path.exists():
            raise ValueError("no such folder")  # load_dataset takes `json` or `imagefolder` for the current one
        if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
            loaded = load_from_disk(str(path))
        else:
            loaded = load_dataset(str(path) if path.is_dir() else name)
    except Exception as error:  # of this one call: damaged files end in errors of every library that reads them
        reason = " ".join(f"{error} {error.__cause__ or ''}".split())
        raise UserError(
            f"--dataset_name {name}: cannot be loaded ({reason:.300}); expected USER/NAME of a data set on the Hub, or "
            "a folder that save_to_disk wrote"
        ) from error
    if isinstance(loaded, Dataset):
        return DatasetDict(train=loaded)
    if not isinstance(loaded, DatasetDict) or not loaded:
        raise UserError(f"--dataset_name {name}: holds no split; expected labelled faces")
    for split, dataset in loaded.items():
        if not len(dataset):
            raise UserError(f"--dataset_name {name}: the split {split} is empty; expected labelled faces")
    return loaded


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
    if len(found) != 1 or (kind == "image" and not isinstance(columns[found[0]], Image)):
        flag = f"--{kind}_column_name {asked}" if asked else f"--{kind}_column_name"
        expected = "a column of images" if kind == "image" else "a column of labels"
        listed = ", ".join(f"{column} ({type(feature).__name__})" for column, feature in columns.items())
        raise UserError(f"{flag}: expected {expected} of {name}, which has {listed}")
    return found[0]


def _read_classes(where: str, dataset: Dataset, column: str) -> list[str]:
    """Returns the class of every face as the data set writes it."""
    feature, values = dataset.features[column], list(dataset[column])
    coded = isinstance(feature, ClassLabel)
    if any(value is None or not str(value).strip() or (coded and value < 0) for value in values):
        raise UserError(f"{where}: a face has no label in column {column}; expected one for every face")
    if isinstance(feature, ClassLabel):
        return [feature.names[value] for value in values]
    if not isinstance(feature, Value) or not all(isinstance(value, str | int) for value in values):
        raise UserError(f"--label_column_name {column}: expected names or codes of classes, found {feature}")
    return [str(value) for value in values]


def _read_paths(name: str, split: str, dataset: Dataset, image: str) -> list[str | None]:
    """Returns the path of each image as the data set has it.

    Raises:
        UserError: A row has no image, or one that is a file elsewhere than in the data set or the Hub's cache.
    """
    roots = [Path(os.path.expanduser(name)), Path(HF_DATASETS_CACHE), Path(HF_HUB_CACHE)]  # noqa: PTH111
    paths: list[str | None] = []
    for table in dataset.select_columns([image]).with_format("arrow").iter(1000):
        storage = table.column(image).combine_chunks()
        holds = storage.field("bytes").is_valid().to_pylist()
        for held, path in zip(holds, storage.field("path").to_pylist(), strict=True):
            row = f"row {len(paths)} of {split}"
            if not held and not path:
                raise UserError(f"--dataset_name {name}: {row} has no image; expected one for every label")
            if not held and not (os.path.isfile(path) and any(is_inside(root, path) for root in roots)):
                raise UserError(
                    f"--dataset_name {name}: the image of {row} is {path}, no file in the data set; save the data set "
                    "with its images in it"
                )
            paths.append(path)
    return paths


def _choose_names(dataset: Dataset, paths: list[str | None], split: str) -> list[str]:
    """Returns a name for each face: the file's, from the image column or from another; else split and number."""
    candidates = [paths]
    for name, feature in dataset.features.items():
        if isinstance(feature, Value) and feature.dtype in ("string", "large_string"):
            candidates.append(list(dataset[name]))
    for values in candidates:
        names = [_file_name(value) for value in values]
        if all(map(split_of_file, names)):
            return [name_face(name) for name in names]
    stems = [name_face(_file_name(path)) for path in paths]
    if len({*stems, ""}) == len(stems) + 1:
        return [f"{split}/{stem}" for stem in stems]
    return [f"{split}/{number:06d}" for number in range(len(dataset))]


def _file_name(path: str | None) -> str:
    return PurePosixPath(path.replace("\\", "/")).name if path else ""


def _divide(where: str, loaded: DatasetDict, needed: Collection[str]) -> tuple[DatasetDict, dict[str, str]]:
    """Returns train, test and perhaps validation, and what each is called in the data."""
    if len(loaded) == 1:
        return _divide_single(where, loaded, needed)
    found, names = {}, {}
    for name, dataset in loaded.items():
        split = find_split(name)
        if split is None or split in found:
            listed = ", ".join(loaded)
            raise UserError(f"{where}: has the splits {listed}; expected train, test and perhaps validation")
        found[split], names[split] = dataset, name
    found, names = validation_as_test(found), validation_as_test(names)
    if not set(needed) <= set(found):
        raise UserError(f"{where}: has the splits {', '.join(loaded)}; expected {' and '.join(needed)}")
    splits = DatasetDict({split: found[split] for split in ORDER if split in found})
    for split, dataset in splits.items():
        wrong = next((file for file in dataset["file"] if is_misplaced(file, split, splits)), None)
        if wrong is not None:
            raise UserError(f"{where}: {printable(wrong)} of another split stands in {names[split]}; expected none")
    return splits, names


def _divide_single(where: str, loaded: DatasetDict, needed: Collection[str]) -> tuple[DatasetDict, dict[str, str]]:
    """Divides a single split by its files' names, unless what is needed is held out anyway."""
    ((name, dataset),) = loaded.items()
    official = [split_of_file(file) for file in dataset["file"]]
    if set(official) == {"train", "test"}:
        rows = {split: [i for i, own in enumerate(official) if own == split] for split in SPLITS}
        splits = DatasetDict({split: dataset.select(chosen) for split, chosen in rows.items()})
        return splits, dict.fromkeys(SPLITS, f"{name}, divided by file names")
    if "train" not in needed:
        return DatasetDict(test=dataset), {"test": name}
    raise UserError(
        f"{where}: has a single split ({name}), and file names do not say which faces are RAF-DB's test split; "
        "expected the splits train and test, or names like train_00001.jpg and test_0001.jpg"
    )
