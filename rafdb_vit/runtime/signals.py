"""Ctrl-C and SIGTERM in training: noted when they come, acted on where every process stands at the same step."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing import resource_tracker
from typing import Any

from rafdb_vit.runtime.errors import Interrupted
from rafdb_vit.runtime.processes import all_reduce_max, is_launched

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# torchrun and `accelerate launch` pass on to each process a signal that a terminal or Slurm has sent it already.
_SAME_SIGNAL_SECONDS = 2.0


class SignalWatch:
    """Notes SIGINT and SIGTERM while the context lasts, for `raise_if_signalled` to act on.

    A second signal ends the process at once, with 130 or 143. The end of the launcher counts as SIGTERM: accelerate's
    does not pass on the signal that ends it, and the training process would go on unseen.
    """

    def __init__(self) -> None:
        self.signum = 0
        self._since = 0.0
        self._launcher = os.getppid() if is_launched() else None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "SignalWatch":
        if threading.current_thread() is threading.main_thread():
            self._previous = {signum: signal.signal(signum, self._note) for signum in _SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def _note(self, signum: int, frame: object) -> None:
        if not self.signum:
            self.signum, self._since = signum, time.monotonic()
        elif not is_launched() or time.monotonic() - self._since >= _SAME_SIGNAL_SECONDS:
            os._exit(128 + signum)

    def raise_if_signalled(self) -> None:
        """Raises on every process if any has been signalled; every process has to call it at the same point.

        Raises:
            Interrupted: With the signal's number.
        """
        if self._launcher is not None and os.getppid() != self._launcher and not self.signum:
            self.signum = int(signal.SIGTERM)
        signum = all_reduce_max(self.signum)
        if signum:
            raise Interrupted(signum)


def ignore_signals_in_worker(worker_id: int, *, then: Callable[[int], None] | None = None) -> None:
    """Starts a data worker that leaves signals to the training process; a `worker_init_fn`.

    Ctrl-C and cluster managers signal workers too. A worker that died of it would end training with a traceback before
    the checkpoint is written. SIGTERM from the training process itself still ends it; without `sigwaitinfo` (macOS,
    Windows), from anyone. `then` is another `worker_init_fn` to run.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        threading.Thread(target=_end_when_parent_says, daemon=True).start()
    if then is not None:
        then(worker_id)


def _end_when_parent_says() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def shield_workers(loader: Any) -> Any:
    """Makes a data loader's workers leave signals to the training process; returns the loader.

    From their first moment only if they are started while signals are held: before a `worker_init_fn` runs, torch gives
    a new worker a handler that ends it.
    """
    # accelerate's loaders wrap the one that starts the workers.
    inner = getattr(loader, "base_dataloader", loader)
    context = inner.multiprocessing_context or multiprocessing.get_context()
    if inner.num_workers > 0 and context.get_start_method() != "fork":
        # Other ways to start a process need this helper, whose own start would release held signals.
        resource_tracker.ensure_running()
    if getattr(inner.worker_init_fn, "func", None) is not ignore_signals_in_worker:
        inner.worker_init_fn = partial(ignore_signals_in_worker, then=inner.worker_init_fn)
    return loader


def hold_signals() -> None:
    """Lets SIGINT and SIGTERM wait until `release_signals`, here and in processes that are started meanwhile."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)


def release_signals() -> None:
    """Lets SIGINT and SIGTERM through again."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
