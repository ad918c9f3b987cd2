import unicodedata
from pathlib import Path

import pytest

from rafdb_vit.data.files import Names, is_system_name, list_folders, list_images, scan, walk_files, walk_images
from rafdb_vit.data.findings import Reporter
from rafdb_vit.data.found import name_face
from rafdb_vit.runtime.errors import UserError
from tests.support.faces import SYSTEM_FILES, SYSTEM_FOLDERS, paint_face, write_system_files
from tests.support.refusals import refused


def test_folders_without_end_are_refused_in_a_line(tmp_path):
    (tmp_path / "/".join("n" * 400)).mkdir(parents=True)
    with pytest.raises(UserError, match="folders in folders, more than 50 deep"):
        list(walk_images(tmp_path))


def test_what_systems_leave_is_in_no_list(tmp_path):
    paint_face(1, 1).save(tmp_path / "face.png")
    write_system_files(tmp_path)
    found = []
    assert list_images(tmp_path, tmp_path, Reporter(found.append)) == {"face.png": str(tmp_path / "face.png")}
    assert [entry.name for entry in scan(tmp_path)] == ["face.png"]
    assert list(walk_files(tmp_path)) == [str(tmp_path / "face.png")] and list_folders(tmp_path) == found == []


@pytest.mark.parametrize("name", [*SYSTEM_FOLDERS, *SYSTEM_FILES, "THUMBS.DB", "$Recycle.Bin"])
def test_names_of_systems(name):
    assert is_system_name(name)


@pytest.mark.parametrize("name", ["happy", "recycle", "thumbs.png", "found", "@home", "#1", "$1.png", "~a.png", "tmp"])
def test_names_of_people(name):
    assert not is_system_name(name)


def test_names_are_found_however_their_accents_are_written(tmp_path):
    folder = tmp_path / unicodedata.normalize("NFD", "für é") / "zu\u0308"
    folder.mkdir(parents=True)
    (folder / unicodedata.normalize("NFC", "ö.png")).touch()
    there = str(folder / unicodedata.normalize("NFC", "ö.png"))
    names = Names(tmp_path)
    for form in ("NFC", "NFD"):
        assert names.find(str(tmp_path / unicodedata.normalize(form, "für é/zü/ö.png"))) == there
    assert names.find(str(tmp_path / "für é/zü/ü.png")) is None
    assert names.find(str(tmp_path.parent / "ö.png")) is None
    assert name_face(Path(there).name) == name_face(unicodedata.normalize("NFD", "ö_aligned.png")) == "ö"


def test_two_files_of_one_name_are_refused(tmp_path):
    for form in ("NFC", "NFD"):
        (tmp_path / unicodedata.normalize(form, "ö.png")).touch()
    with refused(tmp_path, "has the same name, its accents written otherwise", "rename one"):
        list_images(tmp_path, tmp_path, Reporter())
