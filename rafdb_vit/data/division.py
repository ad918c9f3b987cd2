"""Divides a data set: what it has no split for is set aside from train, and samples are drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from datasets import Dataset

from rafdb_vit.data.draws import draw_samples
from rafdb_vit.data.found import ORDER, PERSON, FoundData, Share, count_labels
from rafdb_vit.data.grouping import Grouping
from rafdb_vit.data.shares import check_fraction, choose_share
from rafdb_vit.data.splits import hash_files
from rafdb_vit.runtime.errors import UserError

DEFAULT_FRACTION = 0.1
"""Share of each class of train that becomes validation by default."""
_FAR, _FAR_OF_CLASS = 0.02, 0.05
"""By how much the share of all faces, and of a class, may miss what was asked for before that is said."""
_ALL: Mapping[str, int | None] = MappingProxyType({})


@dataclass(frozen=True)
class Division:
    """How a data set is divided.

    Attributes:
        test_fraction: Share of each class, in (0, 1), that becomes `test` where the data has no such split.
        validation_fraction: Share of each class of what is left that becomes `validation`; None for the default, where
            the data has no such split.
        seed: Seed of these choices, and of the samples.
        max_samples: Size of a stratified sample by split name; None keeps all.
    """

    test_fraction: float | None = None
    validation_fraction: float | None = None
    seed: int = 0
    max_samples: Mapping[str, int | None] = field(default_factory=dict)

    def check(self, found: FoundData[Dataset]) -> None:
        """Refuses shares that cannot be set aside, before duplicates are looked for.

        Raises:
            UserError: The share is none, or the data has the split that it would become.
        """
        for split, fraction in (("test", self.test_fraction), ("validation", self.validation_fraction)):
            if fraction is None or "train" not in found.splits:
                continue
            check_fraction(fraction, flag=f"--{split}_fraction")
            if split in found.splits:
                raise UserError(
                    f"--{split}_fraction {fraction}: the data has a {split} split of its own "
                    f"({found.sources.get(split, split)}); leave the flag out, or that split"
                )


def divide(found: FoundData[Dataset], division: Division, grouping: Grouping) -> FoundData[Dataset]:
    """Returns train, validation and test, samples of them where that was asked for; test alone where there is no train.

    Args:
        found: The data with the splits that it has, from which those that it lacks are set aside.
        division: How.
        grouping: The faces of train that stay together.

    Raises:
        UserError: A share cannot be set aside, or has no effect; a sample of less than one face was asked for.
    """
    found = replace(found, notes=(*found.notes, *grouping.notes))
    numbers = grouping.numbers
    if division.test_fraction is not None:
        found, numbers = _set_aside(found, "test", division.test_fraction, division.seed, grouping.words, numbers)
    if "train" in found.splits and "validation" not in found.splits:
        fraction = DEFAULT_FRACTION if division.validation_fraction is None else division.validation_fraction
        found, _ = _set_aside(found, "validation", fraction, division.seed, grouping.words, numbers)
    splits = {
        split: draw_samples(
            _without_persons(found.splits[split]),
            division.max_samples.get(split),
            seed=division.seed,
            flag=f"--max_{split}_samples",
        )
        for split in (ORDER if "train" in found.splits else ("test",))
    }
    return replace(found, splits=splits)


def _without_persons(faces: Dataset) -> Dataset:
    return faces.remove_columns([PERSON]) if PERSON in faces.column_names else faces


def _set_aside(
    found: FoundData[Dataset],
    split: str,
    fraction: float,
    seed: int,
    words: str | None,
    groups: Sequence[int] | None,
) -> tuple[FoundData[Dataset], Sequence[int] | None]:
    """Returns the data with a split that was set aside from train, and the groups of what is left there."""
    train = found.splits["train"]
    labels, files = list(train["label"]), list(train["file"])
    flag = f"--{split}_fraction"
    chosen = choose_share(labels, files, fraction=fraction, seed=seed, flag=flag, groups=groups)
    inside = set(chosen)
    kept = [i for i in range(len(train)) if i not in inside]
    # Where each face is for itself, a share of few faces is merely rounded.
    is_grouped = groups is not None and len(set(groups)) < len(groups)
    notes = _describe_miss(found, split, fraction, labels, [labels[i] for i in chosen]) if is_grouped else ()
    share = Share(fraction, seed, words, hash_files([files[i] for i in chosen]))
    splits = {**found.splits, "train": train.select(kept), split: train.select(chosen)}
    found = replace(found, splits=splits, shares={**found.shares, split: share}, notes=(*found.notes, *notes))
    return found, None if groups is None else [groups[i] for i in kept]


def _describe_miss(
    found: FoundData[Dataset], split: str, fraction: float, labels: Sequence[int], chosen: Sequence[int]
) -> tuple[str, ...]:
    """Says how far a share is from what was asked for, where that is far, since groups stay whole.

    Raises:
        UserError: A class has no face left.
    """
    counts, taken = (count_labels(ids, found.class_names) for ids in (labels, chosen))
    if gone := [name for name, count in counts.items() if count and count == taken[name]]:
        raise UserError(
            f"--{split}_fraction {fraction}: with persons and duplicates kept together, no face of class "
            f"{', '.join(gone)} is left for train; take another fraction or another --split_seed"
        )
    notes = []
    if absent := [name for name, count in counts.items() if count > 1 and not taken[name]]:
        notes.append(f"{split} has no face of class {', '.join(absent)}, whose faces have to stay together")
    far = {name: abs(taken[name] / count - fraction) - 1 / count for name, count in counts.items() if count}
    worst = max(far, key=lambda name: far[name])
    share = len(chosen) / len(labels)
    if abs(share - fraction) > _FAR or far[worst] > _FAR_OF_CLASS:
        of_worst = f"of {worst} {taken[worst]:,} of {counts[worst]:,}"
        notes.append(f"{split} is {share:.1%} of the faces rather than {fraction:.1%}, {of_worst}: groups stay whole")
    return tuple(notes)
