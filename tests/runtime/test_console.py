import ast
import os
import subprocess
import sys

import pytest

from rafdb_vit.runtime.console import render_counts, render_next, render_start, say, say_aside, say_between_bars
from rafdb_vit.runtime.text_width import measure_width
from tests.support.shells import read_words


def test_a_trial_is_not_proposed_for_publishing():
    proposed = render_next("runs/x", classes=11, publishable=True)
    assert "push_to_hub.py runs/x --repo_id USER/NAME --dry_run" in proposed and "top_k=11)" in proposed
    assert "push_to_hub" not in render_next("runs/x", classes=7, publishable=False)


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
    lines = render_next(folder, classes=7, publishable=True).splitlines()
    code, push = (line for line in lines if line.startswith("  "))
    program, flag, text = read_words(code)
    assert (program, flag) == ("python", "-c")
    strings = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
    assert folder in strings and 7 in strings
    assert read_words(push) == ["python", "push_to_hub.py", folder, "--repo_id", "USER/NAME", "--dry_run"]


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
