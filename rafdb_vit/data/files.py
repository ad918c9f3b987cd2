"""Lists what lies in a data folder, and nothing outside it, nor what systems put there for themselves."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from rafdb_vit.data.findings import SAME_NAME, Reporter, printable
from rafdb_vit.data.found import compose
from rafdb_vit.data.images import is_image
from rafdb_vit.runtime.disk import DEEPEST, check_inside, describe_link_out, expand, is_inside
from rafdb_vit.runtime.errors import NOT_PLAIN, UserError, is_plain

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"),
    *(".avif", ".jp2"),
)

OTHER_SUFFIXES = (".heic", ".heif", ".jxl", ".svg", ".tga", ".pcx", ".eps", ".psd", ".raw")
"""Images of formats that are not read."""
_TEXTS = (".txt", ".csv", ".json", ".xml", ".md", ".html", ".npy")
"""Files of which a release has up to a million; where images are looked for by content, these are not opened."""
_MOST_LOOKED_AT = 100_000
"""Files below a folder among which an image is looked for by its name alone."""
NO_IMAGE = "file that is no image"
WITHOUT_LABEL = "image without label"
LINK_OUT = "link out of the folder"
UNUSABLE_NAME = "unusable file name"

_SYSTEM_NAMES = frozenset(
    (
        # macOS: in archives that its Finder packed, on disks of other systems, in folders with a picture of their own.
        *("__macosx", "icon\r", "network trash folder", "temporary items"),
        # Windows: bins, what it knows of a disk, thumbnails, how a folder is shown.
        *("$recycle.bin", "recycler", "recycled", "system volume information", "found.000"),
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini"),
        # Network storage of Synology and QNAP: thumbnails, bins, snapshots.
        *("@eadir", "@synoeastream", "@recycle", "@recently-snapshot", "@tmp", "#recycle", "#snapshot"),
        # Linux: what a check of the disk found. Programs: what Python compiled, albums of Picasa.
        *("lost+found", "__pycache__", "picasa.ini"),
    )
)
"""Lower-case names of what systems and programs put into any folder for themselves; what begins with a dot, such as
`.DS_Store`, `._face.jpg` and `.ipynb_checkpoints`, is hidden as it is."""
_OPEN_FILE, _ORIGIN = "~$", ":zone.identifier"
"""Begins the name of what Office notes of an open file; ends that of what Windows notes of a file's origin."""


def find_root(written: str | os.PathLike[str], *, flag: str = "") -> Path:
    """Returns the absolute path of what a person wrote, with `~` and `~USER` in place of their folders.

    Raises:
        UserError: There is no such user; the message begins with `flag`.
    """
    try:
        return Path(os.path.abspath(expand(Path(written))))
    except UserError as error:
        raise UserError(f"{flag}{error.line}") from error


def is_system_name(name: str) -> bool:
    """Tells whether the name of a file or folder is of one that is no part of the data, wherever it lies."""
    folded = name.casefold()
    return name.startswith((".", _OPEN_FILE)) or folded in _SYSTEM_NAMES or folded.endswith(_ORIGIN)


class Names:
    """Finds files below a folder by names that may be composed otherwise than those on the disk; see `compose`."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._found: dict[str, dict[str, str]] = {}

    def find(self, path: str) -> str | None:
        """Returns the file's path as it is on the disk; None where nothing below the folder has such a name."""
        start = os.path.join(self._root, "")  # noqa: PTH118 (Path is slow for a million rows)
        if path.isascii() or not path.startswith(start):
            return None
        place = self._root
        for part in Path(path.removeprefix(start)).parts:
            if (name := self._list(place).get(compose(part))) is None:
                return None
            place = os.path.join(place, name)  # noqa: PTH118
        return place if os.path.isfile(place) else None

    def _list(self, place: str) -> dict[str, str]:
        """Returns what lies in a folder by its name, composed."""
        if place not in self._found:
            try:
                self._found[place] = {compose(name): name for name in os.listdir(place)}  # noqa: PTH208
            except OSError:
                self._found[place] = {}
        return self._found[place]


class ImageNames:
    """The images below a folder by their names, looked for when the first one is asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: dict[str, str] | None = None

    def find(self, name: str) -> str | None:
        """Returns the path, relative to the folder, of an image of a name, with its suffix or without; else None."""
        if self._found is None:
            self._found = {}
            with suppress(UserError):  # folders in circles; what was found until then will do
                for path in islice(walk_files(self._root), _MOST_LOOKED_AT):
                    if path.lower().endswith(IMAGE_SUFFIXES):
                        for key in (os.path.basename(path), Path(path).stem):  # noqa: PTH119
                            self._found.setdefault(key, path)
        found = self._found.get(name) or self._found.get(Path(name).stem)
        return None if found is None else os.path.relpath(found, self._root)


def scan(folder: Path, suffixes: tuple[str, ...] = ("",)) -> list[os.DirEntry[str]]:
    """Returns what lies directly in a folder, by name; hidden files and those of systems are left out.

    Of `suffixes`, in lower case, names have one; AffectNet has folders of a million other files.

    Raises:
        UserError: It cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            named = (e for e in entries if e.name.lower().endswith(suffixes) and not is_system_name(e.name))
            return sorted(named, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(
            f"{printable(folder)}: cannot be read ({error.strerror}); check the folder's permissions"
        ) from error


def list_folders(folder: Path) -> list[Path]:
    """Returns the folders directly in a folder, by name; links in circles are none."""
    # The kind of a plain file is known without asking the disk for each of 100,000.
    entries = (entry for entry in scan(folder) if not entry.is_file(follow_symlinks=False))
    return [Path(entry.path) for entry in entries if os.path.isdir(entry.path)]


def list_images(root: Path, folder: Path, report: Reporter) -> dict[str, str]:
    """Returns the path of every image directly in `folder`, told by its content where its name does not, by name.

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


def describe_no_images(count: int, first: str) -> str:
    """Says how many files among the images are none, and which is the `first`; nothing where all are images."""
    words = "1 file that is no image is" if count == 1 else f"{count:,} files that are no images are"
    return f"{words} passed over, {printable(first)} first" if count else ""


def list_files(root: Path, folder: Path, suffixes: tuple[str, ...], report: Reporter) -> dict[str, str]:
    """Returns the path, by name, of every file directly in `folder` whose lower-case name ends in one of `suffixes`.

    Names are composed, see `compose`. Files that cannot be taken are reported: links that lead out of `root` or
    nowhere, names that are not plain, names that another file has too.

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
    files: dict[str, str] = {}
    for entry in scan(folder, suffixes):
        path = entry.path
        if not is_meant(entry):
            continue
        if not is_plain(entry.name):
            report(UNUSABLE_NAME, f"{path}: its name has {NOT_PLAIN}; rename the file", path)
        elif entry.is_symlink() and not is_inside(root, path):
            report(LINK_OUT, describe_link_out(root, path), path)
        elif not os.path.isfile(path):
            words = "expected a file, found a folder, a link that leads nowhere or a device; remove it"
            report("not a file", f"{path}: {words}", path)
        elif (first := files.setdefault(compose(entry.name), path)) != path:
            words = "has the same name, its accents written otherwise; expected each name once: rename one"
            report(SAME_NAME, f"{path}: {first} {words}", first, path)
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
    """Yields the path of every file below a folder; hidden ones and those of systems are left out.

    Links to folders are not followed. `on_error` is told of folders that cannot be read, which are passed over.

    Raises:
        UserError: Folders lie in folders more than `DEEPEST` deep.
    """
    for place, folders, names in os.walk(folder, onerror=on_error):
        if place.count(os.sep) - str(folder).count(os.sep) > DEEPEST:
            raise UserError(
                f"{printable(place)[:200]}: folders in folders, more than {DEEPEST} deep; move them elsewhere"
            )
        folders[:] = sorted(name for name in folders if not is_system_name(name))
        for name in sorted(names):
            if not is_system_name(name):
                yield os.path.join(place, name)  # noqa: PTH118 (Path is slow for 100,000 files)
