"""Writing to a disk that may be full or gone."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from rafdb_vit.errors import UserError


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
        UserError: It is a file, or its rights say no.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        is_itself = existing == folder
        raise UserError(f"--output_dir {folder}: {'is' if is_itself else f'{existing} is'} a file; expected a folder")
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


@contextmanager
def naming_disk_errors(target: Path) -> Iterator[None]:
    """Turns what the libraries raise when a disk is full or gone into one line.

    Args:
        target: What the block writes.

    Raises:
        UserError: It could not be written.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        # torch's writer raises a plain RuntimeError; any other of these is a bug.
        own = isinstance(error, OSError | SafetensorError) or any(words in str(error) for words in _TORCH_WRITER)
        if not own:
            raise
        there = next(path for path in (target, *target.absolute().parents) if path.exists())
        free = f"a write failed with {shutil.disk_usage(there).free / 1e6:.0f} MB free"
        reason = (isinstance(error, OSError) and error.strerror) or free
        raise UserError(
            f"{target}: cannot be written ({reason}); the checkpoints before it are whole: make room or mend the "
            "folder, and go on with --resume_from_checkpoint"
        ) from error
