"""What is wrong with a data set: one finding a fault. Loading ends at the first, checking collects them all."""

from collections.abc import Callable
from dataclasses import dataclass

from rafdb_vit.errors import UserError, escape


@dataclass(frozen=True)
class Finding:
    """One fault of a data set.

    Attributes:
        kind: What sort of fault, in a few words, the same for all of its sort.
        message: One line that names the file or row, and says what was expected.
        files: Paths of the images or files concerned.
        blocks: Training refuses the data because of it.
        names: Names of images that a bad row speaks of.
    """

    kind: str
    message: str
    files: tuple[str, ...] = ()
    blocks: bool = True
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", escape(self.message))


Report = Callable[[Finding], None]
"""What is done with a finding."""


class Notes:
    """Passes findings on, and notes what they speak of, so that one fault does not become two.

    Attributes:
        names: Names of images in bad rows.
        files: Paths of files that cannot be taken.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        self.names: set[str] = set()
        self.files: set[str] = set()

    def __call__(self, finding: Finding) -> None:
        """Notes a finding and passes it on."""
        self.names.update(finding.names)
        self.files.update(finding.files)
        self.report(finding)


def refuse(finding: Finding) -> None:
    """Ends loading at a finding.

    Raises:
        UserError: The finding's message.
    """
    raise UserError(finding.message)


def printable(path: object) -> str:
    """Returns a path or name as it can stand in a line."""
    return escape(str(path))
