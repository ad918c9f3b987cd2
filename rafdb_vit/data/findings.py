"""What is wrong with a data set: one finding a fault. Loading ends at the first, checking collects them all.

Here too: what a data set has to have as a whole, whatever its form.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from rafdb_vit.data.found import SPLITS, Faces
from rafdb_vit.data.labels import LABEL_SETS, LabelSet
from rafdb_vit.runtime.errors import UserError, escape


@dataclass(frozen=True)
class Finding:
    """One fault of a data set.

    Attributes:
        kind: What sort of fault, in a few words, the same for all of its sort.
        message: One line that names the file or row, and says what was expected.
        files: Paths of the images or files concerned.
        blocks: Training refuses the data because of it.
        names: Names of images that a bad row speaks of.
    """

    kind: str
    message: str
    files: tuple[str, ...] = ()
    blocks: bool = True
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", escape(self.message))


OnFinding = Callable[[Finding], None]
"""What is done with a finding."""


class Notes:
    """Passes findings on, and notes what they speak of, so that one fault does not become two.

    Attributes:
        names: Names of images in bad rows.
        files: Paths of files that cannot be taken.
    """

    def __init__(self, on_finding: OnFinding) -> None:
        self.on_finding = on_finding
        self.names: set[str] = set()
        self.files: set[str] = set()

    def __call__(self, finding: Finding) -> None:
        """Notes a finding and passes it on."""
        self.names.update(finding.names)
        self.files.update(finding.files)
        self.on_finding(finding)


def refuse(finding: Finding) -> None:
    """Ends loading at a finding.

    Raises:
        UserError: The finding's message.
    """
    raise UserError(finding.message)


def printable(path: object) -> str:
    """Returns a path or name as it can stand in a line."""
    return escape(str(path))


def check_splits(
    where: str, splits: Mapping[str, Faces], on_finding: OnFinding, *, needed: Collection[str] = SPLITS
) -> None:
    """Reports splits without faces.

    Args:
        where: The data's folder, for the message.
        splits: Faces by split.
        on_finding: Is told of every fault.
        needed: Those that have to be among them.
    """
    for split in (*needed, *sorted(set(splits) - set(needed))):
        if not (split in splits and splits[split].files):
            words = f"{where}: the {split} split is empty; expected faces of every class in it"
            on_finding(Finding("empty split", words))


def check_classes(where: str, labels: LabelSet, train: Collection[int], on_finding: OnFinding) -> None:
    """Reports classes that train has no face of, all in one finding.

    Args:
        where: The data's folder, for the message.
        labels: Its classes.
        train: Label ids of the training faces.
        on_finding: Is told of the fault.
    """
    there = set(train)
    missing = [(label, name) for label, name in enumerate(labels.names) if label not in there]
    if missing and there:
        coded = labels.subset in LABEL_SETS
        listed = ", ".join(f"{labels.code_of_id(label)} ({name})" if coded else name for label, name in missing)
        words = f"{where}: no face of class {listed} in train; expected faces of every class"
        on_finding(Finding("class without faces", words))


def check_names(splits: Mapping[str, Faces], on_finding: OnFinding) -> None:
    """Reports faces of one name: what is drawn for a face, and what is said of it, goes by its name."""
    seen: dict[str, str] = {}
    for faces in splits.values():
        for file, image in zip(faces.files, faces.images, strict=True):
            if (first := seen.setdefault(file, image)) != image:
                words = f"{printable(image)}: {printable(first)} has the same name; expected each name once in the data"
                on_finding(Finding("two faces of one name", words, (first, image)))
