"""`train`: the flags of training; `rafdb_vit.training.run` does it."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rafdb_vit.commands.parser import parse_arguments
from rafdb_vit.runtime.announcement import LOADING, announcing
from rafdb_vit.runtime.caches import naming_caches, prepare_caches
from rafdb_vit.runtime.disk import check_writable, expand
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.processes import is_main_process
from rafdb_vit.training.flag_checks import UNSUPPORTED_FLAGS, refuse_without_effect
from rafdb_vit.training.flags import RUNS, DataArguments, ModelArguments
from rafdb_vit.training.training_flags import TrainingFlags, read_training_flags

if TYPE_CHECKING:
    from rafdb_vit.training.run import TrainOutcome

_PRETRAINED = ("model_name_or_path", "model_revision")


def main(argv: Sequence[str] | None = None) -> "TrainOutcome":
    """Trains a model and scores it.

    Raises:
        UserError: Something that the person can mend; nothing was trained, or what was trained is on disk.
        Interrupted: A signal ended the run; its message says what was saved and how to go on.
    """
    argv = sys.argv[1:] if argv is None else argv
    return _train(argv, {})


def train(**settings: Any) -> "TrainOutcome":
    """Trains a model and scores it, as train.py does: `train(data_dir="RAFDB", num_train_epochs=25)`.

    Args:
        **settings: The flags of train.py by name. A list gives several values, a dictionary is passed as JSON.

    Returns:
        The run folder, and the metrics of the saved model on validation and test.

    Raises:
        UserError: A setting is unknown or does not work; nothing was trained, or what was trained is on disk.
        Interrupted: A signal ended the run.
    """
    prepare_caches()
    with naming_caches():
        return _train([], settings)


def _train(argv: Sequence[str], settings: Mapping[str, Any]) -> "TrainOutcome":
    data, model, flags, asked = parse_training_arguments(argv, settings)
    _refuse_before_loading(data, model, flags)
    with announcing(LOADING):
        from rafdb_vit.training.run import run_training

        args = flags.resolve()
    words = [word for name, value in settings.items() if value is not None for word in _render_setting(name, value)]
    return run_training(data, model, args, asked=asked, argv=[*argv, *words])


def _render_setting(name: str, value: Any) -> list[str]:
    """Returns a setting as a command line has it, for the line that goes on with an interrupted run."""
    if isinstance(value, list | tuple):
        return [f"--{name}", *map(str, value)]
    return [f"--{name}={json.dumps(value) if isinstance(value, dict) else value}"]


def parse_training_arguments(
    argv: Sequence[str],
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[DataArguments, ModelArguments, TrainingFlags, dict[str, Any]]:
    """Parses the command line of training, and settings by flag name that stand for one; torch is not loaded.

    Returns:
        Arguments on data and model, the flags of training, and the settings that were asked for, by flag name.

    Raises:
        UserError: A flag is unknown, refused or its value not accepted.
    """
    (data, model, flags), asked = parse_arguments(
        (DataArguments, ModelArguments, read_training_flags()),
        argv,
        settings=settings,
        prog="python train.py",
        usage="python train.py --data_dir RAFDB [flags]",
        description="Fine-tune a Vision Transformer to read facial expressions. `rafdb-vit train` is the same command.",
        implied_recipes={"demo": "demo.yaml"},
        refused=UNSUPPORTED_FLAGS,
    )
    _check(data, model, flags, asked)
    if not flags.given.get("output_dir"):
        flags = type(flags)(**{**flags.given, "output_dir": str(Path(RUNS) / _name_run(data, model))})
    return data, model, flags, asked


def _check(data: DataArguments, model: ModelArguments, flags: TrainingFlags, asked: Mapping[str, Any]) -> None:
    """Refuses flags that do not work, or not with each other.

    Raises:
        UserError: The first of them.
    """
    flags.check()
    refuse_without_effect(asked, flags.values)
    if model.from_scratch and (pretrained := next((name for name in _PRETRAINED if name in asked), None)):
        why = "--demo" if data.demo and "from_scratch" not in asked else f"--from_scratch {model.from_scratch}"
        raise UserError(f"--{pretrained}: has no effect with {why}, which trains a new model; leave one of them out")
    if sum(map(bool, (data.data_dir, data.dataset_name, data.demo))) != 1:
        sources = "the folder that holds RAF-DB, or --dataset_name, or --demo for drawn faces"
        raise UserError(f"--data_dir: expected {sources} (one of the three)")
    if flags.values["publishes"] and (data.demo or any(data.max_samples.values())):
        raise UserError("--push_to_hub: demo and subsampled runs are trials; push_to_hub.py --force publishes one")


def _refuse_before_loading(data: DataArguments, model: ModelArguments, flags: TrainingFlags) -> None:
    """Refuses data, a model or a run folder with which training cannot begin, before torch is loaded.

    Raises:
        UserError: The first of them.
    """
    folder = expand(flags.output_dir)
    data.refuse_output(folder)
    model.refuse_output(folder)
    check_writable(folder)
    data.refuse_unknown()
    model.refuse_unknown()
    # The main process alone looks into the folder: others may start when it already writes there.
    if flags.resume_from_checkpoint is None and is_main_process():
        from rafdb_vit.training.run_folder import RunFolder

        RunFolder(folder).check(demo=data.demo, overwrite=model.overwrite_output_dir)


def _name_run(data: DataArguments, model: ModelArguments) -> str:
    if data.demo:
        return "demo"
    source = f"scratch-{model.from_scratch}" if model.from_scratch else Path(model.model_name_or_path).name
    return f"{Path(os.path.realpath(str(data.source))).name.removesuffix('.csv').removesuffix('.tsv')}-{source}"
