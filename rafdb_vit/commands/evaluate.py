"""`evaluate`: the flags of scoring a model on labelled faces; `rafdb_vit.training.scoring` does it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rafdb_vit.commands.parser import check_settings, parse_arguments
from rafdb_vit.runtime.announcement import LOADING, announcing
from rafdb_vit.runtime.disk import expand
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.hardware import EVAL_BATCH_SIZE
from rafdb_vit.runtime.launch import render_own_command
from rafdb_vit.runtime.neighbours import describe_missing, find_near
from rafdb_vit.training.flags import DATA, OUTPUT, WORKERS_LIMIT, DataArguments, FormArguments, flag

_SPLITS_OF_FLAGS = {
    "max_test_samples": ["test"],
    "max_validation_samples": ["validation"],
    "validation_fraction": ["train", "validation"],
}
"""The splits on which a flag has an effect."""


@dataclass
class EvaluateArguments:
    """What to evaluate, and how."""

    model: str = field(
        metadata={
            "help": "A run folder, a checkpoint, or a model of the Hub (USER/NAME).",
            "positional": True,
            "path": True,
        }
    )
    split: str = flag(
        "test", "The split to score.", choices=["train", "validation", "test"], example="validation", group=DATA
    )
    output_dir: str | None = flag(
        None,
        "Folder for what is written. Default: evaluations/DATA-SPLIT in the model's folder.",
        path=True,
        example="scores",
        group=OUTPUT,
    )
    model_revision: str | None = flag(None, "Branch, tag or commit on the Hub.")
    per_device_eval_batch_size: int = flag(EVAL_BATCH_SIZE, "Faces at once on each process.")
    dataloader_num_workers: int | None = flag(None, "Data workers of each process. Default: by the device.")
    use_cpu: bool = flag(False, "Leave GPUs alone.")

    def __post_init__(self) -> None:
        for name, least in (("per_device_eval_batch_size", 1), ("dataloader_num_workers", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"--{name} {value}: expected {least} or more")
        if self.dataloader_num_workers is not None and self.dataloader_num_workers >= WORKERS_LIMIT:
            found = self.dataloader_num_workers
            raise UserError(f"--dataloader_num_workers {found}: expected less than {WORKERS_LIMIT}")


_parse = partial(
    parse_arguments,
    (EvaluateArguments, FormArguments),
    prog="rafdb-vit evaluate",
    description="Score a model on labelled faces; write results, predictions.csv and report.html.",
    takes_config=False,
)


def main(argv: Sequence[str] | None = None) -> Path:
    """Evaluates a model, on the data of the run that it comes from unless other data is given.

    Returns:
        The folder that was written.

    Raises:
        UserError: The model or the data cannot be read, or do not go together; nothing was written.
        Interrupted: A signal ended it.
    """
    argv = sys.argv[1:] if argv is None else argv
    (asked, data), given = _parse(argv)
    for name, splits in _SPLITS_OF_FLAGS.items():
        if name in given and asked.split not in splits:
            raise UserError(
                f"--{name}: has no effect on the split {asked.split}; leave it out, or take another --split"
            )
    _check_model(asked.model, asked.model_revision, has_data=bool(data.source))

    data.refuse_missing()
    with announcing(LOADING):
        from rafdb_vit.training.past_run import find_run
        from rafdb_vit.training.scoring import score_model

    run = find_run(asked.model)
    if run is not None:
        settings = check_settings((EvaluateArguments, DataArguments), run.settings, where=str(run.config))
        (asked, data), _ = _parse(argv, settings=run.choose_settings(settings, given=given))
    if bool(data.data_dir) == bool(data.dataset_name):
        raise UserError("--data_dir: expected the folder of labelled faces, or --dataset_name (one of the two)")
    if run is not None and data.data_dir and "data_dir" not in given and not expand(data.data_dir).exists():
        raise UserError(f"--data_dir: the run was trained on {data.data_dir}, which is not there now; give its folder")
    return score_model(data, run, command=render_own_command("evaluate", argv), **vars(asked))


def _check_model(name: str, revision: str | None, *, has_data: bool) -> None:
    """Refuses a model that is not there, before torch is loaded and before its data is asked for."""
    from rafdb_vit.model.names import find_model_folder

    on_hub = find_model_folder(name, revision=revision, flag="MODEL") is None
    if on_hub and not has_data and find_near(name) is not None:
        raise UserError(f"MODEL: {describe_missing(name)}; if it is a model of the Hub, give --data_dir too")
