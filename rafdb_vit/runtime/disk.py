"""Writing to a disk that may be full or gone."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rafdb_vit.runtime.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_writable(folder: Path) -> None:
    """Refuses an output folder that cannot be written to.

    Raises:
        UserError: It is a file, or its permissions forbid it.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        what = "is" if existing == folder else f"{existing} is"
        raise UserError(f"--output_dir {folder}: {what} a file; expected a folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"--output_dir {folder}: {existing} cannot be written to; take another folder")


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
        there = next(path for path in (target, *target.absolute().parents) if path.exists())
        free = shutil.disk_usage(there).free / 1e6
        reason = getattr(error, "strerror", None) or f"a write failed with {free:.0f} MB free"
        named = Path(str(getattr(error, "filename2", None) or getattr(error, "filename", None) or target))
        name = target if named.is_relative_to(target) else named
        raise UserError(f"{name}: cannot be {act} ({reason}); {advice}") from error


def read_yaml(path: Path, *, where: str, expected: str) -> dict[str, Any]:
    """Reads a YAML file that holds a mapping.

    Raises:
        UserError: It cannot be read, or holds something else; the message names `where` and what was `expected`.
    """
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{where}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{where}: not a YAML file ({error}); expected {expected}") from error
    if not isinstance(content, dict):
        raise UserError(f"{where}: expected {expected}")
    return content


def save_figure(figure: "Figure", path: Path) -> Path:
    """Writes a figure as PNG, without what would differ from run to run; its folder is made if missing."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(str(path), metadata={"Software": None})
    return path
