"""The splits of a data set: what people call them, and which faces they hold."""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")

_NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}


def find_split(written: str) -> str | None:
    """Returns `train`, `validation` or `test` for what people call a split, such as `Train`, `test_set`; else None."""
    folded = re.sub(r"[\s_-]*(set|data|images)?$", "", written.strip().casefold()) if len(written) < 40 else ""
    return next((split for split, names in _NAMES.items() if folded in names), None)


def split_of_file(name: str) -> str | None:
    """Returns the official split of one of RAF-DB's files: `train_00001_aligned.jpg`, `test_0001.jpg`; else None."""
    match = re.match(r"(train|test)_[0-9]+(_aligned)?(\.|$)", name)
    return match[1] if match else None


def is_misplaced(name: str, split: str, splits: Collection[str]) -> bool:
    """Tells whether RAF-DB's name of a file says that it belongs to another split than the one it stands in.

    Training images may stand in a validation split; test images too, if it is what the data tests on.

    `split` is where it stands, `splits` are those that the data has.
    """
    own = split_of_file(name)
    if own is None or own == split:
        return False
    return split != "validation" or (own == "test" and "test" in splits)


def validation_as_test(parts: Mapping[str, T]) -> dict[str, T]:
    """Returns the parts of a data set by split, its validation split in place of test where it has no other.

    AffectNet and some copies of RAF-DB have train and validation only. What is held out is scored once, at the end;
    what chooses the checkpoint is then split off from train.
    """
    held_out = "test" in parts or "validation" not in parts
    return {"test" if split == "validation" and not held_out else split: part for split, part in parts.items()}


def hash_files(files: Sequence[str]) -> str:
    """Returns the SHA-256 of a list of file names, whatever their order: two runs with one hash held the same faces."""
    return hashlib.sha256("\n".join(sorted(files)).encode()).hexdigest()
