import pytest

from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.neighbours import check_folder, describe_missing, find_near, list_near


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("runs/demo/checkpoint-2", "runs/faces-tiny", "runs/.hidden"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "runs" / "notes.txt").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("runs/nope", "no folder runs/nope; runs/ holds demo, faces-tiny"),
        ("./runs/nope/", "no folder ./runs/nope/; runs/ holds demo, faces-tiny"),
        ("runs/nope/deeper", "no folder runs/nope/deeper; runs/ holds demo, faces-tiny"),
        ("demo", "no folder demo; there is runs/demo"),
        ("rnus/demo", "no folder rnus/demo; there is runs/demo"),
        ("nope", "no folder nope; the current folder holds runs"),
        ("runs/faces-tiny/nope", "no folder runs/faces-tiny/nope; runs/faces-tiny/ holds no folders"),
        ("runs/nope.txt", "no folder runs/nope.txt; runs/ holds demo, faces-tiny, notes.txt"),
    ],
)
def test_what_is_missing_and_what_lies_near(here, path, words):
    assert describe_missing(path) == words


@pytest.mark.parametrize("path", ["a\0b", "~nobody-of-that-name/x", "", "/"])
def test_a_path_of_which_nothing_can_be_said(here, path):
    assert isinstance(list_near(path), str)


def test_names_of_any_length_stay_short(here):
    (here / "runs" / ("b" * 250)).mkdir()
    assert len(describe_missing("runs/" + "a" * 5000)) < 450


def test_of_many_those_that_are_most_alike(here):
    for i in range(30):
        (here / "runs" / f"seed-{i}").mkdir()
    (here / "runs" / "baseline").mkdir()
    words = list_near("runs/baselin")
    assert words.startswith("; runs/ holds baseline, ") and words.endswith(" and 27 more")


def test_names_do_not_steer_the_terminal(here):
    (here / "runs" / "\x1b]0;X\x07").mkdir()
    assert "\x1b" not in describe_missing("runs/nope")


def test_a_folder_that_has_to_be_there(here):
    assert check_folder("RUN", "runs/demo", expected="a run") == here.__class__("runs/demo")
    with pytest.raises(UserError, match=r"^RUN: no folder runs/x; runs/ holds demo, faces-tiny; expected a run$"):
        check_folder("RUN", "runs/x", expected="a run")
    with pytest.raises(UserError, match=r"^RUN runs/notes.txt: is a file; expected a run$"):
        check_folder("RUN", "runs/notes.txt", expected="a run")


def test_the_folder_in_which_something_is_missing(here):
    assert str(find_near("runs/nope")) == "runs" and find_near("google/nope") is None and find_near("nope") is None
