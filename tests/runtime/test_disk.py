import os
from pathlib import Path

import pytest

from rafdb_vit.runtime.disk import expand, parse_yaml, read_bytes, read_yaml, share_mode, write_whole
from rafdb_vit.runtime.errors import UserError


def test_a_file_is_written_whole(tmp_path):
    path = write_whole(tmp_path / "a.txt", "ä\n")
    assert path.read_bytes() == "ä\n".encode() and list(tmp_path.iterdir()) == [path]


def test_what_was_there_stays_where_writing_fails(tmp_path, monkeypatch):
    path = write_whole(tmp_path / "a.txt", "before")

    def fail(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        write_whole(path, "after")
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "text",
    [
        "a: &x [1, 2]\nb: [*x, *x]",
        "a: !!python/object/apply:os.system [x]",
        "a: !!timestamp 2020-99-99",
        "a: " + 500 * "[" + 500 * "]",
        'a: "\\0"',
        "a: \0",
        "1: 2",
        "[a]",
        "? [a]\n: 1",
        "a: " + 5000 * "9",
    ],
)
def test_yaml_that_is_more_than_settings_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"^--config X: .*expected settings"):
        read_yaml(path, where="--config X", expected="settings")


def test_dates_in_yaml_stay_text(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("a: 2020-13-45\nb: 1e-4\nc: [1, null]\nd: 1.5\n")
    assert read_yaml(path, where="", expected="") == {"a": "2020-13-45", "b": "1e-4", "c": [1, None], "d": 1.5}


def test_only_plain_files_of_a_bounded_size_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a plain file"):
        read_bytes(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a plain file"):
        read_bytes("/dev/zero")
    (tmp_path / "large").write_bytes(b"12345")
    assert read_bytes(tmp_path / "large", most=5) == b"12345"
    with pytest.raises(OSError, match="5 bytes, expected 4 at most"):
        read_bytes(tmp_path / "large", most=4)


def test_the_home_of_nobody():
    with pytest.raises(UserError, match="no such user"):
        expand("~nobody-of-that-name/runs")


def test_yaml_of_a_hundred_thousand_values_is_not_read():
    with pytest.raises(ValueError, match="more than 100,000 values"):
        parse_yaml(f"a: [{'1,' * 100_001}]")


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_files_share_the_mode_of_a_plain_one(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        (tmp_path / "plain").touch()
        (tmp_path / "odd").touch()
    finally:
        os.umask(before)
    (tmp_path / "odd").chmod(mode)
    (tmp_path / "own").touch(0o600)
    (tmp_path / "link").symlink_to(tmp_path / "own")
    share_mode(tmp_path / "plain", [tmp_path / "odd", tmp_path / "link"])
    assert (tmp_path / "odd").stat().st_mode & 0o777 == 0o666 & ~umask
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o600


def test_a_disk_that_knows_no_modes(tmp_path, monkeypatch):
    (tmp_path / "plain").touch()
    (tmp_path / "odd").touch(0o600)

    def refuse(self, mode):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    share_mode(tmp_path / "plain", [tmp_path / "odd"])
    assert (tmp_path / "odd").stat().st_mode & 0o777 == 0o600
