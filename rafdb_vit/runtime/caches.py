"""Folders outside a run in which libraries keep caches and temporary files: closed to this user, full or missing."""

import errno
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rafdb_vit.runtime.errors import UserError

_NO_HOME = "/nonexistent"
"""What Debian gives to users without a home."""
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_FAULTS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EIO, *_FULL)
_NO_ROOM = 2**20
"""Bytes; a disk with less is full."""
_NO_TEMPORARY, _NO_SPACE = "No usable temporary directory", "Not enough disk space"
"""How the messages of Python and of `datasets` begin, which come without a number."""
_TEMPORARY = re.compile(r"(?:tmp|pymp-|matplotlib-|torchinductor_|rafdb_vit-)")
"""How the names begin of what is made among temporary files, where people keep files too."""


def prepare_caches() -> None:
    """Sees to it that a closed or missing home is no hindrance, before a library is imported that looks for one.

    A process without HOME and without an entry among the system's users (a container's, mostly) gets a home that does
    not exist: libraries would make a folder of the name `~` in the current one. matplotlib keeps its list of fonts
    among temporary files where it has no other place, which needs no warning.
    """
    if os.name == "posix" and os.path.expanduser("~") == "~":  # noqa: PTH111 (Path raises)
        os.environ["HOME"] = _NO_HOME
    matplotlib = logging.getLogger("matplotlib")
    if matplotlib.level == logging.NOTSET:
        matplotlib.setLevel(logging.ERROR)


@contextmanager
def naming_caches() -> Iterator[None]:
    """Turns what libraries raise where a cache or temporary files cannot be written into one line.

    Raises:
        UserError: One cannot; the line names the variable that chooses another folder.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if line := _describe(error):
            raise UserError(line) from error
        raise


def _describe(error: BaseException) -> str | None:
    """Returns the line for an error, or for one that it was raised from; None where no cache has a part in it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and (line := _describe_fault(cause)):
            return line
        cause = cause.__cause__ or cause.__context__
    return None


def _describe_fault(error: OSError) -> str | None:
    if _NO_TEMPORARY in str(error):
        return f"TMPDIR: {error.strerror or error}; set TMPDIR to a folder for temporary files that can be written"
    places = sorted(_list_places(), key=lambda found: -len(found[1]))
    if str(error).startswith(_NO_SPACE):
        name, place = next(found for found in places if found[0] in ("HF_DATASETS_CACHE", "HF_HOME"))
        return f"{name}: {place} is on a disk without room for the data set; set {name} to a folder with more"
    if error.errno not in _FAULTS:
        return None
    path = os.path.abspath(error.filename) if isinstance(error.filename, str) else None
    for name, place in places:
        if _holds(name, place, path) if path else error.errno in _FULL and _is_full(place):
            shown = path if path and Path(path).is_relative_to(place) else place
            return (
                f"{name}: {shown} cannot be read and written ({error.strerror}); set {name} to a folder that can, on a "
                "disk with room"
            )
    return None


def _holds(name: str, place: str, path: str) -> bool:
    """Tells whether a path lies in the folder of a cache, or is one on the way to it that could not be made."""
    if Path(path).is_relative_to(place):
        return name != "TMPDIR" or bool(_TEMPORARY.match(os.path.relpath(path, place)))
    return Path(place).is_relative_to(path) and not os.path.lexists(path)


def _is_full(place: str) -> bool:
    there = next(path for path in (Path(place), *Path(place).parents) if os.path.isdir(path))
    return shutil.disk_usage(there).free < _NO_ROOM


def _list_places() -> list[tuple[str, str]]:
    """Returns the folders of caches and temporary files, each with the variable that chooses it."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    of_hub = os.environ.get("HF_HOME", f"{cache}/huggingface")
    places = [
        ("HF_HOME", of_hub),
        ("MPLCONFIGDIR", f"{os.environ.get('XDG_CONFIG_HOME', '~/.config')}/matplotlib"),
        ("MPLCONFIGDIR", f"{cache}/matplotlib"),
        ("TORCH_HOME", f"{cache}/torch"),
        ("TRITON_CACHE_DIR", "~/.triton"),
    ]
    chosen = ("HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_XET_CACHE", "HF_MODULES_CACHE", "HF_TOKEN_PATH")
    for name in (*chosen, "MPLCONFIGDIR", "TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        if os.environ.get(name):
            places.append((name, os.environ[name]))
    try:
        places.append(("TMPDIR", tempfile.gettempdir()))
    except OSError:  # there is none
        pass
    return [(name, os.path.abspath(os.path.expanduser(place))) for name, place in places]  # noqa: PTH111 (likewise)
