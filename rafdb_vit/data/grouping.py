"""Which faces have to stay on one side of a split: those of one person, and duplicates of each other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rafdb_vit.data.check.duplicates import join_pairs
from rafdb_vit.data.check.fingerprint import find_near_duplicates
from rafdb_vit.data.check.inspection import ImageFile, Source, inspect_files
from rafdb_vit.data.form import DataForm
from rafdb_vit.data.found import PERSON, FoundData
from rafdb_vit.data.images import select_undecoded
from rafdb_vit.data.persons import describe_straddling, find_persons, find_straddling, name_in_data
from rafdb_vit.runtime.bars import show_progress
from rafdb_vit.runtime.errors import UserError, shorten
from rafdb_vit.runtime.hardware import count_cpus

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Grouping:
    """The faces of train that have to stay together.

    Attributes:
        numbers: A number for each face of train, the same for those that stay together; None where each is for itself.
        words: What stays together, in a few words; None where nothing does.
        notes: What a person should know of it, a sentence each.
    """

    numbers: Sequence[int] | None = None
    words: str | None = None
    notes: tuple[str, ...] = ()


def group_faces(
    found: "FoundData[Dataset]", form: DataForm, *, duplicates: bool = False, quiet: bool = False
) -> Grouping:
    """Finds out which faces of train have to stay together.

    Args:
        found: The data.
        form: What was asked of it: a column or a pattern of persons.
        duplicates: Look for duplicates too, see `find_duplicates`.
        quiet: Show no progress.

    Raises:
        UserError: The person of a face cannot be told, or an image cannot be read.
    """
    persons = _list_persons(found, form)
    if "train" not in found.splits:
        if persons is not None:
            flag = "--group_column" if form.group_column is not None else "--group_pattern"
            raise UserError(f"{flag}: has no effect where all faces are scored and none set aside; leave it out")
        return Grouping()
    groups: list[Sequence[object]] = []
    words: list[str] = []
    notes: list[str] = []
    if duplicates:
        numbers = find_duplicates(found.splits["train"], quiet=quiet)
        groups.append(numbers)
        words.append("duplicates")
        notes.append(_describe_duplicates(numbers))
    if persons is not None:
        groups.append(persons["train"])
        source = f"column {form.group_column}" if form.group_column is not None else f"file names, {form.group_pattern}"
        words.append(f"persons ({shorten(source)})")
        number = len(set(persons["train"]))
        notes.append(f"{number:,} persons were found; all faces of one stay in train, or are set aside together")
        if straddling := describe_straddling(find_straddling(persons)):
            notes.append(f"{straddling}: metrics may be too high, since the model knows these persons")
    return Grouping(_join(groups) if groups else None, " and ".join(words) or None, tuple(notes))


def _list_persons(found: "FoundData[Dataset]", form: DataForm) -> Mapping[str, Sequence[str]] | None:
    """Returns the person of each face by split; None where nothing says which is whose."""
    if form.group_column is not None:
        return {split: faces[PERSON][:] for split, faces in found.splits.items()}
    if form.group_pattern is None:
        return None
    names = {split: _list_names(faces, found.folder) for split, faces in found.splits.items()}
    persons = iter(find_persons([name for of_split in names.values() for name in of_split], form.group_pattern))
    return {split: [next(persons) for _ in of_split] for split, of_split in names.items()}


def _list_names(faces: "Dataset", folder: Path | None) -> list[str]:
    """Returns the path in the data of each image."""
    tables = faces.select_columns(["image"]).with_format("arrow").iter(1000)
    paths = [path for table in tables for path in table.column("image").combine_chunks().field("path").to_pylist()]
    if not all(paths):
        raise UserError("--group_pattern: the images of the data have no file names; name a column with --group_column")
    return [name_in_data(path, folder) for path in paths]


def _join(groups: Sequence[Sequence[object]]) -> list[int]:
    """Returns a number for each face, the same for those that any of several groupings, [N] each, puts together."""
    count = len(groups[0])
    pairs: set[tuple[int, int]] = set()
    for grouping in groups:
        first: dict[object, int] = {}
        pairs.update((first.setdefault(group, i), i) for i, group in enumerate(grouping))
    return join_pairs(pairs, count).tolist()


def find_duplicates(faces: "Dataset", *, quiet: bool = False) -> list[int]:
    """Returns a number for each face, the same for those that are duplicates of each other, exact or near.

    Neither the order of the faces nor their names have an effect on which these are. Every image is opened, in 1 to 2
    ms on a CPU, and about 3 kB of memory are taken for each.

    Raises:
        UserError: An image cannot be read.
    """
    count = len(faces)
    digests = np.zeros((count, 32), np.uint8)
    hashes, thumbnails = np.zeros((count, 4, 4), np.uint64), np.zeros((count, 2, 16, 16), np.float16)
    files = inspect_files(_list_sources(faces), processes=count_cpus())
    for i, file in enumerate(show_progress(files, "Looking at images", count, unit="image", quiet=quiet)):
        _refuse_unreadable(file)
        digests[i] = np.frombuffer(file.digest or b"", np.uint8)
        hashes[i], thumbnails[i] = np.asarray(file.hashes), np.asarray(file.thumbnails)
    # In the order of the digests, whatever that of the faces is: then the same pairs are found.
    _, firsts, exact = np.unique(digests, axis=0, return_index=True, return_inverse=True)
    with show_progress(None, "Comparing", len(firsts), unit="image", quiet=quiet) as bar:
        pairs = find_near_duplicates(hashes[firsts], thumbnails[firsts], advance=bar.update)
    return join_pairs(pairs, len(firsts))[exact.ravel()].tolist()


def _list_sources(faces: "Dataset") -> Iterator[Source]:
    """Yields the path of each image, or its name and what it holds where that stands in the data."""
    for face in select_undecoded(faces, ("image", "file")):
        image = face["image"] or {}
        content, path = image.get("bytes"), image.get("path")
        yield path if content is None and path else (path or face["file"], content or b"")


def _refuse_unreadable(file: ImageFile) -> None:
    if file.hashes is None:
        _, words = file.faults[0]
        raise UserError(f"{file.path}: cannot be read as an image ({words}); put a whole one in its place")


def _describe_duplicates(numbers: Sequence[int]) -> str:
    sizes = np.bincount(numbers)
    groups, faces = int((sizes > 1).sum()), int(sizes[sizes > 1].sum())
    if not groups:
        return "no duplicates were found among the faces"
    words = "group of duplicates stays" if groups == 1 else "groups of duplicates stay"
    return f"{groups:,} {words} on one side of test and of validation, {faces:,} faces in all"
