"""Sets a share of each class aside, by whole groups of faces that have to stay together.

Whole groups are taken, and the fraction is met as well as they allow. Those of several faces are gone through in an
order drawn by the seed, and each is taken if that brings the shares of its classes nearer to the fraction; then each is
moved to the other side while that helps. Of several orders the best is kept. Faces that are a group of their own are
drawn to fill up what lacks, so that groups of either kind give their share. Every class keeps a face in the rest, and
every class of two or more groups gets one in the share, wherever both can be had.

scikit-learn's `StratifiedGroupKFold` makes shares of 1/2, 1/3, 1/4 and so on only.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rafdb_vit.data.draws import draw_faces
from rafdb_vit.runtime.errors import UserError

_ATTEMPTS = 16
"""Orders in which groups are gone through, where the first does not give every class its share."""
_SWEEPS = 20
_NEAR = 0.005
"""Share of a class by which a choice may miss its goal and is still good enough."""
_LACKING = 1e6
"""Of the misfit of a choice: for a class without a face in the share, and twice for one without a face in the rest."""
Counts = Mapping[int, int]
"""Faces of a group by label id."""


def check_fraction(fraction: float, *, flag: str) -> None:
    """Refuses a share of a class that is none.

    Raises:
        UserError: It is not between 0 and 1; the message names the flag that asked for it.
    """
    if not 0 < fraction < 1:
        raise UserError(f"{flag} {fraction}: expected a share of train between 0 and 1, such as 0.1")


def choose_share(
    labels: Sequence[int],
    files: Sequence[str],
    *,
    fraction: float,
    seed: int,
    flag: str,
    groups: Sequence[int] | None = None,
) -> list[int]:
    """Returns the sorted positions of the faces that are set aside.

    Of each class the same fraction, in (0, 1), is taken, at least one face where the class has two or more. The choice
    depends on the seed, the labels, the groups and the names of the files, which are unique; not on the order in which
    they come.

    Args:
        labels: Label id of each face.
        files: Its name.
        fraction: The share.
        seed: Seed of the choice.
        flag: The flag that asked for it, for errors.
        groups: A number for each face, the same for those that stay together; None where each is for itself.

    Raises:
        UserError: `fraction` is not between 0 and 1, or there is nothing that could be set aside.
    """
    check_fraction(fraction, flag=flag)
    counts = np.bincount(np.asarray(labels, int))
    shares = np.clip(np.round(fraction * counts).astype(int), 1, np.maximum(counts - 1, 0))
    members = _find_members(files, groups)
    alone = np.ones(len(labels), bool)
    alone[[i for group in members for i in group]] = False
    singles = np.bincount(np.asarray(labels, int)[alone], minlength=len(counts))
    taken = _choose_groups([Counter(labels[i] for i in group) for group in members], counts, singles, fraction, seed)
    chosen = [i for group, is_taken in zip(members, taken, strict=True) if is_taken for i in group]
    lacking = shares - np.bincount([labels[i] for i in chosen], minlength=len(counts))
    free = np.flatnonzero(alone).tolist()
    drawn = draw_faces([labels[i] for i in free], [files[i] for i in free], np.clip(lacking, 0, singles), seed)
    chosen = sorted([*chosen, *(free[i] for i in drawn)])
    if not chosen:
        raise UserError(f"{flag}: {_explain_none(groups)}, none to set aside; expected two or more")
    return chosen


def _explain_none(groups: Sequence[int] | None) -> str:
    if groups is None or len(set(groups)) == len(groups):
        return "train has one face of each class"
    count = len(set(groups))
    found = "1 person or group of duplicates was" if count == 1 else f"{count:,} persons and groups of duplicates were"
    hint = "is that what --group_pattern or --group_column means?"
    return f"the faces of each class belong together ({found} found: {hint})"


def _find_members(files: Sequence[str], groups: Sequence[int] | None) -> list[list[int]]:
    """Returns the positions of each group of two faces or more, in an order that depends on the names alone."""
    if groups is None:
        return []
    members: dict[int, list[int]] = defaultdict(list)
    for position, group in enumerate(groups):
        members[group].append(position)
    several = [sorted(group, key=lambda i: files[i]) for group in members.values() if len(group) > 1]
    return sorted(several, key=lambda group: files[group[0]])


@dataclass
class _Choice:
    """A choice among groups, which is changed one by one.

    Attributes:
        counts: Faces of each class, all.
        goal: Faces of each class that should be taken with groups.
        singles: Faces of each class that are a group of their own, and will be drawn to the rest.
        several: Which classes have faces in two groups or more.
        taken: Faces of each class that are taken now.
    """

    counts: list[int]
    goal: list[float]
    singles: list[int]
    several: list[bool]
    taken: list[int]

    def misfit(self, label: int, taken: int) -> float:
        """Returns how ill it is that so many faces of a class are taken: its share's distance to its goal, squared."""
        total = self.counts[label]
        misfit = ((taken - self.goal[label]) / total) ** 2
        if not self.singles[label]:
            misfit += _LACKING * ((taken == 0 and self.several[label]) + 2 * (taken == total))
        return misfit

    def gain(self, group: Counts, sign: int) -> float:
        """Returns by how much the misfit falls when a group is taken (1) or given back (-1)."""
        before = sum(self.misfit(label, self.taken[label]) for label in group)
        return before - sum(self.misfit(label, self.taken[label] + sign * count) for label, count in group.items())

    def move(self, group: Counts, sign: int) -> None:
        """Takes a group, or gives it back."""
        for label, count in group.items():
            self.taken[label] += sign * count

    @property
    def total(self) -> float:
        """The misfit of all classes that groups have faces of."""
        return sum(self.misfit(label, taken) for label, taken in enumerate(self.taken) if self.counts[label])

    @property
    def fits(self) -> bool:
        """Whether every class is as near to its goal as anybody could ask."""
        rows = zip(self.taken, self.goal, self.counts, strict=True)
        return self.total < _LACKING and all(
            abs(taken - goal) <= max(0.5, _NEAR * total) for taken, goal, total in rows
        )


def _choose_groups(
    groups: Sequence[Counts], counts: np.ndarray, singles: np.ndarray, fraction: float, seed: int
) -> list[bool]:
    """Returns which groups are taken; see `choose_share`."""
    best, least = [False] * len(groups), float("inf")
    held = Counter(label for group in groups for label in group)
    several = [held[label] > 1 for label in range(len(counts))]
    for attempt in range(_ATTEMPTS if groups else 0):
        order = np.random.default_rng([seed, attempt, 0]).permutation(len(groups)).tolist()
        goal = fraction * (counts - singles)
        choice = _Choice(counts.tolist(), goal.tolist(), singles.tolist(), several, [0] * len(counts))
        taken = _improve(choice, groups, order)
        if choice.total < least:
            best, least = taken, choice.total
        if choice.fits:
            break
    return best


def _improve(choice: _Choice, groups: Sequence[Counts], order: Sequence[int]) -> list[bool]:
    """Takes groups and gives them back, in this order, while that makes the choice better."""
    taken = [False] * len(groups)
    for _ in range(_SWEEPS):
        moved = False
        for i in order:
            sign = -1 if taken[i] else 1
            if choice.gain(groups[i], sign) > 1e-12:
                choice.move(groups[i], sign)
                taken[i], moved = not taken[i], True
        if not moved:
            break
    return taken
