import os
import signal
import time

import pytest
from filelock import SoftFileLock

from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.lock import LOCK_FILE, find_holder, hold


def test_the_second_is_told_who_the_first_is(tmp_path):
    with hold(tmp_path):
        with (
            pytest.raises(UserError, match=rf"--output_dir .*process {os.getpid()} on .* is writing into it"),
            hold(tmp_path),
        ):
            pass
        assert f"process {os.getpid()} on" in find_holder(tmp_path)
    with hold(tmp_path):
        pass
    assert find_holder(tmp_path) is None and list(tmp_path.iterdir()) == []


def test_a_folder_in_which_nothing_was_written_goes_away_again(tmp_path):
    with hold(tmp_path / "deep" / "run"):
        assert (tmp_path / "deep" / "run").is_dir()
    assert list(tmp_path.iterdir()) == []
    with hold(tmp_path / "run"):
        (tmp_path / "run" / "a").write_text("x")
    assert (tmp_path / "run" / "a").exists()


def test_a_killed_process_holds_nothing(tmp_path):
    child = os.fork()
    if child == 0:
        with hold(tmp_path):
            time.sleep(60)
    while not (tmp_path / LOCK_FILE).exists() or not (tmp_path / LOCK_FILE).read_text():
        time.sleep(0.01)
    assert f"process {child} on" in find_holder(tmp_path)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert find_holder(tmp_path) is None
    with hold(tmp_path):
        assert f"process {os.getpid()} on" in find_holder(tmp_path)


def test_another_machines_process_may_be_alive(tmp_path):
    (tmp_path / LOCK_FILE).write_text("1\nelsewhere.example\n")
    assert find_holder(tmp_path) == "process 1 on elsewhere.example"
    with pytest.raises(UserError, match=rf"process 1 on elsewhere.example .*delete .*{LOCK_FILE}"), hold(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "x", "\n\n", "0\nhost\n", "-1\nhost\n", "9" * 30 + "\nhost\n"])
def test_a_lock_that_is_none_names_nobody(tmp_path, content):
    (tmp_path / LOCK_FILE).write_text(content)
    assert find_holder(tmp_path) is None


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "run" / LOCK_FILE).symlink_to(tmp_path / "mine")
    with pytest.raises((UserError, OSError)), hold(tmp_path / "run"):
        pass
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_folder_that_can_only_be_read_by_now_ends_nothing(tmp_path, monkeypatch):
    def refuse(self):
        raise PermissionError(13, "Read-only file system")

    with hold(tmp_path / "run"):
        monkeypatch.setattr(SoftFileLock, "release", refuse)
    assert (tmp_path / "run").is_dir()
