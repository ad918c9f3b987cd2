from datetime import datetime, timedelta, timezone

import pytest

from rafdb_vit.report.provenance import Provenance, render_duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (7500, "2 h 5 min"), (7199.9, "2 h 0 min")],
)
def test_durations(seconds, words):
    assert render_duration(seconds) == words


def test_the_moment_names_its_zone():
    made = datetime(2026, 3, 1, 9, 5, tzinfo=timezone(timedelta(hours=-3, minutes=-30)))
    assert Provenance("train", made=made).moment == "2026-03-01, 09:05 (UTC-03:30)"
    assert "(UTC" in Provenance("train").moment


def test_a_resumed_run_says_what_its_time_is_of():
    assert Provenance("evaluate").training_time == ""
    assert Provenance("train", training_seconds=60).training_time == "1 min 0 s"
    resumed = Provenance("train", training_seconds=60, resumed=True)
    assert resumed.training_time == "1 min 0 s, counted from the checkpoint that it went on from"
