"""The flags that are not transformers': which data and in which form (evaluation shares them), what to train, how."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rafdb_vit.data.form import DataForm
from rafdb_vit.data.labels import LABEL_SETS
from rafdb_vit.runtime.announcement import announcing
from rafdb_vit.runtime.console import say
from rafdb_vit.runtime.disk import expand
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.output_folder import RUNS
from rafdb_vit.runtime.processes import broadcast_from_main, main_process_first, raise_on_all

if TYPE_CHECKING:
    from datasets import Dataset

    from rafdb_vit.data.found import FoundData

DATA, MODEL, TRAINING, OUTPUT, PUBLISHING = GROUPS = ("Data", "Model", "Training", "Output", "Publishing")
"""Groups of everyday flags, in the order of help."""
NOT_ARGPARSE = ("path", "example", "group", "positional", "switch")
"""What is said of a field that argparse does not know."""
WORKERS_LIMIT = 2**10
"""Data workers, each a process, are fewer."""
_LONGEST_SHOWN = 200
"""Characters of a path that a message repeats."""


def flag(default: Any, text: str, **metadata: Any) -> Any:
    """Returns the field of a flag.

    Args:
        default: Its value where it is not given.
        text: What it does, for `--help`.
        **metadata: What else `HfArgumentParser` takes: `choices`, `nargs`, `const`; `path=True` for a path, which is
            tried when the command line is parsed, see `check_path`; and for help `example`, a value, and `group`, one
            of `GROUPS`, of an everyday flag.
    """
    return field(default=default, metadata={"help": text, **metadata})


def check_path(flag: str, path: str) -> None:
    """Refuses a path that the system does not take, whether or not there is something.

    Args:
        flag: The flag as a message names it.
        path: What it was given: a path, or the name of a model or a data set on the Hub.

    Raises:
        UserError: Its name is too long, its links go in a circle, it lies in a folder that is closed to this user, or
            it begins with the folder of a user that does not exist.
    """
    shown = path if len(path) <= _LONGEST_SHOWN else f"{path[:_LONGEST_SHOWN]}..."
    try:
        expand(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise UserError(f"{flag} {shown}: cannot be looked at ({error.strerror}); expected another path") from error
    except UserError as error:
        raise UserError(f"{flag} {error.line}") from error


@dataclass
class FormArguments:
    """Which data, and in which form."""

    data_dir: str | None = flag(
        None,
        "Folder of RAF-DB, FER2013, FER+, AffectNet, class folders or a data set; or a CSV file of paths and labels.",
        path=True,
        example="RAFDB",
        group=DATA,
    )
    dataset_name: str | None = flag(
        None, "A data set of the Hub, or on disk, in place of --data_dir.", path=True, example="USER/NAME", group=DATA
    )
    image_column_name: str | None = flag(
        None, "Column of images, or of their paths. Default: found by its name or type."
    )
    label_column_name: str | None = flag(None, "Column of labels. Default: likewise.")
    subset: str = flag(
        DataForm.subset, "RAF-DB's basic set (7 classes) or compound set (11).", choices=list(LABEL_SETS)
    )
    aligned: bool = flag(DataForm.aligned, "Take the aligned images; false: cut faces out of the original photographs.")
    box_margin: float = flag(
        DataForm.box_margin, "Context round the face's box, a share of its longer side; --aligned false."
    )
    test_fraction: float | None = flag(
        None,
        "Share of each class that is set aside as test, for data without splits; duplicates stay on one side.",
        example="0.2",
        group=DATA,
    )
    validation_fraction: float | None = flag(
        None,
        "Share of each class of train that is set aside to choose the best epoch. Default: 0.1; data may have its own.",
        example="0.2",
        group=DATA,
    )
    split_seed: int = flag(0, "Seed of these choices and of the --max_* draws.")
    group_column: str | None = flag(
        None, "Column of persons: all faces of one stay on one side of test and validation where these are set aside."
    )
    group_pattern: str | None = flag(
        None, "Regular expression that finds the person in a file's name (with a / in it: in its path); likewise."
    )
    leave_out: list[str] | None = flag(
        None, "Classes whose faces are left out.", nargs="+", example="Contempt", group=DATA
    )
    max_validation_samples: int | None = flag(None, "Take a stratified sample of so many for validation.")
    max_test_samples: int | None = flag(None, "Likewise for test.")

    def __post_init__(self) -> None:
        if self.split_seed < 0:
            raise UserError(f"--split_seed {self.split_seed}: expected 0 or more")

    @property
    def max_samples(self) -> dict[str, int | None]:
        """The size of the sample of each split, None for all."""
        return {name: getattr(self, f"max_{name}_samples") for name in ("validation", "test")}

    @property
    def source(self) -> str | None:
        """What the data is called: a folder, a file or a name on the Hub; None for drawn faces."""
        return self.data_dir or self.dataset_name

    @property
    def source_name(self) -> str | None:
        """The name of the folder or file that the data lies in; None for drawn faces and data of the Hub."""
        place = expand(self.source) if self.source else None
        return place.resolve().name if place and place.exists() else None

    def refuse_output(self, folder: Path) -> None:
        """Refuses an output folder that is part of the data, where what is written would be taken for faces.

        Runs may lie beside the splits in the data's folder, in `runs`: that is the default where it is the current one.

        Raises:
            UserError: It is; of a CSV file, it is the folder of the file.
        """
        if self.source is None:
            return
        there, data = folder.resolve(), expand(self.source).resolve()
        is_within = there.is_relative_to(data) and there.relative_to(data).parts[:1] != (RUNS,)
        if is_within or (data.is_file() and there == data.parent):
            words = "take a folder outside it, and move a run there that is to go on"
            raise UserError(f"--output_dir {folder}: lies in the data, {self.source}; {words}")

    @property
    def form(self) -> DataForm:
        """What is asked of the data."""
        return DataForm(
            self.subset,
            self.aligned,
            self.box_margin,
            image_column=self.image_column_name,
            label_column=self.label_column_name,
            group_column=self.group_column,
            group_pattern=self.group_pattern,
            leave_out=tuple(self.leave_out or ()),
        )

    def _is_data_set(self, form: DataForm) -> bool:
        """Tells whether `datasets` reads the data, and keeps it in a cache that all processes share.

        Raises:
            UserError: The folder cannot be read, or not told apart.
        """
        from rafdb_vit.data.files import find_root
        from rafdb_vit.data.formats.detect import is_data_set

        if self.dataset_name is not None or self.data_dir is None:
            return self.dataset_name is not None
        return is_data_set(find_root(self.data_dir), form)

    def refuse_unknown(self) -> None:
        """Refuses a folder that is not there, or in which no labelled faces are found, before anything is loaded.

        Raises:
            UserError: It is one.
        """
        from rafdb_vit.data.files import find_root
        from rafdb_vit.data.formats.detect import choose_reader, is_data_set

        form = self.form if self.test_fraction is None else replace(self.form, needed=("train",))
        if self.data_dir is not None and not is_data_set(root := find_root(self.data_dir), form):
            choose_reader(root, form)

    def refuse_missing(self) -> None:
        """Refuses a folder that is not there, before anything is loaded.

        Raises:
            UserError: It is one.
        """
        from rafdb_vit.data.files import find_root
        from rafdb_vit.data.formats.detect import refuse_missing

        if self.data_dir is not None:
            refuse_missing(find_root(self.data_dir))

    def load(
        self,
        root: Path | None = None,
        *,
        needed: tuple[str, ...] = DataForm.needed,
        scored: str = "test",
        drawn: bool = False,
    ) -> "FoundData[Dataset]":
        """Loads the data; see `rafdb_vit.data.dataset.load_data` for the arguments. Every process has to call it.

        What takes long is done by the main process alone.

        Raises:
            UserError: It is in no known form, or not as it should be.
        """
        from rafdb_vit.data.dataset import find_data, finish_data
        from rafdb_vit.data.division import Division
        from rafdb_vit.data.grouping import Grouping, group_faces

        form = replace(self.form, needed=needed)
        division = Division(self.test_fraction, self.validation_fraction, self.split_seed, self.max_samples)
        with announcing("Reading the data"):
            with main_process_first() if broadcast_from_main(lambda: self._is_data_set(form)) else raise_on_all():
                found = find_data(root or self.data_dir, form, division, dataset_name=self.dataset_name, drawn=drawn)

        def group() -> Grouping:
            """Finds the faces that stay together, and says what takes long."""
            duplicates = self.test_fraction is not None
            if duplicates:
                pictures = f"{len(found.splits['train']):,} pictures"
                say(f"Looking for duplicates among {pictures} before test is set aside ...")
            return group_faces(found, form, duplicates=duplicates)

        grouping = broadcast_from_main(group)
        with announcing("Dividing the faces"), raise_on_all():
            return finish_data(found, division, grouping, scored=scored)


@dataclass
class DataArguments(FormArguments):
    """What to train on."""

    demo: bool = flag(False, "Train on drawn faces, with settings for a few minutes on a CPU.", example="", group=DATA)
    distribution_file: str | None = flag(
        None, "Train on the expression distribution vectors of this file (soft labels).", path=True
    )
    max_train_samples: int | None = flag(None, "Train on a stratified sample of so many.", example="500", group=DATA)

    @property
    def max_samples(self) -> dict[str, int | None]:
        """The size of the sample of each split, None for all."""
        return {"train": self.max_train_samples, **super().max_samples}

    @property
    def form(self) -> DataForm:
        """What is asked of the data."""
        return replace(super().form, distribution_file=self.distribution_file)

    @property
    def identity(self) -> dict[str, Any]:
        """What bears on the metrics, but for the faces themselves, which may lie elsewhere."""
        columns = ("image_column_name", "label_column_name", "group_column")
        places = ("data_dir", "dataset_name", "distribution_file", *columns)
        return {name: value for name, value in vars(self).items() if name not in places}


@dataclass
class ModelArguments:
    """What to train."""

    model_name_or_path: str = flag(
        "google/vit-base-patch16-224-in21k",
        "Image classifier to fine-tune: a name on the Hub or a folder.",
        path=True,
        example="google/vit-base-patch16-224",
        group=MODEL,
    )
    model_revision: str | None = flag(None, "Branch, tag or commit on the Hub.")
    from_scratch: str | None = flag(
        None,
        "Train a ViT with random weights of this size instead.",
        choices=["tiny", "small", "base"],
        example="tiny",
        group=MODEL,
    )
    image_size: int | None = flag(None, "Input side in pixels, with --from_scratch.", example="112", group=MODEL)
    patch_size: int | None = flag(None, "Patch side in pixels, with --from_scratch.")
    early_stopping_patience: int = flag(
        5, "End after so many evaluations without an improvement; 0: never.", example="10", group=TRAINING
    )
    layer_decay: float | None = flag(
        None,
        "Layer-wise learning-rate decay; 1: off. Default: 0.75, and 1 with --from_scratch.",
        example="0.65",
        group=TRAINING,
    )
    random_erasing: float = flag(0.25, "Probability of RandomErasing; 0: off.")
    overwrite_output_dir: bool = flag(
        False, "Delete what an earlier run wrote into --output_dir.", example="", group=OUTPUT
    )
    license: str | None = flag(
        None, "Licence of the published model; see push_to_hub.py.", example="cc-by-nc-4.0", group=PUBLISHING
    )

    @property
    def source(self) -> str:
        """What is trained: a size, a folder or a name on the Hub."""
        return self.from_scratch or self.model_name_or_path

    def refuse_unknown(self) -> None:
        """Refuses a model that is not there, before anything is loaded; the Hub is not asked.

        Raises:
            UserError: It is neither a folder nor a name of the Hub's.
        """
        from rafdb_vit.model.names import find_model_folder

        if self.from_scratch is None:
            find_model_folder(self.model_name_or_path, revision=self.model_revision)

    def refuse_output(self, folder: Path) -> None:
        """Refuses a run folder that holds the model to start from, which a new run would replace.

        Raises:
            UserError: It does.
        """
        start = expand(self.model_name_or_path)
        if self.from_scratch is None and start.is_dir() and start.resolve().is_relative_to(folder.resolve()):
            raise UserError(
                f"--output_dir {folder}: holds the model to start from, {start}; take another folder, or go on "
                "with the run in it: --resume_from_checkpoint"
            )

    def __post_init__(self) -> None:
        if self.from_scratch is None and (self.image_size or self.patch_size):
            flag = "--image_size" if self.image_size else "--patch_size"
            raise UserError(f"{flag}: goes with --from_scratch; the size of a pretrained model is fixed")
        if self.early_stopping_patience < 0:
            raise UserError(f"--early_stopping_patience {self.early_stopping_patience}: expected 0 (never) or more")
