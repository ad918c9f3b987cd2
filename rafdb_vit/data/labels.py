"""Label sets in model order, and the codes and names that files and folders use for their classes.

RAF-DB numbers its classes from 1 in the label files (its readme: "1: Surprise, 2: Fear, 3: Disgust, 4: Happiness,
5: Sadness, 6: Anger, 7: Neutral"); models number theirs from 0. The shift by one happens here and nowhere else.
"""

import difflib
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rafdb_vit.runtime.errors import NOT_PLAIN, UserError, is_plain

OWN = "own"
MOST_CLASSES = 500
"""Of a data set; a column of more values is none of labels."""
MOST_LETTERS = 200
"""Of the name of a class."""
_CODE = re.compile(r"0{0,9}([0-9]{1,9})(\.0{0,9})?", re.ASCII)
"""A code of RAF-DB's as people write it; `4.0` is what programs make of 4 where a column has gaps."""
_UNSEEN = "[\u00ad\u061c\u200b\u200e\u200f\u2060\ufe0e\ufe0f\ufeff]"
"""Characters that nobody sees, and that come along when text is copied; not those that join letters or emoji."""
_SYNONYMS = {
    "Surprise": ("surprised",),
    "Fear": ("fearful", "afraid", "scared"),
    "Disgust": ("disgusted",),
    "Happiness": ("happy", "joy", "joyful"),
    "Sadness": ("sad",),
    "Anger": ("angry",),
    "Neutral": ("neutrality",),
}


def fold_name(name: str) -> str:
    """Returns a class name without what people write differently: case, width, accents, spaces, hyphens, underscores.

    Nor with what they do not see.
    """
    return re.sub(rf"[\s_-]+|{_UNSEEN}", "", unicodedata.normalize("NFKC", name)).casefold()


def _keep_signs(name: str) -> str:
    """Returns a class name as `fold_name` does, but for what may mean something: hyphens not between letters, x²."""
    seen = re.sub(_UNSEEN, "", unicodedata.normalize("NFC", name))
    return re.sub(r"[\s_]+|(?<=[^\W\d])-(?=[^\W\d])", "", seen).casefold()


@dataclass(frozen=True)
class LabelSet:
    """The classes of one data set.

    Attributes:
        subset: The folder of RAF-DB's release that holds it (`basic`, `compound`), or `own` for classes that are not
            RAF-DB's.
        names: Class names; the position of a name is the model's label id, and one less than RAF-DB's code.
    """

    subset: str
    names: tuple[str, ...]

    @property
    def codes(self) -> range:
        """RAF-DB's codes, 1 to the number of classes."""
        return range(1, len(self.names) + 1)

    def read_code(self, written: str) -> int | None:
        """Returns a code of RAF-DB's own label files: `4`, `04` or `4.0`; None if it is none of `codes`."""
        found = _CODE.fullmatch(written)
        return int(found[1]) if found and int(found[1]) in self.codes else None

    def id_of_code(self, code: int) -> int:
        """Turns a code of RAF-DB's files (from 1) into the model's label id (from 0).

        Raises:
            ValueError: `code` is none of `codes`.
        """
        if code not in self.codes:
            raise ValueError(f"code {code} is not one of 1 to {len(self.names)}")
        return code - 1

    def code_of_id(self, label: int) -> int:
        """Turns the model's label id (from 0) into RAF-DB's code (from 1).

        Raises:
            ValueError: `label` is not the id of a class.
        """
        if not 0 <= label < len(self.names):
            raise ValueError(f"label id {label} is not one of 0 to {len(self.names) - 1}")
        return label + 1

    def match(self, written: str) -> int | None:
        """Returns the label id of a class as a person wrote it, None if it is none of these classes.

        People write a name in any case, with spaces, hyphens or underscores, a common synonym (`happy`), or RAF-DB's
        code (`4`).
        """
        if re.fullmatch(r"0{0,9}[0-9]{1,9}", written, re.ASCII):
            return int(written) - 1 if self.subset != OWN and int(written) in self.codes else None
        return self._ids.get(fold_name(written))

    @cached_property
    def _ids(self) -> dict[str, int]:
        """Label id by folded name, and by synonym where the classes are RAF-DB's seven."""
        synonyms = _SYNONYMS if self.subset == "basic" else {}
        return {
            fold_name(written): label
            for label, name in enumerate(self.names)
            for written in (name, *synonyms.get(name, ()))
        }


BASIC = LabelSet(
    subset="basic",
    names=("Surprise", "Fear", "Disgust", "Happiness", "Sadness", "Anger", "Neutral"),
)
_COMPOUND_NAMES = """
    Happily Surprised, Happily Disgusted, Sadly Fearful, Sadly Angry, Sadly Surprised, Sadly Disgusted, Fearfully Angry,
    Fearfully Surprised, Angrily Surprised, Angrily Disgusted, Disgustedly Surprised
"""
COMPOUND = LabelSet(
    subset="compound",
    names=tuple(name.strip() for name in _COMPOUND_NAMES.split(",")),
)
LABEL_SETS: Mapping[str, LabelSet] = {labels.subset: labels for labels in (BASIC, COMPOUND)}
"""RAF-DB's subsets by name."""
EIGHT = LabelSet(OWN, tuple(sorted((*BASIC.names, "Contempt"))))
"""The classes of FER+ and AffectNet: RAF-DB's seven and contempt."""


def resolve_classes(written: Collection[str], labels: LabelSet, *, where: str) -> LabelSet:
    """Finds out to which label set these classes belong.

    Classes that are those of `labels`, by name, synonym or code, are RAF-DB's. Any others are a label set of their own
    (FER+, AffectNet, six of the seven), and keep their names, in alphabetical order.

    Args:
        written: The names of the classes as folders or label columns have them, those of all splits.
        labels: RAF-DB's label set to look for first.
        where: Where these names stand, for errors.

    Raises:
        UserError: They are numbers whose order is not known, or not the classes of the subset that was asked for.
    """
    names = sorted(set(written), key=lambda name: (name.casefold(), name))
    _check_plain_names(names, where=where)
    numbers = [name for name in names if re.fullmatch(r"[+-]?\d+([.,]\d*)?", name)]
    others = (other for other in LABEL_SETS.values() if other != labels and labels == BASIC and not numbers)
    for candidate in (labels, *others):
        ids = {candidate.match(name) for name in names}
        if None not in ids and (numbers or len(ids) == len(candidate.names)):
            return candidate
    if labels != BASIC:
        unknown = [name for name in names if labels.match(name) is None]
        raise UserError(
            f"{where}: expected the classes of RAF-DB's {labels.subset} set (1 to {len(labels.names)}, "
            f"{labels.names[0]} to {labels.names[-1]}), found {', '.join(map(repr, (unknown or names)[:9]))}; leave "
            "out --subset for classes of your own"
        )
    if numbers:
        hint = "; with --subset compound, 1 to 11 are RAF-DB's compound classes" if len(names) == 11 else ""
        hint = hint or (", or RAF-DB's codes as whole numbers" if all(map(labels.read_code, names)) else "")
        raise UserError(
            f"{where}: expected class names, or RAF-DB's codes 1 to {len(labels.names)}, found "
            f"{', '.join(map(repr, names[:12]))}: nothing says which number is which expression; write names{hint}"
        )
    _check_own_names(names, where=where)
    own = {fold_name(name): name for name in reversed(names)}
    return LabelSet(OWN, tuple(unicodedata.normalize("NFC", name.strip()) for name in reversed(own.values())))


def _check_plain_names(names: Sequence[str], *, where: str) -> None:
    """Refuses names that cannot be shown in a line, and far more of them than there are classes."""
    odd = next((name for name in names if not is_plain(name)), None)
    if odd is not None:
        raise UserError(f"{where}: {odd!r:.90} is no name for a class, since it has {NOT_PLAIN}; rename the class")
    if any(not re.sub(_UNSEEN, "", name).strip() for name in names):
        raise UserError(f"{where}: a class has a name in which nothing can be seen; expected letters or numbers")
    if len(names) > MOST_CLASSES:
        raise UserError(
            f"{where}: {len(names):,} different labels, {names[0]!r} the first; is this the column of labels?"
        )


def _check_own_names(names: Sequence[str], *, where: str) -> None:
    """Refuses a single name, and names that would make two classes of one, or one of two.

    The first are synonyms of each other, or misspellings; the second differ by a sign alone. Names that are
    too long are refused here too: a model with such a class could not be loaded.
    """
    long = next((name for name in names if len(name) > MOST_LETTERS), None)
    if long is not None:
        words = f"{long[:40]!r}... is a class of {len(long):,} letters"
        raise UserError(f"{where}: {words}; expected {MOST_LETTERS} at most: is this the column of labels?")
    if len({fold_name(name) for name in names}) == 1:
        raise UserError(f"{where}: {names[0]!r} is the only class; expected two or more")
    folded: dict[str, str] = {}
    for name in names:
        if _keep_signs(twin := folded.setdefault(fold_name(name), name)) != _keep_signs(name):
            words = "differ in a sign alone; expected one of them, or names of other letters"
            raise UserError(f"{where}: {twin!r} and {name!r} {words}")
    meant: dict[int, str] = {}
    for name in names:
        label = BASIC.match(name)
        if label is not None and fold_name(twin := meant.setdefault(label, name)) != fold_name(name):
            raise UserError(f"{where}: {twin!r} and {name!r} both mean {BASIC.names[label]}; expected one of them")
        close = difflib.get_close_matches(fold_name(name), BASIC._ids, n=1, cutoff=0.85) if label is None else []
        if close:
            raise UserError(f"{where}: {name!r} is no class but nearly {close[0]!r}; expected one name for each class")


def describe_codes(written: Collection[str], labels: LabelSet) -> tuple[str, ...]:
    """Says what numbers are taken for, where all classes are written as RAF-DB's codes; nothing where they are not."""
    if labels.subset == OWN or not all(map(labels.read_code, written)):
        return ()
    codes = ", ".join(f"{code} {name}" for code, name in zip(labels.codes, labels.names, strict=True))
    return (f"the classes are numbers, and are taken for RAF-DB's codes: {codes}",)


def match_classes(written: Collection[str], labels: LabelSet, *, where: str) -> dict[str, int]:
    """Returns the label id, by name, of each class as the folders or label column of one split have it.

    Raises:
        UserError: Two names mean the same class, or one means none.
    """
    ids: dict[str, int] = {}
    first: dict[int, str] = {}
    for name in written:
        label = labels.match(name)
        if label is None:
            raise UserError(f"{where}: {name!r} is no class; expected one of {', '.join(labels.names)}")
        if (twin := first.setdefault(label, name)) != name:
            raise UserError(f"{where}: {twin!r} and {name!r} both mean {labels.names[label]}; expected one of them")
        ids[name] = label
    return ids


def label_maps(names: Sequence[str]) -> dict[str, Any]:
    """Returns `id2label` and `label2id` of a model's configuration for class names in model order."""
    return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
