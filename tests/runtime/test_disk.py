from pathlib import Path

import pytest

from rafdb_vit.runtime.disk import write_whole


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
