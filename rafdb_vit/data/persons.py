"""Whose picture is whose: persons by the names of files, and those whose pictures stand in two splits."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rafdb_vit.runtime.errors import UserError, escape, shorten


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Returns a regular expression that a person wrote.

    Raises:
        UserError: It is none.
    """
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise UserError(
            f"--group_pattern {shorten(pattern)}: is no regular expression ({shorten(error)}); expected one such as "
            "'^(s[0-9]+)_', which finds s12 in s12_003.jpg"
        ) from error


def name_in_data(path: str, folder: Path | None) -> str:
    """Returns the path of a file relative to the folder of its data, with `/`; of one elsewhere its name alone."""
    if folder is not None and path.startswith(os.path.join(folder, "")):  # noqa: PTH118 (Path is slow for 100,000)
        return os.path.relpath(path, folder).replace(os.sep, "/")
    return path.rsplit("/", 1)[-1] if os.path.isabs(path) else path.replace("\\", "/")  # noqa: PTH117


def find_persons(names: Sequence[str], pattern: str) -> list[str]:
    """Returns whose picture each file is: the first group of what the pattern finds, or all of it without one.

    A pattern with a `/` is searched for in the whole path, any other in the file's name.

    Args:
        names: Paths of the files in the data, with `/`.
        pattern: A regular expression.

    Raises:
        UserError: It finds nothing in one of them.
    """
    search, persons, lost = compile_pattern(pattern).search, [], []
    for name in names:
        found = search(name if "/" in pattern else name.rsplit("/", 1)[-1])
        person = found and ((found[1] if found.re.groups else None) or found[0])
        persons.append(person or "")
        if not person:
            lost.append(name)
    if lost:
        others = f" and in {len(lost) - 1:,} others" if len(lost) > 1 else ""
        raise UserError(
            f"--group_pattern {shorten(pattern)}: finds no person in {shorten(lost[0])}{others}; expected one in every "
            "file (append |.+ to make each of these files a person of its own)"
        )
    return persons


def find_straddling(persons: Mapping[str, Sequence[str]]) -> dict[str, dict[str, int]]:
    """Returns the persons whose pictures stand in several splits, with the number in each.

    `persons` says by split whose picture each face is.
    """
    counts = {split: Counter(of_split) for split, of_split in persons.items()}
    everyone = Counter(person for of_split in counts.values() for person in of_split)
    return {
        person: {split: of_split[person] for split, of_split in counts.items() if person in of_split}
        for person, splits in sorted(everyone.items())
        if splits > 1
    }


def describe_straddling(straddling: Mapping[str, Mapping[str, int]]) -> str:
    """Returns a sentence on such persons, whose first is named; empty without any."""
    if not straddling:
        return ""
    first, splits = next(iter(straddling.items()))
    named = " and ".join(f"{count:,} in {split}" for split, count in splits.items())
    number = "1 person has" if len(straddling) == 1 else f"{len(straddling):,} persons have"
    return f"{number} pictures in several splits of the data ({escape(shorten(first, 60))}: {named})"
