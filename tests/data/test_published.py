from pathlib import Path

import pytest

from rafdb_vit.data.found import FoundData, Layout
from rafdb_vit.data.labels import BASIC, COMPOUND, EIGHT, LABEL_SETS
from rafdb_vit.data.names import find_published, is_rafdb, name_data, phrase_data
from rafdb_vit.data.published import PUBLISHED, RAFDB

TOTALS = {
    "RAF-DB basic": ({"train": 12271, "test": 3068}, 7),
    "RAF-DB compound": ({"train": 3162, "test": 792}, 11),
    "FER2013": ({"train": 28709, "validation": 3589, "test": 3589}, 7),
    "FER+": ({"train": 28709, "validation": 3589, "test": 3589}, 8),
}


def find(layout, labels, counts, unusable=None):
    return FoundData(layout, Path("/data"), labels, {}, {}, counts=counts, unusable=unusable or {})


def count(published):
    """Returns counts that equal the published ones: where only totals are published, all are of the first class."""
    return {
        split: published.of_split(split) or {**dict.fromkeys(published.classes, 0), published.classes[0]: total}
        for split, total in published.totals.items()
    }


def choose_labels(published):
    return next(labels for labels in (BASIC, COMPOUND, EIGHT) if labels.names == published.classes)


def test_counts_add_up_to_the_totals():
    for published in PUBLISHED:
        for split, counts in published.counts.items():
            assert len(counts) == len(published.classes) and sum(counts) == published.totals[split], published
    assert {of.name: (of.totals, len(of.classes)) for of in PUBLISHED if of.name != "AffectNet"} == TOTALS
    sizes = [(len(of.classes), *of.totals.values()) for of in PUBLISHED if of.name == "AffectNet"]
    assert sizes == [(8, 287651, 4000), (8, 287651, 3999), (7, 283901, 3500)]
    assert set(RAFDB) == set(LABEL_SETS)


def test_the_splits_of_fer2013_add_up_to_its_paper():
    fer2013 = next(of for of in PUBLISHED if of.name == "FER2013")
    of_class = {name: sum(fer2013.of_split(split)[name] for split in fer2013.totals) for name in BASIC.names}
    paper = {"Anger": 4953, "Disgust": 547, "Fear": 5121, "Happiness": 8989, "Sadness": 6077, "Surprise": 4002}
    assert of_class == {**paper, "Neutral": 6198}


@pytest.mark.parametrize("published", PUBLISHED)
def test_only_the_published_counts_make_a_name(published):
    counts, layout = count(published), Layout.CLASS_FOLDERS
    labels = choose_labels(published)
    assert name_data(find(layout, labels, counts)) == published.name
    for split, of in counts.items():
        name = published.classes[-1]
        fewer = {**counts, split: {**of, name: of[name] + 1}}
        assert name_data(find(layout, labels, fewer)) in ("folder of labelled faces", published.name)
        assert not published.equals(fewer)
    first, second = published.classes[:2]
    exchanged = {**counts["test"], first: counts["test"][first] - 1, second: counts["test"][second] + 1}
    assert published.equals({**counts, "test": exchanged}) is ("test" not in published.counts)
    assert not published.equals({**counts, "more": counts["test"]})
    assert not published.equals({"train": counts["train"]})


def test_faces_that_fer_plus_leaves_out_count():
    fer_plus = next(of for of in PUBLISHED if of.name == "FER+")
    counts = count(fer_plus)
    counts["train"]["Anger"] -= 12
    unusable = {"one reason": {"train": 5, "test": 0}, "another": {"train": 7}}
    assert name_data(find(Layout.FERPLUS, EIGHT, counts, unusable)) == "FER+"
    assert name_data(find(Layout.FERPLUS, EIGHT, counts)) == "folder in FER+ layout"


def test_faces_that_affectnet_leaves_out_do_not():
    of_eight = next(of for of in PUBLISHED if of.name == "AffectNet")
    found = find(Layout.AFFECTNET, EIGHT, count(of_eight), {"of no expression": {"train": 88895}})
    assert name_data(found) == "AffectNet"


def test_of_several_editions_that_of_the_same_size():
    editions = [of for of in PUBLISHED if of.name == "AffectNet"]
    for edition in editions:
        found = find(Layout.AFFECTNET, choose_labels(edition), count(edition))
        assert find_published(found, "AffectNet") == edition
    assert find_published(find(Layout.AFFECTNET, EIGHT, {}), "AffectNet") == editions[0]
    assert find_published(find(Layout.CLASS_FOLDERS, EIGHT, {}), "class folders") is None


def test_names_in_a_sentence():
    phrases = {"FER+": "FER+", "AffectNet": "AffectNet", "folder in FER2013 layout": "a folder in FER2013 layout"}
    assert {name: phrase_data(name) for name in phrases} == phrases
    assert is_rafdb("RAF-DB compound") and not is_rafdb("FER2013")
