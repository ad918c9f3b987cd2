"""What a command is doing, said where a step without a progress bar takes longer than a moment."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rafdb_vit.runtime.console import say_aside_between_bars
from rafdb_vit.runtime.processes import is_main_process

LOADING = "Loading PyTorch and transformers"
"""What most commands do first."""
MOMENT = 0.4
"""Seconds. A step that has ended by then is not announced, so that quick work prints little."""


@contextmanager
def announcing(words: str, *, quiet: bool = False) -> Iterator[None]:
    """Says on stderr what a block does, if it takes longer than a moment; on the main process only.

    Args:
        words: What it does, such as `Reading the data`.
        quiet: Say nothing.
    """
    if quiet or not is_main_process():
        yield
        return
    announcement = threading.Timer(MOMENT, say_aside_between_bars, [f"{words} ..."])
    announcement.daemon = True
    announcement.start()
    try:
        yield
    finally:
        announcement.cancel()
        announcement.join()  # so that it does not come after what is printed next
