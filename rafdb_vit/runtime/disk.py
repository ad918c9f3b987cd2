"""Reading files that may be anything, and writing to a disk that may be full or gone."""

import errno
import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from io import BufferedReader
from pathlib import Path
from typing import Any, NoReturn

from rafdb_vit.runtime.errors import UserError, escape

MOST_BYTES = 64 * 2**20
"""Of a text file; the largest that is known, the index of a large model, has a few megabytes."""
_MOST_SETTINGS = 2**16
"""Bytes of a YAML file, which is parsed slowly; those that are written here have one or two thousand."""
DEEPEST = 50
"""Folders within each other, and levels of a YAML file; a run has four, and two. Python calls itself for each."""
_MOST_VALUES = 100_000
"""Of a YAML file; ImageNet-21k's class names in a card are half as many."""


def expand(path: str | Path) -> Path:
    """Returns a path with `~` and `~USER` in place of their folders.

    Raises:
        UserError: There is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{path}: there is no such user; write the folder out") from error


def is_inside(root: Path, path: str | Path) -> bool:
    """Tells whether a path stays below `root`, links followed; a link in a circle does not lead anywhere."""
    there, base = os.path.realpath(path), os.path.realpath(root)
    return there == base or there.startswith(os.path.join(base, ""))  # noqa: PTH118 (Path is slow for a million rows)


def check_inside(root: Path, path: Path) -> None:
    """Refuses a path that leads out of `root`.

    Raises:
        UserError: It does.
    """
    if not is_inside(root, path):
        raise UserError(describe_link_out(root, path))


def describe_link_out(root: Path, path: str | Path) -> str:
    """Says of a path that it leads out of `root`, where to, and what to do."""
    place, inside, there = (escape(str(one)) for one in (path, root, os.path.realpath(path)))
    return f"{place}: leads out of {inside} to {there}; copy what it points to into the folder"


def open_plain(path: str | Path, *, most: int | None = MOST_BYTES) -> BufferedReader:
    """Opens a plain file to be read; a pipe or a device, which might never end, is none.

    Raises:
        OSError: There is none, it cannot be read, or it has more than `most` bytes.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a plain file", str(path))
        if most is not None and found.st_size > most:
            raise OSError(errno.EFBIG, f"{found.st_size:,} bytes, expected {most:,} at most", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_bytes(path: str | Path, *, most: int = MOST_BYTES) -> bytes:
    """Reads a plain file; see `open_plain`.

    Raises:
        OSError: See there.
    """
    with open_plain(path, most=most) as file:
        # Room for `most` would be made whatever the size; some systems' files hold more than they say.
        return file.read(min(most, os.fstat(file.fileno()).st_size + 2**16))


def read_text(path: str | Path, *, most: int = MOST_BYTES) -> str:
    """Reads a plain file of UTF-8 text; see `read_bytes`.

    Raises:
        OSError: See there.
        UnicodeDecodeError: It is no such text.
    """
    return read_bytes(path, most=most).decode("utf-8").replace("\r\n", "\n")


def parse_json(text: str, *, finite: bool = True) -> Any:
    """Parses JSON as the standard has it: no NaN, no infinity; with them if not all numbers have to be `finite`.

    Raises:
        ValueError: It is none, or nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant if finite else None)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def share_mode(plain: Path, paths: Iterable[Path]) -> None:
    """Gives files that this process wrote the mode of one that it opened plainly, which is what the umask leaves.

    safetensors (0.8) writes through a temporary file, which is its user's alone (0600) whatever the umask. Looking at a
    file beside it also follows a folder's own defaults (ACLs), and changes nothing for other threads.
    """
    mode = stat.S_IMODE(plain.stat().st_mode)
    for path in paths:
        found = path.lstat()
        if stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) != mode:
            # Disks that know no modes, and other users' files, refuse: they stay as they are.
            with suppress(OSError):
                path.chmod(mode)


def check_writable(folder: Path) -> None:
    """Refuses an output folder that cannot be written to.

    Raises:
        UserError: It is a file, its permissions forbid it, or its name is not UTF-8, as the libraries need it.
    """
    try:
        str(folder).encode()
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    except UnicodeEncodeError as error:
        raise UserError(f"--output_dir {folder}: is no name in UTF-8; take another folder") from error
    except OSError as error:
        raise UserError(f"--output_dir {folder}: cannot be made ({error.strerror}); take another folder") from error
    if folder.is_symlink() and not folder.exists():
        raise UserError(f"--output_dir {folder}: is a link that leads nowhere; delete it, or take another folder")
    if not existing.is_dir():
        what = "is" if existing == folder else f"{existing} is"
        raise UserError(f"--output_dir {folder}: {what} a file; expected a folder")
    if not os.access(existing, os.R_OK | os.W_OK | os.X_OK):
        raise UserError(f"--output_dir {folder}: {existing} cannot be read and written to; take another folder")


def write_whole(path: Path, text: str) -> Path:
    """Writes a text file, whole or not at all: as NAME.partial first."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


_TORCH_WRITER = ("inline_container", "PytorchStreamWriter", "iostream error")
_RESUME = "the checkpoints before it are whole: make room or mend the folder, and go on with --resume_from_checkpoint"


@contextmanager
def naming_disk_errors(target: Path, *, act: str = "written", advice: str = _RESUME) -> Iterator[None]:
    """Turns what the libraries raise when a disk is full or gone, or a file is not readable, into one line.

    `target` is what the block writes; another file that the system names is named in its place. `act` is what could not
    be done with it, `advice` says what is safe, and what to do.

    Raises:
        UserError: It could not be done.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        # torch's writer raises a plain RuntimeError; any other of these is a bug.
        if isinstance(error, RuntimeError) and not any(words in str(error) for words in _TORCH_WRITER):
            raise
        there = next(path for path in (target, *target.absolute().parents) if os.path.isdir(path))
        free = shutil.disk_usage(there).free / 1e6
        reason = getattr(error, "strerror", None) or f"a write failed with {free:.0f} MB free"
        named = Path(str(getattr(error, "filename2", None) or getattr(error, "filename", None) or target))
        name = target if named.is_relative_to(target) else named
        raise UserError(f"{name}: cannot be {act} ({reason}); {advice}") from error


def read_yaml(path: Path, *, where: str, expected: str) -> dict[str, Any]:
    """Reads a YAML file that holds a mapping of names to plain values.

    Of YAML only what JSON has too is read: aliases, of which a few lines make gigabytes, and tags are refused; dates
    stay text.

    Raises:
        UserError: It cannot be read, or holds something else; the message names `where` and what was `expected`.
    """
    import yaml

    try:
        content = _parse_yaml(read_text(path, most=_MOST_SETTINGS))
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(
            f"{where}: not a YAML file ({str(error) or 'nested too deeply'}); expected {expected}"
        ) from error
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise UserError(f"{where}: expected {expected}")
    return content


def parse_yaml(text: str) -> Any:
    """Parses YAML; see `read_yaml`.

    Raises:
        ValueError: It is none, or holds what is not read.
    """
    import yaml

    try:
        return _parse_yaml(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(str(error) or "nested too deeply") from error


def _parse_yaml(text: str) -> Any:
    import yaml

    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        if count > _MOST_VALUES:
            raise ValueError(f"more than {_MOST_VALUES:,} values")
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"the alias *{event.anchor}, which is not read")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError("nested too deeply")
        if tag := getattr(event, "tag", None):
            raise ValueError(f"the tag {tag}, which is not read")
        if "\0" in (getattr(event, "value", None) or ""):
            raise ValueError("a NUL character, which no setting has")
    return yaml.load(text, Loader=_plain_loader())  # noqa: S506 (a SafeLoader)


@cache
def _plain_loader() -> Any:
    """Returns a loader that leaves dates as the text that they are."""
    import yaml

    class PlainLoader(yaml.SafeLoader):
        """Reads what JSON has too."""

    timestamp = "tag:yaml.org,2002:timestamp"
    PlainLoader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != timestamp]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return PlainLoader
