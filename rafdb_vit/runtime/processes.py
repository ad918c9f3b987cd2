"""Several processes as one: what the main process does first, what all decide together, how failures reach all.

Everything here goes over a process group of its own, on the CPU (gloo), that waits for days: while the main process
downloads or writes, the others do not run into the time-out of the group that training uses. If a process dies, its
connections close and the others' calls fail at once. With a single process nothing here does anything.
"""

import atexit
import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any

from rafdb_vit.runtime.errors import UserError

_PATIENCE = timedelta(days=7)
_LOST_CONNECTION = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")


def is_main_process() -> bool:
    """Tells whether this is the process that prints and writes, from what launchers export."""
    return os.environ.get("RANK", "0") == "0"


def count_processes() -> int:
    """Returns how many processes share this run."""
    import torch.distributed as dist

    return dist.get_world_size() if dist.is_initialized() else 1


def count_local_processes() -> int:
    """Returns how many processes share this machine, from what torchrun, accelerate and MPI export."""
    names = ("LOCAL_WORLD_SIZE", "MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "MV2_COMM_WORLD_LOCAL_SIZE")
    return max(1, *(int(os.environ.get(name, "1")) for name in names))


def is_launched() -> bool:
    """Tells whether accelerate or torchrun started this process, from what they export."""
    return any(name in os.environ for name in ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"))


def process_index() -> int:
    """Returns this process's rank; the main process has 0."""
    import torch.distributed as dist

    return dist.get_rank() if dist.is_initialized() else 0


@cache
def _patient_group() -> Any:
    import torch.distributed as dist

    atexit.register(_close_groups)
    return dist.new_group(backend="gloo", timeout=_PATIENCE)


def _close_groups() -> None:
    """Ends gloo's threads while the interpreter still runs: some that outlive it abort the process, with status 134.

    Such a thread lets go of a finished collective's tensors on its own time, for which it needs the interpreter. Where
    that is ending, Python 3.13 and older end the thread instead, through C++ that may not be left so, and the process
    aborts (pytorch/pytorch#190489). `destroy_process_group` alone ends no thread of gloo's: they end with the last
    reference to the group, of which this module has one, and a model in a circle of references another. (torch's own
    caches keep that of a sharded model; nothing has gone over it for long.) Delete when torch ends the threads itself.

    Groups of other backends stay: closing them may wait for processes that have failed.
    """
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group(None if dist.get_backend() == "gloo" else _patient_group())
    _patient_group.cache_clear()
    gc.collect()


def gather(value: Any) -> list[Any]:
    """Returns the values of all processes, by rank; every process has to call it."""
    import torch.distributed as dist

    if count_processes() == 1:
        return [value]
    values: list[Any] = [None] * count_processes()
    dist.all_gather_object(values, value, group=_patient_group())
    return values


def all_reduce_max(value: int) -> int:
    """Returns the largest of all processes' values; every process has to call it. About 0.1 ms on one machine."""
    import torch
    import torch.distributed as dist

    if count_processes() == 1:
        return value
    tensor = torch.tensor(value, dtype=torch.int64)
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=_patient_group())
    return int(tensor)


def wait_for_all() -> None:
    """Waits until every process has come here, however long that takes."""
    gather(None)


@contextmanager
def raise_on_all() -> Iterator[None]:
    """Runs a block on every process; if it raises a `UserError` on any, it does on all, with the first one's message.

    Other exceptions are bugs and go through on the process that has them.
    """
    raised: UserError | None = None
    try:
        yield
    except UserError as error:
        raised = error
    messages = [line for line in gather(None if raised is None else raised.line) if line is not None]
    if messages:
        raise UserError(messages[0]) from raised


def broadcast_from_main(make: Callable[[], Any]) -> Any:
    """Returns, on every process, what `make` returns on the main one; the others wait.

    Raises:
        UserError: On every process, what `make` raised on the main one.
    """
    with raise_on_all():
        made = make() if is_main_process() else None
    return gather(made)[0]


@contextmanager
def raise_on_one(*, advice: str = "put that right and go on with --resume_from_checkpoint") -> Iterator[None]:
    """Runs a block in which processes work side by side, so that one may fail while the others wait for it.

    Raises:
        UserError: What the block raised, marked as this process's own; or that a connection broke, with the `advice`.
    """
    try:
        yield
    except UserError as error:
        error.on_one = True
        raise
    except RuntimeError as error:
        if count_processes() == 1 or not any(words in str(error) for words in _LOST_CONNECTION):
            raise
        lost = UserError(
            "the connection to another process of this run broke: it ended, and printed why, or its machine is gone; "
            f"{advice}"
        )
        lost.on_one = True
        raise lost from error


@contextmanager
def main_process_first() -> Iterator[None]:
    """Runs a block on the main process, then on the others: these find what it downloaded.

    Raises:
        UserError: On every process, what the block raised on one of them.
    """
    for turn in (is_main_process(), not is_main_process()):
        with raise_on_all():
            if turn:
                yield
