"""`train`: data, model, training, then one scoring of validation and test by the model as it was saved."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rafdb_vit.cli import parse_arguments
from rafdb_vit.errors import UserError

if TYPE_CHECKING:
    from rafdb_vit.arguments import DataArguments, ExpressionTrainingArguments, ModelArguments
    from rafdb_vit.data import RunData
    from rafdb_vit.results import EvaluationResult
    from rafdb_vit.run_folder import RunFolder
    from rafdb_vit.trainer import ExpressionTrainer

DEMO_BANNER = """\
+----------------------------------------------------------------------------+
|  DEMO: these faces are drawn. Figures reached on them say nothing about    |
|  real faces; they show that the installation works, from data to figures.  |
+----------------------------------------------------------------------------+"""


@dataclass(frozen=True)
class TrainOutcome:
    """What a training run left behind: its folder and the figures of the saved model."""

    folder: Path
    validation: "EvaluationResult"
    test: "EvaluationResult"


def main(argv: Sequence[str] | None = None) -> TrainOutcome:
    """Trains a model and scores it.

    Args:
        argv: The words of the command line; those of the process if None.

    Raises:
        UserError: Something that the person can mend; nothing was trained, or what was trained is on disk.
    """
    data, model, args, asked = _parse(sys.argv[1:] if argv is None else argv)

    from transformers import set_seed

    from rafdb_vit.console import quiet_libraries, render_next, say
    from rafdb_vit.hardware import set_threads
    from rafdb_vit.run_folder import RunFolder

    quiet_libraries()
    threads = set_threads()
    folder = RunFolder(args.output_dir)
    checkpoint = _find_checkpoint(folder, data, model, args)
    if data.demo:
        say(DEMO_BANNER)
    faces = _load_faces(data, folder, resuming=checkpoint is not None)
    set_seed(args.seed)
    network, processor = _load_network(model, faces.splits["train"].features["label"].names)
    trainer = _build_trainer(network, processor, faces, model, args)
    if args.should_save:
        folder.start(asked, resuming=checkpoint is not None)
    _say_start(faces, model, trainer, folder, threads)
    trainer.train(resume_from_checkpoint=checkpoint)
    outcome = _finish(trainer, processor, faces, folder)
    if args.should_save:
        _record(outcome, trainer, faces, data, model, folder)
    say(f"\nTest ({outcome.test.n} faces, scored once)\n\n{outcome.test.render_report()}\n")
    say(render_next(str(folder.path)))
    if data.demo:
        say(DEMO_BANNER)
    return outcome


def _parse(argv: Sequence[str]) -> tuple[Any, Any, Any, dict[str, Any]]:
    """Returns data, model and training arguments, and the settings that were asked for."""
    from rafdb_vit.arguments import DataArguments, ExpressionTrainingArguments, ModelArguments
    from rafdb_vit.refusals import REFUSED_FLAGS

    (data, model, args), asked = parse_arguments(
        (DataArguments, ModelArguments, ExpressionTrainingArguments),
        argv,
        prog="train.py",
        description="Fine-tune a Vision Transformer to read facial expressions.",
        implied_recipes={"demo": "demo.yaml"},
        refused=REFUSED_FLAGS,
    )
    if bool(data.data_dir) == data.demo:
        raise UserError("--data_dir: expected the folder that holds RAF-DB, or --demo for drawn faces (one of the two)")
    if not args.output_dir:
        source = f"scratch-{model.from_scratch}" if model.from_scratch else Path(model.model_name_or_path).name
        name = "demo" if data.demo else f"{Path(data.data_dir).resolve().name}-{source}"
        args.output_dir = str(Path("runs") / name)
    return data, model, args, asked


def _find_checkpoint(
    folder: "RunFolder", data: "DataArguments", model: "ModelArguments", args: "ExpressionTrainingArguments"
) -> str | None:
    """Checks the run folder; returns the checkpoint to go on from, None to start from the beginning."""
    from rafdb_vit.arguments import NEWEST_CHECKPOINT
    from rafdb_vit.console import say

    asked = args.resume_from_checkpoint
    folder.check(demo=data.demo, overwrite=model.overwrite_output_dir, resume=asked)
    if asked is None:
        return None
    if asked != NEWEST_CHECKPOINT:
        if not (Path(asked) / "trainer_state.json").is_file():
            raise UserError(f"--resume_from_checkpoint {asked}: no checkpoint; expected trainer_state.json in it")
        return asked
    newest = folder.newest_checkpoint()
    if newest is None:
        say(f"No checkpoint in {folder.path} yet: starting from the beginning.")
    return newest


def _load_faces(data: "DataArguments", folder: "RunFolder", *, resuming: bool) -> "RunData":
    from accelerate import PartialState

    from rafdb_vit.console import say
    from rafdb_vit.data import load_run_data
    from rafdb_vit.drawn_faces import write_drawn_faces

    root = data.data_dir or folder.demo_faces
    if data.demo:
        if PartialState().is_main_process and not resuming:
            say("Drawing faces ...")
            folder.clear()
            write_drawn_faces(root)
        PartialState().wait_for_everyone()
    return load_run_data(
        root,
        validation_fraction=data.validation_fraction,
        split_seed=data.split_seed,
        max_samples={
            "train": data.max_train_samples,
            "validation": data.max_validation_samples,
            "test": data.max_test_samples,
        },
        drawn=data.demo,
    )


def _load_network(model: "ModelArguments", names: Sequence[str]) -> tuple[Any, Any]:
    from accelerate import PartialState

    from rafdb_vit.model import build_model, load_model

    if model.from_scratch:
        return build_model(model.from_scratch, names, image_size=model.image_size, patch_size=model.patch_size)
    with PartialState().main_process_first():
        return load_model(model.model_name_or_path, names, revision=model.model_revision)


def _build_trainer(
    network: Any, processor: Any, faces: "RunData", model: "ModelArguments", args: "ExpressionTrainingArguments"
) -> "ExpressionTrainer":
    from rafdb_vit.trainer import build_trainer

    trainer = build_trainer(
        network,
        processor,
        args=args,
        train=faces.splits["train"],
        validation=faces.splits["validation"],
        layer_decay=model.layer_decay or 1.0,
        random_erasing=model.random_erasing,
        early_stopping_patience=model.early_stopping_patience or None,
    )
    # Here, so that a value that does not go with the model is refused before anything is written.
    trainer.check_optimizer()
    return trainer


def _say_start(
    faces: "RunData", model: "ModelArguments", trainer: "ExpressionTrainer", folder: "RunFolder", threads: int
) -> None:
    from rafdb_vit.console import render_start, say
    from rafdb_vit.data import count_classes
    from rafdb_vit.hardware import describe_device

    args, network = trainer.args, trainer.network
    say(
        render_start(
            device=describe_device(args.device.type),
            processes=args.world_size,
            threads=threads,
            workers=args.dataloader_num_workers or 0,
            precision=args.precision,
            model=f"from scratch ({model.from_scratch})" if model.from_scratch else model.model_name_or_path,
            millions=network.num_parameters() / 1e6,
            image_size=getattr(network.config, "image_size", None),
            folder=str(folder.path),
            data=faces.name,
            counts={split: count_classes(dataset) for split, dataset in faces.splits.items()},
        )
    )


def _finish(trainer: "ExpressionTrainer", processor: Any, faces: "RunData", folder: "RunFolder") -> TrainOutcome:
    """Saves the best model, and scores it as it was saved."""
    from rafdb_vit.inference import evaluate_model
    from rafdb_vit.model import load_trained

    if trainer.args.should_save:
        folder.write_model(trainer.network, processor)
    trainer.accelerator.wait_for_everyone()
    saved, saved_processor = load_trained(folder.path)
    validation, test = (
        evaluate_model(saved, saved_processor, faces.splits[split], batch_size=trainer.args.per_device_eval_batch_size)
        for split in ("validation", "test")
    )
    return TrainOutcome(folder.path, validation, test)


def _record(
    outcome: TrainOutcome,
    trainer: "ExpressionTrainer",
    faces: "RunData",
    data: "DataArguments",
    model: "ModelArguments",
    folder: "RunFolder",
) -> None:
    """Writes the figures and `results.json`."""
    from rafdb_vit import protocol
    from rafdb_vit.figures import CONFUSION_FILE, CURVES_FILE, plot_confusion_matrix, plot_learning_curves
    from rafdb_vit.results import write_results

    args, state = trainer.args, trainer.state
    content = protocol.build_protocol(
        data_name=faces.name,
        found=faces.found,
        splits=faces.splits,
        validation={"fraction": data.validation_fraction, "seed": data.split_seed},
        model=protocol.describe_model(trainer.network, source=model.from_scratch or model.model_name_or_path),
        training={
            **protocol.describe_training(args, processes=args.world_size),
            "layer_decay": model.layer_decay,
            "random_erasing": model.random_erasing,
            "early_stopping_patience": model.early_stopping_patience,
        },
        checkpoint=protocol.describe_checkpoint(args, state),
    )
    plot_confusion_matrix(outcome.test, folder.figures / CONFUSION_FILE, title=f"Test faces, {faces.name}")
    chosen = protocol.epoch_of_step(state, state.best_global_step) or 0.0
    plot_learning_curves(state.log_history, folder.figures / CURVES_FILE, chosen_epoch=chosen)
    write_results(folder.path, validation=outcome.validation, test=outcome.test, protocol=content)
