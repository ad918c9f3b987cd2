"""Reads FER2013, whose images are text in a CSV file, with its own labels or with those of FER+.

`fer2013.csv`, or `icml_face_data.csv` as Kaggle has it too, has the columns emotion, pixels and Usage, in any order: a
code from 0 to 6, 48 x 48 grey levels and the split (Goodfellow et al., 2013, "Challenges in Representation Learning").
Faces are named by their rows, as pandas counts them: `row00000` is the first; with FER+ by the names of its images.
"""

import re
import warnings
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rafdb_vit.data.files import scan
from rafdb_vit.data.findings import Reporter, printable
from rafdb_vit.data.form import DataForm
from rafdb_vit.data.formats.ferplus import Vote, read_votes
from rafdb_vit.data.formats.label_file import read_csv_rows
from rafdb_vit.data.found import Faces, FoundData, Layout
from rafdb_vit.data.labels import BASIC, EIGHT
from rafdb_vit.runtime.disk import check_inside, is_inside, open_plain
from rafdb_vit.runtime.errors import UserError

MOST_BYTES = 2**30
"""Of such a file; FER2013's has three hundred megabytes."""
_COLUMNS = ("emotion", "pixels", "Usage")
_USAGES = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
"""Split by the value of the column Usage."""
_LABELS = tuple(map(BASIC.names.index, ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Neutral")))
"""Label id by code, from 0."""
_SIDE = 48
_PIXELS = _SIDE * _SIDE
_WHITE = 255
_MOST_LETTERS = 8 * _PIXELS
"""Of the pixels of an image, each of which has up to three digits and a space."""
_GREY_MAP = b"P5 %d %d %d\n" % (_SIDE, _SIDE, _WHITE)
"""Begins a PGM file, netpbm's portable grey map: the pixels follow, a byte each."""
_LONGEST_HEADER = 1_000
_WHAT = "FER2013's file, with the columns emotion, pixels and Usage"


@dataclass(frozen=True, slots=True)
class _Row:
    """A row: its place among all faces from 0, its number in the file, its label id, its usage and its image."""

    index: int
    number: int
    label: int
    usage: str
    image: bytes


def find_pixel_tables(root: Path, folder: Path) -> list[Path]:
    """Returns the CSV files directly in a folder that hold pixels of faces; what leads out of `root` is not opened.

    Those that do not tell the splits, as a file of Kaggle's beside the one that does, count where there is no other.
    """
    paths = [Path(entry.path) for entry in scan(folder, (".csv",)) if is_inside(root, entry.path)]
    tables = [path for path in paths if has_pixels(path)]
    return [path for path in tables if "usage" in _read_header(path)] or tables


def has_pixels(path: Path) -> bool:
    """Tells whether a CSV file has FER2013's pixels and another of its columns, by its first line.

    So it has where that line, which should name the columns, holds pixels.
    """
    header = _read_header(path)
    holds_pixels = any(re.fullmatch(r"[0-9]{1,3}( [0-9]{1,3}){99,}.*", name) for name in header)
    return holds_pixels or ("pixels" in header and not header.isdisjoint(("emotion", "usage")))


def _read_header(path: Path) -> set[str]:
    try:
        with open_plain(path, most=None) as file:
            start = file.read(_LONGEST_HEADER)
    except OSError:
        return set()
    encoding = "utf-16" if start.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig"
    header = start.decode(encoding, "replace").partition("\n")[0]
    return {name.strip(' "\r').lower() for name in re.split("[,;\t]", header)}


def read_fer2013(root: Path, path: Path, votes: Path | None, form: DataForm, report: Reporter) -> FoundData[Faces]:
    """Reads FER2013's file; with the file of FER+'s `votes`, the labels are those.

    Nothing outside `root` is read.

    Raises:
        UserError: A file has other columns, or the two do not belong together; or what `report` raises.
    """
    if votes is not None:
        check_inside(root, votes)
    if form.labels != BASIC:
        raise UserError(f"--subset {form.subset}: {printable(path)} holds FER2013, which has none; leave it out")
    of_rows = None if votes is None else read_votes(votes, report)
    splits: dict[str, Faces] = {}
    unusable: dict[str, Counter[str]] = {}
    for row in _read_rows(path, report, votes=votes, of_rows=of_rows):
        split, label, name = _USAGES[row.usage], row.label, f"row{row.index:05d}"
        faces = splits.setdefault(split, Faces())
        if of_rows is not None:
            vote = of_rows[row.index]
            if vote is None or vote.label is None:
                if vote is not None:
                    unusable.setdefault(vote.reason, Counter())[split] += 1
                continue
            label, name = vote.label, vote.name
            faces.distributions.append(vote.distribution)
        faces.add(f"{path}, row {row.number}", label, name)
        faces.contents.append(row.image)
    layout, labels = (Layout.FER2013, BASIC) if votes is None else (Layout.FERPLUS, EIGHT)
    sources = {split: usage for usage, split in _USAGES.items() if split in splits}
    return FoundData(layout, path.parent, labels, splits, sources, unusable=unusable)


def _read_rows(
    path: Path, report: Reporter, *, votes: Path | None, of_rows: Sequence[Vote | None] | None
) -> Iterator[_Row]:
    """Yields the rows that can be taken; others are reported."""
    rows = read_csv_rows(path, what=_WHAT, most=MOST_BYTES)
    header = [name.lower() for name in next(rows, (0, []))[1]]
    if missing := [name for name in _COLUMNS if name.lower() not in header]:
        words = "; fer2013.csv and icml_face_data.csv have it" if missing == ["Usage"] else ""
        raise UserError(f"{printable(path)}: has no column {missing[0]}; expected {_WHAT}{words}")
    at = [header.index(name.lower()) for name in _COLUMNS]
    count = 0
    for count, (number, fields) in enumerate(rows, start=1):
        if of_rows is not None and count > len(of_rows):
            break
        try:
            if len(fields) != len(header):
                raise ValueError(f"expected {len(header)} columns, found {len(fields)}")
            row = _read_row(count - 1, number, *(fields[i] for i in at))
            if of_rows is not None and (vote := of_rows[row.index]) is not None and vote.usage != row.usage:
                there = f"{vote.usage[:80]!r} in row {vote.number} of {votes}"
                raise ValueError(f"Usage is {row.usage!r} here and {there}; expected the same faces in the same order")
        except ValueError as error:
            report("bad row", f"{path}, row {number}: {error}; copy the file anew")
        else:
            yield row
    if of_rows is not None and count != len(of_rows):
        words = f"{'fewer' if count < len(of_rows) else 'more'} rows than {votes}, {len(of_rows):,}"
        raise UserError(f"{printable(path)}: has {printable(words)}; expected one for each: copy both anew")


def _read_row(index: int, number: int, code: str, pixels: str, usage: str) -> _Row:
    """Returns a row.

    Raises:
        ValueError: It has no code of a class, no split, or no image.
    """
    if code not in map(str, range(len(_LABELS))):
        raise ValueError(f"expected a code from 0 (Angry) to 6 (Neutral), found {code[:80]!r}")
    if usage not in _USAGES:
        raise ValueError(f"expected {', '.join(_USAGES)} as Usage, found {usage[:80]!r}")
    return _Row(index, number, _LABELS[int(code)], usage, _draw_image(pixels))


def _draw_image(pixels: str) -> bytes:
    """Returns an image as a PGM file, from its pixels as text.

    Raises:
        ValueError: It has another number of pixels, or one that is no number from 0 to 255.
    """
    import numpy as np  # which a folder in another form does not need

    if len(pixels) > _MOST_LETTERS:
        raise ValueError(f"expected 48 x 48 = {_PIXELS:,} pixels, found {len(pixels):,} letters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # of what is no number
            levels = np.fromstring(pixels, np.int64, sep=" ")
    except (ValueError, DeprecationWarning):
        levels = None
    if levels is None or (levels.size == _PIXELS and not (levels.min() >= 0 and levels.max() <= _WHITE)):
        odd = next((word for word in pixels.split() if not _is_grey_level(word)), pixels)
        raise ValueError(f"expected pixels from 0 to {_WHITE}, found {odd[:40]!r}")
    if levels.size != _PIXELS:
        raise ValueError(f"expected 48 x 48 = {_PIXELS:,} pixels, found {levels.size:,}")
    return _GREY_MAP + levels.astype(np.uint8).tobytes()


def _is_grey_level(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) <= len(str(_WHITE)) and int(word) <= _WHITE
