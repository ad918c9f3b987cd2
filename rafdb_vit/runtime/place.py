"""A place on the disk that is reached without following a link, and what is written, moved and deleted there."""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rafdb_vit.runtime.errors import UserError

_HAS_DESCRIPTORS = os.open in os.supports_dir_fd and os.rename in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
"""Windows has none: there each folder on the way is looked at before, which leaves a moment in between."""
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class Place:
    """A folder that was reached without following a link; names are taken relative to it."""

    def __init__(self, path: Path, handle: int | None) -> None:
        self.path, self.handle = path, handle

    def open(self, name: str, flags: int) -> int:
        """Opens a file or a folder in it."""
        return os.open(self._name(name), flags, 0o666, dir_fd=self.handle)

    def make(self, name: str) -> None:
        """Makes a folder in it."""
        os.mkdir(self._name(name), dir_fd=self.handle)  # noqa: PTH102 (Path has no folder descriptors, as below)

    def kind(self, name: str) -> int | None:
        """Returns the kind of what has a name, as `stat.S_IFMT` has it, of a link that itself; None: nothing has it."""
        try:
            found = os.stat(self._name(name), dir_fd=self.handle, follow_symlinks=False)  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            return None
        return stat.S_IFMT(found.st_mode)

    def write(self, name: str, data: bytes, *, sync: bool = False) -> None:
        """Writes a new file, whole or not at all.

        With `sync` it is brought to the disk at once, and survives a loss of power.
        """
        handle = self.open(name, _NEW)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
        except BaseException:
            self.remove(name)
            raise

    def rename(self, old: str, new: str, *, to: "Place | None" = None) -> None:
        """Gives a file another name, perhaps in another place, in place of one that has it; a link is no detour."""
        to = to or self
        os.replace(self._name(old), to._name(new), src_dir_fd=self.handle, dst_dir_fd=to.handle)  # noqa: PTH105

    def remove(self, name: str) -> None:
        """Deletes a file, or a link itself; or a folder if it is empty."""
        kind = self.kind(name)
        if kind == stat.S_IFDIR:
            if not os.listdir(self.path / name):  # noqa: PTH208
                os.rmdir(self._name(name), dir_fd=self.handle)  # noqa: PTH106
        elif kind is not None:
            os.unlink(self._name(name), dir_fd=self.handle)  # noqa: PTH108

    def _name(self, name: str) -> str:
        return name if self.handle is not None else str(self.path / name)


_HELD: dict[Path, tuple[int, int]] = {}
"""Device and number of each folder that this process holds, by its path."""


def keep_in_mind(folder: Path) -> None:
    """Notes which folder a path means while it is held: nothing is written into another that takes its place."""
    found = folder.stat()
    _HELD[folder.absolute()] = (found.st_dev, found.st_ino)


def forget(folder: Path) -> None:
    """Ends `keep_in_mind`."""
    _HELD.pop(folder.absolute(), None)


def _check_held(start: Path) -> None:
    held = _HELD.get(start.absolute())
    if held is None:
        start.mkdir(parents=True, exist_ok=True)
        return
    found = start.stat() if start.is_dir() else None
    if found is None or (found.st_dev, found.st_ino) != held:
        raise UserError(f"{start}: was moved, replaced or deleted while it was written to; what is written lies there")


@contextmanager
def reach(start: Path, folders: Sequence[str], name: str) -> Iterator[tuple[Place, str]]:
    """Gives the place below `start` that these folders lead to, made if missing, and the name to use there.

    Raises:
        UserError: One of the folders is a link or a file.
        OSError: As the block raises it, with whole paths in place of names.
    """
    _check_held(start)
    handles = [os.open(start, os.O_RDONLY)] if _HAS_DESCRIPTORS else []
    place = Place(start, handles[-1] if handles else None)
    try:
        for part in folders:
            if (kind := place.kind(part)) is None:
                place.make(part)
            elif kind != stat.S_IFDIR:
                what = "a link, through which nothing is written" if kind == stat.S_IFLNK else "a file"
                raise UserError(f"{place.path / part}: is {what}; expected a folder: move it elsewhere")
            if _HAS_DESCRIPTORS:
                handles.append(place.open(part, _FOLDER))
            place = Place(place.path / part, handles[-1] if handles else None)
        yield place, name
    except OSError as error:
        for attribute in ("filename", "filename2"):
            if isinstance(named := getattr(error, attribute), str):
                setattr(error, attribute, str(place.path / named))
        raise
    finally:
        for handle in handles:
            os.close(handle)


def remove_files(folder: Path, holds: Callable[[str], bool]) -> None:
    """Deletes files of a folder, by their path in it, and the folders that are empty then; follows no link."""
    for place, _, names in os.walk(folder, topdown=False):
        for path in (Path(place) / name for name in names):
            if holds(path.relative_to(folder).as_posix()):
                path.unlink()
        if not any(Path(place).iterdir()):
            Path(place).rmdir()
