"""Leaves the faces of some classes out of a data set."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from datasets import ClassLabel, Dataset, List, Value

from rafdb_vit.data.attributes import flatten_rows
from rafdb_vit.data.found import FoundData
from rafdb_vit.data.labels import BASIC, LabelSet, fold_name, match_classes, resolve_classes
from rafdb_vit.runtime.errors import UserError, shorten

_FLAG = "--leave_out"


def leave_out(found: FoundData[Dataset], written: Sequence[str]) -> FoundData[Dataset]:
    """Returns the data without the faces of some classes, and without these classes.

    The others are RAF-DB's label set, in its order, where they are its classes. Distribution vectors lose the entries
    of the classes that are left out, and are scaled to sum to 1.

    Args:
        found: The data.
        written: Names of classes as people write them, each perhaps several with commas between.

    Raises:
        UserError: The data has no such class, or fewer than two others.
    """
    gone = _match(written, found.labels)
    if not gone:
        return found
    names = [name for label, name in enumerate(found.labels.names) if label not in gone]
    if len(names) < 2:
        raise UserError(f"{_FLAG}: leaves {len(names)} of {len(found.labels.names)} classes; expected two or more")
    labels = resolve_classes(names, BASIC, where=_FLAG)
    ids = match_classes(names, labels, where=_FLAG)
    order = [ids.get(name) for name in found.labels.names]
    counts = dict.fromkeys((found.labels.names[label] for label in sorted(gone)), 0)
    splits = {}
    for split, faces in found.splits.items():
        old = list(faces["label"])
        for label in old:
            if label in gone:
                counts[found.labels.names[label]] += 1
        splits[split] = _relabel(faces, old, order, labels)
        if not len(splits[split]):
            raise UserError(f"{_FLAG}: leaves no face in {split}; expected faces of every class in it")
    return replace(found, labels=labels, splits=splits, left_out=counts)


def _match(written: Sequence[str], labels: LabelSet) -> set[int]:
    """Returns the label ids of the classes that are meant."""
    whole = {fold_name(name) for name in labels.names}
    written = [written] if isinstance(written, str) else written
    names = [name.strip() for text in written for name in ([text] if fold_name(text) in whole else text.split(","))]
    gone = set()
    for name in filter(None, names):
        label = labels.match(name)
        if label is None and (meant := BASIC.match(name)) is not None and not name.isdigit():
            label = next((i for i, own in enumerate(labels.names) if BASIC.match(own) == meant), None)
        if label is None:
            there = shorten(", ".join(labels.names), 600)
            raise UserError(f"{_FLAG} {shorten(name)}: the data has no such class; it has {there}")
        gone.add(label)
    return gone


def _relabel(faces: Dataset, old: Sequence[int], order: Sequence[int | None], labels: LabelSet) -> Dataset:
    """Returns the faces of a split that stay; `order` holds the new id of each old one, None for those that go."""
    kept = [i for i, label in enumerate(old) if order[label] is not None]
    faces = flatten_rows(faces)
    columns: dict[str, tuple[list[Any], Any]] = {
        "label": ([order[label] or 0 for label in old], ClassLabel(names=list(labels.names)))
    }
    if "distribution" in faces.column_names:
        vectors = [_cut(row, order, label) for row, label in zip(faces["distribution"], old, strict=True)]
        columns["distribution"] = (vectors, List(Value("float32"), length=len(labels.names)))
    for name, (values, feature) in columns.items():
        faces = faces.remove_columns([name]).add_column(name, values, feature=feature)
    return faces.select(kept)


def _cut(vector: Sequence[float], order: Sequence[int | None], label: int) -> list[float]:
    """Returns a distribution over the classes that stay; all on the face's own where none of them has a share."""
    cut = [0.0] * sum(new is not None for new in order)
    for share, new in zip(vector, order, strict=True):
        if new is not None:
            cut[new] = share
    total = sum(cut)
    if total > 0:
        return [share / total for share in cut]
    own = order[label] or 0
    return [float(i == own) for i in range(len(cut))]
