"""How this process was started, and the command line that starts it again."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rafdb_vit.runtime.errors import Interrupted, escape
from rafdb_vit.runtime.processes import count_local_processes, count_processes

_RESUME = "--resume_from_checkpoint"
_LEFT_OUT = ("__resume_from_checkpoint", "__overwrite_output_dir")
"""Flags that do not go on with a run, however their words are joined."""


def _launcher_words() -> list[str]:
    """Returns the launcher's words for one machine, guessed from what launchers export."""
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION")
    if precision is not None:
        processes = count_processes()
        words = ["accelerate", "launch", *(["--mixed_precision", precision] if precision != "no" else [])]
        return [*words, *(["--multi_gpu", "--num_processes", str(processes)] if processes > 1 else [])]
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return ["torchrun", "--nproc_per_node", str(count_local_processes())]
    return []


def render_command(words: Sequence[str]) -> str:
    """Renders words as one line that may be pasted into a shell, where each stays the word that it is."""
    return " ".join(map(_quote, words))


def find_program(verb: str) -> list[str]:
    """Returns the words that start a verb of this package in the shell that this process was started from."""
    return ["rafdb-vit", verb] if shutil.which("rafdb-vit") else ["python", "-m", "rafdb_vit", verb]


def _quote(word: str) -> str:
    """Quotes a word; what steers a terminal as the codes that bash and zsh read between `$'` and `'`."""
    if escape(word) == word:
        return shlex.quote(word)
    letters = (chr(byte) for byte in os.fsencode(word))
    return "$'" + "".join(c if " " <= c <= "~" and c not in "'\\" else f"\\x{ord(c):02x}" for c in letters) + "'"


def render_resume_command(argv: Sequence[str]) -> str:
    """Renders the line that goes on with an interrupted run; `argv` is its command line without the program."""
    kept, words = [], list(argv)
    while words:
        word = words.pop(0)
        if word.split("=", 1)[0].replace("-", "_") not in _LEFT_OUT:
            kept.append(word)
        elif "=" not in word and words and not words[0].startswith("--"):
            words.pop(0)
    return render_own_command("train", [*kept, _RESUME])


def render_own_command(verb: str, argv: Sequence[str]) -> str:
    """Renders the line that starts a verb such as `train` as this process was started.

    Of a program of somebody else's, or a notebook, that called this package, it is the line that does the same.

    Args:
        verb: The verb.
        argv: Its words on the command line, without the program.
    """
    program, launcher = Path(sys.argv[0]), _launcher_words()
    if program.name == f"{verb}.py":
        return render_command([*(launcher or ["python"]), str(program), *argv])
    if program.name == "__main__.py" or launcher:
        return render_command([*(launcher or ["python"]), "-m", "rafdb_vit", verb, *argv])
    return render_command(["rafdb-vit", verb, *argv])


@contextmanager
def naming_resume_command(argv: Sequence[str]) -> Iterator[None]:
    """Adds the line that goes on with the run, see `render_resume_command`, to an `Interrupted` that ends the block.

    Raises:
        Interrupted: With a message for the person.
    """
    try:
        yield
    except Interrupted as stop:
        standing = stop.message or "before results.json was written"
        message = f"the run ended {standing}. Go on with:\n  {render_resume_command(argv)}"
        raise Interrupted(stop.signum, message) from stop
