"""The splits of a data set: what people call them, draws of faces from them, smaller samples.

Draws are seeded and stratified.
"""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

import numpy as np
from datasets import Dataset

from rafdb_vit.runtime.errors import UserError

T = TypeVar("T")

_NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}


def find_split(written: str) -> str | None:
    """Returns `train`, `validation` or `test` for what people call a split, such as `Train`, `test_set`; else None."""
    folded = re.sub(r"[\s_-]*(set|data|images)?$", "", written.strip().casefold()) if len(written) < 40 else ""
    return next((split for split, names in _NAMES.items() if folded in names), None)


def split_of_file(name: str) -> str | None:
    """Returns the official split of one of RAF-DB's files: `train_00001_aligned.jpg`, `test_0001.jpg`; else None."""
    match = re.match(r"(train|test)_[0-9]+(_aligned)?(\.|$)", name)
    return match[1] if match else None


def is_misplaced(name: str, split: str, splits: Collection[str]) -> bool:
    """Tells whether RAF-DB's name of a file says that it belongs to another split than the one it stands in.

    Training images may stand in a validation split; test images too, if it is what the data tests on.

    `split` is where it stands, `splits` are those that the data has.
    """
    own = split_of_file(name)
    if own is None or own == split:
        return False
    return split != "validation" or (own == "test" and "test" in splits)


def validation_as_test(parts: Mapping[str, T]) -> dict[str, T]:
    """Returns the parts of a data set by split, its validation split in place of test where it has no other.

    AffectNet and some copies of RAF-DB have train and validation only. What is held out is scored once, at the end;
    what chooses the checkpoint is then split off from train.
    """
    held_out = "test" in parts or "validation" not in parts
    return {"test" if split == "validation" and not held_out else split: part for split, part in parts.items()}


def draw_faces(labels: Sequence[int], files: Sequence[str], shares: np.ndarray, seed: int) -> list[int]:
    """Returns the sorted positions of a draw of `shares` faces of each class; the order of the faces has no effect."""
    ids = np.asarray(labels, int)
    chosen: list[int] = []
    for label, share in enumerate(shares):
        positions = sorted(np.flatnonzero(ids == label).tolist(), key=lambda i: files[i])
        chosen += np.random.default_rng([seed, label]).permutation(positions)[:share].tolist()
    return sorted(chosen)


def _share_out(counts: np.ndarray, total: int) -> np.ndarray:
    """Shares `total` among classes in proportion to `counts`, at least one for each class that has any (if it goes)."""
    exact = counts * total / counts.sum()
    shares = np.minimum(np.maximum(np.floor(exact).astype(int), counts > 0), counts)
    while shares.sum() != total:
        step = 1 if shares.sum() < total else -1
        gap = (exact - shares) * step
        gap[(shares >= counts) if step > 0 else (shares == 0)] = -np.inf
        shares[int(np.argmax(gap))] += step
    return shares


def draw_samples(dataset: Dataset, count: int | None, *, seed: int, flag: str) -> Dataset:
    """Draws a stratified sample of a split, each class in proportion and none lost while `count` allows.

    A `count` of None, or of more faces than there are, keeps all.

    Raises:
        UserError: `count` is less than 1; the message names the flag that asked for it.
    """
    if count is None or count >= len(dataset):
        return dataset
    if count < 1:
        raise UserError(f"{flag} {count}: expected 1 or more faces")
    labels = dataset["label"][:]
    return dataset.select(draw_faces(labels, dataset["file"][:], _share_out(np.bincount(labels), count), seed))


def hash_files(files: Sequence[str]) -> str:
    """Returns the SHA-256 of a list of file names, whatever their order: two runs with one hash held the same faces."""
    return hashlib.sha256("\n".join(sorted(files)).encode()).hexdigest()
