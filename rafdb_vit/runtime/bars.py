"""Progress bars: ours, and those of the libraries, silenced by one word."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

_VARIABLE = "TQDM_DISABLE"
"""tqdm's own, which says no more than its default: a bar that is told to be shown is shown."""
_OF_LIBRARIES = ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS")


def are_bars_silent() -> bool:
    """Tells whether no bar is to be shown, by the environment variable `TQDM_DISABLE`."""
    return os.environ.get(_VARIABLE, "").lower() not in ("", "0", "false", "no")


def prepare_bars() -> None:
    """Passes `TQDM_DISABLE` on to the libraries that do not heed it, before they are imported."""
    if are_bars_silent():
        for name in _OF_LIBRARIES:
            os.environ.setdefault(name, "1")


@contextmanager
def silencing_bars(asked: bool | None) -> Iterator[None]:
    """Silences every bar in a block, also those of libraries that are imported, if that is asked for.

    It is, too, where `TQDM_DISABLE` is set.
    """
    if not (asked or are_bars_silent()):
        yield
        return
    import datasets
    from transformers.utils import logging

    before = os.environ.get(_VARIABLE)
    had_bars = logging.is_progress_bar_enabled(), datasets.is_progress_bar_enabled()
    os.environ[_VARIABLE] = "1"
    logging.disable_progress_bar()  # and huggingface_hub's
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before
        for had, enable in zip(had_bars, (logging.enable_progress_bar, datasets.enable_progress_bars), strict=True):
            if had:
                enable()


def show_progress(
    steps: Iterable[Any] | None, words: str, total: int | None = None, *, unit: str = "it", quiet: bool = False
) -> Any:
    """Returns a `tqdm` bar, which goes away when it has ended; a `quiet` one shows nothing.

    Args:
        steps: What it counts, while passing it on; None for a bar that is updated by hand.
        words: What is done.
        total: The number of steps, where `steps` does not tell.
        unit: What is counted.
        quiet: Show nothing.
    """
    from tqdm.auto import tqdm

    return tqdm(steps, words, total, unit=unit, leave=False, disable=quiet or are_bars_silent())
