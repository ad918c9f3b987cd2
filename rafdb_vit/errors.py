"""The one error type for what a person can mend; everything else is a bug and keeps its traceback."""

WORKER_PREFIX = "Caught UserError in DataLoader worker process"


class UserError(Exception):
    """Something that the person at the keyboard can put right.

    The message is one line: it names the file or the flag, says what was expected, and what to do. Commands print it
    on stderr and exit with status 2.
    """

    @property
    def line(self) -> str:
        """The message as one line, also when a data worker wrapped it.

        torch hands an exception of a data worker to the training process as a new exception of the same type whose
        message is the worker's whole traceback; the last line of that names the original error.
        """
        text = str(self)
        if text.startswith(WORKER_PREFIX):
            text = text.rsplit(f"\n{__name__}.UserError: ", 1)[-1]
        return " ".join(text.split())
