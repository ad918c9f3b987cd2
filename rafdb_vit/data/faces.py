"""The faces of a data set as they were found, before anything is opened."""

from dataclasses import dataclass, field
from pathlib import Path

from rafdb_vit.labels import LabelSet

SPLITS = ("train", "test")
ORDER = ("train", "validation", "test")
RELEASE = "official release"
TABLE = "table of paths and labels"


@dataclass
class Faces:
    """The faces of one split, in the order of the label file or of the names.

    Attributes:
        images: Path of each image.
        labels: Label id of each face, from 0.
        files: A name for each face: the stem of the file without `_aligned`, the same in all layouts, where stems are
            unique; else its path.
    """

    images: list[str] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    files: list[str] = field(default_factory=list)

    def add(self, image: str, label: int, name: str) -> None:
        """Adds a face.

        Args:
            image: Its path.
            label: Its label id.
            name: The file's name, with or without `_aligned`.
        """
        self.images.append(image)
        self.labels.append(label)
        self.files.append(name_face(name))


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
