"""`predict`: reads pictures of cropped faces."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rafdb_vit.commands.parser import parse_arguments, switch
from rafdb_vit.runtime.errors import Interrupted, UserError

if TYPE_CHECKING:
    from rafdb_vit.evaluation.inference import ImagePrediction

NOT_READ = 1
"""Exit status where a picture could not be read."""


@dataclass
class PredictArguments:
    """What to read, and with which model."""

    images: list[str] = field(
        metadata={"help": "Pictures of one cropped face each, or folders of such.", "positional": True, "nargs": "+"}
    )
    model: str = field(metadata={"help": "A run folder, a checkpoint, or a model of the Hub (USER/NAME)."})
    model_revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit on the Hub."})
    json: bool = switch("Print a JSON list, for programs.")
    batch_size: int = field(default=32, metadata={"help": "Pictures at once."})
    use_cpu: bool = field(default=False, metadata={"help": "Leave GPUs alone."})

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"--batch_size {self.batch_size}: expected 1 or more")


def main(argv: Sequence[str] | None = None) -> int:
    """Reads pictures; each is printed as it is read, as JSON at the end.

    Args:
        argv: The words of the command line; those of the process if None.

    Returns:
        The exit status: 0 if every picture was read, 1 if one was not; those are named on stderr.

    Raises:
        UserError: The model cannot be loaded, or there is nothing to read.
        Interrupted: A signal ended it.
    """
    (asked,), _ = parse_arguments(
        (PredictArguments,),
        sys.argv[1:] if argv is None else argv,
        prog="rafdb-vit predict",
        description="Read the expression in pictures of cropped faces. Exit status: 0 all read, 1 some were not.",
        takes_config=False,
    )

    from rafdb_vit.evaluation.inference import list_images, predict_images
    from rafdb_vit.model.load import load_classifier
    from rafdb_vit.runtime.console import quiet_libraries, say
    from rafdb_vit.runtime.hardware import pick_device, set_threads

    quiet_libraries()
    set_threads()
    files = list_images(asked.images)
    classifier = load_classifier(asked.model, revision=asked.model_revision, flag="--model")
    device = pick_device(use_cpu=asked.use_cpu)
    predictions = predict_images(classifier, files, device=device, batch_size=asked.batch_size)
    made = _say_each(predictions, count=len(files), as_json=asked.json)
    if asked.json:
        say(json.dumps([prediction.describe() for prediction in made], indent=2))
    return NOT_READ if any(prediction.error for prediction in made) else 0


def _say_each(predictions: Iterable["ImagePrediction"], *, count: int, as_json: bool) -> list["ImagePrediction"]:
    """Prints predictions as they come, those of JSON later; returns them."""
    from rafdb_vit.runtime.console import say

    made = []
    try:
        for prediction in predictions:
            made.append(prediction)
            if prediction.error is not None:
                print(prediction.render(), file=sys.stderr)  # noqa: T201 (stdout is for the predictions)
            elif not as_json:
                say(prediction.render())
    except Interrupted as stop:
        raise Interrupted(stop.signum, f"ended after {len(made):,} of {count:,} pictures") from stop
    return made
