import os
import subprocess
import sys

from rafdb_vit.runtime.console import render_next, say


def test_a_trial_is_not_proposed_for_publishing():
    proposed = render_next("runs/x", classes=11, publishable=True)
    assert "push_to_hub.py runs/x --repo_id USER/NAME --dry_run" in proposed and "top_k=11)" in proposed
    assert "push_to_hub" not in render_next("runs/x", classes=7, publishable=False)


def test_nobody_reading_any_more_is_no_fault(tmp_path):
    done = tmp_path / "done"
    code = (
        "from rafdb_vit.runtime.console import say\n"
        f"for i in range(9): say('x' * 99999)\nopen({str(done)!r}, 'w').close()"
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
