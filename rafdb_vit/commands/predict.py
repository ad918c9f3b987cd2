"""`predict`: the expression in pictures of cropped faces."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rafdb_vit.commands.parser import command, switch
from rafdb_vit.runtime.announcement import LOADING, announcing
from rafdb_vit.runtime.bars import show_progress
from rafdb_vit.runtime.console import is_seen, quiet_libraries, say, say_aside_between_bars
from rafdb_vit.runtime.errors import Interrupted, UserError
from rafdb_vit.runtime.hardware import pick_device, set_threads
from rafdb_vit.training.flags import flag

if TYPE_CHECKING:
    from rafdb_vit.evaluation.image_predictions import ImagePrediction

NOT_READ = 1
"""Exit status where a picture could not be read."""


@dataclass
class PredictArguments:
    """Which pictures to predict, with which model."""

    images: list[str] = field(
        metadata={"help": "Pictures of one cropped face each, or folders of such.", "positional": True, "nargs": "+"}
    )
    model: str = field(
        metadata={"help": "A run folder, a checkpoint, or a model of the Hub (USER/NAME).", "path": True}
    )
    model_revision: str | None = flag(None, "Branch, tag or commit on the Hub.")
    json: bool = switch("Print a JSON list, for programs.")
    csv: bool = switch("Print a CSV file, for spreadsheets: file, expression, a probability for each class.")
    batch_size: int = flag(32, "Pictures at once.")
    use_cpu: bool = flag(False, "Leave GPUs alone.")

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"--batch_size {self.batch_size}: expected 1 or more")
        if self.json and self.csv:
            raise UserError("--csv: --json prints the same for programs; leave one of them out")


@command(
    PredictArguments,
    prog="rafdb-vit predict",
    description="Read the expression in pictures of cropped faces. Exit status: 0 all read, 1 some were not.",
)
def main(asked: PredictArguments) -> int:
    """Predicts pictures; each prediction is printed as it comes, as a row with `--csv`, or all at the end as JSON.

    Returns:
        The exit status: 0 if every picture was read, 1 if one was not; those are named on stderr.

    Raises:
        UserError: The model cannot be loaded, or there is nothing to predict.
        Interrupted: A signal ended it.
    """
    from rafdb_vit.evaluation.image_predictions import ImagePrediction, find_fault, list_images, render_header
    from rafdb_vit.model.names import find_model_folder

    find_model_folder(asked.model, revision=asked.model_revision, flag="--model")  # refused before torch is loaded
    files = list_images(asked.images)
    faults = [ImagePrediction(file, error=fault) for file in files if (fault := find_fault(file))]
    if len(faults) == len(files) and not asked.csv:  # whose header has the model's classes
        return _say_all(faults, asked, total=len(files))
    with announcing(LOADING):
        from rafdb_vit.evaluation.inference import predict_images
        from rafdb_vit.model.load import load_classifier

        quiet_libraries()
        set_threads()
        classifier = load_classifier(asked.model, revision=asked.model_revision, flag="--model")
        device = pick_device(use_cpu=asked.use_cpu)
    predictions = predict_images(classifier, files, device=device, batch_size=asked.batch_size)
    if asked.csv:
        say(render_header(classifier.names))
    # Where predictions are seen as they come, they are progress enough.
    quiet = is_seen() or len(files) <= asked.batch_size
    shown = show_progress(predictions, "Reading pictures", len(files), unit="picture", quiet=quiet)
    return _say_all(shown, asked, total=len(files), names=classifier.names)


def _say_all(
    predictions: "Iterable[ImagePrediction]", asked: PredictArguments, *, total: int, names: Sequence[str] = ()
) -> int:
    """Prints predictions of `total` files as they come, or as JSON at the end; returns the exit status.

    `names` are the classes in the order of a row's cells.
    """
    made: list[ImagePrediction] = []
    try:
        for prediction in predictions:
            made.append(prediction)
            if prediction.error is not None:
                say_aside_between_bars(prediction.render())  # stdout is for the predictions
            elif not asked.json:
                say(prediction.render_row(names) if asked.csv else prediction.render())
    except Interrupted as stop:
        raise Interrupted(stop.signum, f"ended after {len(made):,} of {total:,} pictures") from stop
    if asked.json:
        say(json.dumps([prediction.describe() for prediction in made], indent=2))
    return NOT_READ if any(prediction.error for prediction in made) else 0
