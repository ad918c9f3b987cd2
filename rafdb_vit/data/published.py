"""How many faces data sets have of each class and split, as they were published.

Sources:

- RAF-DB: the readme of its release (Li et al., 2017).
- FER2013: 35,887 faces by class in Goodfellow et al., 2013, "Challenges in Representation Learning". Classes by split
  are those that public code for it lists; they add up to the paper's, and to 28,709, 3,589 and 3,589.
- FER+: Microsoft's readme (github.com/microsoft/FERPlus): a row for each of FER2013's faces. How many of them have a
  majority it does not state.
- AffectNet (Mollahosseini et al., 2017): 287,651 and 4,000 faces of eight classes, 283,901 and 3,500 without contempt.
  Classes of train are those that public code for it lists, which add up to these; validation has 500 of each. An
  edition of 3,999 is about. It has no public test set: validation is what is tested on.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from rafdb_vit.data.labels import BASIC, COMPOUND, EIGHT

_NONE: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class Published:
    """The published size of a data set.

    Attributes:
        name: The name of the data set.
        classes: Its classes.
        totals: Faces of each split.
        counts: Faces of each class, in the order of `classes`, by split, where that is published.
        with_unusable: Faces that have no class are among the totals.
    """

    name: str
    classes: tuple[str, ...]
    totals: dict[str, int]
    counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    with_unusable: bool = False

    def of_split(self, split: str) -> dict[str, int]:
        """Returns the faces of a split by class name; empty where that is not published."""
        counts = self.counts.get(split)
        return dict(zip(self.classes, counts, strict=True)) if counts else {}

    def equals(self, counts: Mapping[str, Mapping[str, int]], unusable: Mapping[str, int] = _NONE) -> bool:
        """Tells whether counts are the published ones: of every class, or in all where no more is published.

        Args:
            counts: Faces by class name, by split, as found.
            unusable: Faces that have no class, by split.
        """
        return self.count_listed(counts, unusable) == self.totals and all(
            set(of) == set(self.classes) and (split not in self.counts or dict(of) == self.of_split(split))
            for split, of in counts.items()
        )

    def count_listed(self, counts: Mapping[str, Mapping[str, int]], unusable: Mapping[str, int]) -> dict[str, int]:
        """Returns the faces of each split that are to be compared with the totals; see `equals` for the arguments."""
        more = unusable if self.with_unusable else _NONE
        return {split: sum(of.values()) + more.get(split, 0) for split, of in counts.items()}


RAFDB: Mapping[str, Published] = {
    "basic": Published(
        "RAF-DB basic",
        BASIC.names,
        {"train": 12271, "test": 3068},
        {"train": (1290, 281, 717, 4772, 1982, 705, 2524), "test": (329, 74, 160, 1185, 478, 162, 680)},
    ),
    "compound": Published("RAF-DB compound", COMPOUND.names, {"train": 3162, "test": 792}),
}
"""Its subsets."""
_FER2013 = {
    "train": (3171, 4097, 436, 7215, 4830, 3995, 4965),
    "validation": (415, 496, 56, 895, 653, 467, 607),
    "test": (416, 528, 55, 879, 594, 491, 626),
}
_FER2013_TOTALS = {"train": 28709, "validation": 3589, "test": 3589}
_AFFECTNET = {"train": (24882, 3750, 3803, 6378, 134415, 74874, 25459, 14090), "test": (500,) * 8}
_AFFECTNET_OF_SEVEN = {"train": (14090, 6378, 3803, 134415, 25459, 24882, 74874), "test": (500,) * 7}
PUBLISHED: tuple[Published, ...] = (
    *RAFDB.values(),
    Published("FER2013", BASIC.names, _FER2013_TOTALS, _FER2013),
    Published("FER+", EIGHT.names, _FER2013_TOTALS, with_unusable=True),
    Published("AffectNet", EIGHT.names, {"train": 287651, "test": 4000}, _AFFECTNET),
    Published("AffectNet", EIGHT.names, {"train": 287651, "test": 3999}, {"train": _AFFECTNET["train"]}),
    Published("AffectNet", BASIC.names, {"train": 283901, "test": 3500}, _AFFECTNET_OF_SEVEN),
)
