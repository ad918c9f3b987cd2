"""What a shell makes of a line that somebody pastes."""

import os
import subprocess


def read_words(line):
    """Returns the words of a command as bash reads them; it runs nothing of it."""
    script = f"set -f; words=({line}); printf '%s\\0' \"${{words[@]}}\""
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    assert not done.stderr
    return [os.fsdecode(word) for word in done.stdout.split(b"\0")[:-1]]
