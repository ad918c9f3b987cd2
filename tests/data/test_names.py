import pytest

from rafdb_vit.data.found import Layout
from rafdb_vit.data.labels import BASIC, COMPOUND, OWN, LabelSet
from rafdb_vit.data.names import resembles_rafdb

ALIGNED = {"train": ["train_00001_aligned.jpg"] * 3, "test": ["test_0001_aligned.jpg", "me.jpg"]}
SHORT = {"train": ["train_1.jpg"] * 3, "test": ["test_1.jpg"] * 2}
WHOLE = {"train": ["train_1.jpg"] * 12_000, "test": ["test_1.jpg"] * 3_000}
OTHER = {"train": ["a.jpg"] * 12_271, "test": ["b.jpg"] * 3_068}
EIGHT = LabelSet(OWN, ("Contempt", *BASIC.names))


@pytest.mark.parametrize(
    ("layout", "labels", "names", "is_own"),
    [
        (Layout.RELEASE, BASIC, SHORT, True),
        (Layout.RELEASE, COMPOUND, SHORT, True),
        (Layout.KAGGLE, BASIC, SHORT, True),
        (Layout.KAGGLE, BASIC, OTHER, False),
        (Layout.CLASS_FOLDERS, BASIC, ALIGNED, True),
        (Layout.CLASS_FOLDERS, BASIC, WHOLE, True),
        (Layout.CLASS_FOLDERS, BASIC, SHORT, False),
        (Layout.CLASS_FOLDERS, BASIC, OTHER, False),
        (Layout.TABLE, EIGHT, ALIGNED, False),
        (Layout.TABLE, BASIC, {}, False),
    ],
)
def test_a_copy_of_rafdb_is_told_by_more_than_its_classes(layout, labels, names, is_own):
    assert resembles_rafdb(layout, labels, names) == is_own
