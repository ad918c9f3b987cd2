"""In which form a data set is wanted, and which parts of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from rafdb_vit.data.labels import LABEL_SETS, LabelSet
from rafdb_vit.data.persons import compile_pattern
from rafdb_vit.runtime.errors import UserError


@dataclass(frozen=True)
class DataForm:
    """What is asked of a data set, whatever form it turns out to have.

    Attributes:
        subset: RAF-DB's subset, `basic` (7 classes) or `compound` (11), for codes and for the release. Classes that are
            not RAF-DB's keep their names.
        aligned: Take the release's aligned images; else its original photographs, cut to a square around the face.
        box_margin: Without `aligned`: context on each side, as a share of the box's longer side, -0.4 to 5.
        image_column: Column of images, or of their paths in a CSV file; None finds it by its name or type.
        label_column: Likewise of labels.
        distribution_file: File of expression distribution vectors (soft labels).
        group_column: Column of persons, whose faces are kept on one side of the splits that are made.
        group_pattern: Regular expression that finds the person in the name of a file; see `rafdb_vit.data.persons`.
        leave_out: Names of classes whose faces are left out.
        needed: Splits that the data has to have. Where one is not among them, data needs no splits, see `undivided`.

    Raises:
        UserError: There is no such subset, the margin is out of range or without effect, or the pattern is none.
    """

    subset: str = "basic"
    aligned: bool = True
    box_margin: float = 0.0
    image_column: str | None = None
    label_column: str | None = None
    distribution_file: str | None = None
    group_column: str | None = None
    group_pattern: str | None = None
    leave_out: Sequence[str] = ()
    needed: tuple[str, ...] = ("train", "test")

    def __post_init__(self) -> None:
        if self.subset not in LABEL_SETS:
            raise UserError(f"--subset {self.subset}: expected one of {', '.join(LABEL_SETS)}")
        flag = f"--box_margin {self.box_margin}"
        if not -0.4 <= self.box_margin <= 5:
            raise UserError(f"{flag}: expected a share of the box's longer side, -0.4 to 5")
        if self.box_margin and self.aligned:
            raise UserError(f"{flag}: goes with --aligned False; aligned images are cut already")
        if self.group_column is not None and self.group_pattern is not None:
            raise UserError("--group_pattern: --group_column says already which faces are one person's; leave one out")
        if self.group_pattern is not None:
            compile_pattern(self.group_pattern)

    @property
    def undivided(self) -> str | None:
        """The split of faces of which nothing says which they are in; None where that is a fault.

        Where train is not needed they are all held out; where test is not, it will be set aside from them.
        """
        if "train" not in self.needed:
            return "test"
        return None if "test" in self.needed else "train"

    @property
    def labels(self) -> LabelSet:
        """RAF-DB's label set to look for first."""
        return LABEL_SETS[self.subset]


class FormSettings(TypedDict, total=False):
    """The fields of `DataForm` that a person sets."""

    subset: str
    aligned: bool
    box_margin: float
    image_column: str | None
    label_column: str | None
    distribution_file: str | None
    group_column: str | None
    group_pattern: str | None
    leave_out: Sequence[str]


DEFAULT_FORM = DataForm()
