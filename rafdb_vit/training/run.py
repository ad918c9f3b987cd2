"""The main job: data, model, training, then one scoring of validation and test by the model as it was saved."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, set_seed

from rafdb_vit.data.dataset import check_images
from rafdb_vit.data.found import FoundData
from rafdb_vit.evaluation.inference import predict_split
from rafdb_vit.evaluation.predictions import Predictions
from rafdb_vit.evaluation.protocol import Protocol, describe_data, describe_model, describe_validation
from rafdb_vit.evaluation.results import EvaluationResult
from rafdb_vit.hub.publication import Publication, plan_publication, publish_trained
from rafdb_vit.model.download import hash_model
from rafdb_vit.model.load import load_model, load_trained
from rafdb_vit.model.scratch import build_model
from rafdb_vit.report.page import write_run_page
from rafdb_vit.runtime.console import DEMO_BANNER, quiet_libraries, render_next, render_start, say
from rafdb_vit.runtime.hardware import describe_device, set_threads
from rafdb_vit.runtime.launch import naming_resume_command
from rafdb_vit.runtime.processes import broadcast_from_main, main_process_first, raise_on_all, raise_on_one
from rafdb_vit.runtime.signals import SignalWatch
from rafdb_vit.training.arguments import NEWEST_CHECKPOINT, ExpressionTrainingArguments
from rafdb_vit.training.flags import DataArguments, ModelArguments
from rafdb_vit.training.optimizer import default_layer_decay
from rafdb_vit.training.record import describe_checkpoint, describe_history, describe_identity, describe_training
from rafdb_vit.training.run_folder import RunFolder
from rafdb_vit.training.trainer import ExpressionTrainer, build_trainer


@dataclass(frozen=True)
class TrainOutcome:
    """What a training run left behind.

    Attributes:
        folder: The run folder.
        validation: Metrics of the saved model on validation.
        test: Its metrics on test.
    """

    folder: Path
    validation: EvaluationResult
    test: EvaluationResult


def run_training(
    data: DataArguments,
    model: ModelArguments,
    args: ExpressionTrainingArguments,
    *,
    asked: Mapping[str, Any],
    argv: Sequence[str],
) -> TrainOutcome:
    """Trains a model and scores it.

    Args:
        data: What to train on.
        model: What to train.
        args: How.
        asked: The settings that were asked for, by flag name.
        argv: The words of the command line, for the line that goes on with an interrupted run.

    Raises:
        UserError: Something that the person can mend; nothing was trained, or what was trained is on disk.
        Interrupted: A signal ended the run; its message says what was saved and how to go on.
    """
    quiet_libraries()
    threads, folder = set_threads(), RunFolder(args.output_dir)
    checkpoint = _find_checkpoint(folder, data, model, args)
    found = _load_data(data, folder, resuming=checkpoint is not None)
    publication = _plan_publication(found, model, args) if args.publishes else None
    set_seed(args.seed)
    network, processor = _load_network(model, found.class_names)
    recipe = _choose_recipe(model, network)
    with SignalWatch() as signals:
        identity = _describe_identity(network, found, data, model, args, recipe)
        trainer = _build_trainer(network, processor, found, args, recipe, signals=signals, identity=identity)
        folder.open(asked, resume_from=checkpoint, identity=identity)
        _say_start(found, model, trainer, folder, threads)
        with naming_resume_command(argv), raise_on_one():
            trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
            outcome, predictions = _score(trainer, processor, found, folder)
        protocol = _write_results(outcome, trainer, found, model, recipe, folder)
    _show_end(outcome, predictions, found, protocol, demo=data.demo)
    broadcast_from_main(lambda: publication and publish_trained(publication, folder.path))
    return outcome


def _find_checkpoint(
    folder: RunFolder, data: DataArguments, model: ModelArguments, args: ExpressionTrainingArguments
) -> Path | None:
    """Checks the run folder; returns the checkpoint to go on from, None to start from the beginning."""
    asked, allowed = args.resume_from_checkpoint, {"demo": data.demo, "overwrite": model.overwrite_output_dir}
    if asked is None:
        return broadcast_from_main(lambda: folder.check(**allowed))
    named = None if asked == NEWEST_CHECKPOINT else asked
    return broadcast_from_main(lambda: folder.find_start(named, **allowed))


def _load_data(data: DataArguments, folder: RunFolder, *, resuming: bool) -> FoundData[Dataset]:
    if data.demo:
        say(DEMO_BANNER)
    if data.demo and not resuming:
        broadcast_from_main(folder.draw_demo_faces)
    with main_process_first() if data.dataset_name else raise_on_all():
        found = data.load(folder.demo_faces if data.demo else None, drawn=data.demo)
    broadcast_from_main(lambda: check_images(found))
    return found


def _plan_publication(
    found: FoundData[Dataset], model: ModelArguments, args: ExpressionTrainingArguments
) -> Publication:
    """Returns where the run will be published; what speaks against it is said before anything is trained."""
    return plan_publication(
        describe_data(found),
        repo_id=str(args.hub_model_id),
        revision=args.hub_revision,
        private=bool(args.hub_private_repo),
        license=model.license,
    )


def _load_network(model: ModelArguments, names: Sequence[str]) -> tuple[PreTrainedModel, Any]:
    if model.from_scratch:
        return build_model(model.from_scratch, names, image_size=model.image_size, patch_size=model.patch_size)
    with main_process_first():
        return load_model(model.model_name_or_path, names, revision=model.model_revision)


def _choose_recipe(model: ModelArguments, network: PreTrainedModel) -> dict[str, Any]:
    """Returns the settings of training that are not among `TrainingArguments`, as `build_trainer` takes them."""
    return {
        "layer_decay": default_layer_decay(network) if model.layer_decay is None else model.layer_decay,
        "random_erasing": model.random_erasing,
        "early_stopping_patience": model.early_stopping_patience,
    }


def _build_trainer(
    network: PreTrainedModel,
    processor: Any,
    found: FoundData[Dataset],
    args: ExpressionTrainingArguments,
    recipe: Mapping[str, Any],
    **run: Any,
) -> ExpressionTrainer:
    splits = {split: found.splits[split] for split in ("train", "validation")}
    trainer = build_trainer(network, processor, args=args, **splits, **recipe, **run)
    trainer.check_optimizer()  # before anything is written
    return trainer


def _describe_identity(
    network: PreTrainedModel,
    found: FoundData[Dataset],
    data: DataArguments,
    model: ModelArguments,
    args: ExpressionTrainingArguments,
    recipe: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns what a run that goes on from this one's checkpoints has to share with it."""
    described = describe_model(network, source=model.source, from_scratch=bool(model.from_scratch))
    settings = {**data.identity, **recipe, "validation_fraction": found.validation_fraction}
    return broadcast_from_main(lambda: describe_identity(args, splits=found.splits, model=described, settings=settings))


def _say_start(
    found: FoundData[Dataset], model: ModelArguments, trainer: ExpressionTrainer, folder: RunFolder, threads: int
) -> None:
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
            data=found.describe(),
            counts=describe_data(found).used,
        )
    )


def _score(
    trainer: ExpressionTrainer, processor: Any, found: FoundData[Dataset], folder: RunFolder
) -> tuple[TrainOutcome, Predictions]:
    """Saves the best model, and scores it as it was saved; returns also what it answers to test."""
    best, _ = load_trained(str(trainer.state.best_model_checkpoint))
    broadcast_from_main(lambda: folder.write_model(best, processor))
    settings: dict[str, Any] = {
        "batch_size": trainer.args.per_device_eval_batch_size,
        "before_batch": trainer.raise_if_signalled,
    }
    saved = load_trained(folder.path)
    validation, test = (predict_split(*saved, found.splits[split], **settings) for split in ("validation", "test"))
    trainer.raise_if_signalled()
    return TrainOutcome(folder.path, validation.score(), test.score()), test


def _write_results(
    outcome: TrainOutcome,
    trainer: ExpressionTrainer,
    found: FoundData[Dataset],
    model: ModelArguments,
    recipe: Mapping[str, Any],
    folder: RunFolder,
) -> Protocol:
    """Writes plots and `results.json`, with which the run is whole; returns how its metrics came about."""
    args, state = trainer.args, trainer.state
    augmentation = {"augmentation": trainer.transform.describe()}

    def write() -> Protocol:
        """Writes them, on the main process alone."""
        protocol = Protocol(
            data=describe_data(found),
            validation=describe_validation(found),
            model=describe_model(trainer.network, source=model.source, from_scratch=bool(model.from_scratch)),
            training={**describe_training(args, processes=args.world_size), **recipe, **augmentation},
            checkpoint=describe_checkpoint(args, state),
            files_sha256=hash_model(folder.path),
            history=describe_history(state),
        )
        folder.write_results(validation=outcome.validation, test=outcome.test, protocol=protocol)
        return protocol

    return broadcast_from_main(write)


def _show_end(
    outcome: TrainOutcome, predictions: Predictions, found: FoundData[Dataset], protocol: Protocol, *, demo: bool
) -> None:
    """Says what came out, then writes the page, without which the run is whole."""
    say(f"\nTest ({outcome.test.n} faces, scored once)\n\n{outcome.test.render_report()}\n")
    say(render_next(str(outcome.folder), classes=len(outcome.test.per_class), publishable=not demo))
    if demo:
        say(DEMO_BANNER)
    broadcast_from_main(lambda: write_run_page(outcome.folder, found, predictions, outcome.test, protocol=protocol))
