"""What lies near a folder or file that is not there, for the message that says so."""

import os
from collections.abc import Iterator
from difflib import SequenceMatcher
from itertools import islice
from pathlib import Path

from rafdb_vit.runtime.disk import expand
from rafdb_vit.runtime.errors import UserError, escape, shorten

_MOST_NAMED = 6
_MOST_SEEN = 2_000
"""Entries of a folder that are looked at; folders of images have a hundred thousand."""
_LONGEST = 80
"""Letters of a name that is shown."""


def check_folder(flag: str, path: str | Path, *, expected: str) -> Path:
    """Returns a folder that has to be there; `flag` asked for it, `expected` says which it should be.

    Raises:
        UserError: It is not there; the message says what lies near.
    """
    folder = expand(path)
    if not os.path.isdir(folder):
        what = f" {escape(shorten(path))}: is a file" if os.path.isfile(folder) else f": {describe_missing(path)}"
        raise UserError(f"{flag}{what}; expected {expected}")
    return folder


def describe_missing(path: str | Path) -> str:
    """Says that a folder is not there, and what lies near: `no folder runs/nope; runs/ holds demo, faces-tiny`."""
    return f"no folder {escape(shorten(path))}{list_near(path)}"


def list_near(path: str | Path) -> str:
    """Returns the end of such a message, with a semicolon before it; nothing where nothing lies near.

    These are the folders beside it or, where its own folder is missing too, in the nearest one that is there; of a file
    also the files with its suffix. One of the same name that lies a folder deeper is all that is named.
    """
    try:
        missing = Path(path).expanduser()
        near = next(folder for folder in missing.parents if os.path.isdir(folder))
        entries = sorted(islice(_scan(near), _MOST_SEEN), key=lambda entry: entry.name)
    except (OSError, RuntimeError, ValueError, StopIteration):  # closed folders; no such user; names with a NUL
        return ""
    folders = [entry.name for entry in entries if os.path.isdir(entry.path)]
    if deeper := next((near / name / missing.name for name in folders if _is_there(near / name / missing.name)), None):
        return f"; there is {_show(str(deeper))}"
    files = [entry.name for entry in entries if missing.suffix and entry.name.endswith(missing.suffix)]
    place = "the current folder" if near == Path() else f"{_show(str(near))}/".replace("//", "/")
    names = sorted({*folders, *files})
    return f"; {place} holds {_list(names, missing.name)}" if names else f"; {place} holds no folders"


def find_near(path: str | Path) -> Path | None:
    """Returns the folder in which something is missing, where that one is there; None for a name without a folder."""
    missing = Path(path)
    return missing.parent if len(missing.parts) > 1 and os.path.isdir(missing.parent) else None


def _scan(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if not entry.name.startswith((".", "__")))


def _is_there(path: Path) -> bool:
    return bool(path.name) and os.path.exists(path)  # noqa: PTH110 (Path's raises where a name is too long)


def _list(names: list[str], missing: str) -> str:
    """Lists names; of many, those that are most like the missing one."""
    alike = sorted(names, key=lambda name: -SequenceMatcher(None, name.casefold(), missing.casefold()).ratio())
    shown = names if len(names) <= _MOST_NAMED else alike[:_MOST_NAMED]
    more = f" and {len(names) - len(shown):,} more" if len(names) > len(shown) else ""
    return ", ".join(map(_show, shown)) + more


def _show(name: str) -> str:
    return escape(shorten(name, _LONGEST))
