"""What ends a command other than success: a mistake that a person can mend, or a signal.

Everything else is a bug and keeps its traceback.
"""

import re
import signal
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_JOINERS = "\u200c\u200d"
"""Format characters that give letters and emoji their shape; the others have none, and hide in text."""
_STEERING = ("Cc", "Cs", "Zl", "Zp")
"""Unicode's categories of what no name holds: controls, halves of characters (bytes that are not UTF-8), line ends."""
_TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
"""Unicode's classes of what sets the direction of the text that follows: it makes a line read as what it is not."""
_MOST_LETTERS = 200
"""Of what a message shows of a value."""
NOT_PLAIN = "control characters, marks that turn the direction of text, or bytes that are not UTF-8"
"""What a name has that `is_plain` tells to be none, for messages."""
_HUB_TOKEN = re.compile(r"hf_(?:[a-z]+_)?[A-Za-z0-9]{16,}")
WORKER_PREFIX = "Caught UserError in DataLoader worker process"


def is_plain(name: str) -> bool:
    """Tells whether text can be the name of a file, a folder or a class: it stays in its line, and leaves it as it is.

    Letters of every script are plain, with the marks and signs that people and cameras write between them: spaces of
    any width, joined emoji, invisible marks of direction as messengers put them before the names of pictures.
    """
    return (name.isascii() and name.isprintable()) or not any(map(_steers, name))


def escape(text: str) -> str:
    """Returns text as it may be shown in one line: what is not plain, or cannot be seen, becomes its code."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c.encode("unicode_escape").decode() if _steers(c) or _is_unseen(c) else c for c in text)


def shorten(value: object, letters: int = _MOST_LETTERS) -> str:
    """Returns what a message shows of a value of any length."""
    text = " ".join(str(value)[: 4 * letters].split())
    return text if len(text) <= letters else f"{text[:letters]}..."


def _steers(character: str) -> bool:
    return unicodedata.category(character) in _STEERING or unicodedata.bidirectional(character) in _TURNING


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) == "Cf" and character not in _JOINERS


class UserError(Exception):
    """Something that the person at the keyboard can put right.

    The message is one line: it names the file or the flag, says what was expected, and what to do. Commands print it
    on stderr and exit with status 2.

    Attributes:
        on_one: Only this process of the run raises it, and has to print it though it may not be the main one.
    """

    on_one = False

    @property
    def line(self) -> str:
        """The message as one line, also when a data worker wrapped it.

        torch hands an exception of a data worker to the training process as a new exception of the same type whose
        message is the worker's whole traceback; the last line of that names the original error. What looks like a
        token of the Hub is not repeated, wherever on a command line it stood.
        """
        text = str(self.args[0]) if self.args else ""
        if text.startswith(WORKER_PREFIX):
            text = text.rsplit(f"\n{__name__}.UserError: ", 1)[-1]
        return _HUB_TOKEN.sub("<token>", escape(re.sub(r"[\r\n]+\s*", " ", text).strip()))

    def __str__(self) -> str:
        return self.line


@contextmanager
def renaming_flags(names: Mapping[str, str]) -> Iterator[None]:
    """Names the flags in errors of a block as this command has them: `{"--repo_id": "--hub_model_id"}`.

    Raises:
        UserError: What the block raised, with the flags on the right in place of those on the left.
    """
    try:
        yield
    except UserError as error:
        line = error.line
        for flag, name in names.items():
            line = re.sub(rf"{flag}\b", name, line)
        raise UserError(line) from error


class Interrupted(BaseException):
    """A signal that ends a command, as `KeyboardInterrupt` does; no `except Exception` stops it.

    Attributes:
        signum: The signal's number.
        message: What a person should know: what was saved, and how to go on.
    """

    def __init__(self, signum: int, message: str = "") -> None:
        super().__init__(signum, message)
        self.signum = signum
        self.message = message

    @property
    def name(self) -> str:
        """The signal's name, such as `SIGTERM`."""
        return signal.Signals(self.signum).name

    @property
    def status(self) -> int:
        """The exit status by the shell's convention: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.signum
