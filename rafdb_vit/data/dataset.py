"""Labelled faces as `datasets`: found, validation split off train, samples drawn, named by what they are."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Unpack

import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, List, Value

from rafdb_vit.data.annotations import BOX, Kind, find_kinds, read_annotations
from rafdb_vit.data.attributes import FEATURES, add_attributes, flatten_rows
from rafdb_vit.data.distributions import match_distributions, read_distributions
from rafdb_vit.data.division import Division, divide
from rafdb_vit.data.files import NO_IMAGE, WITHOUT_LABEL, describe_no_images, find_root
from rafdb_vit.data.findings import (
    Finding,
    Findings,
    Reporter,
    check_classes,
    check_names,
    check_splits,
    printable,
    refuse,
)
from rafdb_vit.data.form import DEFAULT_FORM, DataForm, FormSettings
from rafdb_vit.data.formats.detect import find_faces, is_data_set
from rafdb_vit.data.formats.hub_dataset import find_named_splits
from rafdb_vit.data.found import ORDER, Faces, FoundData, count_labels
from rafdb_vit.data.grouping import Grouping, group_faces
from rafdb_vit.data.images import square_box
from rafdb_vit.data.leave_out import leave_out as leave_classes_out
from rafdb_vit.data.names import DRAWN, name_data
from rafdb_vit.data.splits import hash_files
from rafdb_vit.runtime.errors import UserError, renaming_flags

_ALL: Mapping[str, int | None] = MappingProxyType({})
_DISTRIBUTION = "distribution"
_SOFT = "distribution vectors; scored on single labels"


def load_rafdb(
    root: str | os.PathLike[str],
    *,
    annotations: bool = True,
    test_fraction: float | None = None,
    validation_fraction: float | None = None,
    split_seed: int = 0,
    **form: Unpack[FormSettings],
) -> DatasetDict:
    """Loads RAF-DB, or any folder of labelled faces, in any of the forms of `rafdb_vit.data.formats.detect`.

    The whole folder is checked before anything is returned; images are opened only when they are used, or where
    duplicates have to be looked for.

    Args:
        root: The folder, or one above it; or a CSV file: of image paths and labels, or FER2013's.
        annotations: Read the release's annotations, where they are there.
        test_fraction: Share of each class, in (0, 1), that becomes `test` where the data has no such split; duplicates
            of each other, which are looked for in all images, stay on one side.
        validation_fraction: Share of each class of train, in (0, 1), that becomes `validation`; 0.1 by default, and
            nothing where the data has its own validation split.
        split_seed: Seed of these choices.
        **form: In which form the data is wanted, see `rafdb_vit.data.form.DataForm`: `subset`, `aligned`, `box_margin`,
            `image_column`, `label_column`, `distribution_file`, `group_column`, `group_pattern`, `leave_out`.

    Returns:
        `train`, `validation` and `test`, each with the columns `image` (`Image(mode="RGB")`, decoded when accessed),
        `label` (`ClassLabel`, ids from 0 in the order of RAF-DB's codes) and `file` (unique; in RAF-DB the file's
        stem); with `distribution_file`, and of FER+, `distribution`: a probability a class. See `find_splits` for more.

    Raises:
        UserError: The folder is in no known form, or a file or row in it is not as it should be.
    """
    shares: Any = {"test_fraction": test_fraction, "validation_fraction": validation_fraction}
    wanted = DataForm(**form)
    found = load_data(root, wanted, annotations=annotations, split_seed=split_seed, scored=None, **shares)
    return DatasetDict(found.splits)


def load_data(
    root: str | os.PathLike[str] | None,
    form: DataForm = DEFAULT_FORM,
    *,
    dataset_name: str | None = None,
    annotations: bool = False,
    test_fraction: float | None = None,
    validation_fraction: float | None = None,
    split_seed: int = 0,
    max_samples: Mapping[str, int | None] = _ALL,
    drawn: bool = False,
    scored: str | None = "test",
) -> FoundData[Dataset]:
    """Loads what a run trains, validates and tests on, and names it by what was found.

    Args:
        root: See `load_rafdb`, as for those named alike; None with `dataset_name`.
        form: In which form the data is wanted.
        dataset_name: A data set on the Hub or on disk, in place of `root`.
        annotations: Read all of the release's annotations, for every split.
        test_fraction: Share of each class for test.
        validation_fraction: Share of each class of train for validation.
        split_seed: Seed of that choice, and of the draws of `max_samples`.
        max_samples: Size of a stratified sample by split name; None keeps all.
        drawn: The folder holds drawn faces.
        scored: The split that gets gender, race and age from the release's annotations, for metrics by group.

    Raises:
        UserError: See `load_rafdb`; or a sample of less than one face was asked for.
    """
    division = Division(test_fraction, validation_fraction, split_seed, max_samples)
    found = find_data(root, form, division, dataset_name=dataset_name, annotations=annotations, drawn=drawn)
    grouping = group_faces(found, form, duplicates=test_fraction is not None)
    return finish_data(found, division, grouping, scored=scored)


def find_data(
    root: str | os.PathLike[str] | None,
    form: DataForm,
    division: Division,
    *,
    dataset_name: str | None = None,
    annotations: bool = False,
    drawn: bool = False,
) -> FoundData[Dataset]:
    """Finds data as it is, before it is divided; see `load_data` for the arguments.

    Raises:
        UserError: See `load_data`; or the data has a split of its own for what would be set aside.
    """
    if division.test_fraction is not None:
        form = replace(form, needed=("train",))
    if dataset_name is not None:
        found = find_named_splits(dataset_name, form)
    else:
        found = find_splits(root or "", form, annotations=annotations)
    division.check(found)
    if form.distribution_file is not None:
        found = add_distributions(found, find_root(form.distribution_file, flag="--distribution_file "))
    names = [file for faces in found.splits.values() for file in faces["file"][:]]
    found = leave_classes_out(replace(found, names_sha256=hash_files(names)), form.leave_out)
    if "train" in found.splits:
        check_classes(dataset_name or root, found.labels, found.splits["train"]["label"][:], Reporter())
    found = replace(found, counts={split: count_classes(faces) for split, faces in found.splits.items()})
    return replace(found, name=DRAWN if drawn else name_data(found, dataset_name))


def finish_data(
    found: FoundData[Dataset], division: Division, grouping: Grouping, *, scored: str | None = "test"
) -> FoundData[Dataset]:
    """Divides the data that `find_data` found; `grouping` is from `group_faces`, for `scored` see `load_data`.

    Raises:
        UserError: See `rafdb_vit.data.division.divide`.
    """
    divided = divide(found, division, grouping)
    return divided if scored is None else add_attributes(divided, scored)


def find_splits(
    root: str | os.PathLike[str], form: DataForm = DEFAULT_FORM, *, annotations: bool = True
) -> FoundData[Dataset]:
    """Finds the splits of a data folder, or of a data set of `datasets` that a folder is.

    Columns beside `image`, `label` and `file`, where the release has them: `gender`, `race`, `age` (`ClassLabel`),
    `landmarks` [5, 2], `automatic_landmarks` [37, 2] and `box` (xmin, ymin, xmax, ymax), in pixels of the original
    photograph; of a CSV file, its columns gender, race and age. With `aligned=False`, `crop` (left, top, side): what
    transforms cut out of `image`.

    Raises:
        UserError: See `load_rafdb`, as for `root` and `annotations`.
    """
    root = find_root(root)
    if is_data_set(root, form):
        with renaming_flags({"--dataset_name": "--data_dir"}):
            return find_named_splits(str(root), form)
    found = _find_faces(root, form)
    kinds = find_kinds(found.release)
    if not form.aligned and BOX not in kinds:
        folder = printable(Path(found.folder or "") / "Annotation" / BOX.folder)
        raise UserError(
            f"{folder}: no such folder; --aligned False needs the boxes that RAF-DB has since its version 1.1"
        )
    kinds = [kind for kind in kinds if annotations or (not form.aligned and kind is BOX)]
    images = "aligned" if found.release else "as found"
    if not form.aligned:
        images = f"original, cut to a square around the face's box with margin {form.box_margin:g}"
    built = _build_splits(root, found, kinds, form)
    has_votes = any(faces.distributions for faces in found.splits.values())
    return FoundData(
        *(found.layout, found.folder, found.labels, built, found.sources, images),
        targets=_SOFT if has_votes else FoundData.targets,
        passed_over=found.passed_over,
        unusable=found.unusable,
        notes=found.notes,
    )


def _find_faces(root: Path, form: DataForm) -> FoundData[Faces]:
    """Returns the faces of a folder by split, in the order of the splits, checked as a whole."""
    passed_over = Findings()

    def refuse_or_count(finding: Finding) -> None:
        """Ends loading at a fault; counts what is merely passed over."""
        refuse(finding)
        passed_over.add(finding)

    report = Reporter(refuse_or_count)
    found = find_faces(root, form, report)
    ordered = {split: found.splits[split] for split in ORDER if split in found.splits}
    check_splits(root, ordered, found.layout, report, needed=form.needed)
    check_names(ordered, report)
    return replace(found, splits=ordered, passed_over=_describe_passed_over(passed_over))


def _describe_passed_over(findings: Findings) -> str:
    first = {finding.kind: finding.files[0] for finding in reversed(findings.listed) if finding.files}
    notes = [describe_no_images(findings.counts[NO_IMAGE], first.get(NO_IMAGE, ""))]
    if count := findings.counts[WITHOUT_LABEL]:
        words = "1 image lies in no class and is" if count == 1 else f"{count:,} images lie in no class and are"
        notes.append(f"{words} passed over, {printable(first[WITHOUT_LABEL])} first")
    return "; ".join(filter(None, notes))


def _build_splits(root: Path, found: FoundData[Faces], kinds: list[Kind], form: DataForm) -> dict[str, Dataset]:
    """Returns the datasets, with the columns of `kinds`, and `crop` where faces are cut out of photographs."""
    columns: dict[str, list[Any]] = {}
    features = {"image": Value("string"), "label": ClassLabel(names=found.class_names), "file": Value("string")}
    files = [file for faces in found.splits.values() for file in faces.files]
    for kind in kinds:
        columns |= read_annotations(root, found.release, kind, files, Reporter())
        features |= {name: FEATURES[name] for name in kind.columns}
    if not form.aligned:
        columns["crop"] = [square_box(box, margin=form.box_margin) for box in columns["box"]]
        features["crop"] = List(Value("int32"), length=3)
    splits, start = {}, 0
    for split, faces in found.splits.items():
        rows = slice(start, start + len(faces.files))
        of_split = {"image": faces.images, "label": faces.labels, "file": faces.files, **faces.attributes}
        of_split |= {name: values[rows] for name, values in columns.items()}
        own = {name: Value("string") for name in faces.attributes}
        if faces.contents:
            of_split["image"], own["image"] = _store_contents(faces.contents), Image(mode="RGB")
        if faces.distributions:
            shares = pa.array(np.asarray(faces.distributions, np.float32).ravel())
            of_split[_DISTRIBUTION] = pa.FixedSizeListArray.from_arrays(shares, len(found.class_names))
            own[_DISTRIBUTION] = List(Value("float32"), length=len(found.class_names))
        dataset = Dataset.from_dict(of_split, features=Features({**features, **own}))
        splits[split] = dataset.cast_column("image", Image(mode="RGB"))
        start = rows.stop
    return splits


def _store_contents(contents: Sequence[bytes]) -> pa.StructArray:
    """Returns images that are no files as `datasets` stores them."""
    return pa.StructArray.from_arrays(
        [pa.array(contents, pa.binary()), pa.nulls(len(contents), pa.string())], names=["bytes", "path"]
    )


def add_distributions(found: FoundData[Dataset], path: Path) -> FoundData[Dataset]:
    """Adds the column `distribution`, the vector of each face from the file `path`, to every split.

    Raises:
        UserError: The file does not fit the data; see `rafdb_vit.data.distributions`. Or the data has vectors itself.
    """
    if any(_DISTRIBUTION in faces.features for faces in found.splits.values()):
        words = f"the data is {found.layout.value}, which is trained on its own votes; leave the flag out"
        raise UserError(f"--distribution_file {printable(path)}: {words}")
    vectors = read_distributions(path, found.labels)
    files = [file for dataset in found.splits.values() for file in dataset["file"][:]]
    ids = [label for dataset in found.splits.values() for label in dataset["label"][:]]
    of_file = dict(zip(files, match_distributions(path, vectors, files, ids, found.labels), strict=True))
    feature = List(Value("float32"), length=len(found.labels.names))
    splits = {}
    for split, dataset in found.splits.items():
        matched = [of_file[file] for file in dataset["file"][:]]
        splits[split] = flatten_rows(dataset).add_column(_DISTRIBUTION, matched, feature=feature)
    return replace(found, splits=splits, targets=_SOFT)


def count_classes(dataset: Dataset) -> dict[str, int]:
    """Returns how many faces each class has in a split, in model order, absent classes with 0."""
    return count_labels(dataset["label"][:], dataset.features["label"].names)
