import time

import pytest

from rafdb_vit.runtime import announcement
from rafdb_vit.runtime.announcement import announcing


def test_what_takes_longer_than_a_moment_is_said_before_it_ends(monkeypatch, capfd):
    monkeypatch.setattr(announcement, "MOMENT", 0.01)
    with announcing("Reading a\x1bfolder"):
        time.sleep(0.3)
        seen = capfd.readouterr()
    assert (seen.out, seen.err) == ("", "Reading a\\x1bfolder ...\n")


@pytest.mark.parametrize("case", ["short", "failed", "quiet", "another process"])
def test_what_is_soon_over_or_not_to_be_said_is_not(case, monkeypatch, capfd):
    monkeypatch.setattr(announcement, "MOMENT", 0 if case in ("quiet", "another process") else 60)
    if case == "another process":
        monkeypatch.setenv("RANK", "1")
    try:
        with announcing("Reading", quiet=case == "quiet"):
            if case == "failed":
                raise ValueError
            time.sleep(0.05)
    except ValueError:
        pass
    assert capfd.readouterr().err == ""
