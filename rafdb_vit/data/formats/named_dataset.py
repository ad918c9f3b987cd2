"""Opens a `datasets` data set by its name, on the Hub or on disk; what it says of itself leads to no other files.

`datasets` (5.2) runs no code of a data set: it refuses scripts, and reads no pickles. But it follows paths that a data
set's own files name, to anywhere on this machine and on the network.
"""

import glob
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import datasets.config
import datasets.data_files
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, DatasetBuilder, DatasetDict, Features, load_dataset_builder, load_from_disk
from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder
from huggingface_hub import snapshot_download

from rafdb_vit.data.files import (
    IMAGE_SUFFIXES,
    OTHER_SUFFIXES,
    find_root,
    is_system_name,
    list_folders,
    walk_files,
)
from rafdb_vit.data.formats.dataset_card import CARD, OLD_INFO, SETTINGS, check_card, check_features
from rafdb_vit.data.formats.metadata_files import METADATA_FILES, find_metadata
from rafdb_vit.data.formats.saved_dataset import INFO_FILE, SPLITS_FILE, STATE_FILE, is_saved
from rafdb_vit.data.formats.stored_files import SUFFIXES, Extent, check_arrow, check_table_file
from rafdb_vit.data.labels import BASIC, fold_name
from rafdb_vit.runtime.caches import naming_caches
from rafdb_vit.runtime.disk import is_inside, parse_json, read_text
from rafdb_vit.runtime.errors import UserError, shorten

"""What `save_to_disk` writes: the names of the splits; in the folder of each its data files, and its columns."""

_MOST_INFO = 2**20
"""Bytes of one of them."""
_REPOSITORY = "datasets--"
"""Begins the name of a data set's folder in the Hub's cache."""
_MOST_REVISION = 1_000
_PART = re.compile(r"(.*-)(\d{5})-of-(\d{5})(\.\w+)")
"""The path of one of the files of a table."""


def open_named(name: str) -> DatasetDict:
    """Opens a data set: `USER/NAME` on the Hub, a folder that `save_to_disk` wrote, or one that `load_dataset` reads.

    Raises:
        UserError: It cannot be loaded, names files outside itself, or has no split or an empty one.
    """
    where = f"--dataset_name {name}"
    try:
        with naming_caches():
            loaded = _load(name)
    except UserError:
        raise
    except Exception as error:  # of this one call: damaged files end in errors of every library that reads them
        reason = " ".join(f"{error} {error.__cause__ or ''}".split())
        raise UserError(
            f"{where}: cannot be loaded ({reason:.300}); expected USER/NAME of a data set on the Hub, or a folder that "
            "save_to_disk wrote, of images or tables: unpack archives"
        ) from error
    if isinstance(loaded, Dataset):
        loaded = DatasetDict(train=loaded)
    if not isinstance(loaded, DatasetDict) or not loaded:
        raise UserError(f"{where}: holds no split; expected labelled faces")
    for split, dataset in loaded.items():
        if not len(dataset):
            raise UserError(f"{where}: the split {split} is empty; expected labelled faces")
    return loaded.with_format(None)


def is_description(path: str) -> bool:
    """Tells by its name whether a file describes a data set, and is none of its images."""
    name = os.path.basename(path)  # noqa: PTH119
    return name in (CARD, OLD_INFO, INFO_FILE, STATE_FILE, SPLITS_FILE, *METADATA_FILES)


def find_folder(name: str) -> Path | None:
    """Returns the folder of a data set on disk; None where its name is none, and is looked for on the Hub.

    Raises:
        UserError: It begins with `~`, and there is no such user.
    """
    folder = find_root(name, flag="--dataset_name ")
    if os.path.isfile(folder):
        raise UserError(f"--dataset_name {name}: is a file; expected the folder that holds the data set")
    return folder if os.path.isdir(folder) else None


def _load(name: str) -> Dataset | DatasetDict:
    folder = find_folder(name)
    folder, root = _enter_cache(name, _download(name) if folder is None else folder)
    extent = Extent()
    if is_saved(folder):
        files = [*_list_saved_files(folder)]
        _refuse_missing_parts(name, [str(path) for path, is_table in files if is_table])
        for path, is_table in files:
            _check_saved(name, root, path)
            if is_table:
                check_arrow(path, extent)
        loaded = load_from_disk(str(folder))
        for path in (path for path, is_table in files if is_table):
            of_split = loaded[path.parent.name] if isinstance(loaded, DatasetDict) else loaded
            _check_classes(name, path, of_split.features)
        return loaded
    check_card(f"--dataset_name {name}", folder, root)
    builder = _make_builder(folder)
    by_split = builder.config.data_files or {}
    every = [Path(file) for files in by_split.values() for file in files]
    if isinstance(builder, ImageFolder):
        _refuse_unread_metadata(name, folder, every)
    for path in every:
        _check_source(name, root, str(path))
        _check_content(name, path, extent)
    _refuse_missing_parts(name, [str(path) for path in every if path.suffix.lower() in SUFFIXES])
    built = _build(_make_builder(folder, cache_dir=_choose_cache(folder, every)))
    for path in every:
        if path.suffix.lower() in (".parquet", ".arrow"):
            _check_classes(name, path, next(iter(built.values())).features)
    return built


def _enter_cache(name: str, folder: Path) -> tuple[Path, Path]:
    """Returns where the files of a data set lie, and the folder out of which none of them may lead.

    They lie in the folder itself, or in one within it: a single one that `save_to_disk` wrote, a revision of a
    repository in the Hub's cache, or what `datasets` wrote into its own cache.

    Raises:
        UserError: It is a cache of several data sets or revisions.
    """
    repository = next((place for place in (folder, *folder.parents[1:2]) if place.name.startswith(_REPOSITORY)), None)
    if repository == folder:
        folder = _choose_revision(name, folder)
    if repository is not None:
        return folder, repository  # the files of a revision are links to others in the repository's folder
    if is_saved(folder):
        return folder, folder
    saved = [place for place in list_folders(folder) if is_saved(place)]
    if len(saved) == 1:
        return saved[0], folder
    files = [*walk_files(folder)]
    prepared = [os.path.dirname(path) for path in files if os.path.basename(path) == INFO_FILE]  # noqa: PTH119, PTH120
    if len(prepared) > 1 and not saved:
        listed = ", ".join(os.path.relpath(place, folder) for place in prepared[:3])
        raise UserError(f"--dataset_name {name}: holds {len(prepared)} data sets ({listed}); give the folder of one")
    tables = [path for path in files if path.lower().endswith(SUFFIXES)]
    is_cache = len(prepared) == 1 and all(path.startswith(os.path.join(prepared[0], "")) for path in tables)  # noqa: PTH118
    return (Path(prepared[0]) if is_cache and not saved else folder), folder


def _choose_revision(name: str, repository: Path) -> Path:
    """Returns the revision of a repository in the Hub's cache that is its newest, or the only one."""
    revisions = list_folders(repository / "snapshots") if (repository / "snapshots").is_dir() else []
    head = repository / "refs" / "main"
    newest = read_text(head, most=_MOST_REVISION).strip() if head.is_file() else None
    chosen = [place for place in revisions if place.name == newest] or revisions
    if len(chosen) != 1:
        words = (
            f"holds {len(revisions)} revisions of a data set; expected one: download it anew, or give the folder of one"
        )
        raise UserError(f"--dataset_name {name}: {words}")
    return chosen[0]


def _make_builder(folder: Path, cache_dir: str | None = None) -> DatasetBuilder:
    """Returns what reads a folder, without the files that systems put there for themselves."""
    builder = load_dataset_builder(str(folder), cache_dir=cache_dir)
    by_split = builder.config.data_files or {}
    if not any(_is_of_system(folder, file) for files in by_split.values() for file in files):
        return builder
    for files in by_split.values():
        files[:] = [file for file in files if not _is_of_system(folder, file)]
    if all(by_split.values()) and any((folder / card).is_file() for card in (CARD, SETTINGS)):
        return builder  # a card may say which files are which split
    return load_dataset_builder(str(folder), data_files=_list_data_files(folder), cache_dir=cache_dir)


def _is_of_system(folder: Path, file: str) -> bool:
    return any(map(is_system_name, Path(os.path.relpath(file, folder)).parts))


def _list_data_files(folder: Path) -> dict[str, list[str]]:
    """Returns the data files of a folder by split, as `datasets` finds them where systems leave nothing.

    In its own way (5.2) it would take a folder `#recycle/old/train` for the split, and the kind of the files in
    `@eaDir` for that of the data.
    """

    def resolve(pattern: str) -> list[str]:
        """Returns the files that a pattern matches, as `datasets` asks for them."""
        try:
            found = datasets.data_files.resolve_pattern(pattern, str(folder))
        except FileNotFoundError:  # nothing matches
            return []
        return [file for file in found if not _is_of_system(folder, file)]

    patterns = datasets.data_files._get_data_files_patterns(resolve)
    return {
        str(split): [glob.escape(file) for file in dict.fromkeys(chain.from_iterable(map(resolve, of_split)))]
        for split, of_split in patterns.items()
    }


def _refuse_unread_metadata(name: str, folder: Path, files: Sequence[Path]) -> None:
    """Refuses a folder of images of which no metadata file is read: `datasets` (5.2) reads none above the splits."""
    found = [*find_metadata(folder)]
    if found and not any(path in files for path in found):
        words = f"{found[0]} is not read, since it lies above the folders of the splits; put one into each of these"
        is_table = found[0].suffix == ".csv"
        other = f"give --data_dir {found[0]}" if is_table else "write a CSV file of path and label"
        raise UserError(f"--dataset_name {name}: {words}, or {other}")


def _choose_cache(folder: Path, files: Iterable[Path]) -> str:
    """Returns a folder of `datasets`' cache for a data set as it is now: its cards, and the time of each file.

    By itself, `datasets` (5.2) takes what it has once read from a folder of this name, wherever that lay and whatever
    it held, where a card says which files are which split.
    """
    cards = [path for name in (CARD, SETTINGS, OLD_INFO) if (path := folder / name).is_file()]
    state = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in (*cards, *files)]
    name = hashlib.sha256(repr(state).encode()).hexdigest()[:32]
    return str(Path(datasets.config.HF_DATASETS_CACHE) / "rafdb_vit" / name)


def _check_classes(name: str, path: Path, features: Features) -> None:
    """Refuses a table whose classes are in another order by its own account than by that of the data set's card."""
    for column, own in _read_features(path).items():
        told = features.get(column)
        if isinstance(own, ClassLabel) and isinstance(told, ClassLabel) and _is_reordered(own.names, told.names):
            words = (
                f"{shorten(', '.join(own.names), 90)} by itself, and {shorten(', '.join(told.names), 90)} by the card"
            )
            raise UserError(
                f"--dataset_name {name}: column {column} of {path} has the classes {words}; mend one of both"
            )


def _is_reordered(names: Sequence[str], others: Sequence[str]) -> bool:
    """Tells whether these are the same classes, by what they mean, in another order."""
    meant, theirs = (
        [BASIC.match(name) if BASIC.match(name) is not None else fold_name(name) for name in own]
        for own in (names, others)
    )
    return meant != theirs and set(meant) == set(theirs)


def _read_features(path: Path) -> Features:
    if path.suffix.lower() == ".parquet":
        return Features.from_arrow_schema(pq.read_schema(path))
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as batches:
        return Features.from_arrow_schema(batches.schema)


def _refuse_missing_parts(name: str, files: Iterable[str]) -> None:
    """Refuses a table of which not all files are there, as their names tell: `train-00000-of-00003.parquet`."""
    parts: dict[tuple[str, str, str], set[int]] = {}
    for found in filter(None, map(_PART.fullmatch, files)):
        parts.setdefault((found[1], found[3], found[4]), set()).add(int(found[2]))
    for (start, total, end), numbers in parts.items():
        if len(numbers) < int(total):
            words = f"{start}*-of-{total}{end} are {len(numbers)} files; expected {int(total)}: copy the others too"
            raise UserError(f"--dataset_name {name}: {words}")


def _download(name: str) -> Path:
    """Returns the folder of the Hub's cache that has a repository's images and tables: one like any other on disk.

    Left to itself, `datasets` would act on the repository's card, and unpack its files, before they are checked.
    """
    if "/" not in name:
        raise ValueError("no such folder")
    suffixes = (*SUFFIXES, *IMAGE_SUFFIXES)
    patterns = [CARD, SETTINGS, *(f"*{written}" for suffix in suffixes for written in (suffix, suffix.upper()))]
    return Path(snapshot_download(name, repo_type="dataset", allow_patterns=patterns))


def _build(builder: DatasetBuilder) -> DatasetDict:
    """Returns what a builder reads; where that fails, what it wrote into the cache is removed."""
    was_there = os.path.isdir(builder.cache_dir)
    try:
        builder.download_and_prepare()
        loaded, read = builder.as_dataset(), Extent()
        for dataset in loaded.values():
            read.add(rows=len(dataset))
            dataset.data.table.validate(full=True)
    except BaseException:
        if not was_there:
            shutil.rmtree(builder.cache_dir, ignore_errors=True)
        raise
    return loaded


def _check_content(name: str, path: Path, extent: Extent) -> None:
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        check_table_file(path, extent)
    elif suffix in (*IMAGE_SUFFIXES, *OTHER_SUFFIXES):
        extent.add(rows=1)
    else:
        words = f"expected images, or tables ({', '.join(SUFFIXES)}): unpack archives"
        raise UserError(f"--dataset_name {name}: {path} is of a kind that is not read; {words}")


def _list_saved_files(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Yields every file that loading a folder of `save_to_disk` reads, and whether it is one of a table."""
    if not (folder / SPLITS_FILE).is_file():
        yield from _list_files_of_split(folder)
        return
    yield folder / SPLITS_FILE, False
    for split in parse_json(read_text(folder / SPLITS_FILE, most=_MOST_INFO))["splits"]:
        yield from _list_files_of_split(folder / split)


def _list_files_of_split(folder: Path) -> Iterator[tuple[Path, bool]]:
    yield folder / STATE_FILE, False
    yield folder / INFO_FILE, False
    check_features(parse_json(read_text(folder / INFO_FILE, most=_MOST_INFO)))
    for file in parse_json(read_text(folder / STATE_FILE, most=_MOST_INFO))["_data_files"]:
        yield folder / file["filename"], True


def _check_saved(name: str, root: Path, path: Path) -> None:
    if not is_inside(root, path):
        raise UserError(f"--dataset_name {name}: names {path}, which is not in it; expected its own files only")
    if not path.is_file():
        raise UserError(f"--dataset_name {name}: {path} is no plain file; expected one that save_to_disk wrote")


def _check_source(name: str, root: Path, file: str) -> None:
    """Refuses a data file that is not the data set's own, which its README.md can name."""
    own = "::" not in file and "://" not in file and is_inside(root, file) and os.path.isfile(file)
    if not own:
        raise UserError(f"--dataset_name {name}: names {file}, which is not in it; expected its own files only")
