"""The real client of the Hub, in processes that talk to a Hub on this machine."""

import os
import sys
import time
from pathlib import Path

from tests.support.fork_server import ForkServer, serve
from tests.support.images import draw_a_dot


class HubClient(ForkServer):
    """Runs `push` and `train` against a Hub."""

    def __init__(self, endpoint: str, home: Path, **environ: str) -> None:
        own = {
            **{name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "HF_TOKEN")},
            **{"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "OMP_NUM_THREADS": "2", "HF_HUB_DISABLE_XET": "1"},
            "HF_HUB_ETAG_TIMEOUT": "1",  # seconds that the client waits for the head of a file,
            **environ,
        }
        super().__init__(home, module=__name__, environ=own)
        self.home = home


class _Hurried:
    """The module `time` for a client whose waits tests need not sit out."""

    def __getattr__(self, name: str):
        return getattr(time, name)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / 20)


def run_verb(words: list[str]) -> None:
    """Runs a verb with its words."""
    import importlib
    from functools import partial

    from rafdb_vit.commands.parser import run_command

    main = importlib.import_module(f"rafdb_vit.commands.{words[0]}").main
    sys.exit(run_command(partial(lambda argv, _: main(argv), words[1:])))


if __name__ == "__main__":
    import transformers
    from huggingface_hub.utils import _http

    import rafdb_vit.training.run
    from rafdb_vit.hub import client, repository, staging
    from rafdb_vit.report import plots

    assert transformers.pipeline and rafdb_vit.training.run
    # tests/hub, and test_the_script_and_xet, look at what is really drawn.
    staging.plot_confusion_matrix = plots.plot_confusion_matrix = draw_a_dot
    plots.plot_learning_curves = draw_a_dot
    _http.time = _Hurried()
    client.WAITS = tuple(wait / 20 for wait in client.WAITS)
    client.ANSWER_TIMEOUT = repository.COMMIT_TIMEOUT = 1.0
    serve(run_verb)
