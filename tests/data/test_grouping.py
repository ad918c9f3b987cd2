"""Faces that stay together: duplicates by what they show, persons by column or by name, and both joined."""

import shutil
from collections import defaultdict

import pytest
from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature

from rafdb_vit.data.dataset import find_data
from rafdb_vit.data.division import Division
from rafdb_vit.data.form import DataForm
from rafdb_vit.data.grouping import find_duplicates, group_faces
from tests.support.refusals import refused
from tests.support.undivided import write_undivided

ALIKE = {
    frozenset({"p0_Anger0", "p0_Angercopy", "p0_Angeragain"}),
    frozenset({"p0_Contempt0", "p0_Contemptcopy", "p0_Contemptagain"}),
    frozenset({"p1_Anger1", "p2_Contemptalike"}),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_undivided(tmp_path_factory.mktemp("undivided") / "data")


def find(root, **form):
    return find_data(root, DataForm(**form), Division(test_fraction=0.2))


def sets_of(files, numbers):
    groups = defaultdict(set)
    for file, number in zip(files, numbers, strict=True):
        groups[number].add(file)
    return {frozenset(group) for group in groups.values() if len(group) > 1}


def test_duplicates_are_found_exact_and_near_in_any_order(data):
    faces = find(data).splits["train"]
    assert sets_of(faces["file"], find_duplicates(faces, quiet=True)) == ALIKE
    shuffled = faces.shuffle(seed=1)
    assert sets_of(shuffled["file"], find_duplicates(shuffled, quiet=True)) == ALIKE


def test_images_that_stand_in_a_table_are_looked_at_too(data):
    def rows():
        for name in ("p0_Anger0.png", "p1_Anger1.png", "p0_Angercopy.png"):
            yield {"image": {"bytes": (data / "Anger" / name).read_bytes(), "path": None}, "file": name}

    faces = Dataset.from_list(list(rows()), features=Features(image=ImageFeature(), file=Value("string")))
    assert find_duplicates(faces, quiet=True)[0] == find_duplicates(faces, quiet=True)[2]
    assert len(set(find_duplicates(faces, quiet=True))) == 2
    found = find_data(data, DataForm(group_pattern="x"), Division(test_fraction=0.2))
    nameless = {"train": faces.map(lambda row: row)}
    with refused("--group_pattern: the images of the data have no file names; name a column with --group_column"):
        group_faces(type(found)(found.layout, None, found.labels, nameless, {}), DataForm(group_pattern="x"))


def test_persons_and_duplicates_are_joined(data):
    form = DataForm(group_pattern="^(p[0-9])_")
    found = find(data, group_pattern="^(p[0-9])_")
    grouping = group_faces(found, form, duplicates=True, quiet=True)
    groups = sets_of(found.splits["train"]["file"], grouping.numbers)
    persons = {frozenset(name[:2] for name in group) for group in groups}
    assert persons == {frozenset(own) for own in ({"p0"}, {"p1", "p2"}, {"p3"}, {"p4"})}  # p1 and p2 share a picture
    assert grouping.words == "duplicates and persons (file names, ^(p[0-9])_)"
    assert grouping.notes[0] == "3 groups of duplicates stay on one side of test and of validation, 8 faces in all"


def test_an_image_that_cannot_be_read_is_named(data, tmp_path):
    copy = shutil.copytree(data, tmp_path / "copy")
    (copy / "Anger" / "p3_Anger3.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    with refused("Anger/p3_Anger3.png: cannot be read as an image", "put a whole one in its place"):
        find_duplicates(find(copy).splits["train"], quiet=True)


def test_nothing_is_grouped_where_nothing_asks_for_it(data):
    grouping = group_faces(find(data), DataForm())
    assert grouping.numbers is None and grouping.words is None and grouping.notes == ()
