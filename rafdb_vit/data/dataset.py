"""Turns found faces into a `datasets.DatasetDict` with train, validation and test."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value

from rafdb_vit.data.layout import Faces, find_faces
from rafdb_vit.data.split import choose_validation, draw_samples
from rafdb_vit.errors import UserError
from rafdb_vit.labels import BASIC, LabelSet


def load_rafdb(root: str | os.PathLike[str], *, validation_fraction: float = 0.1, split_seed: int = 0) -> DatasetDict:
    """Loads RAF-DB's basic set, or any folder in its layout, from a local folder.

    The whole folder is checked before anything is returned; images are opened only when they are used.

    Args:
        root: The folder in RAF-DB's official or Kaggle layout, or one above it.
        validation_fraction: Share of each class of train, in (0, 1), that becomes `validation`.
        split_seed: Seed of that choice.

    Returns:
        `train`, `validation` and `test`, each with the columns `image` (`Image(mode="RGB")`, decoded when accessed),
        `label` (`ClassLabel`, ids from 0 in the order of RAF-DB's codes) and `file` (the file's stem, unique).

    Raises:
        UserError: The folder is not in a known layout, or a file or row in it is not as it should be.
    """
    faces = find_faces(Path(os.path.abspath(root)), BASIC)
    _check_splits(Path(root), faces, BASIC)
    train = faces["train"]
    held_out = set(choose_validation(train.labels, train.files, fraction=validation_fraction, seed=split_seed))
    kept = [i for i in range(len(train.files)) if i not in held_out]
    return DatasetDict(
        train=_build_dataset(_take(train, kept), BASIC),
        validation=_build_dataset(_take(train, sorted(held_out)), BASIC),
        test=_build_dataset(faces["test"], BASIC),
    )


@dataclass(frozen=True)
class RunData:
    """The data of one run.

    Attributes:
        name: `RAF-DB basic`, `folder in RAF-DB layout` or `drawn`.
        found: Faces per class of `train` and `test` as found, before validation was carved and samples drawn.
        splits: `train`, `validation` and `test` as they are used.
    """

    name: str
    found: dict[str, dict[str, int]]
    splits: DatasetDict

    def describe(self) -> dict[str, Any]:
        """Returns the part `data` of a run's protocol."""
        used = {split: count_classes(dataset) for split, dataset in self.splits.items()}
        totals = [sum(sum(counts.values()) for counts in kind.values()) for kind in (used, self.found)]
        return {"name": self.name, "found": self.found, "used": used, "subsampled": totals[0] < totals[1]}


def load_run_data(
    root: str | os.PathLike[str],
    *,
    validation_fraction: float,
    split_seed: int,
    max_samples: Mapping[str, int | None],
    drawn: bool = False,
) -> RunData:
    """Loads what a run trains, validates and tests on, and names it by what was found.

    Args:
        root: See `load_rafdb`, as for the next two.
        validation_fraction: Share of each class of train for validation.
        split_seed: Seed of that choice, and of the draws of `max_samples`.
        max_samples: Size of a stratified sample by split name; None keeps all.
        drawn: The folder holds drawn faces.

    Raises:
        UserError: See `load_rafdb`; or a sample of less than one face was asked for.
    """
    splits = load_rafdb(root, validation_fraction=validation_fraction, split_seed=split_seed)
    counts = {split: count_classes(dataset) for split, dataset in splits.items()}
    train = {name: count + counts["validation"][name] for name, count in counts["train"].items()}
    for split, count in max_samples.items():
        flag = f"--max_{split}_samples"
        splits[split] = draw_samples(splits[split], count, seed=split_seed, flag=flag)
    name = "drawn" if drawn else name_data(train, counts["test"])
    return RunData(name, {"train": train, "test": counts["test"]}, splits)


def _check_splits(root: Path, faces: dict[str, Faces], labels: LabelSet) -> None:
    for split, found in faces.items():
        if not found.files:
            raise UserError(f"{root}: the {split} split is empty; expected faces of every class in it")
    counts = np.bincount(faces["train"].labels, minlength=len(labels.names))
    missing = [f"{labels.code_of_id(i)} ({name})" for i, name in enumerate(labels.names) if counts[i] == 0]
    if missing:
        raise UserError(f"{root}: no face of class {', '.join(missing)} in train; expected faces of every class")
    seen: dict[str, str] = {}
    for found in faces.values():
        for file, image in zip(found.files, found.images, strict=True):
            if file in seen:
                raise UserError(f"{image}: {seen[file]} has the same name; expected each name once in the data")
            seen[file] = image


def _take(faces: Faces, positions: list[int]) -> Faces:
    return Faces(
        images=[faces.images[i] for i in positions],
        labels=[faces.labels[i] for i in positions],
        files=[faces.files[i] for i in positions],
    )


def _build_dataset(faces: Faces, labels: LabelSet) -> Dataset:
    features = Features(
        {"image": Value("string"), "label": ClassLabel(names=list(labels.names)), "file": Value("string")}
    )
    columns = {"image": faces.images, "label": faces.labels, "file": faces.files}
    return Dataset.from_dict(columns, features=features).cast_column("image", Image(mode="RGB"))


def count_classes(dataset: Dataset) -> dict[str, int]:
    """Returns how many faces each class has in a split, in model order, absent classes with 0."""
    names = dataset.features["label"].names
    counts = np.bincount(np.asarray(dataset["label"], dtype=np.int64), minlength=len(names))
    return dict(zip(names, counts.tolist(), strict=True))


def name_data(train_counts: Mapping[str, int], test_counts: Mapping[str, int], labels: LabelSet = BASIC) -> str:
    """Names a data set by what it holds: only the published counts make it RAF-DB.

    Args:
        train_counts: Faces per class of train as found, validation included.
        test_counts: Faces per class of test as found.
        labels: The label set whose published table is compared.

    Returns:
        `RAF-DB basic` if every count equals the published one, else `folder in RAF-DB layout`.
    """
    published = {
        split: dict(zip(labels.names, counts, strict=True)) for split, counts in labels.published_counts.items()
    }
    if dict(train_counts) == published["train"] and dict(test_counts) == published["test"]:
        return f"RAF-DB {labels.subset}"
    return "folder in RAF-DB layout"
