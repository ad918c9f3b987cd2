"""Groups of people, as columns of a data set: from the release's annotations, or as the data has them."""

from dataclasses import replace
from pathlib import Path

from datasets import ClassLabel, Dataset, Features, List, Value

from rafdb_vit.data.annotations import CODES, MANUAL, find_kinds, read_annotations
from rafdb_vit.data.findings import Finding, Reporter
from rafdb_vit.data.found import ATTRIBUTES, MOST_GROUPS, NOT_GIVEN, FoundData

_POINTS = List(List(Value("float32"), length=2))
FEATURES = Features(
    **{name: ClassLabel(names=list(meanings)) for name, meanings in CODES.items()},
    landmarks=_POINTS,
    automatic_landmarks=_POINTS,
    box=List(Value("float32"), length=4),
)
"""The type of each column of annotations."""
_LONGEST = 60
"""Letters of a group's name."""


def is_attribute(name: str, feature: object) -> bool:
    """Tells whether a data set's column holds groups of people: by its name, and by whether it is text or classes."""
    is_text = isinstance(feature, Value) and feature.dtype in ("string", "large_string")
    return name.strip().lower() in ATTRIBUTES and (is_text or isinstance(feature, ClassLabel))


def add_attributes(found: FoundData[Dataset], split: str) -> FoundData[Dataset]:
    """Adds gender, race and age to a split, from the release's annotations of its faces.

    Data without such annotations stays as it is. Where an annotation is missing or malformed, none is added, and
    `without_groups` says why.
    """
    faces, folder = found.splits[split], Path(found.folder or "")
    if MANUAL not in find_kinds(found.release):
        return found
    findings: list[Finding] = []
    columns = read_annotations(folder, folder, MANUAL, faces["file"], Reporter(findings.append))
    if findings:
        return replace(found, without_groups=findings[0].message)
    faces = flatten_rows(faces)
    for name in ATTRIBUTES:
        faces = faces.add_column(name, columns[name], feature=FEATURES[name])
    return replace(found, splits={**found.splits, split: faces})


def flatten_rows(faces: Dataset) -> Dataset:
    """Returns a split to which columns can be added; `datasets` would write selected rows into the data's folder."""
    return faces if faces._indices is None else faces.flatten_indices(keep_in_memory=True)


def read_groups(faces: Dataset) -> dict[str, list[str]]:
    """Returns the group of each face, by attribute that the split has."""
    groups = {}
    for name in ATTRIBUTES:
        feature = faces.features.get(name)
        if not is_attribute(name, feature):
            continue
        values = list(faces[name])
        if isinstance(feature, ClassLabel):
            values = [None if value is None or value < 0 else feature.names[value] for value in values]
        written = [str(value or "").strip()[:_LONGEST] or NOT_GIVEN for value in values]
        if 1 < len(set(written)) <= MOST_GROUPS:
            groups[name] = written
    return groups
