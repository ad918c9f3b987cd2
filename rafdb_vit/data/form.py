"""In which form a data set is wanted, and which parts of it."""

from dataclasses import dataclass

from rafdb_vit.data.labels import LABEL_SETS, LabelSet
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
        needed: Splits that the data has to have. Where train is not among them, folders of classes and CSV files need
            no splits: they are what is held out.

    Raises:
        UserError: There is no such subset, or the margin is out of range or without effect.
    """

    subset: str = "basic"
    aligned: bool = True
    box_margin: float = 0.0
    image_column: str | None = None
    label_column: str | None = None
    distribution_file: str | None = None
    needed: tuple[str, ...] = ("train", "test")

    def __post_init__(self) -> None:
        if self.subset not in LABEL_SETS:
            raise UserError(f"--subset {self.subset}: expected one of {', '.join(LABEL_SETS)}")
        flag = f"--box_margin {self.box_margin}"
        if not -0.4 <= self.box_margin <= 5:
            raise UserError(f"{flag}: expected a share of the box's longer side, -0.4 to 5")
        if self.box_margin and self.aligned:
            raise UserError(f"{flag}: goes with --aligned False; aligned images are cut already")

    @property
    def labels(self) -> LabelSet:
        """RAF-DB's label set to look for first."""
        return LABEL_SETS[self.subset]


DEFAULT_FORM = DataForm()
