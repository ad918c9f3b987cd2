"""A process that has imported everything, and forks for each command: starting one takes milliseconds, not seconds."""

import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
NEVER = 10_000.0
"""Seconds; nothing that a test does takes so long."""


@dataclass
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def last(self) -> str:
        return self.out.strip().splitlines()[-1]


class ForkServer:
    """Runs scripts of this repository, each in a fresh fork of one process.

    Args:
        folder: Takes what commands print.
        module: What the process runs; it has to end in `serve`.
        environ: Its environment; that of the tests if None.
    """

    def __init__(self, folder: Path, *, module: str = __name__, environ: dict[str, str] | None = None) -> None:
        self.folder = folder
        command = [sys.executable, "-m", module]
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.server = subprocess.Popen(command, env=environ, cwd=ROOT, **streams)

    def start(self, *words: object, **environ: str) -> int:
        """Starts a script with its words, in a group of its own as a terminal does; returns its process."""
        request = {"words": list(map(str, words)), "environ": environ, "folder": str(self.folder)}
        print(json.dumps(request), file=self.server.stdin, flush=True)
        return int(self.server.stdout.readline())

    def wait(self) -> Ended:
        """Waits for the command that was started last."""
        status = os.waitstatus_to_exitcode(int(self.server.stdout.readline()))
        return Ended(status, (self.folder / "stdout").read_text(), (self.folder / "stderr").read_text())

    def run(self, *words: object, **environ: str) -> Ended:
        """Runs a script to its end."""
        self.start(*words, **environ)
        return self.wait()

    def launch(self, *words: object) -> Ended:
        """Runs a script in two processes that share the work, as torchrun does; returns how the first failed, or 0."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        return self.run(*words, **shared, OMP_NUM_THREADS="1", TORCHELASTIC_RUN_ID="tests")

    def close(self) -> None:
        # Not by closing its stdin alone: data workers that a test left behind hold that open too.
        self.server.terminate()
        self.server.wait()


def run_script(words: list[str]) -> None:
    """Runs a script as Python does."""
    sys.argv = words
    runpy.run_path(str(ROOT / words[0]), run_name="__main__")


def _run_child(request: dict, run=run_script) -> int:
    os.setsid()
    os.environ.update(request["environ"])
    for name, handle in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(Path(request["folder"]) / name, os.O_CREAT | os.O_APPEND | os.O_WRONLY), handle)
    try:
        run(request["words"])
    except SystemExit as end:
        return end.code or 0
    return 0


def _fork(request: dict, run, *, finalizes: bool) -> int:
    """Returns the process of a child that runs a command.

    It ends at once, without what an interpreter does at its end, which takes half a second, unless it `finalizes`.
    """
    process = os.fork()
    if process:
        return process
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if finalizes:
        sys.exit(_run_child(request, run))
    status = 1
    try:
        status = _run_child(request, run)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)


def _fork_ranks(request: dict, run) -> int:
    """Runs a command in as many processes as its environment says; the first that fails ends the others."""
    ranks = range(int(request["environ"].get("WORLD_SIZE", "1")))
    if len(ranks) == 1:
        return _fork(request, run, finalizes=False)
    process = os.fork()
    if process:
        return process
    children = []
    for rank in ranks:
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        request_of_rank = {**request, "environ": {**request["environ"], **own}}
        children.append(_fork(request_of_rank, run, finalizes=True))  # gloo has aborted processes at their end
    failed = 0
    while children:
        child, status = os.wait()
        children.remove(child)
        if status and not failed:
            failed = os.waitstatus_to_exitcode(status)
            time.sleep(1.0)  # the others say what they have to say
            for other in children:
                os.kill(other, signal.SIGKILL)
    os._exit(failed & 0xFF)


def _say(number: int) -> None:
    os.write(1, f"{number}\n".encode())


def serve(run=run_script) -> None:
    """Forks for each request on stdin; answers with the child's process, then with its status."""
    from rafdb_vit.runtime import announcement

    announcement.MOMENT = NEVER
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        for name in ("stdout", "stderr"):
            (Path(request["folder"]) / name).write_text("")
        process = _fork_ranks(request, run)
        _say(process)
        _say(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    import rafdb_vit.training.run

    assert rafdb_vit.training.run
    serve()
