"""Groups of people in the data: gender, race and age of each face, for figures by group."""

from pathlib import Path

from datasets import ClassLabel, Dataset, Value

from rafdb_vit.data.annotations import MANUAL, find_kinds, read_annotations
from rafdb_vit.data.faces import ATTRIBUTES
from rafdb_vit.data.finding import Finding
from rafdb_vit.groups import NOT_GIVEN

MOST_GROUPS = 20
"""A column of more is no grouping: ages in years, say."""
_LONGEST = 60
"""Letters of a group's name."""


def is_attribute(name: str, feature: object) -> bool:
    """Tells whether a data set's column names people's groups: by its name, and its text or classes."""
    is_text = isinstance(feature, Value) and feature.dtype in ("string", "large_string")
    return name.strip().lower() in ATTRIBUTES and (is_text or isinstance(feature, ClassLabel))


def add_attributes(faces: Dataset, release: Path | None) -> tuple[Dataset, str | None]:
    """Adds gender, race and age to a split, from the release's annotations of its faces.

    Args:
        faces: A split with the column `file`.
        release: The folder that holds `Annotation`; None for other data, which stays as it is.

    Returns:
        The split, and what is wrong with the annotations, of which then none is added.
    """
    if release is None or MANUAL not in find_kinds(release):
        return faces, None
    findings: list[Finding] = []
    columns = read_annotations(release, release, MANUAL, faces["file"], findings.append)
    if findings:
        return faces, findings[0].message
    if faces._indices is not None:
        # A choice of rows would be written out, into the folder that the data came from.
        faces = faces.flatten_indices(keep_in_memory=True)
    for name in ATTRIBUTES:
        faces = faces.add_column(name, columns[name], feature=MANUAL.columns[name])
    return faces, None


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
