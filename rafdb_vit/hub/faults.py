"""What speaks against publishing a run: the first fault ends publishing, a dry run collects them all."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rafdb_vit.runtime.console import say_aside
from rafdb_vit.runtime.errors import UserError


class UnfitFiles(UserError):
    """Files of a run that must not be published.

    Attributes:
        faults: A line for each.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        others = f" (and {len(faults) - 1} more, which --dry_run lists)" if len(faults) > 1 else ""
        super().__init__(f"{faults[0]}{others}")
        self.faults = tuple(faults)


class Faults:
    """What has been found so far.

    Args:
        collects: Faults are noted, and what follows goes on; else the first one is raised.
    """

    def __init__(self, *, collects: bool = False) -> None:
        self._collects = collects
        self._lines: list[str] = []

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Notes what a block refuses.

        Raises:
            UserError: It refused something, and faults are not collected.
        """
        try:
            yield
        except UserError as error:
            if not self._collects:
                raise
            self._lines += error.faults if isinstance(error, UnfitFiles) else (error.line,)

    def refuse(self) -> None:
        """Ends a dry run in which something was found, after all of it was said.

        Raises:
            UserError: Something was.
        """
        if len(self._lines) == 1:
            raise UserError(f"not ready to be published: {self._lines[0]}")
        for line in self._lines:
            say_aside(f"to do: {line}")
        if self._lines:
            raise UserError(f"not ready to be published: {len(self._lines)} things are to be done, as listed above")
