"""A folder that one command at a time may write into."""

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rafdb_vit.runtime.disk import naming_disk_errors, read_text
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.place import forget, keep_in_mind
from rafdb_vit.runtime.processes import broadcast_from_main, is_main_process

LOCK_FILE = "run.lock"
_MOST_PROCESSES = 2**31
"""No system numbers its processes beyond; 0 and below stand for groups of them."""


def find_holder(folder: Path) -> str | None:
    """Returns which process holds a folder, such as `process 4711 on node3`; None if none does.

    A process of this machine that has ended holds nothing. Of another machine that cannot be told.
    """
    try:
        number, host, *_ = read_text(folder / LOCK_FILE, most=1024).splitlines()
        process = int(number)
    except (OSError, ValueError):
        return None
    if not 0 < process < _MOST_PROCESSES:
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
    except OSError:  # it belongs to another user
        return True
    return True


@contextmanager
def hold_on_main(folder: Path) -> Iterator[None]:
    """Holds a folder as `hold` does, on the main process; every process has to call it.

    Raises:
        UserError: On every process, what `hold` raised.
    """
    holding = hold(folder)
    broadcast_from_main(holding.__enter__)
    try:
        yield
    finally:
        if is_main_process():
            holding.__exit__(None, None, None)


@contextmanager
def hold(folder: Path, *, flag: str = "--output_dir") -> Iterator[None]:
    """Holds a folder while the block runs; it is made if missing, and goes away again if nothing was written.

    A lock that a killed process left is taken over: it names its process, when that began, and its machine.

    Raises:
        UserError: Another process holds it, or it cannot be written to.
    """
    from filelock import SoftFileLock, Timeout

    # Releases before 4.3 delete a dead process's lock at the first try, and take it at the second.
    lock = SoftFileLock(folder / LOCK_FILE, timeout=0.2)
    missing = [path for path in (folder, *folder.absolute().parents) if not os.path.lexists(path)]
    if os.path.lexists(folder / LOCK_FILE) and not stat.S_ISREG(os.lstat(folder / LOCK_FILE).st_mode):
        raise UserError(f"{folder / LOCK_FILE}: is not the lock of a command; delete it, or take another folder")
    with naming_disk_errors(folder, advice="take another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout as error:  # an OSError, too
            holder = find_holder(folder) or "a process that cannot be told"
            raise UserError(
                f"{flag} {folder}: {holder} is writing into it; wait until it has ended, or take another folder (if "
                f"it has ended, delete {folder / LOCK_FILE})"
            ) from error
    keep_in_mind(folder)
    try:
        yield
    finally:
        forget(folder)
        # Of a disk that can only be read by now, the lock stays: it is stale once this process has ended.
        with suppress(OSError):
            lock.release()
        _remove_empty(missing)


def _remove_empty(folders: list[Path]) -> None:
    """Deletes folders, the deepest first, up to one that is not empty or may not be deleted."""
    for path in folders:
        try:
            path.rmdir()
        except OSError:
            return
