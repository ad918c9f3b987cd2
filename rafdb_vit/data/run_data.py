"""The data of a run: found, validation set apart, samples drawn, named by what it is."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datasets import DatasetDict, Image

from rafdb_vit.data.attributes import add_attributes
from rafdb_vit.data.completeness import check_classes
from rafdb_vit.data.dataset import FoundSplits, add_distributions, count_classes, find_splits, is_rafdb
from rafdb_vit.data.finding import refuse
from rafdb_vit.data.named_dataset import HUB, find_named_splits
from rafdb_vit.data.split import DEFAULT_FRACTION, carve_validation, draw_samples, hash_files
from rafdb_vit.errors import UserError
from rafdb_vit.picture import open_face

DRAWN = "drawn"
_OTHER_LAYOUTS = {
    "official release": "folder in RAF-DB layout",
    "Kaggle copy": "folder in RAF-DB layout",
    "data set on disk": "data set on disk",
}


@dataclass(frozen=True)
class RunData:
    """The data of one run.

    Attributes:
        name: `RAF-DB basic` or `RAF-DB compound` where the counts are the published ones; else `drawn`, the name of a
            data set on the Hub, or a few words on its form.
        found: Faces per class of each split as found, before validation was carved and samples drawn.
        splits: `train`, `validation` and `test` as they are used.
        sources: What train and test, and validation where it was not carved, are called in the data.
        images: Which images these are.
        targets: What training learns.
        validation: How validation came about: `carved_from`, `fraction`, `seed`.
        without_groups: Why the scored split has no gender, race and age though the data does; None otherwise.
    """

    name: str
    found: dict[str, dict[str, int]]
    splits: DatasetDict
    sources: dict[str, str]
    images: str
    targets: str
    validation: dict[str, Any]
    without_groups: str | None = None

    @property
    def class_names(self) -> list[str]:
        """The classes in the order of their label ids."""
        return list(next(iter(self.splits.values())).features["label"].names)

    def check_images(self) -> None:
        """Opens every image of validation and test, which a run would open after an epoch or at its very end.

        Raises:
            UserError: One cannot be read; the message names it.
        """
        for split in ("validation", "test"):
            dataset = self.splits[split]
            needed = [name for name in ("image", "file", "crop") if name in dataset.column_names]
            for face in dataset.select_columns(needed).cast_column("image", Image(decode=False)):
                open_face(face["image"], face["file"], face.get("crop"))

    def describe(self) -> dict[str, Any]:
        """Returns the part `data` of a run's protocol."""
        used = {split: count_classes(dataset) for split, dataset in self.splits.items()}
        totals = [sum(sum(counts.values()) for counts in kind.values()) for kind in (used, self.found)]
        return {
            "name": self.name,
            "found": self.found,
            "used": used,
            "subsampled": totals[0] < totals[1],
            "sources": self.sources,
            "images": self.images,
            "targets": self.targets,
        }

    def render_form(self) -> str:
        """Returns the data's name, and what of its form a person should know."""
        notes = []
        if self.sources.get("test") not in ("test", None):
            notes.append(f"test is its split {self.sources['test']}")
        if "validation" in self.sources:
            notes.append(f"validation is its split {self.sources['validation']}")
        notes += [f"images: {self.images}"] * self.images.startswith("original")
        notes += [f"trained on {self.targets}"] * self.targets.startswith("distribution")
        return "; ".join([self.name, *notes])

    def describe_validation(self) -> dict[str, Any]:
        """Returns the part `validation` of a run's protocol."""
        return {**self.validation, "files_sha256": hash_files(self.splits["validation"]["file"])}


def load_rafdb(
    root: str | os.PathLike[str],
    *,
    subset: str = "basic",
    validation_fraction: float | None = None,
    split_seed: int = 0,
    distribution_file: str | os.PathLike[str] | None = None,
    **form: Any,
) -> DatasetDict:
    """Loads RAF-DB, or any folder of labelled faces, in any of the forms of `rafdb_vit.data.layout`.

    The whole folder is checked before anything is returned; images are opened only when they are used.

    Args:
        root: The folder, or one above it; or a CSV file of image paths and labels.
        subset: `basic` (7 classes) or `compound` (11), for codes and for the release. Classes that are not RAF-DB's
            keep their own names.
        validation_fraction: Share of each class of train, in (0, 1), that becomes `validation`; 0.1 by default, and
            nothing where the data has its own validation split.
        split_seed: Seed of that choice.
        distribution_file: File of expression distribution vectors.
        **form: The other arguments of `rafdb_vit.data.dataset.find_splits`: `aligned`, `box_margin`, `annotations`.

    Returns:
        `train`, `validation` and `test`, each with the columns `image` (`Image(mode="RGB")`, decoded when accessed),
        `label` (`ClassLabel`, ids from 0 in the order of RAF-DB's codes) and `file` (unique; in RAF-DB the file's
        stem); with `distribution_file`, `distribution`: a probability a class. See `find_splits` for more.

    Raises:
        UserError: The folder is in no known form, or a file or row in it is not as it should be.
    """
    found = find_splits(root, subset=subset, **form)
    check_classes(os.fspath(root), found.labels, found.splits["train"]["label"], refuse)
    if distribution_file is not None:
        found = add_distributions(found, distribution_file)
    return _split(found, validation_fraction, split_seed)[0]


def _split(found: FoundSplits, fraction: float | None, seed: int) -> tuple[DatasetDict, dict[str, Any]]:
    """Returns train, validation and test, and how validation came about; test alone where there is no train."""
    if "train" not in found.splits:
        return DatasetDict(test=found.splits["test"]), {"carved_from": None}
    if "validation" in found.splits:
        if fraction is not None:
            raise UserError(
                f"--validation_fraction {fraction}: the data has a validation split of its own "
                f"({found.sources['validation']}); leave the flag out, or that split"
            )
        names = ("train", "validation", "test")
        return DatasetDict({name: found.splits[name] for name in names}), {"carved_from": None}
    fraction = DEFAULT_FRACTION if fraction is None else fraction
    settings = {"carved_from": "train, stratified by class", "fraction": fraction, "seed": seed}
    return carve_validation(found.splits, fraction=fraction, seed=seed), settings


def load_run_data(
    root: str | os.PathLike[str] | None,
    *,
    dataset_name: str | None = None,
    validation_fraction: float | None = None,
    split_seed: int = 0,
    max_samples: Mapping[str, int | None],
    distribution_file: str | None = None,
    drawn: bool = False,
    scored: str = "test",
    **form: Any,
) -> RunData:
    """Loads what a run trains, validates and tests on, and names it by what was found.

    Args:
        root: See `load_rafdb`, as for those named alike; None with `dataset_name`.
        dataset_name: A data set on the Hub or on disk, in place of `root`.
        validation_fraction: Share of each class of train for validation.
        split_seed: Seed of that choice, and of the draws of `max_samples`.
        max_samples: Size of a stratified sample by split name; None keeps all.
        distribution_file: File of expression distribution vectors.
        drawn: The folder holds drawn faces.
        scored: The split that gets gender, race and age from the release's annotations, for figures by group.
        **form: `subset`, `aligned`, `box_margin`, `needed`, `image_column` and `label_column` of `find_splits`.

    Raises:
        UserError: See `load_rafdb`; or a sample of less than one face was asked for.
    """
    if dataset_name is not None:
        found = find_named_splits(dataset_name, **form)
    else:
        found = find_splits(root or "", annotations=False, **form)
    if "train" in found.splits:
        check_classes(dataset_name or os.fspath(root or ""), found.labels, found.splits["train"]["label"], refuse)
    if distribution_file is not None:
        found = add_distributions(found, distribution_file)
    counts = {split: count_classes(dataset) for split, dataset in found.splits.items()}
    splits, validation = _split(found, validation_fraction, split_seed)
    for split, count in max_samples.items():
        if split in splits:
            splits[split] = draw_samples(splits[split], count, seed=split_seed, flag=f"--max_{split}_samples")
    name = DRAWN if drawn else name_data(found, counts, dataset_name)
    splits[scored], fault = add_attributes(splits[scored], found.release)
    return RunData(name, counts, splits, found.sources, found.images, found.targets, validation, fault)


def name_data(found: FoundSplits, counts: Mapping[str, Mapping[str, int]], dataset_name: str | None = None) -> str:
    """Names a data set by what it holds: only the published counts make it RAF-DB.

    Args:
        found: The data.
        counts: Faces by class name, by split, as found.
        dataset_name: Its name on the Hub, or its folder.
    """
    if is_rafdb(found.labels, counts):
        return f"RAF-DB {found.labels.subset}"
    if dataset_name is not None and found.layout == HUB:
        return dataset_name
    return _OTHER_LAYOUTS.get(found.layout, "folder of labelled faces")
