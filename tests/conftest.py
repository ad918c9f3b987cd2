"""Fixtures: no network, a RAF-DB tree and a tiny ViT on disk."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes share the cores

import gc
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rafdb_vit.data.labels import BASIC
from tests.support.faces import write_kaggle, write_official
from tests.support.fork_server import NEVER, ForkServer
from tests.support.images import draw_a_dot
from tests.support.models import save_vit

LOOPBACK = ("127.0.0.1", "::1", "localhost")


SLOWEST_FIRST = (
    *("commands/test_interrupted_train", "training/test_processes", "commands/test_push", "commands/test_train"),
    *("training/test_resume", "training/test_flag_checks", "commands/test_data_forms", "model/test_load"),
    *("training/test_compute_metrics", "test_readme"),
)
"""Files that take longest: begun last, one of them would run on while the other process has nothing left to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files that take longest first."""
    here = Path(__file__).parent
    places = {str(here / f"{name}.py"): i for i, name in enumerate(SLOWEST_FIRST)}
    items.sort(key=lambda item: places.get(str(item.path), len(places)))


def pytest_collection_finish() -> None:
    """Leaves what the libraries made when they were imported out of garbage collection, which each training forces."""
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def no_network():
    """Refuses every connection that leaves this machine."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOOPBACK:
            raise OSError(f"a test tried to reach {address}")
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    """Keeps a launcher's environment, and what one test's run leaves of it, out of the tests."""
    for name in ("ACCELERATE_MIXED_PRECISION", "ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED", "RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True, scope="session")
def no_announcements():
    """Lets nothing count as slow, so that what is printed does not depend on the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rafdb_vit.runtime.announcement.MOMENT", NEVER)
        yield


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """A fresh tree in the official layout, to be damaged at will."""
    return write_official(tmp_path / "data")


@pytest.fixture
def kaggle(tmp_path: Path) -> Path:
    """A fresh tree in the Kaggle layout, to be damaged at will."""
    return write_kaggle(tmp_path / "data")


@pytest.fixture(scope="session")
def faces_dir(tmp_path_factory) -> Path:
    """A tree in the official layout that tests only read."""
    return write_official(tmp_path_factory.mktemp("faces"), train=10, test=4)


@pytest.fixture(scope="session")
def tiny_vit(tmp_path_factory) -> Path:
    """A folder with a ViT of 2 layers at 32 pixels, a head of 7 RAF-DB classes and a processor."""
    return save_vit(tmp_path_factory.mktemp("models") / "tiny-vit", names=BASIC.names)


@pytest.fixture(scope="session")
def forks(tmp_path_factory) -> Iterator[ForkServer]:
    """Runs scripts in processes of their own that need not import anything."""
    server = ForkServer(tmp_path_factory.mktemp("forks"))
    yield server
    server.close()


@contextmanager
def nothing_drawn() -> Iterator[None]:
    """Trains without drawing page and plots, which takes most of a small run's time.

    tests/report and the runs of test_train and test_evaluate look at them. A page that a test has replaced stays.
    """
    from rafdb_vit.report import page

    with pytest.MonkeyPatch.context() as patch:
        if page.render_page.__module__ == page.__name__:
            patch.setattr(page, "render_page", lambda evaluation: "<!doctype html>")
        for plot in ("plot_confusion_matrix", "plot_learning_curves"):
            patch.setattr(f"rafdb_vit.report.plots.{plot}", draw_a_dot)
        yield


@pytest.fixture
def train(faces_dir: Path, tiny_vit: Path, tmp_path: Path) -> Callable:
    """Runs the train command in this process on the tiny model; flags given replace the defaults."""

    def run(*flags: str, out: str = "run", data: Path = faces_dir, model: Path = tiny_vit):
        from rafdb_vit.commands.train import main

        pretrained = () if "--from_scratch" in flags else ("--model_name_or_path", str(model))
        base = [
            *("--data_dir", str(data), *pretrained, "--output_dir", str(tmp_path / out)),
            *("--use_cpu", "--bf16", "False", "--per_device_train_batch_size", "14", "--learning_rate", "3e-3"),
            *("--num_train_epochs", "3", "--validation_fraction", "0.3", "--dataloader_num_workers", "0"),
        ]
        with nothing_drawn():
            return main([*base, *flags])

    return run
