"""What data is called: by the name of a data set only where the published counts are found."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rafdb_vit.data.found import FoundData, Layout
from rafdb_vit.data.labels import LABEL_SETS, LabelSet
from rafdb_vit.data.published import PUBLISHED, RAFDB, Published
from rafdb_vit.data.splits import split_of_file

DRAWN = "drawn"
_OF_LAYOUT = {
    Layout.RELEASE: "folder in RAF-DB layout",
    Layout.KAGGLE: "folder in RAF-DB layout",
    Layout.FER2013: "folder in FER2013 layout",
    Layout.FERPLUS: "folder in FER+ layout",
    Layout.AFFECTNET: "folder in AffectNet layout",
    Layout.ON_DISK: "data set on disk",
}


def name_data(found: FoundData[Any], dataset_name: str | None = None) -> str:
    """Names a data set by what it holds: only the published `counts` make it RAF-DB, FER2013, FER+ or AffectNet.

    `dataset_name` is its name on the Hub, or its folder.
    """
    unusable = found.count_unusable()
    if equal := next((published for published in PUBLISHED if published.equals(found.counts, unusable)), None):
        return equal.name
    if dataset_name is not None and found.layout is Layout.HUB:
        return dataset_name
    return _OF_LAYOUT.get(found.layout, "folder of labelled faces")


def find_published(found: FoundData[Any], name: str) -> Published | None:
    """Returns what is published of data that is meant to be that of a `name`; None for other data.

    Of several editions it is that which the data equals in size, else the first.
    """
    editions = [edition for edition in PUBLISHED if edition.name == name and edition.classes == found.labels.names]
    unusable = found.count_unusable()
    equal = (of for of in editions if of.count_listed(found.counts, unusable) == of.totals)
    return next(equal, editions[0] if editions else None)


_ALIGNED = re.compile(r"(train_[0-9]{5}|test_[0-9]{4})_aligned\..+")
"""Names of the release's aligned images; other data has `train_1.jpg` too."""
_CLOSE = 0.1
"""How far the number of faces of a split may be from the published one in what is meant as the whole of RAF-DB."""


def resembles_rafdb(layout: Layout, labels: LabelSet, names: Mapping[str, Sequence[str]]) -> bool:
    """Tells whether data is a copy of RAF-DB, though perhaps a damaged one: what is known of RAF-DB holds for it.

    It has RAF-DB's classes, most of its files are named by their split as RAF-DB's are, and it has one of RAF-DB's own
    layouts, or the full names of aligned images, or about as many faces. Seven expressions alone do not make it one.

    Args:
        layout: The form that it has.
        labels: Its classes.
        names: The names of its files, by split.
    """
    every = [name for of_split in names.values() for name in of_split]
    named = sum(split_of_file(name) is not None for name in every)
    if labels.subset not in LABEL_SETS or not every or 2 * named < len(every):
        return False
    aligned = sum(_ALIGNED.fullmatch(name) is not None for name in every)
    totals = RAFDB[labels.subset].totals.items()
    is_whole = all(abs(len(names.get(split, ())) - total) <= _CLOSE * total for split, total in totals)
    return layout in (Layout.RELEASE, Layout.KAGGLE) or 2 * aligned >= len(every) or is_whole


def is_rafdb(data_name: str) -> bool:
    """Tells whether data is RAF-DB as published, by its name in `results.json`."""
    return data_name in {published.name for published in RAFDB.values()}


def phrase_data(data_name: str) -> str:
    """Returns the name of the data as it stands in a sentence."""
    if data_name == DRAWN:
        return "drawn faces"
    if "/" in data_name:
        return f"the data set {data_name}"
    return data_name if data_name in {published.name for published in PUBLISHED} else f"a {data_name}"
