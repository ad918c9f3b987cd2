"""Lists what lies in a data folder, and nothing outside it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from rafdb_vit.data.findings import Reporter, printable
from rafdb_vit.data.images import is_image
from rafdb_vit.runtime.disk import DEEPEST, check_inside, describe_link_out, expand, is_inside
from rafdb_vit.runtime.errors import UserError

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"),
    *(".avif", ".jp2"),
)

OTHER_SUFFIXES = (".heic", ".heif", ".jxl", ".svg", ".tga", ".pcx", ".eps", ".psd", ".raw")
"""Images of formats that are not read."""
_TEXTS = (".txt", ".csv", ".json", ".xml", ".md", ".html", ".npy")
"""Files of which a release has up to a million; where images are looked for by content, these are not opened."""
NO_IMAGE = "file that is no image"
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


def scan(folder: Path, suffixes: tuple[str, ...] = ("",)) -> list[os.DirEntry[str]]:
    """Returns what lies directly in a folder, by name, hidden files left out.

    Of `suffixes`, in lower case, names have one; AffectNet has folders of a million other files.

    Raises:
        UserError: It cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            named = (e for e in entries if e.name.lower().endswith(suffixes) and not e.name.startswith("."))
            return sorted(named, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(
            f"{printable(folder)}: cannot be read ({error.strerror}); check the folder's permissions"
        ) from error


def list_folders(folder: Path) -> list[Path]:
    """Returns the folders directly in a folder, by name; links in circles are none."""
    return [Path(entry.path) for entry in scan(folder) if os.path.isdir(entry.path)]


def list_images(root: Path, folder: Path, report: Reporter) -> dict[str, str]:
    """Returns the path, by name, of every image directly in `folder`, told by its content where its name does not.

    Files that are none are reported, too, but as such that training passes over; see `list_files`.
    """

    def is_image_file(entry: os.DirEntry[str]) -> bool:
        """Tells whether it is one; reports it if it is none."""
        if entry.name.lower().endswith(IMAGE_SUFFIXES):
            return True
        is_folder = os.path.isdir(entry.path)
        found = not is_folder and is_inside(root, entry.path) and is_image(entry.path)
        if not found and not is_folder:
            is_other = entry.name.lower().endswith(OTHER_SUFFIXES)
            words = "convert it to JPEG or PNG" if is_other else "move it elsewhere"
            words = f"no image of a format that is read, which training passes over: {words}"
            report(NO_IMAGE, f"{entry.path}: {words}", entry.path, blocks=False)
        return found

    return _list_files(root, folder, is_image_file, report)


def list_files(root: Path, folder: Path, suffixes: tuple[str, ...], report: Reporter) -> dict[str, str]:
    """Returns the path, by name, of every file directly in `folder` whose lower-case name ends in one of `suffixes`.

    Files that cannot be taken are reported: links that lead out of `root` or nowhere, names that cannot be printed.

    Raises:
        UserError: The folder cannot be read, or leads out of `root`.
    """
    return _list_files(root, folder, lambda entry: True, report, suffixes)


def _list_files(
    root: Path,
    folder: Path,
    is_meant: Callable[[os.DirEntry[str]], bool],
    report: Reporter,
    suffixes: tuple[str, ...] = ("",),
) -> dict[str, str]:
    check_inside(root, folder)
    files = {}
    for entry in scan(folder, suffixes):
        path = entry.path
        if not is_meant(entry):
            continue
        if printable(entry.name) != entry.name:
            words = "a name with control characters, or not in UTF-8; expected a plain name: rename the file"
            report("unusable file name", f"{path}: {words}", path)
        elif entry.is_symlink() and not is_inside(root, path):
            report(LINK_OUT, describe_link_out(root, path), path)
        elif not os.path.isfile(path):
            words = "expected a file, found a folder, a link that leads nowhere or a device; remove it"
            report("not a file", f"{path}: {words}", path)
        else:
            files[entry.name] = path
    return files


def walk_images(folder: Path, *, on_error: Callable[[OSError], object] | None = None) -> Iterator[str]:
    """Yields the path of every image below a folder, told by its content where its name does not; see `walk_files`."""
    yield from filter(may_be_image, walk_files(folder, on_error=on_error))


def may_be_image(path: str) -> bool:
    """Tells whether a file is named as images are, or begins as one; links are told by their names alone."""
    name = path.lower()
    by_content = not name.endswith(_TEXTS) and not os.path.islink(path)  # noqa: PTH114
    return name.endswith(IMAGE_SUFFIXES) or (by_content and is_image(path))


def walk_files(folder: Path, *, on_error: Callable[[OSError], object] | None = None) -> Iterator[str]:
    """Yields the path of every file below a folder; hidden ones are left out.

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
            if not name.startswith("."):
                yield os.path.join(place, name)  # noqa: PTH118 (Path is slow for 100,000 files)
