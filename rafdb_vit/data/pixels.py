"""Tells faces by their pixels: a hash that is the same whatever file they were decoded from.

The picture in a folder, the same one in a data set or in a row of FER2013, and a copy that was saved again without loss
or without its metadata all have one hash. A copy that was saved again with loss (JPEG), resized or cut has another.

Files could be hashed in a fifth of the time, but then such copies would be missed. To decode and hash 100 x 100 pixels
takes 0.5 ms on one CPU core: 6 s for the 12,271 training faces of RAF-DB, divided by the number of cores.
"""

import hashlib
import struct
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from rafdb_vit.data.images import open_row, select_undecoded
from rafdb_vit.data.pool import map_images
from rafdb_vit.runtime.bars import show_progress
from rafdb_vit.runtime.hardware import count_cpus

if TYPE_CHECKING:
    from datasets import Dataset

DIGITS = 16
METHOD = f"first {DIGITS} hexadecimal digits of SHA-256; of width and height (4 bytes each, little-endian), RGB pixels"
"""How a face is hashed, in words. Of a million faces and a million others, none have the same 64 bits by chance."""


def hash_faces(splits: "Mapping[str, Dataset]") -> dict[str, list[str]]:
    """Opens every face of some splits, and returns the hash of each, by split, in their order.

    It is the face as a model is shown it, before it is resized: upright, and cut out of its photograph.

    Raises:
        UserError: One cannot be read; the message names it.
    """
    rows = (row for faces in splits.values() for row in _list_rows(faces))
    hashes = map_images(_hash_row, rows, processes=count_cpus())
    known = iter(show_progress(hashes, "Opening images", sum(map(len, splits.values())), unit="image"))
    return {split: list(islice(known, len(faces))) for split, faces in splits.items()}


def _list_rows(faces: "Dataset") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields the name and the row of each face."""
    for face in select_undecoded(faces):
        yield (face["image"] or {}).get("path") or face["file"], face


def _hash_row(row: tuple[str, Mapping[str, Any]]) -> str:
    picture = open_row(row[1])
    content = struct.pack("<II", *picture.size) + picture.tobytes()
    return hashlib.sha256(content).hexdigest()[:DIGITS]
