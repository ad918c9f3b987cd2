"""A data set as it was found: its layout, its classes, and the faces of each split."""

import os
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Generic, TypeVar

from rafdb_vit.data.labels import LabelSet

SPLITS = ("train", "test")
"""The splits that training needs."""
ORDER = ("train", "validation", "test")
ATTRIBUTES = ("gender", "race", "age")
"""Of the release's annotations; columns of that name, in any case, of a CSV file or a data set."""
PERSON = "person"
"""Our name of the column that says whose pictures belong together."""
MOST_GROUPS = 20
"""A column of more values does not group people, such as ages in years."""
NOT_GIVEN = "not given"
"""The group of faces for which the data gives none."""
_NONE: Mapping[str, str] = MappingProxyType({})
Split = TypeVar("Split")


class Layout(Enum):
    """The form in which a data set is held; the value names it to people."""

    RELEASE = "official release"
    KAGGLE = "Kaggle copy"
    CLASS_FOLDERS = "class folders"
    TABLE = "table of paths and labels"
    FER2013 = "FER2013"
    FERPLUS = "FER+"
    AFFECTNET = "AffectNet"
    ON_DISK = "data set on disk"
    HUB = "data set on the Hub"


@dataclass
class Faces:
    """The faces of one split, in the order of the label file or of the names, before anything is opened.

    Attributes:
        images: Path of each image; of one that is no file, its place in the data, such as `fer2013.csv, row 2`.
        labels: Label id of each face, from 0.
        files: A name for each face: the stem of the file without `_aligned`, the same in all layouts, where stems are
            unique; else its path.
        attributes: Gender, race and age of each face as a CSV file has them, where it has such columns; and the person,
            where a column of persons was asked for.
        contents: Each image as the bytes of a file, where images are no files of their own.
        distributions: A probability for each class of each face, where the data has several people's votes.
    """

    images: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    attributes: dict[str, list[str]] = field(default_factory=dict)
    contents: list[bytes] = field(default_factory=list)
    distributions: list[list[float]] = field(default_factory=list)

    def add(self, image: str, label: int, name: str, attributes: Mapping[str, str] = _NONE) -> None:
        """Adds a face; `name` is its file's, with or without `_aligned`. Every face has the same attributes."""
        self.images.append(image)
        self.labels.append(label)
        self.files.append(name_face(name))
        for attribute, value in attributes.items():
            self.attributes.setdefault(attribute, []).append(value)


def name_face(name: str) -> str:
    """Returns the name of a face from that of its file: without suffix and `_aligned`, the same on all systems."""
    return compose(name.rsplit(".", 1)[0].removesuffix("_aligned"))


def compose(name: str) -> str:
    """Returns a name with each letter and its accents as one character, as most systems write it.

    macOS writes the accents in names of files as characters of their own: the same name, in other bytes.
    """
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def list_names(splits: Mapping[str, Faces]) -> dict[str, list[str]]:
    """Returns the names of the images' files, by split."""
    return {split: [os.path.basename(image) for image in faces.images] for split, faces in splits.items()}  # noqa: PTH119


def name_by_paths(splits: Mapping[str, Faces], root: Path) -> None:
    """Names faces by their paths, relative to `root`, where the stems of their files are not unique."""
    stems = [file for faces in splits.values() for file in faces.files]
    if len(set(stems)) != len(stems):
        for faces in splits.values():
            faces.files = [compose(Path(os.path.relpath(image, root)).as_posix()) for image in faces.images]


@dataclass(frozen=True)
class Share:
    """A split that the data does not have, and that was set aside from another.

    Attributes:
        fraction: Share of each class that was asked for.
        seed: Seed of the choice.
        kept_together: Which faces stay on one side of it, in a few words; None where each was chosen for itself.
        files_sha256: Hash of the names of its files, before samples were drawn.
    """

    fraction: float
    seed: int
    kept_together: str | None
    files_sha256: str


@dataclass(frozen=True)
class FoundData(Generic[Split]):
    """A data set as it was found, and what is made of it.

    What reads a folder finds `Faces`; `rafdb_vit.data.dataset` makes a `datasets.Dataset` of each split, splits
    validation off train and draws samples.

    Attributes:
        layout: The form that it has.
        folder: Where it lies; None for a data set on the Hub.
        labels: Its classes.
        splits: The faces of each split, `train`, `validation` and `test` at most.
        sources: What each split is called in the data.
        images: Which images these are, in a few words.
        targets: What training learns, in a few words.
        name: That of a data set such as `RAF-DB basic` where the counts are the published ones; else `drawn`, the name
            of a data set on the Hub, or a few words on its form. Empty until it is loaded for a run, as those below.
        counts: Faces by class name, by split, as found: before validation was split off and samples drawn.
        names_sha256: Hash of the names of all faces, of all splits, before any were left out.
        shares: The splits that were set aside from others, by name; none of them where the data has all.
        left_out: Faces by class name of the classes that were left out because that was asked for.
        notes: What a person should know of how the data was divided, a sentence each.
        passed_over: Which files that lie among the images are none, in a few words; empty where all are.
        unusable: How many faces the data lists and cannot be used, by split, by the reason in a few words.
        unused: Paths of the images of such faces.
        without_groups: Why the scored split has no gender, race and age though the data does; None otherwise.
    """

    layout: Layout
    folder: Path | None
    labels: LabelSet
    splits: Mapping[str, Split]
    sources: Mapping[str, str]
    images: str = "as found"
    targets: str = "single labels"
    name: str = ""
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    names_sha256: str = ""
    shares: Mapping[str, Share] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    passed_over: str = ""
    unusable: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    unused: Sequence[str] = ()
    without_groups: str | None = None

    @property
    def release(self) -> Path | None:
        """The folder of RAF-DB's official release, which holds `Annotation`; None for other data."""
        return self.folder if self.layout is Layout.RELEASE else None

    @property
    def class_names(self) -> list[str]:
        """The classes in the order of their label ids."""
        return list(self.labels.names)

    def describe(self) -> str:
        """Returns the data's name, and what of its form a person should know."""
        notes = [self.name]
        if "test" in self.shares:
            notes.append(f"test is our own share of it, {self.shares['test'].fraction:g} of each class")
        if self.left_out:
            counted = (f"{name} ({count:,})" for name, count in self.left_out.items())
            notes.append(f"left out: {', '.join(counted)}")
        if self.sources.get("test") not in ("test", None):
            notes.append(f"test is its split {self.sources['test']}")
        if "validation" in self.sources:
            notes.append(f"validation is its split {self.sources['validation']}")
        if self.images.startswith("original"):
            notes.append(f"images: {self.images}")
        if self.targets.startswith("distribution"):
            notes.append(f"trained on {self.targets}")
        if self.passed_over:
            notes.append(self.passed_over)
        if self.unusable:
            notes.append(self.describe_unusable())
        if self.layout is Layout.FERPLUS:
            notes.append("for FER2013's own labels, give --data_dir the file fer2013.csv itself")
        return "; ".join(notes)

    def describe_unusable(self) -> str:
        """Returns which faces are left out, and why; empty where none is."""
        counts = {reason: sum(of.values()) for reason, of in self.unusable.items()}
        total, reasons = sum(counts.values()), ", ".join(f"{count:,} {reason}" for reason, count in counts.items())
        noun, verb = ("face", "is") if total == 1 else ("faces", "are")
        if len(counts) == 1:
            return f"{total:,} {noun} {next(iter(counts))} {verb} left out"
        return f"{total:,} {noun} {verb} left out: {reasons}" if counts else ""

    def count_unusable(self) -> Counter[str]:
        """Returns how many faces are left out, by split."""
        return sum((Counter(of) for of in self.unusable.values()), Counter())


def count_labels(labels: Sequence[int], names: Sequence[str]) -> dict[str, int]:
    """Returns the number of faces by class name, in model order, absent classes with 0."""
    counts = Counter(labels)
    return {name: counts[label] for label, name in enumerate(names)}
