"""What a data set has to have as a whole: faces in every split, of every class, each under a name of its own."""

from collections.abc import Collection, Mapping

from rafdb_vit.data.faces import SPLITS, Faces
from rafdb_vit.data.finding import Finding, Report, printable
from rafdb_vit.labels import LABEL_SETS, LabelSet


def check_splits(where: str, splits: Mapping[str, Faces], report: Report, *, needed: Collection[str] = SPLITS) -> None:
    """Reports splits without faces.

    Args:
        where: The data's folder, for the message.
        splits: Faces by split.
        report: Is told of every fault.
        needed: Those that have to be among them.
    """
    for split in (*needed, *sorted(set(splits) - set(needed))):
        if not (split in splits and splits[split].files):
            words = f"{where}: the {split} split is empty; expected faces of every class in it"
            report(Finding("empty split", words))


def check_classes(where: str, labels: LabelSet, train: Collection[int], report: Report) -> None:
    """Reports classes that train has no face of, all in one finding.

    Args:
        where: The data's folder, for the message.
        labels: Its classes.
        train: Label ids of the training faces.
        report: Is told of the fault.
    """
    there = set(train)
    missing = [(label, name) for label, name in enumerate(labels.names) if label not in there]
    if missing and there:
        coded = labels.subset in LABEL_SETS
        listed = ", ".join(f"{labels.code_of_id(label)} ({name})" if coded else name for label, name in missing)
        words = f"{where}: no face of class {listed} in train; expected faces of every class"
        report(Finding("class without faces", words))


def check_names(splits: Mapping[str, Faces], report: Report) -> None:
    """Reports faces of one name: what is drawn for a face, and what is said of it, goes by its name."""
    seen: dict[str, str] = {}
    for faces in splits.values():
        for file, image in zip(faces.files, faces.images, strict=True):
            if (first := seen.setdefault(file, image)) != image:
                words = f"{printable(image)}: {printable(first)} has the same name; expected each name once in the data"
                report(Finding("two faces of one name", words, (first, image)))
