"""Checks a data folder as a whole: rows, files, counts, every image, duplicates."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rafdb_vit.data.annotations import BOX, find_kinds, read_annotations
from rafdb_vit.data.check.duplicates import group_exact, group_near
from rafdb_vit.data.check.inspection import DEEP, NOT_RGB, ROTATED, ImageFile, inspect_files
from rafdb_vit.data.check.result import CheckResult, Place
from rafdb_vit.data.files import (
    IMAGE_SUFFIXES,
    LINK_OUT,
    OTHER_SUFFIXES,
    WITHOUT_LABEL,
    find_root,
    may_be_image,
    scan,
    walk_files,
)
from rafdb_vit.data.findings import Findings, Reporter, check_classes, check_names, check_splits, printable
from rafdb_vit.data.form import DataForm
from rafdb_vit.data.formats.detect import find_faces, is_data_set
from rafdb_vit.data.found import PERSON, SPLITS, Faces, FoundData, Layout, count_labels, list_names, name_face
from rafdb_vit.data.names import find_published, resembles_rafdb
from rafdb_vit.data.persons import find_persons, find_straddling, name_in_data
from rafdb_vit.data.published import Published
from rafdb_vit.runtime.announcement import announcing
from rafdb_vit.runtime.bars import show_progress
from rafdb_vit.runtime.disk import is_inside
from rafdb_vit.runtime.errors import UserError, shorten
from rafdb_vit.runtime.hardware import count_cpus
from rafdb_vit.runtime.output_folder import RUNS

_USUAL_SHARE = 0.5
_LEAST_SIDE, _MOST_RATIO = 20, 3.0


def check_data(
    root: str | os.PathLike[str],
    *,
    subset: str = DataForm.subset,
    aligned: bool = DataForm.aligned,
    image_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    group_pattern: str | None = None,
    processes: int | None = None,
    quiet: bool = False,
) -> CheckResult:
    """Checks a data folder; nothing in it is changed, nothing outside it is read.

    The folder and its form are those of `rafdb_vit.load_rafdb`; where it has no test split, that is a finding. With a
    column or a pattern of persons, those are found whose pictures stand in several splits. Images are looked at by
    several `processes` side by side, by default as many as there are cores; `quiet` shows no progress.

    Raises:
        UserError: It cannot be read, or is in no known form.
    """
    path, findings = find_root(root), Findings()
    report = Reporter(findings.add)
    columns: Any = {"image_column": image_column, "label_column": label_column, "group_column": group_column}
    form = DataForm(subset, aligned, group_pattern=group_pattern, needed=("train",), **columns)
    with announcing("Reading the folder", quiet=quiet):
        root, found = _find_faces(path, form, report, findings)
        _check_completeness(root, found, report)
        _check_persons(root, found, form, report)
        boxes = _check_annotations(root, found, form, report)
        places = _place_faces(found)
        contents = _collect_contents(found)
        if not contents:
            _check_strays(root, found, form, places, report)
        paths = sorted({*places, *_find_named_images(root, report)})
    sources = ((path, contents[path]) if path in contents else path for path in paths)
    inspected = inspect_files(sources, processes=processes or count_cpus())
    files = list(show_progress(inspected, "Looking at images", len(paths), unit="image", quiet=quiet))
    _check_images(files, places, contents, boxes, report)
    _check_sizes(files, report)
    _check_duplicates(files, places, report, quiet=quiet)
    published = _check_counts(found, report)
    sizes = Counter(file.size for file in files)
    pictures: Any = {"images": len(files), "places": places, "sizes": sizes, "contents": contents}
    return CheckResult.build(root, found, findings, published=published, **pictures)


def _find_faces(path: Path, form: DataForm, report: Reporter, findings: Findings) -> tuple[Path, FoundData[Faces]]:
    """Returns the folder that is checked and its faces, in every split that there may be."""
    if is_data_set(path, form):
        raise UserError(
            f"{printable(path)}: is a data set of `datasets`; `rafdb-vit check` looks into folders of images and CSV "
            "files only. Training and evaluation take it as --data_dir, and check its rows when they load it"
        )
    found = find_faces(path, form, report)
    root = Path(found.folder or path) if found.layout is Layout.TABLE or os.path.isfile(path) else path
    if any(faces.files for faces in found.splits.values()) or not findings.blocking:
        check_splits(root, found.splits, found.layout, report)  # else all are empty since each row is at fault
    return root, replace(found, splits={**{split: Faces() for split in SPLITS}, **found.splits})


def _collect_contents(found: FoundData[Faces]) -> dict[str, bytes]:
    """Returns the images that are no files of their own, by their places in the data."""
    held = (faces for faces in found.splits.values() if faces.contents)
    return {image: content for of in held for image, content in zip(of.images, of.contents, strict=True)}


def _place_faces(found: FoundData[Faces]) -> dict[str, Place]:
    return {
        image: Place(split, found.labels.names[label])
        for split, faces in found.splits.items()
        for image, label in zip(faces.images, faces.labels, strict=True)
    }


def _check_completeness(root: Path, found: FoundData[Faces], report: Reporter) -> None:
    check_classes(root, found.labels, found.splits["train"].labels, report)
    check_names(found.splits, report)
    trained = set(found.splits["train"].labels)
    for split, faces in found.splits.items():
        absent = [found.labels.names[label] for label in sorted(trained - set(faces.labels))]
        if split != "train" and faces.labels and absent:
            words = f"no face of class {', '.join(absent)} in {split}; such a class counts 0 in macro-F1"
            report(f"class absent from {split}", f"{root}: {words}", blocks=False)


def _check_persons(root: Path, found: FoundData[Faces], form: DataForm, report: Reporter) -> None:
    """Reports persons whose pictures stand in several splits, where something says which are whose."""
    if form.group_column is not None:
        persons = {split: faces.attributes.get(PERSON, []) for split, faces in found.splits.items()}
    elif form.group_pattern is not None:
        persons = {
            split: find_persons([name_in_data(image, found.folder) for image in faces.images], form.group_pattern)
            for split, faces in found.splits.items()
        }
    else:
        return
    for person, counts in find_straddling(persons).items():
        named = ", ".join(f"{count:,} in {split}" for split, count in counts.items())
        files = [found.splits[split].images[persons[split].index(person)] for split in counts]
        words = f"{root}: person {shorten(person, 60)!r} has pictures in several splits ({named}); expected one split"
        report("person across splits", words, *files, blocks=False)


def _find_named_images(root: Path, report: Reporter) -> Iterator[str]:
    """Yields the image files that findings name and that may be looked at: what leads out of the folder may not."""
    for path in report.files:
        if path.lower().endswith(IMAGE_SUFFIXES) and is_inside(root, path) and os.path.isfile(path):
            yield path


def _check_annotations(
    root: Path, found: FoundData[Faces], form: DataForm, report: Reporter
) -> dict[str, list[float] | None]:
    """Reads every annotation; returns, where faces are cut out of photographs, the box by image."""
    kinds = find_kinds(found.release)
    files = [file for faces in found.splits.values() for file in faces.files]
    columns: dict[str, list[Any]] = {}
    for kind in kinds:
        blocks = not form.aligned and kind is BOX
        columns |= read_annotations(root, found.release, kind, files, report.blocking(blocks))
    if form.aligned:
        return {}
    if BOX not in kinds:
        folder = Path(found.folder or root) / "Annotation" / BOX.folder
        words = f"{folder}: no such folder; original photographs need the boxes of the release"
        report("annotation missing", words)
        return {}
    images = [image for faces in found.splits.values() for image in faces.images]
    return dict(zip(images, columns["box"], strict=True))


def _check_strays(
    root: Path, found: FoundData[Faces], form: DataForm, places: dict[str, Place], report: Reporter
) -> None:
    """Reports the images below the data's folder that no label and no finding speaks of."""
    links = {os.path.realpath(path) for path in places if os.path.islink(path)}  # noqa: PTH114
    known = report.files | set(places) | set(found.unused) | links
    named = {name_face(name) for name in report.names}
    folder = Path(found.folder or root)
    other = os.path.join(folder, "Image", "original" if form.aligned else "aligned", "")  # noqa: PTH118
    for path in _walk_data(folder, found.layout, places):
        if path in known or name_face(os.path.basename(path)) in named:  # noqa: PTH119
            continue
        if path.lower().endswith(OTHER_SUFFIXES):
            words = f"{path}: a format that is not read; training does not use it: convert it to JPEG or PNG"
            report("image of another format", words, path, blocks=False)
            continue
        if not may_be_image(path):
            continue
        if found.release and path.startswith(other):
            continue
        if not is_inside(root, path):
            report(LINK_OUT, f"{path}: leads out of {root}, and no label speaks of it; remove it", path, blocks=False)
        else:
            words = f"{path}: no label speaks of this image; training does not use it"
            report(WITHOUT_LABEL, words, path, blocks=False)


def _walk_data(folder: Path, layout: Layout, places: Mapping[str, Place]) -> Iterator[str]:
    """Yields the files that lie where the data's faces do: runs may lie beside them, and anything beside a table."""
    tops = {Path(os.path.relpath(path, folder)).parts[0] for path in places}
    if layout is not Layout.TABLE:
        runs = os.path.join(folder, "" if RUNS in tops else RUNS, "")  # noqa: PTH118
        yield from (path for path in walk_files(folder) if RUNS in tops or not path.startswith(runs))
        return
    for name in sorted(tops):
        if (folder / name).is_dir():
            yield from walk_files(folder / name)
    if any(not (folder / name).is_dir() for name in tops):
        yield from (entry.path for entry in scan(folder) if entry.is_file())


def _check_images(
    files: list[ImageFile],
    places: dict[str, Place],
    contents: Mapping[str, bytes],
    boxes: dict[str, list[float] | None],
    report: Reporter,
) -> None:
    """Reports what is wrong with the images themselves, and boxes that lie outside their photographs."""
    for file in files:
        for kind, words in file.faults:
            if kind == NOT_RGB and file.path in contents:  # FER2013 is grey
                continue
            blocks = kind not in (NOT_RGB, DEEP, ROTATED) and file.path in places
            report(kind, f"{file.path}: {words}", file.path, blocks=blocks)
        box = boxes.get(file.path)
        if box is not None and file.size is not None and ROTATED not in (kind for kind, _ in file.faults):
            (left, top, right, bottom), (width, height) = box, file.size
            if right <= 0 or bottom <= 0 or left >= width or top >= height:
                words = f"the face's box lies outside the photograph of {width} x {height} pixels"
                report("box outside the photograph", f"{file.path}: {words}", file.path)


def _check_sizes(files: list[ImageFile], report: Reporter) -> None:
    """Reports the images of another size than most have, or of an extreme one where sizes vary."""
    sized = [(file.path, file.size) for file in files if file.size is not None]
    usual, count = Counter(size for _, size in sized).most_common(1)[0] if sized else ((0, 0), 0)
    varies = count < _USUAL_SHARE * len(sized)
    for path, (width, height) in sized:
        extreme = min(width, height) < _LEAST_SIDE or max(width, height) > _MOST_RATIO * min(width, height)
        if extreme if varies else (width, height) != usual:
            expected = "a face's proportions" if varies else f"{usual[0]} x {usual[1]} like most"
            report("odd size", f"{path}: {width} x {height} pixels; expected {expected}", path, blocks=False)


def _check_duplicates(files: list[ImageFile], places: dict[str, Place], report: Reporter, *, quiet: bool) -> None:
    exact = group_exact(files)
    groups = [("exact duplicates", group) for group in exact if len(group) > 1]
    groups += [("near-duplicates", group) for group in group_near(exact, quiet=quiet)]
    for kind, group in groups:
        paths = [file.path for file in group]
        known = [places[path] for path in paths if path in places]
        across = " across splits" if len({place.split for place in known}) > 1 else ""
        differing = " with different labels" if len({place.label for place in known}) > 1 else ""
        members = [f"{path} ({places.get(path, 'no label')})" for path in paths]
        report(kind + across + differing, " = ".join(members), *paths, blocks=False)


def _check_counts(found: FoundData[Faces], report: Reporter) -> Published | None:
    """Reports counts that are not the published ones; returns those, None of data of which none are known."""
    counted = {split: count_labels(faces.labels, found.labels.names) for split, faces in found.splits.items()}
    found = replace(found, counts=counted)
    is_rafdb = resembles_rafdb(found.layout, found.labels, list_names(found.splits))
    published = find_published(found, f"RAF-DB {found.labels.subset}" if is_rafdb else found.layout.value)
    if published is None:
        return None
    listed = published.count_listed(found.counts, found.count_unusable())
    for split, total in published.totals.items():
        counts = Counter(found.counts.get(split))
        wrong = [
            f"{name} {counts[name]:,} (published {expected:,})"
            for name, expected in published.of_split(split).items()
            if counts[name] != expected
        ]
        if split not in published.counts and listed.get(split, 0) != total:
            wrong = [f"{listed.get(split, 0):,} faces, published {total:,}"]
        if wrong:
            report("counts are not the published ones", f"{split}: {', '.join(wrong)}", blocks=False)
    return published
