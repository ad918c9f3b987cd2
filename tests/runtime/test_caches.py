"""Caches and temporary files that cannot be written."""

import errno
import logging
import os
import shutil
from pathlib import Path

import pytest

from rafdb_vit.runtime.caches import naming_caches, prepare_caches
from rafdb_vit.runtime.errors import UserError
from tests.support.refusals import refused

VARIABLES = (
    *("HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_XET_CACHE", "HF_MODULES_CACHE", "HF_TOKEN_PATH"),
    *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR"),
)


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A home with the libraries' usual folders, of which none is there."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def closed(path, number=errno.EACCES):
    return OSError(number, os.strerror(number), str(path))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.ENOTDIR, errno.EIO])
@pytest.mark.parametrize(
    ("place", "variable"),
    [
        (".cache/huggingface/hub/models--a--b/refs/main", "HF_HOME"),
        (".cache/huggingface/datasets/imagefolder", "HF_HOME"),
        (".config/matplotlib", "MPLCONFIGDIR"),
        (".cache/matplotlib/fontlist.json", "MPLCONFIGDIR"),
        (".cache/torch/kernels", "TORCH_HOME"),
    ],
)
def test_a_cache_in_the_home_is_named_by_its_variable(home, number, place, variable):
    with refused(f"{variable}: {home / place} cannot be read and written ({os.strerror(number)})", f"set {variable}"):
        with naming_caches():
            raise closed(home / place, number)


def test_the_variable_that_was_set_is_named(home, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "sets"))
    with refused(f"HF_DATASETS_CACHE: {tmp_path / 'sets' / 'a'} cannot be"), naming_caches():
        raise closed(tmp_path / "sets" / "a")


def test_a_home_that_cannot_be_made_is_named_by_what_needs_it(home):
    with refused(f"HF_HOME: {home / '.cache/huggingface'} cannot be read and written"), naming_caches():
        raise closed(home)


def test_what_a_library_made_of_the_error(home):
    with refused("HF_HOME: "), naming_caches():
        try:
            raise closed(home / ".cache/huggingface/datasets/x", errno.ENOSPC)
        except OSError as error:
            raise RuntimeError("could not generate the data set") from error


def test_a_full_disk_that_the_error_does_not_name(home, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "full" / "hf"))
    usage = shutil.disk_usage(tmp_path)
    (tmp_path / "full").mkdir()
    full = {tmp_path / "full"}
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=0) if Path(path) in full else usage)
    with refused(f"HF_HOME: {tmp_path / 'full' / 'hf'} cannot be read and written (No space left on device)"):
        with naming_caches():
            raise OSError(errno.ENOSPC, "No space left on device")
    full.clear()
    with pytest.raises(OSError, match="No space left"), naming_caches():
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_data_set_that_is_too_large_for_its_cache(home):
    with refused(f"HF_HOME: {home / '.cache/huggingface'} is on a disk without room for the data set"):
        with naming_caches():
            raise OSError("Not enough disk space. Needed: 3 GB (download: 1 GB, generated: 2 GB)")


def test_no_folder_for_temporary_files(home):
    with refused("TMPDIR: No usable temporary directory found in ['/tmp']; set TMPDIR to a folder"), naming_caches():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")


def test_temporary_files_are_told_from_those_of_people(home, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("tmpab12", "pymp-x/listener", "torchinductor_me/x", "matplotlib-x/fontlist.json", "rafdb_vit-x"):
        with refused("TMPDIR: ", "set TMPDIR"), naming_caches():
            raise closed(tmp_path / name)
    with pytest.raises(PermissionError), naming_caches():
        raise closed(tmp_path / "thesis" / "faces.csv")


@pytest.mark.parametrize(
    "error",
    [closed("/data/faces/1.jpg"), FileNotFoundError(errno.ENOENT, "none", "/data"), ValueError("a bug"), KeyError("x")],
)
def test_all_else_goes_through(home, error):
    with pytest.raises(type(error)) as caught, naming_caches():
        raise error
    assert caught.value is error


def test_a_file_that_is_not_in_the_cache_is_not_called_closed(home):
    with pytest.raises(FileNotFoundError), naming_caches():
        raise closed(home / ".cache/huggingface/hub/x", errno.ENOENT)


def test_a_mistake_stays_as_it_is(home):
    with pytest.raises(UserError, match="^mine$"), naming_caches():
        try:
            raise closed(home / ".cache/huggingface")
        except OSError as error:
            raise UserError("mine") from error


def test_without_a_home_none_is_made_in_the_current_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/before")
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # no HOME, and no entry for the user
    prepare_caches()
    assert os.environ["HOME"] == "/nonexistent"


def test_a_home_stays(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    prepare_caches()
    assert os.environ["HOME"] == str(tmp_path)
    assert not logging.getLogger("matplotlib.font_manager").isEnabledFor(logging.WARNING)
