"""Reads AffectNet: folders of images, and beside them folders of annotations, NumPy files of one value each.

`train_set/images/7.jpg` is what `train_set/annotations/7_exp.npy` holds the code of, likewise in `val_set`; the other
annotations (`_val`, `_aro`, `_lnd`) are not read. Codes are those of Mollahosseini et al., 2017, "AffectNet: A Database
for Facial Expression, Valence, and Arousal Computing in the Wild"; 8 to 10 are no expressions, and left out.
"""

import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from rafdb_vit.data.files import list_files, list_folders, list_images
from rafdb_vit.data.findings import Reporter, printable
from rafdb_vit.data.form import DataForm
from rafdb_vit.data.found import Faces, FoundData, Layout, name_by_paths
from rafdb_vit.data.labels import BASIC, EIGHT
from rafdb_vit.data.splits import find_split
from rafdb_vit.runtime.disk import read_bytes
from rafdb_vit.runtime.errors import UserError

_IMAGES, _ANNOTATIONS, _END = "images", "annotations", "_exp.npy"
_NAMES = ("Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger", "Contempt")
"""What each code from 0 means."""
_UNREADABLE = -1
_MOST_CODE = 10
"""8 is none of these expressions, 9 uncertain, 10 no face."""
_MOST_BYTES = 2**12
"""Of an annotation, which has 132; NumPy's header is most of it."""
_MOST_REMEMBERED = 1_000
_HEADER = re.compile(
    rb"\x93NUMPY(?:\x01\x00..|[\x02\x03]\x00....)"
    rb"\{'descr': '([<>|=][USiuf][0-9]{1,4})', 'fortran_order': (?:True|False), 'shape': \(([1, ]*)\), *\} *\n",
    re.DOTALL,
)
"""How NumPy's files begin that hold one number or text, whatever the number of dimensions."""
NO_EXPRESSION = "of no expression (codes 8 to 10: none, uncertain, no face)"
NO_ANNOTATION = "without an annotation"
NO_IMAGE = "without an image"


def find_annotated_splits(folder: Path) -> dict[str, Path]:
    """Returns the folders of splits in a folder that hold annotations of AffectNet, by split.

    Raises:
        UserError: Two folders are the same split.
    """
    found: dict[str, Path] = {}
    for path in list_folders(folder):
        split = find_split(path.name)
        if split is None or not _has_annotations(path / _ANNOTATIONS):
            continue
        if split in found:
            raise UserError(f"{printable(path)}: {found[split]} is the {split} split too; expected one of them")
        found[split] = path
    return found


def _has_annotations(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return any(entry.name.endswith(_END) for entry in entries)
    except OSError:
        return False


def read_affectnet(
    root: Path, folder: Path, splits: Mapping[str, Path], form: DataForm, report: Reporter
) -> FoundData[Faces]:
    """Reads AffectNet in `folder`, which holds the `splits` that `find_annotated_splits` found.

    The classes are all eight, or RAF-DB's seven where no face has contempt. Nothing outside `root` is read.

    Raises:
        UserError: A folder is missing; or what `report` raises.
    """
    if form.labels != BASIC:
        raise UserError(f"--subset {form.subset}: {printable(folder)} holds AffectNet, which has none; leave it out")
    unusable: dict[str, Counter[str]] = {reason: Counter() for reason in (NO_EXPRESSION, NO_ANNOTATION, NO_IMAGE)}
    coded = {split: _read_split(root, place, split, unusable, report) for split, place in splits.items()}
    unused = [path for of_split in coded.values() for _, path, code in of_split if code >= len(_NAMES)]
    coded = {split: [face for face in of_split if face[2] < len(_NAMES)] for split, of_split in coded.items()}
    labels = EIGHT if any(_NAMES[code] == "Contempt" for of in coded.values() for *_, code in of) else BASIC
    faces = {split: Faces() for split in splits}
    for split, of_split in coded.items():
        for name, path, code in of_split:
            faces[split].add(path, labels.names.index(_NAMES[code]), name)
    name_by_paths(faces, folder)
    sources = {split: path.name for split, path in splits.items()}
    unusable = {reason: of for reason, of in unusable.items() if of.total()}
    return FoundData(Layout.AFFECTNET, folder, labels, faces, sources, unusable=unusable, unused=unused)


def _read_split(
    root: Path, place: Path, split: str, unusable: Mapping[str, Counter[str]], report: Reporter
) -> list[tuple[str, str, int]]:
    """Returns name, path and code of each image that has one; counts those that are `unusable`."""
    images, annotations = place / _IMAGES, place / _ANNOTATIONS
    if not os.path.isdir(images):
        raise UserError(f"{printable(images)}: no such folder; expected the images of AffectNet in it")
    faces, codes = [], _read_codes(root, annotations, report)
    for name, path in list_images(root, images, report).items():
        stem = name.rsplit(".", 1)[0]
        code = codes.pop(stem, None)
        if code is None:
            words = f"{path}: no annotation {annotations / stem}{_END}; training does not use this image"
            report("image without annotation", words, path, blocks=False)
            unusable[NO_ANNOTATION][split] += 1
        elif code != _UNREADABLE:
            unusable[NO_EXPRESSION][split] += code >= len(_NAMES)
            faces.append((name, path, code))
    for stem in codes:
        path = f"{annotations / stem}{_END}"
        report("annotation without image", f"{path}: no image {stem} in {images}", path, blocks=False)
        unusable[NO_IMAGE][split] += 1
    return faces


def _read_codes(root: Path, folder: Path, report: Reporter) -> dict[str, int]:
    """Returns the code of each annotation in a folder by the stem of its image; of a bad one, which is reported, none.

    None is `_UNREADABLE`, so that its image is not taken for one without annotation.
    """
    remembered: dict[bytes, int] = {}  # hundreds of thousands of files, of which there are a dozen different ones
    codes: dict[str, int] = {}
    for name, path in list_files(root, folder, (_END,), report).items():
        code = _UNREADABLE
        try:
            content = read_bytes(path, most=_MOST_BYTES)
            code = remembered[content] if content in remembered else parse_code(content)
            if len(remembered) < _MOST_REMEMBERED:
                remembered[content] = code
        except OSError as error:
            report("bad annotation", f"{path}: cannot be read ({error.strerror})", path)
        except ValueError as error:
            report("bad annotation", f"{path}: {error}; put AffectNet's file in its place", path)
        codes[name[: -len(_END)]] = code
    return codes


def parse_code(content: bytes) -> int:
    """Returns the code that an annotation holds: a NumPy file of one number, or of one as text. No pickle is loaded.

    Raises:
        ValueError: It holds anything else.
    """
    try:
        text = _read_value(content)
    except (ValueError, TypeError) as error:
        raise ValueError("expected a NumPy file of one code") from error
    match = re.fullmatch(r"\s*([0-9]{1,2})(\.0*)?\s*", text, re.ASCII)
    if match is None or int(match[1]) > _MOST_CODE:
        raise ValueError(f"expected a code from 0 to {_MOST_CODE}, found {text[:40]!r}")
    return int(match[1])


def _read_value(content: bytes) -> str:
    """Returns the one value in a NumPy file as text.

    `numpy.lib.format` would end in errors of many kinds where a file is damaged.

    Raises:
        ValueError: It is no such file, or holds more, or something else than a number or text.
        TypeError: Likewise, of a type that there is not.
    """
    import numpy as np  # which a folder in another form does not need

    header = _HEADER.match(content)
    if header is None or b"11" in header[2]:
        raise ValueError("no file of one value")
    kind = np.dtype(header[1].decode("ascii"))
    value = content[header.end() : header.end() + kind.itemsize]
    if len(value) != kind.itemsize:
        raise ValueError("breaks off")
    if kind.kind == "U":
        return value.decode("utf-32-be" if kind.str.startswith(">") else "utf-32-le").rstrip("\0")
    if kind.kind == "S":
        return value.decode("ascii").rstrip("\0")
    return str(np.frombuffer(value, kind)[0])
