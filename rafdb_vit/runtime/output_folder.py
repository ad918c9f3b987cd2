"""A folder that a command writes into: only within it, never through a link, and nothing that is not its own.

What is its own stands in a list that is kept in the folder, `files.json`, with the SHA-256 of each file: a name is put
on the list before anything is written under it. Files of people that lie beside are never replaced or deleted.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from rafdb_vit.runtime.disk import DEEPEST, check_inside, open_plain, parse_json, read_text
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.place import Place, reach, remove_files

RUNS = "runs"
"""Folder of run folders, unless another is asked for."""
LIST_FILE = "files.json"
_PARTIAL = ".partial"
_STAGED_LIST = re.compile(rf"{re.escape(LIST_FILE)}\.[0-9a-f]{{16}}{re.escape(_PARTIAL)}")
_MOST_NAMES = 10_000
"""Of a list; a run of a thousand checkpoints has a thousand and twenty."""


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
        return self.holds(LIST_FILE)

    def is_known(self, name: str) -> bool:
        """Tells whether a name is one that can be its own."""
        return _is_known(name.removesuffix(_PARTIAL), self._known)

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
            check_inside(self.path, path)
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

    def check(self, names: Iterable[str]) -> None:
        """Refuses a folder in which these names could not be written, before anything is computed or deleted.

        Raises:
            UserError: Something is in the way, or closed to this user; another kind of command wrote into the folder;
                or a link leads out of it.
        """
        self.refuse_links()
        names = [*names]
        self.refuse_others([*names, *(name + _PARTIAL for name in names)])
        if others := [name for name in self._read_list() if not self.is_known(name)]:
            raise UserError(f"{self.path}: another command wrote {others[0]} there; take another folder")
        own = self.hashes
        for name in {*names, *own}:
            self._check_name(name, is_folder=name in own and own[name] is None and not name.endswith(_PARTIAL))

    def _check_name(self, name: str, *, is_folder: bool) -> None:
        """Refuses what has a name but is of another kind than is written there, or may not be replaced."""
        folder, path = self.path, self.path / name
        for part in name.split("/")[:-1]:
            folder = folder / part
        for above in {folder, self.path}:
            if os.path.lexists(above) and not os.path.isdir(above):
                raise UserError(f"{above}: is a file; expected a folder: move it elsewhere, or take another folder")
        if not is_folder and os.path.isdir(path) and not path.is_symlink():
            raise UserError(f"{path}: is a folder; expected a file: move it elsewhere, or take another folder")
        for place in (folder, *([path] if os.path.isdir(path) else [])):
            if os.path.isdir(place) and not os.access(place, os.R_OK | os.W_OK | os.X_OK):
                raise UserError(f"{place}: cannot be read and written; change its permissions, or take another folder")

    def refuse_links(self) -> None:
        """Refuses a folder that holds a link that leads out of it, or that is reached by one.

        Raises:
            UserError: Naming the first; or a folder that may not be looked into.
        """
        try:
            self._refuse_links()
        except OSError as error:
            raise UserError(f"{error.filename}: cannot be read ({error.strerror}); change its permissions") from error

    def _refuse_links(self) -> None:
        above = self._start
        for part in self._way:
            above = above / part
            if above.is_symlink():
                raise UserError(f"{above}: is a link, through which nothing is written; delete it")
        if not os.path.isdir(self.path):
            return
        inside = os.path.realpath(self.path)
        for place, folders, names in os.walk(self.path, onerror=_raise):
            if len(Path(place).relative_to(self.path).parts) > DEEPEST:
                raise UserError(f"{place:.200}: folders in folders, more than {DEEPEST} deep; move them elsewhere")
            for name in sorted((*folders, *names)):
                path = Path(place) / name
                there = os.path.realpath(path) if path.is_symlink() else inside
                if not Path(there).is_relative_to(inside) or not os.path.exists(there):  # noqa: PTH110
                    raise UserError(
                        f"{path}: is a link that leads out of the folder, to {there}; nothing is written or deleted "
                        "through it: delete the link, or take another folder"
                    )

    def claim(self, *names: str) -> None:
        """Puts names on the list, before anything is written under them."""
        listed = self._read_list()
        if any(name not in listed for name in names):
            self._write_list({**dict.fromkeys(names), **listed})

    def tidy_list(self) -> None:
        """Takes the names off the list that nothing has any more, and deletes lists whose writing a kill cut short.

        Only for the one process that writes into the folder.
        """
        self._forget(*(name for name in self._read_list() if not self.holds(name)))
        for path in self.path.iterdir() if self.path.is_dir() else ():
            if is_staged_list(path.name):
                with self._open(path.name) as (place, last):
                    place.remove(last)

    # ---- Writing and deleting ----

    def write(self, name: str, content: str | bytes) -> Path:
        """Writes a file, whole or not at all, and lists its hash; folders on the way to it are made.

        Raises:
            UserError: Something that is not its own has the name, or a folder on the way is a link.
            OSError: It cannot be written.
        """
        return self.write_together({name: content})[0]

    def write_together(self, contents: Mapping[str, str | bytes]) -> list[Path]:
        """Writes files that belong together as `write` does: none has its name before all are on the disk.

        Raises:
            UserError: See `write`.
            OSError: Likewise.
        """
        datas = {name: content.encode() if isinstance(content, str) else content for name, content in contents.items()}
        partials = [name + _PARTIAL for name in datas]
        self.refuse_others([*datas, *partials])
        self.claim(*datas, *partials)
        self._remove_files(partials)  # of a run that was killed; of a link only the link
        staged: list[str] = []
        try:
            for name, data in datas.items():
                with self._open(name) as (place, last):
                    place.write(last + _PARTIAL, data)
                staged.append(name + _PARTIAL)
            for name in datas:
                with self._open(name) as (place, last):
                    place.rename(last + _PARTIAL, last)
                staged.remove(name + _PARTIAL)
        finally:
            self._remove_files(staged)
        listed = {**self._read_list(), **{name: hashlib.sha256(data).hexdigest() for name, data in datas.items()}}
        self._write_list({name: digest for name, digest in listed.items() if name not in partials})
        return [self.path / name for name in datas]

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

    def rename_folders(self, names: Mapping[str, str]) -> None:
        """Gives folders of its own, on the left, other names, which nothing has.

        Raises:
            UserError: See `write`.
            OSError: Likewise.
        """
        self.refuse_others(names.values())
        self.claim(*names.values())
        for old, new in names.items():
            with self._open(old) as (source, name), self._open(new) as (place, last):
                source.rename(name, last, to=place)
        self._forget(*names)

    def remove_folder(self, name: str, *, holds: Callable[[str], bool] | None = None) -> None:
        """Deletes a folder of its own, of a link the link alone; `holds` tells of a path in it whether it was written.

        Without it everything in the folder was. A folder that is not empty then stays.
        """
        self.remove_folders({name: holds})

    def remove_folders(self, folders: Mapping[str, Callable[[str], bool] | None]) -> None:
        """Deletes folders as `remove_folder` does, by their names."""
        own = self.hashes
        chosen = [name for name in folders if name in own]
        for name in chosen:
            self._remove_folder(name, folders[name])
        self._forget(*chosen)

    def _remove_folder(self, name: str, holds: Callable[[str], bool] | None) -> None:
        with self._open(name) as (place, last):
            if (kind := place.kind(last)) != stat.S_IFDIR:
                if kind == stat.S_IFLNK:
                    place.remove(last)
            elif holds is None:
                shutil.rmtree(self.path / name)  # follows no link, and refuses one in place of the folder
            else:
                remove_files(self.path / name, holds)

    def remove(self, names: Iterable[str] | None = None) -> None:
        """Deletes files of its own, all by default, and the folders that are empty then."""
        own = self.hashes
        chosen = [*own] if names is None else [name for name in names if name in own]
        self._remove_files(chosen)
        for folder in sorted({name.rpartition("/")[0] for name in chosen} - {""}, reverse=True):
            with self._open(folder) as (place, last):
                place.remove(last)
        self._forget(*chosen)

    def _remove_files(self, names: Iterable[str]) -> None:
        for name in names:
            with self._open(name) as (place, last):
                place.remove(last)

    def _read_list(self) -> dict[str, str | None]:
        path = self.path / LIST_FILE
        check_inside(self.path, path)
        try:
            whole = parse_json(read_text(path))
            content = whole["files"]
            if not 0 < len(content) <= _MOST_NAMES or len(whole) > 1:
                raise ValueError("not as it is written here")
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
            # No name that a person's file could have: nothing lists this one.
            partial = f"{LIST_FILE}.{secrets.token_hex(8)}{_PARTIAL}"
            place.write(partial, f"{text}\n".encode(), sync=True)
            place.rename(partial, last)

    def _open(self, name: str) -> AbstractContextManager[tuple[Place, str]]:
        """Gives the folder that a name lies in, made if missing and reached without a link, and the name there."""
        *folders, last = name.split("/")
        return reach(self._start, (*self._way, *folders), last)


@lru_cache(maxsize=2 * _MOST_NAMES)
def _is_known(name: str, patterns: tuple[str, ...]) -> bool:
    parts = name.split("/")
    plain = not any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parts)
    return plain and any(fnmatchcase(name, known) and known.count("/") == len(parts) - 1 for known in patterns)


def is_staged_list(name: str) -> bool:
    """Tells whether a file is a list whose writing a kill cut short."""
    return bool(_STAGED_LIST.fullmatch(name))


def _raise(error: OSError) -> None:
    raise error
