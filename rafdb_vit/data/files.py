"""Lists what lies in a data folder, and nothing outside it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from rafdb_vit.data.findings import Reporter, printable
from rafdb_vit.runtime.disk import DEEPEST, expand
from rafdb_vit.runtime.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")

OTHER_SUFFIXES = (".avif", ".heic", ".heif", ".jp2", ".jxl", ".svg", ".tga", ".pcx", ".eps", ".psd", ".raw")
"""Images of formats that are not read."""
LINK_OUT = "link out of the folder"


def find_root(written: str | os.PathLike[str], *, flag: str = "") -> Path:
    """Returns the absolute path of what a person wrote, with `~` and `~USER` in place of their folders.

    Raises:
        UserError: There is no such user; the message begins with `flag`.
    """
    try:
        return Path(os.path.abspath(expand(Path(written))))
    except UserError as error:
        raise UserError(f"{flag}{error.line}") from error


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
        raise UserError(_describe_link_out(root, path))


def _describe_link_out(root: Path, path: str | Path) -> str:
    there = printable(os.path.realpath(path))
    return f"{printable(path)}: leads out of {printable(root)} to {there}; copy what it points to into the folder"


def scan(folder: Path) -> list[os.DirEntry[str]]:
    """Returns what lies directly in a folder, by name, hidden files left out.

    Raises:
        UserError: It cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(
            f"{printable(folder)}: cannot be read ({error.strerror}); check the folder's permissions"
        ) from error


def list_folders(folder: Path) -> list[Path]:
    """Returns the folders directly in a folder, by name; links in circles are none."""
    return [Path(entry.path) for entry in scan(folder) if os.path.isdir(entry.path)]


def list_files(root: Path, folder: Path, suffixes: tuple[str, ...], report: Reporter) -> dict[str, str]:
    """Returns the path, by name, of every file directly in `folder` whose lower-case name ends in one of `suffixes`.

    Files that cannot be taken are reported: links that lead out of `root` or nowhere, names that cannot be printed.

    Raises:
        UserError: The folder cannot be read, or leads out of `root`.
    """
    check_inside(root, folder)
    files = {}
    for entry in scan(folder):
        path = entry.path
        if not entry.name.lower().endswith(suffixes):
            continue
        if printable(entry.name) != entry.name:
            words = "a name with control characters, or not in UTF-8; expected a plain name: rename the file"
            report("unusable file name", f"{path}: {words}", path)
        elif entry.is_symlink() and not is_inside(root, path):
            report(LINK_OUT, _describe_link_out(root, path), path)
        elif not os.path.isfile(path):
            words = "expected a file, found a folder, a link that leads nowhere or a device; remove it"
            report("not a file", f"{path}: {words}", path)
        else:
            files[entry.name] = path
    return files


def walk_images(
    folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES, *, on_error: Callable[[OSError], object] | None = None
) -> Iterator[str]:
    """Yields the path of every file below a folder whose name ends as images' do; hidden ones are left out.

    Links to folders are not followed. `on_error` is told of folders that cannot be read, which are passed over.

    Raises:
        UserError: Folders lie in folders more than `DEEPEST` deep.
    """
    for place, folders, names in os.walk(folder, onerror=on_error):
        if place.count(os.sep) - str(folder).count(os.sep) > DEEPEST:
            raise UserError(
                f"{printable(place)[:200]}: folders in folders, more than {DEEPEST} deep; move them elsewhere"
            )
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(suffixes) and not name.startswith("."):
                yield os.path.join(place, name)  # noqa: PTH118 (Path is slow for 100,000 files)
