"""Reads the votes of FER+: ten people's, for each face of FER2013.

`fer2013new.csv` has a row for each row of `fer2013.csv`, in its order: Usage, the name of the image (none of a face
that FER+ does not use), and how many people voted for each of eight expressions, for `unknown` and for `NF`, no face.

Barsoum et al., 2016, "Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label Distribution":
a single vote for a class is taken for a mistake and does not count. The class is that with more than half of the votes
that are left; faces of which most are for unknown or no face, and faces without such a majority, are left out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rafdb_vit.data.findings import Reporter, printable
from rafdb_vit.data.formats.label_file import read_csv_rows
from rafdb_vit.data.labels import EIGHT
from rafdb_vit.runtime.errors import UserError

FILE = "fer2013new.csv"
MOST_BYTES = 16 * 2**20
"""Of such a file; FER+'s has two megabytes."""
NO_MAJORITY = "without a majority of votes"
NO_FACE = "voted unknown or no face"
UNUSED = "that FER+ does not use"
_UNCLEAR = ("unknown", "nf")
_CANDIDATES = (*(name.lower() for name in EIGHT.names), *_UNCLEAR)
_WHAT = "FER+'s file of votes"


@dataclass(frozen=True, slots=True)
class Vote:
    """What came of the votes on a face.

    Attributes:
        number: The row in the file.
        usage: Its column Usage.
        name: The name of the image, without its suffix; empty of a face that is not used.
        label: Id of the class that most people saw; None of a face that is left out.
        distribution: Share of the votes of each class, single ones not counted.
        reason: Why it is left out; empty where it is not.
    """

    number: int
    usage: str
    name: str
    label: int | None
    distribution: list[float]
    reason: str


def count_votes(votes: Sequence[int]) -> tuple[int | None, list[float], str]:
    """Returns label id, distribution and reason, see `Vote`; `votes` are for the classes, then unknown and no face."""
    kept = [count if count > 1 else 0 for count in votes]
    most = max(kept)
    if 2 * most <= sum(kept):
        return None, [], NO_MAJORITY
    label = kept.index(most)
    if label >= len(EIGHT.names):
        return None, [], NO_FACE
    of_classes = kept[: len(EIGHT.names)]
    return label, [count / sum(of_classes) for count in of_classes], ""


def read_votes(path: Path, report: Reporter) -> list[Vote | None]:
    """Reads every row of the file; a malformed one is reported, and None.

    Raises:
        UserError: It has other columns, or is no CSV file; or what `report` raises.
    """
    rows = read_csv_rows(path, what=_WHAT, most=MOST_BYTES)
    header = [name.lower() for name in next(rows, (0, []))[1]]
    expected = ("usage", "image name", *_CANDIDATES)
    if missing := [name for name in expected if name not in header]:
        raise UserError(f"{printable(path)}: has no column {missing[0]!r}; expected {_WHAT}")
    places = [header.index(name) for name in expected]
    votes: list[Vote | None] = []
    last = ""
    for number, fields in rows:
        try:
            vote = _read_vote(number, fields, places, columns=len(header))
        except ValueError as error:
            report("bad row", f"{path}, row {number}: {error}; copy the file anew")
            votes.append(None)
            continue
        if vote.name and vote.name <= last:
            words = f"the image {vote.name!r:.90} comes after {last!r:.90}; expected FER+'s order: copy it anew"
            raise UserError(f"{printable(path)}, row {number}: {words}")
        last = vote.name or last
        votes.append(vote)
    return votes


def _read_vote(number: int, fields: Sequence[str], places: Sequence[int], *, columns: int) -> Vote:
    """Returns a row's votes; `places` are those of Usage, the image's name and the votes.

    Raises:
        ValueError: It has another number of columns, or something else than a number of votes.
    """
    if len(fields) != columns:
        raise ValueError(f"expected {columns} columns, found {len(fields)}")
    usage, name, *votes = (fields[at] for at in places)
    counted = _count_written(tuple(votes))
    return Vote(number, usage, name.rpartition(".")[0] or name, *(counted if name else (None, [], UNUSED)))


@lru_cache(maxsize=2**12)  # of all ways in which ten votes fall a few are usual
def _count_written(votes: tuple[str, ...]) -> tuple[int | None, list[float], str]:
    if odd := [written for written in votes if not re.fullmatch("[0-9]{1,3}", written, re.ASCII)]:
        raise ValueError(f"expected a number of votes for each class, found {odd[0]!r:.40}")
    return count_votes([int(written) for written in votes])
