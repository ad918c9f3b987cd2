"""The flags that say which data: those of its form, which evaluation shares, and those of training alone."""

from dataclasses import dataclass, field
from typing import Any

from rafdb_vit.labels import LABEL_SETS


@dataclass
class FormArguments:
    """Which data, and in which form."""

    data_dir: str | None = field(
        default=None,
        metadata={"help": "RAF-DB's folder, a folder of class folders, or a CSV file of paths and labels."},
    )
    dataset_name: str | None = field(
        default=None, metadata={"help": "A data set of the Hub, or on disk, in place of --data_dir."}
    )
    image_column_name: str | None = field(
        default=None, metadata={"help": "Column of images, or of their paths. Default: found by its name or type."}
    )
    label_column_name: str | None = field(default=None, metadata={"help": "Column of labels. Default: likewise."})
    subset: str = field(
        default="basic",
        metadata={"help": "RAF-DB's basic set (7 classes) or compound set (11).", "choices": list(LABEL_SETS)},
    )
    aligned: bool = field(
        default=True, metadata={"help": "Take the aligned images; false: cut faces out of the original photographs."}
    )
    box_margin: float = field(
        default=0.0, metadata={"help": "Context round the face's box, a share of its longer side; --aligned false."}
    )
    validation_fraction: float | None = field(
        default=None,
        metadata={"help": "Share of each class of train that is set aside. Default: 0.1; data may have its own split."},
    )
    split_seed: int = field(default=0, metadata={"help": "Seed of the validation split and of the --max_* draws."})
    max_validation_samples: int | None = field(
        default=None, metadata={"help": "Take a stratified sample of so many for validation."}
    )
    max_test_samples: int | None = field(default=None, metadata={"help": "Likewise for test."})

    @property
    def max_samples(self) -> dict[str, int | None]:
        """The size of the sample of each split, None for all."""
        return {name: getattr(self, f"max_{name}_samples") for name in ("validation", "test")}

    @property
    def source(self) -> str | None:
        """What the data is called: a folder, a file or a name on the Hub; None for drawn faces."""
        return self.data_dir or self.dataset_name

    @property
    def loading(self) -> dict[str, Any]:
        """The settings of `rafdb_vit.data.load_run_data`, less the folder."""
        same = ("dataset_name", "subset", "aligned", "box_margin", "validation_fraction", "split_seed", "max_samples")
        return {
            **{name: getattr(self, name) for name in same},
            "image_column": self.image_column_name,
            "label_column": self.label_column_name,
        }


@dataclass
class DataArguments(FormArguments):
    """What to train on."""

    demo: bool = field(
        default=False, metadata={"help": "Train on drawn faces, with settings for a few minutes on a CPU."}
    )
    distribution_file: str | None = field(
        default=None, metadata={"help": "Train on the expression distribution vectors of this file (soft labels)."}
    )
    max_train_samples: int | None = field(default=None, metadata={"help": "Train on a stratified sample of so many."})

    @property
    def max_samples(self) -> dict[str, int | None]:
        """The size of the sample of each split, None for all."""
        return {"train": self.max_train_samples, **super().max_samples}

    @property
    def loading(self) -> dict[str, Any]:
        """The settings of `rafdb_vit.data.load_run_data`, less the folder."""
        return {**super().loading, "distribution_file": self.distribution_file, "drawn": self.demo}

    @property
    def identity(self) -> dict[str, Any]:
        """What bears on the figures, but for the faces themselves, which may lie elsewhere."""
        places = ("data_dir", "dataset_name", "distribution_file", "image_column_name", "label_column_name")
        return {name: value for name, value in vars(self).items() if name not in places}
