import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from rafdb_vit.runtime.errors import Interrupted
from rafdb_vit.runtime.signals import SignalWatch, hold_signals, release_signals, shield_workers


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_noted_and_raised_where_it_is_asked_for(signum, status):
    before = signal.getsignal(signum)
    with SignalWatch() as signals:
        signals.raise_if_signalled()
        os.kill(os.getpid(), signum)
        with pytest.raises(Interrupted) as stop:
            signals.raise_if_signalled()
    assert (stop.value.signum, stop.value.status, stop.value.name) == (signum, status, signum.name)
    assert signal.getsignal(signum) == before


def run(code, **environment):
    script = "import os, signal, time\nfrom rafdb_vit.runtime.signals import SignalWatch\n" + code
    environment = {**{name: value for name, value in os.environ.items() if "ELASTIC" not in name}, **environment}
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)


TWICE = """
with SignalWatch() as signals:
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGTERM)
    print(signals.signum)
"""


def test_a_second_signal_ends_at_once():
    done = run(TWICE)
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")


def test_a_launcher_that_passes_the_signal_on_does_not_make_it_two():
    assert run(TWICE, TORCHELASTIC_RUN_ID="x").stdout == "15\n"
    late = TWICE.replace("os.kill", "time.sleep(2.1) if signals.signum else None; os.kill")
    assert run(late, TORCHELASTIC_RUN_ID="x").returncode == 143


def test_the_end_of_the_launcher_counts_as_sigterm(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    signals = SignalWatch()
    signals.raise_if_signalled()
    monkeypatch.setattr(os, "getppid", lambda: 1)
    with pytest.raises(Interrupted, match="15"):
        signals.raise_if_signalled()


def test_held_signals_come_when_they_are_released():
    # In a process of its own: signals go to any thread that does not hold them.
    done = run("""
from rafdb_vit.runtime.signals import hold_signals, release_signals
with SignalWatch() as signals:
    hold_signals()
    os.kill(os.getpid(), signal.SIGTERM)
    print(signals.signum)
    release_signals()
    print(signals.signum)
""")
    assert done.stdout == "0\n15\n", done.stderr


class Slow(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, i):
        time.sleep(0.05)
        return torch.tensor(i)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_data_workers_leave_signals_to_the_training_process(method):
    loader = shield_workers(DataLoader(Slow(), batch_size=1, num_workers=2, multiprocessing_context=method))
    hold_signals()
    batches = iter(loader)
    release_signals()
    seen = []
    for _ in range(8):
        for signum in (signal.SIGTERM, signal.SIGINT):
            for worker in batches._workers:
                # As another process sends it: the training process itself may end its workers.
                subprocess.run(["kill", f"-{int(signum)}", str(worker.pid)], check=True)
        seen.append(next(batches).item())
    assert seen == list(range(8))


def test_the_training_process_can_end_its_workers():
    loader = shield_workers(DataLoader(Slow(), batch_size=1, num_workers=1, multiprocessing_context="fork"))
    batches = iter(loader)
    next(batches)
    (worker,) = batches._workers
    worker.terminate()
    worker.join(5)
    assert not worker.is_alive()
    assert multiprocessing.active_children() == [] or worker not in multiprocessing.active_children()


def test_another_worker_init_fn_is_run_too(tmp_path):
    seen = tmp_path / "seen"
    loader = DataLoader(Slow(), num_workers=1, worker_init_fn=lambda worker: seen.write_text(str(worker)))
    list(shield_workers(shield_workers(loader)))
    assert seen.read_text() == "0"
