"""Draws of faces from a split, seeded and stratified."""

from collections.abc import Sequence

import numpy as np
from datasets import Dataset

from rafdb_vit.runtime.errors import UserError


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
