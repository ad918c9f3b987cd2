"""`train`: data, model, training, then one scoring of validation and test by the model as it was saved."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rafdb_vit.arguments import DataArguments, ModelArguments
    from rafdb_vit.data import RunData
    from rafdb_vit.expression_trainer import ExpressionTrainer
    from rafdb_vit.predictions import Predictions
    from rafdb_vit.publication import Publication
    from rafdb_vit.results import EvaluationResult
    from rafdb_vit.run_folder import RunFolder
    from rafdb_vit.training_arguments import ExpressionTrainingArguments


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
        Interrupted: A signal ended the run; its message says what was saved and how to go on.
    """
    from rafdb_vit.arguments import parse_training_arguments

    argv = sys.argv[1:] if argv is None else argv
    data, model, args, asked = parse_training_arguments(argv)

    from transformers import set_seed

    from rafdb_vit.console import quiet_libraries
    from rafdb_vit.hardware import set_threads
    from rafdb_vit.interruption import Interruption
    from rafdb_vit.launch import says_how_to_go_on
    from rafdb_vit.processes import fails_alone, from_main
    from rafdb_vit.run_folder import RunFolder
    from rafdb_vit.trained_publication import publish_trained

    quiet_libraries()
    threads, folder = set_threads(), RunFolder(args.output_dir)
    checkpoint = _find_checkpoint(folder, data, model, args)
    faces = _load_faces(data, folder, resuming=checkpoint is not None)
    publication = _plan_publication(faces, model, args) if args.publishes else None
    set_seed(args.seed)
    network, processor = _load_network(model, faces.splits["train"].features["label"].names)
    with Interruption() as interruption:
        identity = _describe_identity(network, faces, data, model, args)
        trainer = _build_trainer(network, processor, faces, model, args, interruption=interruption, identity=identity)
        folder.open(asked, resume_from=checkpoint, identity=identity)
        _say_start(faces, model, trainer, folder, threads)
        with says_how_to_go_on(argv), fails_alone():
            trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
            outcome, predictions = _finish(trainer, processor, faces, folder)
        protocol = _record(outcome, trainer, faces, model, folder)
    _show_end(outcome, predictions, faces, protocol, demo=data.demo)
    from_main(lambda: publication and publish_trained(publication, folder.path))
    return outcome


def _find_checkpoint(
    folder: "RunFolder", data: "DataArguments", model: "ModelArguments", args: "ExpressionTrainingArguments"
) -> Path | None:
    """Checks the run folder; returns the checkpoint to go on from, None to start from the beginning."""
    from rafdb_vit.processes import from_main
    from rafdb_vit.training_arguments import NEWEST_CHECKPOINT

    asked, allowed = args.resume_from_checkpoint, {"demo": data.demo, "overwrite": model.overwrite_output_dir}
    if asked is None:
        return from_main(lambda: folder.check(**allowed))
    return from_main(lambda: folder.find_checkpoint(None if asked == NEWEST_CHECKPOINT else asked, **allowed))


def _load_faces(data: "DataArguments", folder: "RunFolder", *, resuming: bool) -> "RunData":
    from rafdb_vit.console import DEMO_BANNER, say
    from rafdb_vit.data import load_run_data
    from rafdb_vit.processes import fails_together, from_main, main_process_first

    if data.demo:
        say(DEMO_BANNER)
    if data.demo and not resuming:
        from_main(folder.draw_demo_faces)
    with main_process_first() if data.dataset_name else fails_together():
        faces = load_run_data(folder.demo_faces if data.demo else data.data_dir, **data.loading)
    from_main(faces.check_images)
    return faces


def _plan_publication(faces: "RunData", model: "ModelArguments", args: "ExpressionTrainingArguments") -> "Publication":
    """Returns where the run will be published; what speaks against it is said before anything is trained."""
    from rafdb_vit.trained_publication import plan_publication

    return plan_publication(
        faces.describe(),
        repo_id=str(args.hub_model_id),
        revision=args.hub_revision,
        private=bool(args.hub_private_repo),
        license=model.license,
    )


def _load_network(model: "ModelArguments", names: Sequence[str]) -> tuple[Any, Any]:
    from rafdb_vit.model import load_model
    from rafdb_vit.processes import main_process_first
    from rafdb_vit.scratch import build_model

    if model.from_scratch:
        return build_model(model.from_scratch, names, image_size=model.image_size, patch_size=model.patch_size)
    with main_process_first():
        return load_model(model.model_name_or_path, names, revision=model.model_revision)


def _build_trainer(
    network: Any,
    processor: Any,
    faces: "RunData",
    model: "ModelArguments",
    args: "ExpressionTrainingArguments",
    **more: Any,
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
        **more,
    )
    trainer.check_optimizer()  # before anything is written
    return trainer


def _describe_identity(
    network: Any, faces: "RunData", data: "DataArguments", model: "ModelArguments", args: "ExpressionTrainingArguments"
) -> dict[str, Any]:
    """Returns what a run that goes on from this one's checkpoints has to share with it."""
    from rafdb_vit import protocol
    from rafdb_vit.processes import from_main

    described = protocol.describe_model(network, source=model.source, from_scratch=bool(model.from_scratch))
    settings = {**data.identity, **model.recipe, "validation_fraction": faces.validation.get("fraction")}
    return from_main(lambda: protocol.describe_identity(args, splits=faces.splits, model=described, settings=settings))


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
            data=faces.render_form(),
            counts={split: count_classes(dataset) for split, dataset in faces.splits.items()},
        )
    )


def _show_end(
    outcome: TrainOutcome, predictions: "Predictions", faces: "RunData", protocol: dict[str, Any], *, demo: bool
) -> None:
    """Says what came out, then writes the page, without which the run is whole."""
    from rafdb_vit.console import DEMO_BANNER, render_next, say
    from rafdb_vit.processes import from_main
    from rafdb_vit.report.files import write_run_page

    say(f"\nTest ({outcome.test.n} faces, scored once)\n\n{outcome.test.render_report()}\n")
    say(render_next(str(outcome.folder), classes=len(outcome.test.per_class), publishable=not demo))
    if demo:
        say(DEMO_BANNER)
    from_main(lambda: write_run_page(outcome.folder, faces, predictions, outcome.test, protocol=protocol))


def _finish(
    trainer: "ExpressionTrainer", processor: Any, faces: "RunData", folder: "RunFolder"
) -> tuple[TrainOutcome, "Predictions"]:
    """Saves the best model, and scores it as it was saved; returns also what it answers to test."""
    from rafdb_vit.inference import predict_split
    from rafdb_vit.model import load_trained
    from rafdb_vit.processes import from_main

    best, _ = load_trained(str(trainer.state.best_model_checkpoint))
    from_main(lambda: folder.write_model(best, processor))
    settings: dict[str, Any] = {
        "batch_size": trainer.args.per_device_eval_batch_size,
        "before_batch": trainer.raise_if_interrupted,
    }
    saved = load_trained(folder.path)
    validation, test = (predict_split(*saved, faces.splits[split], **settings) for split in ("validation", "test"))
    trainer.raise_if_interrupted()
    return TrainOutcome(folder.path, validation.score(), test.score()), test


def _record(
    outcome: TrainOutcome,
    trainer: "ExpressionTrainer",
    faces: "RunData",
    model: "ModelArguments",
    folder: "RunFolder",
) -> dict[str, Any]:
    """Writes pictures and `results.json`, with which the run is whole; returns how its figures came about."""
    from rafdb_vit import protocol
    from rafdb_vit.checkpoint import hash_model
    from rafdb_vit.processes import from_main

    args, state = trainer.args, trainer.state
    recipe = {**model.recipe, "augmentation": trainer.transform.describe()}
    content = protocol.build_protocol(
        data=faces.describe(),
        validation=faces.describe_validation(),
        model=protocol.describe_model(trainer.network, source=model.source, from_scratch=bool(model.from_scratch)),
        training={**protocol.describe_training(args, processes=args.world_size), **recipe},
        checkpoint=protocol.describe_checkpoint(args, state),
        history=protocol.describe_history(state),
        files=hash_model(folder.path),
    )
    figures = {"validation": outcome.validation, "test": outcome.test}
    from_main(lambda: folder.write_results(**figures, protocol=content))
    return content
