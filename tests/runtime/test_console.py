import os
import subprocess
import sys

import pytest

from rafdb_vit.runtime.console import render_counts, render_next, render_start, say, say_aside, say_between_bars
from rafdb_vit.runtime.text_width import measure_width
from tests.support.shells import read_words


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """The program is installed, whatever the machine."""
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")


def test_a_finished_run_says_how_it_is_used_and_published():
    lines = render_next("runs/x", face="faces/1.jpg", publication=["--repo_id", "USER/NAME"]).splitlines()
    assert lines[-4:] == [
        "Next, predict a cropped face:",
        "  rafdb-vit predict faces/1.jpg --model runs/x",
        "Or look at what would be published:",
        "  rafdb-vit push runs/x --repo_id USER/NAME --dry_run",
    ]
    assert len(set(lines)) == len(lines)
    licensed = render_next("runs/x", face=None, publication=["--repo_id", "USER/NAME", "--license", "mit"])
    assert "with the licence that your data allows:\n" in licensed and "--license mit --dry_run" in licensed


def test_a_trial_is_not_proposed_for_publishing():
    words = render_next("runs/x", face=None, publication=None)
    assert "push" not in words and "publish" not in words and "predict FACE.jpg --model runs/x" in words


def test_where_the_program_is_not_installed_python_runs_it(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "  python -m rafdb_vit predict FACE.jpg" in render_next("runs/x", face=None, publication=None)


def test_nobody_reading_any_more_is_no_fault(tmp_path):
    done = tmp_path / "done"
    code = (
        "from rafdb_vit.runtime.console import say, steady_streams\n"
        f"with steady_streams():\n  for i in range(9): say('x' * 99999)\n  open({str(done)!r}, 'w').close()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ
    )
    process.stdout.read(9)
    process.stdout.close()
    with process.stderr as errors:
        assert errors.read() == b"" and process.wait() == 0 and done.exists()


def test_nothing_that_is_said_steers_the_terminal(capsys):
    say("Fear\x1b]0;X\x07\nAnger\u202e\n")
    assert capsys.readouterr().out == "Fear\\x1b]0;X\\x07\nAnger\\u202e\n\n"


HARD = """it's $(touch x) "q" `y` \\ & ; !x *"""


@pytest.mark.parametrize("folder", ["runs/x", HARD, f"a\n\x1b]0;X\x07{HARD}\u202e", "x\udcff", "喜び\u202fé"])
def test_proposed_commands_may_be_pasted_whatever_the_folder_is_called(folder):
    lines = render_next(folder, face=folder, publication=["--repo_id", "USER/NAME"]).splitlines()
    predict, push = (line for line in lines if line.startswith("  "))
    assert read_words(predict) == ["rafdb-vit", "predict", folder, "--model", folder]
    assert read_words(push) == ["rafdb-vit", "push", folder, "--repo_id", "USER/NAME", "--dry_run"]


def test_names_in_tables_and_at_the_start_are_of_one_line():
    name = "Fear\n\x1b[2J"
    head, row = render_counts([(f"train{name}", {name: 3, "b": 1})]).split("\n")
    assert head.split() == ["Fear\\n\\x1b[2J", "b", "total"] and row.split()[-3:] == ["3", "1", "4"]
    assert head.index("Fear") + len("Fear\\n\\x1b[2J") == len(head) - len("      b") - 8
    words = dict.fromkeys(("device", "precision", "model", "folder", "data"), name)
    numbers = {"processes": 1, "threads": 1, "workers": 0, "millions": 1.0, "image_size": 32}
    start = render_start(**{**words, "device": "cpu", "precision": "fp32"}, **numbers, counts={"train": {name: 1}})
    assert len(start.splitlines()) == 7 and "\x1b" not in start


def test_names_in_wide_letters_stand_above_their_counts():
    counts = {"\u9a5a\u304d\u559c\u3073": 3, "e\u0301tonnement": 12, "Fear": 1}
    lines = render_counts([("train", counts), ("\u691c\u8a3c", counts)]).split("\n")
    assert len({measure_width(line) for line in lines}) == 1
    assert lines[0].split() == [*counts, "total"]


def test_what_is_no_result_goes_to_stderr_once(capsys, monkeypatch):
    say_aside("a\x1b")
    say_between_bars("b\x1b")
    monkeypatch.setenv("RANK", "1")
    say_aside("not said")
    say_between_bars("not said")
    say_aside("c", on_every_process=True)
    assert capsys.readouterr() == ("b\\x1b\n", "a\\x1b\nc\n")
