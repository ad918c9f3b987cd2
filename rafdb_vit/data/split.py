"""Divides faces into train and validation, and draws smaller samples of a split; both seeded and stratified."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from datasets import Dataset, DatasetDict

from rafdb_vit.errors import UserError

DEFAULT_FRACTION = 0.1
"""Share of each class of train that becomes validation, where nothing else is said."""


def choose_validation(labels: Sequence[int], files: Sequence[str], *, fraction: float, seed: int) -> list[int]:
    """Chooses which training faces are set aside for validation.

    Of each class the same fraction is taken, at least one face where the class has two or more. The choice depends on
    the seed, the labels and the file names, not on the order in which they come.

    Args:
        labels: Label id of each face.
        files: Name of each face, unique.
        fraction: Share of every class to set aside, in (0, 1).
        seed: Seed of the draw.

    Returns:
        Sorted positions of the chosen faces.

    Raises:
        UserError: `fraction` is not between 0 and 1, or no class has two faces.
    """
    if not 0 < fraction < 1:
        raise UserError(f"--validation_fraction {fraction}: expected a share of train between 0 and 1, such as 0.1")
    chosen: list[int] = []
    for label in sorted(set(labels)):
        positions = sorted((i for i, other in enumerate(labels) if other == label), key=lambda i: files[i])
        count = min(max(1, round(fraction * len(positions))), len(positions) - 1)
        order = np.random.default_rng([seed, label]).permutation(len(positions))
        chosen += [positions[i] for i in order[:count]]
    if not chosen:
        raise UserError(
            "--validation_fraction: train has one face of each class, none to set aside; expected two or more"
        )
    return sorted(chosen)


def carve_validation(found: Mapping[str, Dataset], *, fraction: float, seed: int) -> DatasetDict:
    """Divides train into train and validation; see `choose_validation`.

    Args:
        found: `train` and `test`.
        fraction: Share of every class of train to set aside, in (0, 1).
        seed: Seed of the draw.
    """
    train = found["train"]
    chosen = choose_validation(list(train["label"]), list(train["file"]), fraction=fraction, seed=seed)
    kept = sorted(set(range(len(train))) - set(chosen))
    return DatasetDict(train=train.select(kept), validation=train.select(chosen), test=found["test"])


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

    Args:
        dataset: A split with the columns `label` and `file`.
        count: How many faces to keep; None, or more than there are, keeps all.
        seed: Seed of the draw.
        flag: The flag that asked for it, for the error.

    Raises:
        UserError: `count` is less than 1.
    """
    if count is None or count >= len(dataset):
        return dataset
    if count < 1:
        raise UserError(f"{flag} {count}: expected 1 or more faces")
    labels, files = np.asarray(dataset["label"]), np.asarray(dataset["file"])
    shares = _share_out(np.bincount(labels), count)
    chosen: list[int] = []
    for label, share in enumerate(shares):
        positions = np.flatnonzero(labels == label)
        positions = positions[np.argsort(files[positions], kind="stable")]
        chosen += np.random.default_rng([seed, label]).permutation(positions)[:share].tolist()
    return dataset.select(sorted(chosen))


def hash_files(files: Sequence[str]) -> str:
    """Returns the SHA-256 of a list of file names, whatever their order: two runs with one hash held the same faces."""
    return hashlib.sha256("\n".join(sorted(files)).encode()).hexdigest()
