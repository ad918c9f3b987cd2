"""`predict`: the expression in pictures of cropped faces."""

import json
from dataclasses import dataclass, field

from rafdb_vit.commands.parser import command, switch
from rafdb_vit.runtime.console import quiet_libraries, say, say_aside
from rafdb_vit.runtime.errors import Interrupted, UserError
from rafdb_vit.runtime.hardware import pick_device, set_threads
from rafdb_vit.training.flags import flag

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
    from rafdb_vit.model.names import find_model_folder

    find_model_folder(asked.model, revision=asked.model_revision, flag="--model")  # refused before torch is loaded

    from rafdb_vit.evaluation.inference import list_images, predict_images, render_header
    from rafdb_vit.model.load import load_classifier

    quiet_libraries()
    set_threads()
    files = list_images(asked.images)
    classifier = load_classifier(asked.model, revision=asked.model_revision, flag="--model")
    device, made = pick_device(use_cpu=asked.use_cpu), []
    if asked.csv:
        say(render_header(classifier.names))
    try:
        for prediction in predict_images(classifier, files, device=device, batch_size=asked.batch_size):
            made.append(prediction)
            if prediction.error is not None:
                say_aside(prediction.render())  # stdout is for the predictions
            elif not asked.json:
                say(prediction.render_row(classifier.names) if asked.csv else prediction.render())
    except Interrupted as stop:
        raise Interrupted(stop.signum, f"ended after {len(made):,} of {len(files):,} pictures") from stop
    if asked.json:
        say(json.dumps([prediction.describe() for prediction in made], indent=2))
    return NOT_READ if any(prediction.error for prediction in made) else 0
