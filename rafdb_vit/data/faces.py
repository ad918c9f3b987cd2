"""The faces of a data set as they were found, before anything is opened."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from rafdb_vit.labels import LabelSet

SPLITS = ("train", "test")
ORDER = ("train", "validation", "test")
RELEASE = "official release"
TABLE = "table of paths and labels"
ATTRIBUTES = ("gender", "race", "age")
"""Of the release's annotations; columns of that name, in any case, of a CSV file or a data set."""
_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass
class Faces:
    """The faces of one split, in the order of the label file or of the names.

    Attributes:
        images: Path of each image.
        labels: Label id of each face, from 0.
        files: A name for each face: the stem of the file without `_aligned`, the same in all layouts, where stems are
            unique; else its path.
        attributes: Gender, race and age of each face as a CSV file writes them, where it has such columns.
    """

    images: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    attributes: dict[str, list[str]] = field(default_factory=dict)

    def add(self, image: str, label: int, name: str, attributes: Mapping[str, str] = _NONE) -> None:
        """Adds a face.

        Args:
            image: Its path.
            label: Its label id.
            name: The file's name, with or without `_aligned`.
            attributes: See there; the same ones for every face.
        """
        self.images.append(image)
        self.labels.append(label)
        self.files.append(name_face(name))
        for attribute, value in attributes.items():
            self.attributes.setdefault(attribute, []).append(value)


def name_face(name: str) -> str:
    """Returns the name of a face from that of its file: without suffix and without `_aligned`."""
    return name.rsplit(".", 1)[0].removesuffix("_aligned")


@dataclass
class FoundFaces:
    """A data set as it was found.

    Attributes:
        layout: The form that it has, in a few words.
        folder: Where it lies.
        labels: Its classes.
        splits: `train` and `test`, and `validation` where the data has one of its own.
        sources: What each split is called in the data.
    """

    layout: str
    folder: Path
    labels: LabelSet
    splits: dict[str, Faces]
    sources: dict[str, str] = field(default_factory=lambda: {split: split for split in SPLITS})

    @property
    def is_release(self) -> bool:
        """It is RAF-DB's official release, which has annotations."""
        return self.layout == RELEASE

    @property
    def is_table(self) -> bool:
        """It is a CSV file of image paths and labels, or one a split."""
        return self.layout == TABLE
