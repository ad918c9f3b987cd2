"""A folder that a command writes into: only within it, never through a link, and nothing that is not its own.

What is its own stands in a list that is kept in the folder, `files.json`, with the SHA-256 of each file: a name is put
on the list before anything is written under it. Files of people that lie beside are never replaced or deleted.
"""

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from rafdb_vit.runtime.disk import open_plain, parse_json, read_text
from rafdb_vit.runtime.errors import UserError

LIST_FILE = "files.json"
_PARTIAL = ".partial"
_HAS_DESCRIPTORS = os.open in os.supports_dir_fd and os.rename in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
"""Windows has none: there each folder on the way is looked at before, which leaves a moment in between."""
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class _Place:
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

    def rename(self, old: str, new: str, *, to: "_Place | None" = None) -> None:
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


class OutputFolder:
    """A folder that a command writes into.

    Args:
        path: The folder. It may be a link itself: then that is what was asked for.
        known: Patterns of the names, relative to the folder, that can be its own. A list from elsewhere that names
            other files does not make them so.
        within: A folder above it, from which on no link is followed.
    """

    def __init__(self, path: Path, known: Collection[str], *, within: Path | None = None) -> None:
        self.path = path
        self._known = tuple(known)
        self._start = within or path
        self._way = path.relative_to(within).parts if within else ()

    # ---- What is its own ----

    @property
    def hashes(self) -> dict[str, str | None]:
        """SHA-256 by name of what was written; None for folders, and for files whose writing has not ended.

        Raises:
            UserError: The list cannot be read, or is none.
        """
        return {name: digest for name, digest in self._read_list().items() if self.is_known(name)}

    @property
    def has_list(self) -> bool:
        """Whether there is a list: folders that the first versions wrote have none."""
        return (self.path / LIST_FILE).is_file()

    def is_known(self, name: str) -> bool:
        """Tells whether a name is one that can be its own."""
        parts = name.split("/")
        plain = not any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts)
        return plain and any(fnmatchcase(name, known) and known.count("/") == len(parts) - 1 for known in self._known)

    def holds(self, name: str) -> bool:
        """Tells whether anything has a name, a link that leads nowhere too."""
        return os.path.lexists(self.path / name)

    def is_changed(self, name: str) -> bool:
        """Tells whether a file is another than was written, or is not on the list.

        Raises:
            UserError: See `hashes`.
            OSError: The file cannot be read.
        """
        with open_plain(self.path / name, most=None) as file:
            return self.hashes.get(name) != hashlib.file_digest(file, "sha256").hexdigest()

    def refuse_changed(self, *names: str, advice: str) -> None:
        """Refuses files that are not what was written, by the list.

        Raises:
            UserError: One was changed, or there is no list that tells; or see `hashes`.
        """
        for name in names:
            path = self.path / name
            try:
                if self.holds(name) and self.is_changed(name):
                    unknown = f"whether it was changed after the run cannot be told without {LIST_FILE}"
                    raise UserError(f"{path}: {'was changed after the run' if self.has_list else unknown}; {advice}")
            except OSError as error:
                raise UserError(f"{path}: cannot be read ({error.strerror})") from error

    def refuse_others(self, names: Iterable[str]) -> None:
        """Refuses a folder in which something that is not its own lies where it would write.

        Raises:
            UserError: Naming the first.
        """
        own = self.hashes
        for name in names:
            if self.holds(name) and name not in own:
                raise UserError(
                    f"{self.path / name}: is in the way, and by {LIST_FILE} it was not written here; move it "
                    "elsewhere, or take another folder"
                )

    def refuse_links(self) -> None:
        """Refuses a folder that holds a link that leads out of it, or that is reached by one.

        Raises:
            UserError: Naming the first.
        """
        above = self._start
        for part in self._way:
            above = above / part
            if above.is_symlink():
                raise UserError(f"{above}: is a link, through which nothing is written; delete it")
        inside = os.path.realpath(self.path)
        for place, folders, names in os.walk(self.path):
            for name in sorted((*folders, *names)):
                path = Path(place) / name
                there = os.path.realpath(path) if path.is_symlink() else inside
                if not Path(there).is_relative_to(inside) or not os.path.lexists(there):
                    raise UserError(
                        f"{path}: is a link that leads out of the folder, to {there}; nothing is written or deleted "
                        "through it: delete the link, or take another folder"
                    )

    def claim(self, *names: str) -> None:
        """Puts names on the list, before anything is written under them."""
        listed = self._read_list()
        if any(name not in listed for name in names):
            self._write_list({**dict.fromkeys(names), **listed})

    # ---- Writing and deleting ----

    def write(self, name: str, content: str | bytes) -> Path:
        """Writes a file, whole or not at all, and lists its hash; folders on the way to it are made.

        Raises:
            UserError: Something that is not its own has the name, or a folder on the way is a link.
            OSError: It cannot be written.
        """
        data = content.encode() if isinstance(content, str) else content
        self.refuse_others([name])
        self.claim(name)
        with self._open(name) as (place, last):
            _write(place, last, data)
        self._write_list({**self._read_list(), name: hashlib.sha256(data).hexdigest()})
        return self.path / name

    def take(self, name: str, *, staged: str) -> Path:
        """Gives a file that was written into a folder of its own, `staged`, its final name, and lists its hash.

        Raises:
            UserError: See `write`.
            OSError: Likewise.
        """
        self.refuse_others([name])
        self.claim(name)
        with open_plain(self.path / staged, most=None) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        with self._open(staged) as (source, old), self._open(name) as (place, last):
            source.rename(old, last, to=place)
        self._write_list({**self._read_list(), name: digest})
        return self.path / name

    def make_folder(self, name: str) -> Path:
        """Makes an empty folder of its own, in place of one that an earlier run left; returns its path.

        Raises:
            UserError: See `write`.
            OSError: Likewise.
        """
        self.refuse_others([name])
        self.remove_folder(name)
        self.claim(name)
        with self._open(name) as (place, last):
            place.make(last)
        return self.path / name

    def rename_folder(self, old: str, new: str) -> None:
        """Gives a folder of its own another name, which nothing has.

        Raises:
            UserError: See `write`.
            OSError: Likewise.
        """
        self.claim(new)
        with self._open(old) as (source, name), self._open(new) as (place, last):
            source.rename(name, last, to=place)
        self._forget(old)

    def remove_folder(self, name: str, *, holds: Callable[[str], bool] | None = None) -> None:
        """Deletes a folder of its own, of a link the link alone; `holds` tells of a path in it whether it was written.

        Without it everything in the folder was. A folder that is not empty then stays.
        """
        if name not in self.hashes:
            return
        with self._open(name) as (place, last):
            if place.kind(last) != stat.S_IFDIR:
                place.remove(last)
            elif holds is None:
                shutil.rmtree(self.path / name)  # follows no link, and refuses one in place of the folder
            else:
                _remove_files(self.path / name, holds)
        self._forget(name)

    def remove(self, names: Iterable[str] | None = None) -> None:
        """Deletes files of its own, all by default, and the folders that are empty then."""
        own = self.hashes
        chosen = [*own] if names is None else [name for name in names if name in own]
        for name in chosen:
            with self._open(name) as (place, last):
                place.remove(last)
                if place.kind(last + _PARTIAL) == stat.S_IFREG:
                    place.remove(last + _PARTIAL)
        for folder in sorted({name.rpartition("/")[0] for name in chosen} - {""}, reverse=True):
            with self._open(folder) as (place, last):
                place.remove(last)
        self._forget(*chosen)

    def _read_list(self) -> dict[str, str | None]:
        path = self.path / LIST_FILE
        try:
            content = parse_json(read_text(path))["files"]
            if not all(isinstance(digest, str | None) for digest in content.values()):
                raise TypeError("a hash is no text")
            return dict(content)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: not the list of what was written into the folder; take another folder") from error

    def _forget(self, *names: str) -> None:
        listed = self._read_list()
        left = {name: digest for name, digest in listed.items() if name not in names}
        if left and left != listed:
            self._write_list(left)
        elif not left and self.has_list:
            with self._open(LIST_FILE) as (place, last):
                place.remove(last)

    def _write_list(self, hashes: dict[str, str | None]) -> None:
        text = json.dumps({"files": dict(sorted(hashes.items()))}, indent=2, ensure_ascii=False)
        with self._open(LIST_FILE) as (place, last):
            _write(place, last, f"{text}\n".encode(), sync=True)

    @contextmanager
    def _open(self, name: str) -> Iterator[tuple[_Place, str]]:
        """Gives the folder that a name lies in, made if missing and reached without a link, and the name there."""
        *folders, last = name.split("/")
        self._start.mkdir(parents=True, exist_ok=True)
        handles = [os.open(self._start, os.O_RDONLY)] if _HAS_DESCRIPTORS else []
        place = _Place(self._start, handles[-1] if handles else None)
        try:
            for part in (*self._way, *folders):
                if (kind := place.kind(part)) is None:
                    place.make(part)
                elif kind != stat.S_IFDIR:
                    what = "a link, through which nothing is written" if kind == stat.S_IFLNK else "a file"
                    raise UserError(f"{place.path / part}: is {what}; expected a folder: move it elsewhere")
                if _HAS_DESCRIPTORS:
                    handles.append(place.open(part, _FOLDER))
                place = _Place(place.path / part, handles[-1] if handles else None)
            yield place, last
        finally:
            for handle in handles:
                os.close(handle)


def _write(place: _Place, name: str, data: bytes, *, sync: bool = False) -> None:
    """Writes a file, whole or not at all; what is brought to the disk at once survives a loss of power."""
    partial = name + _PARTIAL
    if place.kind(partial) not in (None, stat.S_IFDIR):
        place.remove(partial)  # of a run that was killed; of a link only the link
    try:
        with os.fdopen(place.open(partial, _NEW), "wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        place.rename(partial, name)
    finally:
        if place.kind(partial) == stat.S_IFREG:
            place.remove(partial)


def _remove_files(folder: Path, holds: Callable[[str], bool]) -> None:
    """Deletes files of a folder, by their path in it, and the folders that are empty then; follows no link."""
    for place, _, names in os.walk(folder, topdown=False):
        for path in (Path(place) / name for name in names):
            if holds(path.relative_to(folder).as_posix()):
                path.unlink()
        if not any(Path(place).iterdir()):
            Path(place).rmdir()
