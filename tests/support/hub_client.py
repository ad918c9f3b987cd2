"""The real client in processes of its own: one that has imported everything, and forks for each command."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def last(self) -> str:
        return self.out.strip().splitlines()[-1]


class HubClient:
    """Runs `push` and `train` against a Hub, each in a fresh fork of one process that has the libraries loaded."""

    def __init__(self, endpoint: str, home: Path, **environ: str) -> None:
        self.home = home
        self.environ = {
            **{name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "HF_TOKEN")},
            **{"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "OMP_NUM_THREADS": "2", "HF_HUB_DISABLE_XET": "1"},
            **environ,
        }
        self.server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.hub_client"],
            env=self.environ,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, verb: str, *argv: str, **environ: str) -> int:
        """Starts a command; returns its process."""
        request = {"verb": verb, "argv": list(map(str, argv)), "environ": environ, "folder": str(self.home)}
        print(json.dumps(request), file=self.server.stdin, flush=True)
        return int(self.server.stdout.readline())

    def wait(self) -> Ended:
        """Waits for the command that was started last."""
        status = os.waitstatus_to_exitcode(int(self.server.stdout.readline()))
        return Ended(status, (self.home / "stdout").read_text(), (self.home / "stderr").read_text())

    def run(self, verb: str, *argv: str, **environ: str) -> Ended:
        self.start(verb, *argv, **environ)
        return self.wait()

    def close(self) -> None:
        self.server.stdin.close()
        self.server.wait()


def _run_child(request: dict) -> int:
    import importlib
    from functools import partial

    from rafdb_vit.commands.parser import run_command

    os.environ.update(request["environ"])
    for name, handle in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(Path(request["folder"]) / name, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), handle)
    main = importlib.import_module(f"rafdb_vit.commands.{request['verb']}").main
    return run_command(partial(lambda argv, _: main(argv), request["argv"]))


def _say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def serve() -> None:
    """Forks for each request on stdin; answers with the child's process, then with its status."""
    import transformers

    import rafdb_vit.hub.publication
    import rafdb_vit.training.arguments
    import rafdb_vit.training.trainer
    from rafdb_vit.hub import client as hub_call
    from rafdb_vit.hub import repository as hub

    assert (
        transformers.pipeline
        and rafdb_vit.training.arguments
        and rafdb_vit.hub.publication
        and rafdb_vit.training.trainer
    )
    hub_call.WAITS = tuple(wait / 20 for wait in hub_call.WAITS)  # tests need not wait as long as people
    hub_call.ANSWER_TIMEOUT = hub.COMMIT_TIMEOUT = 1.0
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            status = 1
            try:
                status = _run_child(json.loads(line))
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                if status == 1:
                    sys.excepthook(*sys.exc_info())
                os._exit(status)
        _say(process)
        _say(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    serve()
