"""Looks at thousands of images side by side, on several processes."""

import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import Any, TypeVar

from rafdb_vit.runtime.errors import UserError

_CHUNK = 64
_BLOCK = 32 * _CHUNK
"""Images that are handed out at once: those whose content is at hand are not all in memory."""
Item = TypeVar("Item", bound="str | tuple[str, Any]")
Found = TypeVar("Found")


def _leave_signals_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def map_images(look: Callable[[Item], Found], images: Iterable[Item], *, processes: int) -> Iterator[Found]:
    """Looks at many images, in order, on several processes side by side; with 1, this one does it.

    Args:
        look: What is done with each; a function of a module, which other processes can import.
        images: Each the path of an image, or its name and what else is known of it.
        processes: How many.

    Raises:
        UserError: A process died, as it does when memory runs out; or what `look` raises.
    """
    remaining = iter(images)
    block = list(islice(remaining, _BLOCK))
    if processes == 1 or len(block) <= _CHUNK:
        yield from map(look, chain(block, remaining))
        return
    executor, done = ProcessPoolExecutor(processes, initializer=_leave_signals_to_parent), 0
    try:
        while block:
            done = 0
            for done, found in enumerate(executor.map(look, block, chunksize=_CHUNK), start=1):  # noqa: B007
                yield found
            block = list(islice(remaining, _BLOCK))
    except BrokenProcessPool as error:
        there = block[min(done, len(block) - 1)]
        raise UserError(
            f"{(there if isinstance(there, str) else there[0])!a}: a process that read this or one of the next images "
            "was killed; was memory short?"
        ) from error
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
