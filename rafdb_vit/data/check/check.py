"""Checks a data folder as a whole: rows, files, counts, every image, duplicates."""

import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from rafdb_vit.data.annotations import BOX, find_kinds, read_annotations
from rafdb_vit.data.check.duplicates import group_exact, group_near
from rafdb_vit.data.check.inspection import NOT_RGB, ROTATED, ImageFile, inspect_files
from rafdb_vit.data.check.result import CheckResult, Place
from rafdb_vit.data.files import IMAGE_SUFFIXES, LINK_OUT, OTHER_SUFFIXES, is_inside, walk_images
from rafdb_vit.data.findings import Finding, check_classes, check_names, check_splits, printable
from rafdb_vit.data.form import DataForm
from rafdb_vit.data.formats.detect import find_faces
from rafdb_vit.data.found import SPLITS, Faces, FoundData, Layout, name_face
from rafdb_vit.data.labels import LABEL_SETS
from rafdb_vit.data.splits import split_of_file, validation_as_test
from rafdb_vit.runtime.hardware import count_cpus

_USUAL_SHARE = 0.5
_LEAST_SIDE, _MOST_RATIO = 20, 3.0


def check_data(
    root: str | os.PathLike[str],
    *,
    subset: str = DataForm.subset,
    aligned: bool = DataForm.aligned,
    image_column: str | None = None,
    label_column: str | None = None,
    processes: int | None = None,
    quiet: bool = False,
) -> CheckResult:
    """Checks a data folder; nothing in it is changed, nothing outside it is read.

    Args:
        root: The folder, or one above it; or a CSV file of image paths and labels.
        subset: RAF-DB's subset: `basic` or `compound`.
        aligned: Check the release's aligned images; else its original photographs.
        image_column: Name of a CSV file's column of image paths; None for the usual ones.
        label_column: Likewise of labels.
        processes: How many look at images side by side; by default as many as there are cores.
        quiet: Show no progress.

    Raises:
        UserError: It cannot be read, or is in no known form.
    """
    path = Path(os.path.abspath(root))
    findings: list[Finding] = []
    form = DataForm(subset, aligned, image_column=image_column, label_column=label_column)
    found = find_faces(path, form, on_finding=findings.append)
    splits = {**{split: Faces() for split in SPLITS}, **validation_as_test(found.splits)}
    found = replace(found, splits=splits, sources=validation_as_test(found.sources))
    root = Path(found.folder or path) if found.layout is Layout.TABLE else path
    places = _place_faces(found)
    _check_completeness(root, found, findings)
    boxes = _check_annotations(root, found, findings, boxes=not aligned)
    findings += _find_strays(root, found, findings, places, aligned=aligned)
    files = _inspect({*places, *_existing(root, findings)}, processes=processes or count_cpus(), quiet=quiet)
    findings += [*_find_image_faults(files, places), *_find_odd_sizes(files)]
    findings += [*_find_duplicates(files, places, quiet=quiet), *_find_outside_boxes(files, boxes)]
    compared = _is_meant_as_rafdb(found)
    findings += _compare_counts(found) if compared else []
    sizes = Counter(file.size for file in files)
    return CheckResult.build(root, found, findings, images=len(files), places=places, sizes=sizes, compared=compared)


def _place_faces(found: FoundData[Faces]) -> dict[str, Place]:
    return {
        image: Place(split, found.labels.names[label])
        for split, faces in found.splits.items()
        for image, label in zip(faces.images, faces.labels, strict=True)
    }


def _check_completeness(root: Path, found: FoundData[Faces], findings: list[Finding]) -> None:
    check_splits(printable(root), found.splits, findings.append)
    check_classes(printable(root), found.labels, found.splits["train"].labels, findings.append)
    check_names(found.splits, findings.append)
    findings += _find_absent(root, found)


def _find_absent(root: Path, found: FoundData[Faces]) -> Iterator[Finding]:
    """Yields the classes that a split which is scored has no face of: they count 0 in the macro averages."""
    trained = set(found.splits["train"].labels)
    for split, faces in found.splits.items():
        there = set(faces.labels)
        absent = [found.labels.names[label] for label in sorted(trained - there)]
        if split != "train" and there and absent:
            words = (
                f"{printable(root)}: no face of class {', '.join(absent)} in {split}; such a class counts 0 in macro-F1"
            )
            yield Finding(f"class absent from {split}", words, blocks=False)


def _inspect(paths: Collection[str], *, processes: int, quiet: bool) -> list[ImageFile]:
    inspected = inspect_files(sorted(paths), processes=processes)
    return list(tqdm(inspected, "Looking at images", len(paths), unit="image", disable=quiet, leave=False))


def _existing(root: Path, findings: list[Finding]) -> Iterator[str]:
    """Yields the image files that findings name and that may be looked at: what leads out of the folder may not."""
    for path in (path for finding in findings for path in finding.files):
        if path.lower().endswith(IMAGE_SUFFIXES) and is_inside(root, path) and os.path.isfile(path):
            yield path


def _check_annotations(
    root: Path, found: FoundData[Faces], findings: list[Finding], *, boxes: bool
) -> dict[str, list[float]]:
    """Reads every annotation; returns, where faces are cut out of photographs, the box by image."""
    kinds = find_kinds(found.release)
    files = [file for faces in found.splits.values() for file in faces.files]
    columns: dict[str, list[Any]] = {}
    for kind in kinds:
        faults: list[Finding] = []
        columns |= read_annotations(root, found.release, kind, files, faults.append)
        findings += [replace(fault, blocks=boxes and kind is BOX) for fault in faults]
    if boxes and BOX not in kinds:
        folder = Path(found.folder or root) / "Annotation" / BOX.folder
        words = f"{printable(folder)}: no such folder; original photographs need the boxes of the release"
        findings.append(Finding("annotation missing", words))
    images = [image for faces in found.splits.values() for image in faces.images] if boxes else []
    read = zip(images, columns.get("box", []), strict=False)
    return {image: box for image, box in read if box is not None}


def _find_outside_boxes(files: list[ImageFile], boxes: dict[str, list[float]]) -> Iterator[Finding]:
    for file in files:
        if file.path in boxes and file.size is not None and ROTATED not in {kind for kind, _ in file.faults}:
            left, top, right, bottom = boxes[file.path]
            if right <= 0 or bottom <= 0 or left >= file.size[0] or top >= file.size[1]:
                words = f"the face's box lies outside the photograph of {file.size[0]} x {file.size[1]} pixels"
                yield Finding("box outside the photograph", f"{printable(file.path)}: {words}", (file.path,))


def _find_strays(
    root: Path, found: FoundData[Faces], findings: list[Finding], places: dict[str, Place], *, aligned: bool
) -> Iterator[Finding]:
    """Yields the images below the data's folder that no label and no finding speaks of."""
    known = {path for finding in findings for path in finding.files} | set(places)
    named = {name_face(name) for finding in findings for name in finding.names}
    folder = Path(found.folder or root)
    other = os.path.join(folder, "Image", "original" if aligned else "aligned", "")  # noqa: PTH118
    for path in walk_images(folder):
        if path in known or name_face(os.path.basename(path)) in named:  # noqa: PTH119
            continue
        if found.release and path.startswith(other):
            continue
        if not is_inside(root, path):
            words = f"{printable(path)}: leads out of {printable(root)}, and no label speaks of it; remove it"
            yield Finding(LINK_OUT, words, (path,), blocks=False)
        else:
            words = f"{printable(path)}: no label speaks of this image; training does not use it"
            yield Finding("image without label", words, (path,), blocks=False)
    for path in walk_images(folder, OTHER_SUFFIXES):
        words = f"{printable(path)}: a format that is not read; training does not use it: convert it to JPEG or PNG"
        yield Finding("image of another format", words, (path,), blocks=False)


def _find_image_faults(files: list[ImageFile], places: dict[str, Place]) -> Iterator[Finding]:
    for file in files:
        for kind, words in file.faults:
            blocks = kind not in (NOT_RGB, ROTATED) and file.path in places
            yield Finding(kind, f"{printable(file.path)}: {words}", (file.path,), blocks=blocks)


def _find_odd_sizes(files: list[ImageFile]) -> Iterator[Finding]:
    """Yields the images of another size than most have, or of an extreme one where sizes vary."""
    sized = [file for file in files if file.size is not None]
    if not sized:
        return
    usual, count = Counter(file.size for file in sized).most_common(1)[0]
    varies = count < _USUAL_SHARE * len(sized)
    for file in sized:
        width, height = file.size or (1, 1)
        extreme = min(width, height) < _LEAST_SIDE or max(width, height) > _MOST_RATIO * min(width, height)
        if extreme if varies else file.size != usual:
            expected = "a face's proportions" if varies or usual is None else f"{usual[0]} x {usual[1]} like most"
            words = f"{printable(file.path)}: {width} x {height} pixels; expected {expected}"
            yield Finding("odd size", words, (file.path,), blocks=False)


def _find_duplicates(files: list[ImageFile], places: dict[str, Place], *, quiet: bool) -> Iterator[Finding]:
    exact = group_exact(files)
    for group in exact:
        if len(group) > 1:
            yield _describe_group("exact duplicates", [files[i].path for i in group], places)
    for group in group_near(files, exact, quiet=quiet):
        yield _describe_group("near-duplicates", [files[i].path for i in group], places)


def _describe_group(kind: str, paths: list[str], places: dict[str, Place]) -> Finding:
    known = [places[path] for path in paths if path in places]
    across = " across splits" if len({place.split for place in known}) > 1 else ""
    differing = " with different labels" if len({place.label for place in known}) > 1 else ""
    members = [f"{printable(path)} ({places.get(path, 'no label')})" for path in paths]
    return Finding(kind + across + differing, " = ".join(members), tuple(paths), blocks=False)


def _is_meant_as_rafdb(found: FoundData[Faces]) -> bool:
    """Tells whether these are RAF-DB's classes, and most files have names of its form."""
    names = [os.path.basename(image) for faces in found.splits.values() for image in faces.images]  # noqa: PTH119
    named = sum(split_of_file(name) is not None for name in names)
    return found.labels.subset in LABEL_SETS and named >= 0.5 * len(names)


def _compare_counts(found: FoundData[Faces]) -> Iterator[Finding]:
    """Yields where counts are not those that RAF-DB's release states."""
    for split, published in found.labels.published_totals.items():
        counts = Counter(found.splits[split].labels) if split in found.splits else Counter()
        of_class = found.labels.published_counts.get(split)
        if of_class is None:
            wrong = [f"{counts.total():,} faces, published {published:,}"] if counts.total() != published else []
        else:
            pairs = zip(found.labels.names, of_class, strict=True)
            rows = [(name, counts[label], expected) for label, (name, expected) in enumerate(pairs)]
            wrong = [
                f"{name} {count:,} (published {expected:,})" for name, count, expected in rows if count != expected
            ]
        if wrong:
            yield Finding("counts are not the published ones", f"{split}: {', '.join(wrong)}", blocks=False)
