"""A folder that a command writes into: what is its own, and links that lead out of it."""

import hashlib
import json
import os

import pytest

from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.output_folder import LIST_FILE, OutputFolder
from rafdb_vit.runtime.place import Place

KNOWN = ("a.txt", "b.txt", "figures/*.png", "partial-*", "work-[0-9]*")


@pytest.fixture
def output(tmp_path):
    return OutputFolder(tmp_path / "run", KNOWN)


@pytest.fixture
def elsewhere(tmp_path):
    """A person's folder, and what lies in it."""
    folder = tmp_path / "elsewhere"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.txt", "a.txt.partial", "x.png", "deep/thesis.docx", LIST_FILE):
        (folder / name).write_text("mine")
    return folder


def all_of(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_what_is_written_is_listed_with_its_hash(output):
    output.write("a.txt", "one")
    output.write("figures/x.png", b"two")
    assert output.hashes == {
        "a.txt": hashlib.sha256(b"one").hexdigest(),
        "figures/x.png": hashlib.sha256(b"two").hexdigest(),
    }
    output.write("a.txt", "three")
    assert (output.path / "a.txt").read_text() == "three" and not output.is_changed("a.txt")
    assert {path.name for path in output.path.iterdir()} == {"a.txt", "figures", LIST_FILE}
    (output.path / "a.txt").write_text("four")
    assert output.is_changed("a.txt")
    with pytest.raises(UserError, match="a.txt: was changed after the run; restore it"):
        output.refuse_changed("b.txt", "figures/x.png", "a.txt", advice="restore it")


def test_only_its_own_is_deleted(output):
    output.write("a.txt", "one")
    output.write("figures/x.png", "two")
    (output.path / "figures" / "mine.png").write_text("mine")
    (output.path / "b.txt").write_text("mine")
    output.remove()
    assert all_of(output.path) == {"b.txt": "mine", "figures/mine.png": "mine"}


@pytest.mark.parametrize("write", [lambda o: o.write("b.txt", "x"), lambda o: o.make_folder("partial-1")])
def test_what_others_wrote_is_not_replaced(output, write):
    output.write("a.txt", "one")
    (output.path / "b.txt").write_text("mine")
    (output.path / "partial-1").mkdir()
    (output.path / "partial-1" / "mine").write_text("mine")
    before = all_of(output.path)
    with pytest.raises(UserError, match="is in the way, and by files.json it was not written here"):
        write(output)
    assert all_of(output.path) == before


@pytest.mark.parametrize(
    "name", ["../elsewhere/a.txt", "thesis.docx", "/etc/passwd", "figures/../b.png", "figures/deep/x.png", "."]
)
def test_a_list_that_claims_more_than_a_run_writes_is_not_believed(output, elsewhere, name):
    output.path.mkdir()
    (output.path / "thesis.docx").write_text("mine")
    (output.path / LIST_FILE).write_text(json.dumps({"files": {name: None}}))
    before = all_of(output.path.parent)
    assert output.hashes == {}
    output.remove()
    output.remove_folder(name)
    assert all_of(output.path.parent) == before


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"files": []}',
        '{"files": {"a.txt": 1}}',
        '{"files": NaN}',
        '{"files": {}}',
        '{"files": {"a.txt": null}, "mine": 1}',
        "[" * 9999,
    ],
)
def test_a_list_that_is_none_is_one_line(output, content):
    output.path.mkdir()
    (output.path / LIST_FILE).write_text(content)
    with pytest.raises(UserError, match="files.json: not the list"):
        output.write("a.txt", "x")


@pytest.mark.parametrize("name", ["a.txt", "a.txt.partial", LIST_FILE, f"{LIST_FILE}.partial", "figures/x.png"])
def test_nothing_is_written_through_a_link(output, elsewhere, name):
    before = all_of(elsewhere)
    (output.path / "figures").mkdir(parents=True)
    (output.path / name).symlink_to(elsewhere / "a.txt")
    with pytest.raises(UserError, match="is a link that leads out of the folder, to .*elsewhere/a.txt"):
        output.refuse_links()
    try:
        output.write("a.txt", "x")
        output.write("figures/x.png", "x")
        output.remove()
    except UserError:
        pass
    assert all_of(elsewhere) == before


@pytest.mark.parametrize("name", ["figures", "partial-1", "work-1"])
def test_nothing_is_written_moved_or_deleted_through_a_linked_folder(output, elsewhere, name):
    before = all_of(elsewhere)
    output.path.mkdir()
    output.claim("figures/x.png", "partial-1", "work-1")
    (output.path / name).symlink_to(elsewhere)
    with pytest.raises(UserError, match="is a link that leads out"):
        output.refuse_links()
    acts = (
        lambda: output.write("figures/x.png", "x"),
        lambda: output.remove(["figures/x.png"]),
        lambda: output.take("a.txt", staged="partial-1/a.txt"),
        lambda: output.remove_folder(name),
        lambda: output.make_folder(name),
        lambda: output.remove_folder(name, holds=lambda path: True),
    )
    for act in acts:
        try:
            act()
        except (UserError, OSError):
            pass
    assert all_of(elsewhere) == before


def test_folders_on_the_way_are_no_links(tmp_path, elsewhere):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "evaluations").symlink_to(elsewhere)
    output = OutputFolder(tmp_path / "run" / "evaluations" / "deep", KNOWN, within=tmp_path / "run")
    before = all_of(elsewhere)
    for act in (output.refuse_links, lambda: output.write("a.txt", "x"), output.remove):
        try:
            act()
        except UserError as error:
            assert "evaluations: is a link, through which nothing is written" in error.line
    assert all_of(elsewhere) == before


def test_a_folder_that_is_a_link_itself_is_what_was_asked_for(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "disk")
    output = OutputFolder(tmp_path / "run", KNOWN)
    output.refuse_links()
    output.write("a.txt", "x")
    assert (tmp_path / "disk" / "a.txt").read_text() == "x"


def test_links_within_are_no_fault(output):
    output.write("a.txt", "x")
    (output.path / "latest").symlink_to("a.txt")
    output.refuse_links()


def test_of_a_folder_of_its_own_a_persons_file_stays(output):
    folder = output.make_folder("work-1")
    (folder / "own").write_text("x")
    (folder / "deep").mkdir()
    (folder / "deep" / "own").write_text("x")
    (folder / "notes").write_text("mine")
    output.remove_folder("work-1", holds={"own", "deep/own"}.__contains__)
    assert all_of(output.path) == {"work-1/notes": "mine"}
    with pytest.raises(UserError, match="is in the way"):
        output.make_folder("work-1")


def test_a_disk_that_is_full_leaves_what_was_there(output, monkeypatch):
    output.write("a.txt", "before")
    replace = os.replace

    def full(*args, **kwargs):
        if args[1] == "a.txt":
            raise OSError(28, "No space left on device")
        return replace(*args, **kwargs)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        output.write("a.txt", "after")
    assert (output.path / "a.txt").read_text() == "before" and not output.is_changed("a.txt")


def test_files_that_belong_together_are_all_replaced_or_none(output, monkeypatch):
    output.write_together({"a.txt": "before", "b.txt": "before"})
    write = Place.write
    monkeypatch.setattr(
        Place,
        "write",
        lambda self, name, *rest, **more: 1 / (name != "b.txt.partial") and write(self, name, *rest, **more),
    )
    before = all_of(output.path)
    with pytest.raises(ZeroDivisionError):
        output.write_together({"a.txt": "after", "b.txt": "after"})
    left = all_of(output.path)
    assert {name: left[name] for name in ("a.txt", "b.txt")} == {name: before[name] for name in ("a.txt", "b.txt")}
    assert set(left) == set(before) and not output.is_changed("a.txt")


@pytest.mark.parametrize("name", ["a.txt.partial", "files.json.partial", "figures/x.png.partial"])
def test_a_persons_half_written_file_stays(output, name):
    (output.path / name).parent.mkdir(parents=True, exist_ok=True)
    (output.path / name).write_text("mine")
    for act in (lambda: output.check(["a.txt", "figures/x.png"]), lambda: output.write("a.txt", "x"), output.remove):
        try:
            act()
        except UserError as error:
            assert "is in the way" in error.line
    assert (output.path / name).read_text() == "mine"


def test_what_a_killed_run_left_half_written_is_replaced(output):
    output.claim("a.txt", "a.txt.partial")
    (output.path / "a.txt.partial").write_text("half")
    output.check(["a.txt"])
    output.write("a.txt", "whole")
    assert all_of(output.path)["a.txt"] == "whole" and set(output.hashes) == {"a.txt"}


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda run: (run / "b.txt").mkdir(), "b.txt: is in the way"),
        (lambda run: ((run / "a.txt").unlink(), (run / "a.txt" / "x").mkdir(parents=True)), "a.txt: is a folder"),
        (lambda run: (run / "figures").write_text("mine"), "figures: is a file"),
        (lambda run: OutputFolder(run, ("other.txt",)).write("other.txt", "x"), "another command wrote other.txt"),
    ],
)
def test_what_could_not_be_replaced_is_found_before_anything_is_lost(output, prepare, words):
    output.write("a.txt", "one")
    prepare(output.path)
    before = all_of(output.path)
    with pytest.raises(UserError, match=words):
        output.check(["a.txt", "b.txt", "figures/x.png"])
    assert all_of(output.path) == before


def test_a_list_of_too_many_names_is_refused_at_once(output):
    output.path.mkdir()
    names = {f"work-{i}": None for i in range(20_000)}
    (output.path / LIST_FILE).write_text(json.dumps({"files": names}))
    with pytest.raises(UserError, match="files.json: not the list"):
        output.check(["a.txt"])


def test_names_that_nothing_has_are_forgotten_in_one_go(output, monkeypatch):
    output.write("a.txt", "one")
    output.claim(*(f"work-{i}" for i in range(5_000)))
    written = []
    monkeypatch.setattr(OutputFolder, "_write_list", lambda self, hashes: written.append([*hashes]))
    output.tidy_list()
    assert written == [["a.txt"]]


def test_a_list_whose_writing_was_cut_short_is_deleted_and_other_names_stay(output):
    output.write("a.txt", "one")
    for name in (f"{LIST_FILE}.{'0a' * 8}.partial", f"{LIST_FILE}.mine.partial"):
        (output.path / name).write_text("{")
    output.tidy_list()
    assert sorted(path.name for path in output.path.iterdir()) == ["a.txt", LIST_FILE, f"{LIST_FILE}.mine.partial"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_closed_is_one_line(output):
    output.write("figures/x.png", "x")
    (output.path / "figures").chmod(0o000)
    try:
        with pytest.raises(UserError, match="figures: cannot be read"):
            output.check(["figures/x.png"])
    finally:
        (output.path / "figures").chmod(0o755)
