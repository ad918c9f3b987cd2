"""Turns found faces into a `datasets.DatasetDict` with train, validation and test."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, List, Value

from rafdb_vit.data.annotations import BOX, Kind, find_kinds, read_annotations
from rafdb_vit.data.completeness import check_names, check_splits
from rafdb_vit.data.crop import check_margin, square_box
from rafdb_vit.data.distribution import match_distributions, read_distributions
from rafdb_vit.data.faces import ORDER, SPLITS, FoundFaces
from rafdb_vit.data.finding import printable, refuse
from rafdb_vit.data.layout import find_faces
from rafdb_vit.data.split_name import settle_test
from rafdb_vit.errors import UserError
from rafdb_vit.labels import LABEL_SETS, LabelSet


@dataclass(frozen=True)
class FoundSplits:
    """A data set as it was found, as datasets.

    Attributes:
        layout: The form that it has, in a few words.
        labels: Its classes.
        splits: `train`, `test`, and `validation` where the data has one of its own.
        sources: What each split is called in the data.
        images: Which images these are, in a few words.
        targets: What training learns, in a few words.
        release: The folder of the official release, which holds `Annotation`; None for other data.
    """

    layout: str
    labels: LabelSet
    splits: DatasetDict
    sources: dict[str, str] = field(default_factory=dict)
    images: str = "as found"
    targets: str = "single labels"
    release: Path | None = None


def choose_label_set(subset: str) -> LabelSet:
    """Returns one of RAF-DB's label sets by the name of its subset.

    Raises:
        UserError: There is none of that name.
    """
    if subset not in LABEL_SETS:
        raise UserError(f"--subset {subset}: expected one of {', '.join(LABEL_SETS)}")
    return LABEL_SETS[subset]


def find_splits(
    root: str | os.PathLike[str],
    *,
    subset: str = "basic",
    aligned: bool = True,
    box_margin: float = 0.0,
    annotations: bool = True,
    needed: Collection[str] = SPLITS,
    image_column: str | None = None,
    label_column: str | None = None,
) -> FoundSplits:
    """Finds the splits of a data folder.

    Columns beside `image`, `label` and `file`, where the release has them: `gender`, `race`, `age` (`ClassLabel`),
    `landmarks` [5, 2], `automatic_landmarks` [37, 2] and `box` (xmin, ymin, xmax, ymax), in pixels of the original
    photograph; of a CSV file, its columns gender, race and age. With `aligned=False`, `crop` (left, top, side): what
    transforms cut out of `image`.

    Args:
        root: The folder, or one above it; or a CSV file of image paths and labels.
        subset: RAF-DB's subset: `basic` or `compound`.
        aligned: Take the release's aligned images; else its original photographs.
        box_margin: With `aligned=False`: context on each side, as a share of the box's longer side.
        annotations: Read the release's annotations, where they are there.
        needed: Splits that the data has to have; see `rafdb_vit.data.layout.find_faces`.
        image_column: Name of a CSV file's column of image paths; by default one of the usual names.
        label_column: Likewise of labels.

    Raises:
        UserError: The folder is in no known form, or a file or row in it is not as it should be.
    """
    labels = choose_label_set(subset)
    check_margin(box_margin)
    if box_margin and aligned:
        raise UserError(f"--box_margin {box_margin}: goes with --aligned False; aligned images are cut already")
    root = Path(os.path.abspath(root))
    found = _find_faces(root, labels, aligned=aligned, columns=(image_column, label_column), needed=needed)
    kinds = _choose_kinds(found, annotations=annotations, boxes=not aligned)
    splits = _build_splits(root, found, kinds, margin=None if aligned else box_margin)
    images = "aligned" if found.is_release else "as found"
    if not aligned:
        images = f"original, cut to a square around the face's box with margin {box_margin:g}"
    release = found.folder if found.is_release else None
    return FoundSplits(found.layout, found.labels, splits, found.sources, images, release=release)


def _find_faces(root: Path, labels: LabelSet, *, needed: Collection[str], **form: Any) -> FoundFaces:
    """Returns the faces of a folder by split, in the order of the splits, checked as a whole."""
    found = find_faces(root, labels, needed=needed, **form)
    found = replace(found, splits=settle_test(found.splits), sources=settle_test(found.sources))
    found = replace(found, splits={split: found.splits[split] for split in ORDER if split in found.splits})
    check_splits(printable(root), found.splits, refuse, needed=needed)
    check_names(found.splits, refuse)
    return found


def _choose_kinds(found: FoundFaces, *, annotations: bool, boxes: bool) -> list[Kind]:
    """Returns the kinds of annotation to read: those that are there, or boxes alone."""
    there = find_kinds(found.folder) if found.is_release else []
    if boxes and BOX not in there:
        folder = printable(found.folder / "Annotation" / BOX.folder)
        raise UserError(
            f"{folder}: no such folder; --aligned False needs the boxes that RAF-DB has since its version 1.1"
        )
    return [kind for kind in there if annotations or (boxes and kind is BOX)]


def _build_splits(root: Path, found: FoundFaces, kinds: list[Kind], *, margin: float | None) -> DatasetDict:
    """Returns the datasets, with the columns of `kinds`, and `crop` where there is a margin."""
    columns: dict[str, list[Any]] = {}
    features = {"image": Value("string"), "label": ClassLabel(names=list(found.labels.names)), "file": Value("string")}
    files = [file for faces in found.splits.values() for file in faces.files]
    for kind in kinds:
        columns |= read_annotations(root, found.folder, kind, files, refuse)
        features |= dict(kind.columns)
    if margin is not None:
        columns["crop"] = [square_box(box, margin=margin) for box in columns["box"]]
        features["crop"] = List(Value("int32"), length=3)
    splits, start = DatasetDict(), 0
    for split, faces in found.splits.items():
        own = {"image": faces.images, "label": faces.labels, "file": faces.files, **faces.attributes}
        own |= {name: values[start : start + len(faces.files)] for name, values in columns.items()}
        texts = {name: Value("string") for name in faces.attributes}
        dataset = Dataset.from_dict(own, features=Features({**features, **texts}))
        splits[split] = dataset.cast_column("image", Image(mode="RGB"))
        start += len(faces.files)
    return splits


def add_distributions(found: FoundSplits, path: str | os.PathLike[str]) -> FoundSplits:
    """Adds the column `distribution`, the vector of each face, to every split.

    Args:
        found: The data.
        path: The file of distribution vectors.

    Raises:
        UserError: The file does not fit the data; see `rafdb_vit.data.distribution`.
    """
    path, splits = Path(path), DatasetDict()
    vectors = read_distributions(path, found.labels)
    files = [file for dataset in found.splits.values() for file in dataset["file"]]
    ids = [label for dataset in found.splits.values() for label in dataset["label"]]
    matched = match_distributions(path, vectors, files, ids, found.labels)
    feature, start = List(Value("float32"), length=len(found.labels.names)), 0
    for split, dataset in found.splits.items():
        if dataset._indices is not None:
            # A choice of rows would be written out, into the folder that the data came from.
            dataset = dataset.flatten_indices(keep_in_memory=True)
        splits[split] = dataset.add_column("distribution", matched[start : start + len(dataset)], feature=feature)
        start += len(dataset)
    targets = "distribution vectors; scored on single labels"
    return replace(found, splits=splits, targets=targets)


def count_classes(dataset: Dataset) -> dict[str, int]:
    """Returns how many faces each class has in a split, in model order, absent classes with 0."""
    names = dataset.features["label"].names
    counts = np.bincount(np.asarray(dataset["label"], dtype=np.int64), minlength=len(names))
    return dict(zip(names, counts.tolist(), strict=True))


def is_rafdb(labels: LabelSet, counts: Mapping[str, Mapping[str, int]]) -> bool:
    """Tells whether counts are those that the release states: of every class, or in all where it states no more.

    Args:
        labels: The classes.
        counts: Faces by class name, by split, as found.
    """
    if set(counts) != {"train", "test"} or labels.subset not in LABEL_SETS:
        return False
    totals = {split: sum(of.values()) for split, of in counts.items()}
    published = {
        split: dict(zip(labels.names, numbers, strict=True)) for split, numbers in labels.published_counts.items()
    }
    return totals == labels.published_totals and all(dict(counts[split]) == of for split, of in published.items())
