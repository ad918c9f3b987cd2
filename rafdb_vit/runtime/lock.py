"""A folder that one command at a time may write into."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rafdb_vit.runtime.disk import read_text
from rafdb_vit.runtime.errors import UserError

LOCK_FILE = "run.lock"


def find_holder(folder: Path) -> str | None:
    """Returns which process holds a folder, such as `process 4711 on node3`; None if none does.

    A process of this machine that has ended holds nothing. Of another machine that cannot be told.
    """
    try:
        number, host, *_ = read_text(folder / LOCK_FILE, most=1024).splitlines()
        process = int(number)
    except (OSError, ValueError):
        return None
    name = host.split("#")[0]  # newer releases of filelock add the namespace of a container
    if name.split(".")[0] == socket.gethostname().split(".")[0] and not _is_alive(process):
        return None
    return f"process {process} on {name}"


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it belongs to another user, or cannot be asked for
        return True
    return True


@contextmanager
def hold(folder: Path, *, flag: str = "--output_dir") -> Iterator[None]:
    """Holds a folder while the block runs; it is made if missing, and goes away again if nothing was written.

    A lock that a killed process left is taken over: it names its process, when that began, and its machine.

    Raises:
        UserError: Another process holds it.
        OSError: It cannot be written to.
    """
    from filelock import SoftFileLock, Timeout

    missing = [path for path in (folder, *folder.absolute().parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    lock = SoftFileLock(folder / LOCK_FILE, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        holder = find_holder(folder) or "a process that cannot be told"
        raise UserError(
            f"{flag} {folder}: {holder} is writing into it; wait until it has ended, or take another folder (if it "
            f"has ended, delete {folder / LOCK_FILE})"
        ) from error
    try:
        yield
    finally:
        lock.release()
        for path in missing:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
