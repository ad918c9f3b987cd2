from pathlib import Path

import pytest

from rafdb_vit.data.form import DataForm
from rafdb_vit.data.persons import describe_straddling, find_persons, find_straddling, name_in_data
from tests.support.refusals import refused


@pytest.mark.parametrize(
    ("pattern", "names", "persons"),
    [
        ("^(s[0-9]+)_", ["Anger/s1_1.jpg", "Fear/s12_9.jpg"], ["s1", "s12"]),
        ("s[0-9]+", ["Anger/s1_1.jpg", "Fear/x-s12.jpg"], ["s1", "s12"]),
        ("^([^/]+)/", ["ada/1.jpg", "bob/1.jpg"], ["ada", "bob"]),
        ("^(s[0-9]+)_|.+", ["s1_1.jpg", "odd.jpg"], ["s1", "odd.jpg"]),
        ("(?:a|b)-([0-9])([0-9])", ["a-12", "b-13"], ["1", "1"]),
        ("^Anger", ["Anger/Anger1.jpg"], ["Anger"]),
    ],
)
def test_a_pattern_finds_whose_picture_it_is(pattern, names, persons):
    assert find_persons(names, pattern) == persons


def test_a_file_in_which_the_pattern_finds_nothing_is_named():
    with refused("--group_pattern ^(s[0-9]+)_: finds no person in Anger/b.jpg and in 1 others", "append |.+"):
        find_persons(["s1_1.jpg", "Anger/b.jpg", "s_.jpg"], "^(s[0-9]+)_")
    with refused("finds no person in a.jpg;"):
        find_persons(["a.jpg"], "x*")
    with refused("finds no person in Anger/1.jpg"):
        find_persons(["Anger/1.jpg"], "^Anger")


@pytest.mark.parametrize("pattern", ["(", "a{99999999999999}", "[z-a]", "*", "(?P<\n>x)", "(" * 5000 + ")" * 5000])
def test_no_regular_expression_is_one_line(pattern):
    with refused("--group_pattern ", "is no regular expression", "expected one such as"):
        DataForm(group_pattern=pattern)


def test_one_of_column_and_pattern():
    with refused("--group_pattern: --group_column says already"):
        DataForm(group_pattern="x", group_column="y")


def test_a_name_does_not_depend_on_where_the_data_lies():
    assert name_in_data("/a/b/data/Anger/1.jpg", Path("/a/b/data")) == "Anger/1.jpg"
    assert name_in_data("/cache/0f3/1.jpg", None) == "1.jpg" == name_in_data("/elsewhere/1.jpg", Path("/data"))
    assert name_in_data("Anger\\1.jpg", None) == "Anger/1.jpg"


def test_persons_in_several_splits():
    found = find_straddling({"train": ["a", "b", "b", "c"], "validation": ["d"], "test": ["b", "c", "e"]})
    assert found == {"b": {"train": 2, "test": 1}, "c": {"train": 1, "test": 1}}
    words = describe_straddling(found)
    assert words == "2 persons have pictures in several splits of the data (b: 2 in train and 1 in test)"
    assert describe_straddling({}) == "" and "1 person has" in describe_straddling({"x\ny": {"train": 1, "test": 1}})
