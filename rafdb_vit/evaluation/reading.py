"""What a file that somebody sent may hold: values of the types that dataclasses state, within bounds."""

import re
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

MOST_FACES = 10**9
"""Of one split; sums of counts then stay whole numbers wherever they are computed."""
MOST_CLASSES = 1_000
MOST_LETTERS = 10_000
"""Of one text."""
_MOST_ENTRIES = 200_000
"""Of one list or mapping, such as the learning curves of a run."""
_LARGEST = 10**15
"""Of whole numbers: what JSON's readers in all languages have exactly, and more than any model has parameters."""
_LARGEST_FLOAT = 1e100
"""Products and sums of a few of them are still finite."""
_DEEPEST = 10
_HALF = re.compile("[\ud800-\udfff]")
"""Half a character, which JSON can name and no file in UTF-8 can hold."""
_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", NoneType: "null"}


def check_type(value: Any, expected: Any, where: str, *, depth: int = 0) -> None:
    """Checks that a value from JSON is what an annotation says.

    Args:
        value: From `rafdb_vit.runtime.disk.parse_json`.
        expected: Of JSON's types: `str`, `int`, `float` (whole numbers too), `bool`, `None`, mappings of texts and
            sequences of these, unions; `Any` for all of them.
        where: Where it stands, for errors.
        depth: How many lists and mappings it stands in.

    Raises:
        ValueError: It is something else, or out of bounds; the message says where.
    """
    origin, inner = get_origin(expected) or expected, get_args(expected)
    if origin in (Union, UnionType):
        _check_union(value, inner, where, depth)
    elif origin is Any:
        _check_union(value, (_type_of_any(value),), where, depth)
    elif depth > _DEEPEST:
        raise ValueError(f"{where} is nested too deeply")
    elif issubclass(origin, Mapping):
        check_entries(value, Mapping, where)
        for name, item in value.items():
            check_type(name, str, f"a name in {where}")
            check_type(item, inner[1], f"{where}.{name:.80}", depth=depth + 1)
    elif issubclass(origin, Sequence) and origin is not str:
        check_entries(value, list, where)
        for i, item in enumerate(value):
            check_type(item, inner[0], f"{where}[{i}]", depth=depth + 1)
    elif not _is_plain(value, origin):
        raise ValueError(f"{where} is {describe_value(value)}; expected {_WORDS[origin]}")


def check_entries(value: Any, kind: Any, where: str) -> None:
    """Checks that a value is a mapping or a list, and has not too many entries; what they are is not looked at.

    Raises:
        ValueError: It is none, or has.
    """
    if not isinstance(value, kind):
        expected = "names and values" if kind is Mapping else "a list"
        raise ValueError(f"{where} is {describe_value(value)}; expected {expected}")
    if len(value) > _MOST_ENTRIES:
        raise ValueError(f"{where} has {len(value):,} entries; expected {_MOST_ENTRIES:,} at most")


def check_keys(value: Any, needed: Sequence[str], where: str) -> None:
    """Checks that a value is a mapping with all that is needed.

    Raises:
        ValueError: It is none, or lacks something.
    """
    if value is None:
        raise ValueError(f"lacks {where}")
    check_entries(value, Mapping, where)
    if missing := [name for name in needed if name not in value]:
        raise ValueError(f"lacks {', '.join(missing)} in {where}")


def check_names(names: Any, where: str, *, most: int = MOST_CLASSES, known: Sequence[str] = ()) -> None:
    """Checks the names of classes, or of groups, that are the keys of a mapping.

    Args:
        names: The mapping.
        where: Where it stands, for errors.
        most: How many there can be.
        known: All that there can be, if that is known.

    Raises:
        ValueError: There are none or too many, or one is no name.
    """
    check_entries(names, Mapping, where)
    if not 0 < len(names) <= most:
        raise ValueError(f"{where} has {len(names):,} names; expected 1 to {most:,}")
    for name in names:
        check_type(name, str, f"a name in {where}")
        if known and name not in known:
            raise ValueError(f"{where} has {describe_value(name)}; expected {', '.join(known)}")


def check_counts(counts: Any, where: str) -> None:
    """Checks faces by class name.

    Raises:
        ValueError: They are no counts, or too many.
    """
    check_names(counts, where)
    _check_numbers(list(counts.values()), where)


def check_matrix(matrix: Any, classes: int, where: str) -> None:
    """Checks a confusion matrix of so many classes.

    Raises:
        ValueError: It has another shape, or holds something else than counts of one face or more.
    """
    check_entries(matrix, list, where)
    if len(matrix) != classes or not all(isinstance(row, list) and len(row) == classes for row in matrix):
        raise ValueError(f"{where} does not hold counts of its {classes:,} classes, a row and a column for each")
    total = sum(_check_numbers(row, where) for row in matrix)
    if not 0 < total <= MOST_FACES:
        raise ValueError(f"{where} has {total:,} faces; expected 1 to {MOST_FACES:,}")


def _check_numbers(counts: list[Any], where: str) -> int:
    """Checks counts, and returns their sum."""
    odd = [count for count in counts if type(count) is not int or not 0 <= count <= MOST_FACES]
    if odd or sum(counts) > MOST_FACES:
        found = describe_value(odd[0] if odd else sum(counts))
        raise ValueError(f"{where} has {found}; expected whole numbers from 0, {MOST_FACES:,} in all")
    return sum(counts)


def describe_value(value: Any) -> str:
    """Returns in a few words what a value of JSON is, for errors."""
    if isinstance(value, Mapping):
        return "names and values"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return f"the text {value!r}" if len(value) <= 40 else f"a text of {len(value):,} letters"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value}" if abs(value) < _LARGEST else "a very large number"


def _type_of_any(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Mapping[str, Any]
    return Sequence[Any] if isinstance(value, list) else type(value)


def _check_union(value: Any, options: Sequence[Any], where: str, depth: int) -> None:
    """Checks a value against several annotations, of which one has to fit; the error is that of the last."""
    for option in (option for option in options if option is not NoneType or len(options) == 1 or value is None):
        try:
            return check_type(value, option, where, depth=depth)
        except ValueError as error:
            fault = error
    raise fault


def _is_plain(value: Any, kind: Any) -> bool:
    """Tells whether a value is a text, a number or another of JSON's atoms, and within bounds."""
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if kind is str:
        return isinstance(value, str) and len(value) <= MOST_LETTERS and not _HALF.search(value)
    if kind is float:
        return isinstance(value, int | float) and abs(value) <= _LARGEST_FLOAT  # neither NaN nor infinity is
    return isinstance(value, kind) and (kind is NoneType or abs(value) <= _LARGEST)
