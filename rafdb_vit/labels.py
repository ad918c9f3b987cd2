"""The label sets of RAF-DB, in model order, and the codes that its files use for them.

RAF-DB numbers its classes from 1 in the label files (its readme: "1: Surprise, 2: Fear, 3: Disgust, 4: Happiness,
5: Sadness, 6: Anger, 7: Neutral"); models number theirs from 0. The shift by one happens here and nowhere else.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class LabelSet:
    """The classes of one RAF-DB subset.

    Attributes:
        subset: The folder of the release that holds it (`basic`, `compound`).
        names: Class names; the position of a name is the model's label id, and one less than RAF-DB's code.
        published_counts: Faces per class, in the order of `names`, of each split as the release states them.
    """

    subset: str
    names: tuple[str, ...]
    published_counts: dict[str, tuple[int, ...]]

    @property
    def codes(self) -> range:
        """RAF-DB's codes, 1 to the number of classes."""
        return range(1, len(self.names) + 1)

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


BASIC = LabelSet(
    subset="basic",
    names=("Surprise", "Fear", "Disgust", "Happiness", "Sadness", "Anger", "Neutral"),
    published_counts={
        "train": (1290, 281, 717, 4772, 1982, 705, 2524),
        "test": (329, 74, 160, 1185, 478, 162, 680),
    },
)
