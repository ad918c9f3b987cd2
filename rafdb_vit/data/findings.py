"""What is wrong with a data set, a finding for each fault. Loading stops at the first, checking collects them all.

Here too: what a data set as a whole has to have, whatever its form.
"""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from rafdb_vit.data.found import SPLITS, Faces, Layout
from rafdb_vit.data.labels import LABEL_SETS, LabelSet
from rafdb_vit.data.splits import is_misplaced, split_of_file
from rafdb_vit.runtime.errors import UserError, escape


@dataclass(frozen=True)
class Finding:
    """One fault of a data set.

    Attributes:
        kind: What sort of fault, in a few words, the same for all of its sort.
        message: One line that names the file or row, and says what was expected; names in it are made printable.
        files: Paths of the images or files concerned.
        blocks: Training refuses the data because of it.
        name: Name of the image that a bad row speaks of.
    """

    kind: str
    message: str
    files: tuple[str, ...] = ()
    blocks: bool = True
    name: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", escape(self.message))


SAME_NAME = "two faces of one name"
TEST_SHARE = "--test_fraction 0.2, which sets that share of each class aside as test"
"""What to add where the data has no test split."""
_DIVIDED = (Layout.FER2013, Layout.FERPLUS, Layout.AFFECTNET)
"""Forms of single data sets, which are published with the splits that are needed."""
MOST_LISTED = 1_000
"""Findings of a kind that are kept: a file of millions of bad rows fills no memory, and nobody reads more."""


class Findings:
    """The findings of a check by kind: all are counted, the first `MOST_LISTED` of a kind are kept.

    Those of a kind that training refuses and those that it does not are kept apart, so many of each.

    Attributes:
        listed: Those that are kept, in the order in which they came.
        counts: How many there were of each kind.
        blocking: How many there were that training refuses.
    """

    def __init__(self, findings: Iterable[Finding] = ()) -> None:
        self.listed: list[Finding] = []
        self.counts: Counter[str] = Counter()
        self.blocking = 0
        self._kept: Counter[tuple[str, bool]] = Counter()
        for finding in findings:
            self.add(finding)

    def add(self, finding: Finding) -> None:
        """Counts a finding, and keeps it while there is room for its kind."""
        self.counts[finding.kind] += 1
        self.blocking += finding.blocks
        if self._kept[finding.kind, finding.blocks] < MOST_LISTED:
            self._kept[finding.kind, finding.blocks] += 1
            self.listed.append(finding)


def refuse(finding: Finding) -> None:
    """Ends loading at a finding that blocks it.

    Raises:
        UserError: The finding's message.
    """
    if finding.blocks:
        raise UserError(finding.message)


class Reporter:
    """Makes findings, passes them on and remembers what they name, so that one fault does not become two.

    Attributes:
        on_finding: What is done with a finding; by default it is refused.
        names: Names of images in bad rows.
        files: Paths of the images or files that findings concern, but for those that are missing: a table can name any
            number of such.
    """

    def __init__(self, on_finding: Callable[[Finding], object] = refuse) -> None:
        self.on_finding = on_finding
        self.names: set[str] = set()
        self.files: set[str] = set()

    def __call__(self, kind: str, message: str, *files: str, blocks: bool = True, name: str | None = None) -> None:
        """Reports a fault; for the arguments see `Finding`."""
        self.add(Finding(kind, message, files, blocks, name))

    def blocking(self, blocks: bool) -> "Reporter":
        """Returns a reporter that passes findings on to this one, as such that training refuses or does not."""
        return Reporter(lambda finding: self.add(replace(finding, blocks=blocks)))

    def add(self, finding: Finding) -> None:
        """Passes a finding on and remembers what it names."""
        self.on_finding(finding)
        self.files.update(filter(os.path.lexists, finding.files))
        if finding.name is not None:
            self.names.add(finding.name)


def printable(path: object) -> str:
    """Returns a path or name as text that fits in one line."""
    return escape(str(path))


def check_splits(
    where: object, splits: Mapping[str, Faces], layout: Layout, report: Reporter, *, needed: Collection[str] = SPLITS
) -> None:
    """Reports splits without faces: of those that are `needed`, and of those that the data has."""
    for split in (*needed, *sorted(set(splits) - set(needed))):
        if not (split in splits and splits[split].files):
            words = f"; or add {TEST_SHARE}" if split == "test" and split not in splits else ""
            if layout in _DIVIDED:
                words = f": {layout.value} has one, so a part is missing or cut off; download it anew"
            report("empty split", f"{where}: the {split} split is empty; expected faces of every class in it{words}")


def check_classes(where: object, labels: LabelSet, train: Collection[int], report: Reporter) -> None:
    """Reports classes that train has no face of, all in one finding; `train` holds the label ids of its faces."""
    there = set(train)
    missing = [(label, name) for label, name in enumerate(labels.names) if label not in there]
    if missing and there:
        coded = labels.subset in LABEL_SETS
        listed = ", ".join(f"{labels.code_of_id(label)} ({name})" if coded else name for label, name in missing)
        report("class without faces", f"{where}: no face of class {listed} in train; expected faces of every class")


def check_names(splits: Mapping[str, Faces], report: Reporter) -> None:
    """Reports faces of one name: metrics, plots and annotations of a face go by its name."""
    seen: dict[str, str] = {}
    for faces in splits.values():
        for file, image in zip(faces.files, faces.images, strict=True):
            if (first := seen.setdefault(file, image)) != image:
                words = f"{image}: {first} has the same name; expected each name once in the data"
                report(SAME_NAME, words, first, image)


def check_place(where: str, image: str, split: str, splits: Collection[str], report: Reporter, *, is_own: bool) -> None:
    """Reports a face that has RAF-DB's name of another split than the one in which it stands.

    In RAF-DB's own data it is a face of test among those of train, and training refuses it. In other data a name like
    `test_12.jpg` may be anything.

    Args:
        where: The image or the row, for the message.
        image: The image's path.
        split: Where it stands.
        splits: Those that the data has.
        report: Takes the finding.
        is_own: It is RAF-DB's own data, see `rafdb_vit.data.names.resembles_rafdb`.
    """
    name = os.path.basename(image)  # noqa: PTH119 (Path is slow for a million rows)
    if not is_misplaced(name, split, splits):
        return
    own = split_of_file(name)
    if is_own:
        report(f"{own} image under {split}", f"{where}: an image of the {own} split stands in {split}; move it", image)
    else:
        words = f"stands in {split}, but is named {name} as if it were of {own}; move it if it is"
        report(f"image under {split} that is named {own}", f"{where}: {words}", image, blocks=False)
