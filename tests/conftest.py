"""Fixtures: no network, a RAF-DB tree and a tiny ViT on disk."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes share the cores

import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rafdb_vit.data.labels import BASIC

LOOPBACK = ("127.0.0.1", "::1", "localhost")


SLOWEST_FIRST = (
    *("commands/test_interrupted_train", "test_processes", "commands/test_push", "commands/test_train"),
    *("test_resumable_trainer", "commands/test_data_forms", "test_model", "test_metrics", "test_readme"),
)
"""Files that take longest: begun last, one of them would run on while the other process has nothing left to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the files that take longest first."""
    here = Path(__file__).parent
    places = {str(here / f"{name}.py"): i for i, name in enumerate(SLOWEST_FIRST)}
    items.sort(key=lambda item: places.get(str(item.path), len(places)))


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


COLOURS = ((20, 20, 20), (235, 235, 235), (220, 30, 30), (30, 200, 30), (30, 30, 220), (220, 220, 30), (220, 30, 220))


def paint_face(code: int, seed: int) -> Image.Image:
    """Returns a picture that even a tiny model tells from those of other codes: a noisy plane of a colour per code."""
    if code > len(COLOURS):
        return paint_face(code - len(COLOURS), seed).transpose(Image.Transpose.ROTATE_90)
    noise = np.random.default_rng([seed, code]).normal(0, 12, (100, 100, 3))
    return Image.fromarray((np.asarray(COLOURS[code - 1]) + noise).clip(0, 255).astype(np.uint8))


def write_official(root: Path, *, train: int = 6, test: int = 3, subset: str = "basic") -> Path:
    """Writes a tree in the official layout, so many faces a class; returns the `basic` or `compound` folder."""
    basic, classes = root / subset, {"basic": 7, "compound": 11}[subset]
    (basic / "EmoLabel").mkdir(parents=True)
    images = basic / "Image" / "aligned"
    images.mkdir(parents=True)
    rows = []
    for split, per_class, digits in (("train", train, 5), ("test", test, 4)):
        for i in range(per_class * classes):
            code, stem = i % classes + 1, f"{split}_{i + 1:0{digits}d}"
            paint_face(code, i).save(images / f"{stem}_aligned.jpg", quality=95)
            rows.append(f"{stem}.jpg {code}")
    (basic / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(rows))
    return basic


def write_kaggle(root: Path, *, train: int = 6, test: int = 3) -> Path:
    """Writes the same faces in the Kaggle layout; returns the folder that holds `DATASET` and the CSV files."""
    for split, per_class, digits in (("train", train, 5), ("test", test, 4)):
        rows = ["image,label"]
        for i in range(per_class * 7):
            code, name = i % 7 + 1, f"{split}_{i + 1:0{digits}d}_aligned.jpg"
            folder = root / "DATASET" / split / str(code)
            folder.mkdir(parents=True, exist_ok=True)
            paint_face(code, i).save(folder / name, quality=95)
            rows.append(f"{name},{code}")
        (root / f"{split}_labels.csv").write_text("\n".join(rows) + "\n")
    return root


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


QUICK_TRAINING = {
    "per_device_train_batch_size": 14,
    "num_train_epochs": 3,
    "learning_rate": 3e-3,
    "bf16": False,
    "use_cpu": True,
    "disable_tqdm": True,
    "save_total_limit": None,
}
"""Training arguments with which the tiny ViT learns on the faces of `faces_dir`, 4 steps an epoch."""


def save_vit(folder: Path, *, names=BASIC.names, **changes) -> Path:
    """Saves a tiny ViT classifier with random weights and its processor."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(0)
    shape = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": 32,
        "patch_size": 8,
        "initializer_range": 0.15,
    }
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    model = ViTForImageClassification(ViTConfig(**{**shape, **labels, **changes}))
    model.save_pretrained(folder)
    side = model.config.image_size
    ViTImageProcessor(size={"height": side, "width": side}).save_pretrained(folder)
    return folder


@pytest.fixture
def train(faces_dir: Path, tiny_vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Runs the train command in this process on the tiny model; flags given replace the defaults.

    The page is not drawn, which takes half a second of a run's two: tests/report and test_evaluate look at it.
    """
    monkeypatch.setattr("rafdb_vit.report.page.render_page", lambda evaluation: "<!doctype html>")

    def run(*flags: str, out: str = "run", data: Path = faces_dir, model: Path = tiny_vit):
        from rafdb_vit.commands.train import main

        base = [
            *("--data_dir", str(data), "--model_name_or_path", str(model), "--output_dir", str(tmp_path / out)),
            *("--use_cpu", "--bf16", "False", "--per_device_train_batch_size", "14", "--learning_rate", "3e-3"),
            *("--num_train_epochs", "3", "--validation_fraction", "0.3", "--dataloader_num_workers", "0"),
        ]
        return main([*base, *flags])

    return run
