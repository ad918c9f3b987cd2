"""Where a page comes from: when it was made, by which command, from which folder. No results file holds any of it."""

from dataclasses import dataclass, field
from datetime import datetime

from rafdb_vit.runtime.errors import escape


def _now() -> datetime:
    return datetime.now().astimezone()


@dataclass(frozen=True)
class Provenance:
    """When a page was made, and how.

    Attributes:
        command: The line that made it, as it may be pasted into a shell.
        source: Name of the folder or the file that the data was read from; None for data of the Hub, and drawn faces.
        training_seconds: How long training took; None for an evaluation.
        resumed: Training went on from a checkpoint, and these are the seconds since then.
        made: When.
    """

    command: str
    source: str | None = None
    training_seconds: float | None = None
    resumed: bool = False
    made: datetime = field(default_factory=_now)

    @property
    def moment(self) -> str:
        """When it was made, in words."""
        offset = f"{self.made:%z}"
        return f"{self.made:%Y-%m-%d, %H:%M} (UTC{offset[:3]}:{offset[3:5]})"

    @property
    def training_time(self) -> str:
        """How long training took, in words; empty for an evaluation."""
        if self.training_seconds is None:
            return ""
        since = ", counted from the checkpoint that it went on from" if self.resumed else ""
        return f"{render_duration(self.training_seconds)}{since}"

    @property
    def place(self) -> str:
        """Name of the folder of the data, to be shown; empty where there is none."""
        return escape(self.source or "")


def render_duration(seconds: float) -> str:
    """Renders a duration, such as 8 s, 3 min 5 s or 2 h 5 min."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"
