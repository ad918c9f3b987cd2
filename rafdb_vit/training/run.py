"""The main job: data, model, training, then one scoring of validation and test by the model as it was saved."""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, set_seed

from rafdb_vit.data.found import FoundData
from rafdb_vit.data.images import select_undecoded
from rafdb_vit.data.pixels import hash_faces
from rafdb_vit.evaluation.inference import predict_split
from rafdb_vit.evaluation.overlap import Overlap, SeenFaces, find_overlap
from rafdb_vit.evaluation.predictions import Predictions
from rafdb_vit.evaluation.protocol import ModelProtocol, Protocol, describe_data, describe_model, describe_split
from rafdb_vit.evaluation.results import EvaluationResult
from rafdb_vit.evaluation.small_data import describe_small_validation
from rafdb_vit.evaluation.verdict import judge
from rafdb_vit.hub.publication import Publication, plan_publication, propose_publication, publish_trained
from rafdb_vit.model.download import hash_model
from rafdb_vit.model.load import load_model, load_trained
from rafdb_vit.model.scratch import build_model
from rafdb_vit.report.files import CONFUSION_FILE, PLOTS_FOLDER
from rafdb_vit.report.page import write_run_page
from rafdb_vit.report.provenance import Provenance
from rafdb_vit.report.wording import describe_overlap
from rafdb_vit.runtime.announcement import announcing
from rafdb_vit.runtime.bars import silencing_bars
from rafdb_vit.runtime.console import DEMO_BANNER, quiet_libraries, render_next, render_start, say, say_line
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.hardware import describe_device, set_threads
from rafdb_vit.runtime.launch import naming_resume_command, render_own_command
from rafdb_vit.runtime.lock import hold_on_main
from rafdb_vit.runtime.processes import (
    broadcast_from_main,
    is_main_process,
    main_process_first,
    raise_on_all,
    raise_on_one,
)
from rafdb_vit.runtime.signals import SignalWatch
from rafdb_vit.training.arguments import ExpressionTrainingArguments
from rafdb_vit.training.divergence import Diverged
from rafdb_vit.training.flags import DataArguments, ModelArguments
from rafdb_vit.training.optimizer import default_layer_decay
from rafdb_vit.training.past_run import TEST_FILES, find_seen
from rafdb_vit.training.record import describe_checkpoint, describe_history, describe_identity, describe_training
from rafdb_vit.training.run_folder import RunFolder
from rafdb_vit.training.trainer import ExpressionTrainer, build_trainer
from rafdb_vit.training.training_flags import NEWEST_CHECKPOINT


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
        argv: The words of the command line, for the line that resumes an interrupted run.

    Raises:
        UserError: Something that the person can mend; nothing was trained, or what was trained is on disk.
        Interrupted: A signal ended the run; its message says what was saved and how to resume.
    """
    quiet_libraries()
    threads, folder = set_threads(), RunFolder(args.output_dir)
    with silencing_bars(args.disable_tqdm), hold_on_main(folder.path):
        checkpoint = _find_checkpoint(folder, data, model, args)
        if data.demo:
            _say_demo(model, args)
        found = _load_data(data, folder, resuming=checkpoint is not None)
        seen, tested = _hash_faces(found, model)
        publication = _plan_publication(found, model, args) if args.publishes else None
        set_seed(args.seed)
        network, processor = _load_network(model, found.class_names)
        run = _Run(data, model, args, folder, found, seen, tested, processor, _choose_recipe(model, network))
        outcome = run.carry_out(network, checkpoint, threads=threads, asked=asked, argv=argv)
        if publication is not None:
            broadcast_from_main(lambda: publish_trained(publication, folder.path))
        return outcome


def _find_checkpoint(
    folder: RunFolder, data: DataArguments, model: ModelArguments, args: ExpressionTrainingArguments
) -> Path | None:
    """Checks the run folder; returns the checkpoint to resume from, None to start from the beginning."""
    asked, allowed = args.resume_from_checkpoint, {"demo": data.demo, "overwrite": model.overwrite_output_dir}
    if asked is None:
        return broadcast_from_main(lambda: folder.check(**allowed))
    named = None if asked == NEWEST_CHECKPOINT else asked
    return broadcast_from_main(lambda: folder.find_start(named, **allowed))


def _say_demo(model: ModelArguments, args: ExpressionTrainingArguments) -> None:
    """Says what a demo will do."""
    length = f"{args.max_steps:,} steps" if args.max_steps > 0 else f"{args.num_train_epochs:g} epochs"
    say(DEMO_BANNER)
    say_line(
        f"It draws faces, trains a Vision Transformer ({model.source}) on them for {length}, and scores it on others."
    )
    say_line("How long training takes is said as soon as it has been timed.")


def _load_data(data: DataArguments, folder: RunFolder, *, resuming: bool) -> FoundData[Dataset]:
    if data.demo and not resuming:
        broadcast_from_main(folder.draw_demo_faces)
    return data.load(folder.demo_faces if data.demo else None, drawn=data.demo)


def _hash_faces(found: FoundData[Dataset], model: ModelArguments) -> tuple[SeenFaces | None, Sequence[str]]:
    """Opens every face; returns those that the model will have seen, and the hashes of those of test.

    It is the main process that needs them; the others get nothing.

    Raises:
        UserError: On every process: a face cannot be read, which would else end the run in the middle or at its end.
    """
    with raise_on_all():
        if is_main_process():
            base = None if model.from_scratch else find_seen(model.model_name_or_path)
            hashes = hash_faces(found.splits)
            return SeenFaces.of_run(hashes, base=base), hashes["test"]
    return None, ()


def _plan_publication(
    found: FoundData[Dataset], model: ModelArguments, args: ExpressionTrainingArguments
) -> Publication:
    """Returns where the run will be published; what speaks against it is said before anything is trained."""
    settings: dict[str, Any] = {"revision": args.hub_revision, "private": bool(args.hub_private_repo)}
    repo_id = str(args.hub_model_id)
    return plan_publication(describe_data(found), repo_id=repo_id, license=model.license, **settings)


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


@dataclass(frozen=True)
class _Run:
    """What a run was asked for, and what was found of it."""

    data: DataArguments
    model: ModelArguments
    args: ExpressionTrainingArguments
    folder: RunFolder
    found: FoundData[Dataset]
    seen: SeenFaces | None
    tested: Sequence[str]
    processor: Any
    recipe: Mapping[str, Any]

    def carry_out(
        self,
        network: PreTrainedModel,
        checkpoint: Path | None,
        *,
        threads: int,
        asked: Mapping[str, Any],
        argv: Sequence[str],
    ) -> TrainOutcome:
        """Trains, scores and writes; see `run_training` for the arguments."""
        with ExitStack() as tracked:
            with SignalWatch() as signals:
                trainer = self.prepare(network, checkpoint, signals=signals, asked=asked)
                self.say_start(trainer, threads)
                tracked.enter_context(trainer.trackers.reporting_run(self.describe_flags()))
                with naming_resume_command(argv):
                    started = time.monotonic()
                    diverged = self.train(trainer, checkpoint)
                    seconds = time.monotonic() - started
                    with raise_on_one(), announcing("Scoring the best model on validation and test"):
                        outcome, predictions = self.score(trainer)
                with announcing("Writing the results"):
                    protocol = broadcast_from_main(lambda: self.write_results(outcome, trainer, diverged))
            overlap = None if self.seen is None else find_overlap(predictions, self.tested, self.seen)
            self.say_scores(outcome.test, overlap)
            command = render_own_command("train", argv)
            provenance = Provenance(command, self.data.source_name, seconds, resumed=checkpoint is not None)
            record: dict[str, Any] = {"protocol": protocol, "overlap": overlap, "provenance": provenance}
            try:
                self.write_page(predictions, outcome.test, record)
                trainer.trackers.report_test(outcome.test, self.folder.path / PLOTS_FOLDER / CONFUSION_FILE)
            finally:
                self.say_next(outcome)
        if diverged is not None:
            best = f"the best model before that, of step {protocol.checkpoint.step}"
            left = "; it was not published" if self.args.publishes else ""
            raise UserError(f"{diverged.line}. {self.folder.path} holds {best}, and its metrics{left}") from diverged
        return outcome

    def prepare(
        self, network: PreTrainedModel, checkpoint: Path | None, *, signals: SignalWatch, asked: Mapping[str, Any]
    ) -> ExpressionTrainer:
        """Returns the trainer, and makes the folder ready for it: the last thing that can be refused."""
        with announcing("Preparing the training"):
            identity = self.describe_identity(network)
            trainer = self.build_trainer(network, signals=signals, identity=identity)
            self.folder.open(
                asked, resume_from=checkpoint, identity=identity, check=trainer.check_length, seen=self.seen
            )
        return trainer

    def describe_flags(self) -> dict[str, Any]:
        """Returns the package's own flags as they were resolved, for trackers."""
        flags = {**asdict(self.data), **asdict(self.model), **self.recipe}
        return {**flags, "model_name_or_path": None} if self.model.from_scratch else flags

    def train(self, trainer: ExpressionTrainer, checkpoint: Path | None) -> Diverged | None:
        """Trains; returns what ended training if it diverged after a checkpoint that can be scored.

        Raises:
            Diverged: It diverged before.
        """
        diverged = None
        with raise_on_one():
            try:
                trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
            except Diverged as end:
                diverged = end
        if diverged is not None and trainer.state.best_model_checkpoint is None:
            raise diverged
        return diverged

    def describe_model(self, network: PreTrainedModel) -> ModelProtocol:
        """Returns what is trained."""
        return describe_model(network, source=self.model.source, from_scratch=bool(self.model.from_scratch))

    def describe_identity(self, network: PreTrainedModel) -> dict[str, Any]:
        """Returns what a run that resumes from these checkpoints has to share with this one."""
        shares = self.found.shares
        settings = {**self.data.identity, **self.recipe, "validation_fraction": None}
        if "validation" in shares:
            settings["validation_fraction"] = shares["validation"].fraction
        if "test" in shares:
            settings[TEST_FILES] = shares["test"].files_sha256
        model, splits = self.describe_model(network), self.found.splits
        return broadcast_from_main(lambda: describe_identity(self.args, splits=splits, model=model, settings=settings))

    def build_trainer(self, network: PreTrainedModel, **settings: Any) -> ExpressionTrainer:
        """Returns the trainer, after trying its optimizer: before anything is written."""
        splits = {split: self.found.splits[split] for split in ("train", "validation")}
        trainer = build_trainer(network, self.processor, args=self.args, **splits, **self.recipe, **settings)
        trainer.check_optimizer()
        trainer.check_batches()
        return trainer

    def say_start(self, trainer: ExpressionTrainer, threads: int) -> None:
        """Says what the run is about to do."""
        args, model, network, data = self.args, self.model, trainer.network, describe_data(self.found)
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
                folder=str(self.folder.path),
                data=self.found.describe(),
                counts=data.used,
            )
        )
        for note in self.found.notes:
            say_line(f"Note        {note}")
        divided = (describe_split(self.found, split) for split in ("validation", "test"))
        for sentence in describe_small_validation(data, *divided):
            say_line(f"Few faces   {sentence}")

    def score(self, trainer: ExpressionTrainer) -> tuple[TrainOutcome, Predictions]:
        """Saves the best model, and scores it as it was saved; returns also what it answers to test."""
        if trainer.state.best_model_checkpoint is None:
            raise UserError(
                f"--output_dir {self.folder.path}: training ended at step {trainer.state.global_step} before any "
                "evaluation, so no checkpoint is the best; train longer, or lower --eval_delay"
            )
        best, _ = load_trained(str(trainer.state.best_model_checkpoint))
        broadcast_from_main(lambda: self.folder.write_model(best, self.processor))
        saved, predictions = load_trained(self.folder.path), {}
        broadcast_from_main(self.folder.check_model)
        for split in ("validation", "test"):
            predictions[split] = predict_split(
                *saved,
                self.found.splits[split],
                batch_size=self.args.per_device_eval_batch_size,
                before_batch=trainer.raise_if_signalled,
            )
        trainer.raise_if_signalled()
        results = {split: prediction.score() for split, prediction in predictions.items()}
        return TrainOutcome(self.folder.path, **results), predictions["test"]

    def write_results(self, outcome: TrainOutcome, trainer: ExpressionTrainer, diverged: Diverged | None) -> Protocol:
        """Writes `results.json`, with which the run is whole, and plots; returns how its metrics came about."""
        args, augmentation = self.args, {"augmentation": trainer.transform.describe()}
        protocol = Protocol(
            data=describe_data(self.found),
            validation=describe_split(self.found, "validation"),
            test_split=describe_split(self.found, "test"),
            model=self.describe_model(trainer.network),
            training={**describe_training(args, processes=args.world_size), **self.recipe, **augmentation},
            checkpoint=describe_checkpoint(
                args, trainer.state, diverged_at=None if diverged is None else diverged.step
            ),
            files_sha256=hash_model(self.folder.path),
            intervals=outcome.test.interval_method,
            history=describe_history(trainer.state),
        )
        self.folder.write_results(validation=outcome.validation, test=outcome.test, protocol=protocol)
        return protocol

    def write_page(self, predictions: Predictions, test: EvaluationResult, record: Mapping[str, Any]) -> None:
        """Draws the page; `record` is what `write_run_page` takes beside the scores."""
        page = self.folder.output, self.found, predictions, test
        with announcing("Drawing the page"):
            broadcast_from_main(lambda: write_run_page(*page, **record))

    def say_scores(self, test: EvaluationResult, overlap: Overlap | None) -> None:
        """Says what came out."""
        faces = "drawn faces" if self.data.demo else "faces"
        say(f"\nTest ({test.n:,} {faces}, scored once)\n\n{test.render_report()}\n")
        if overlap is not None and overlap.seen:
            say(f"{describe_overlap(overlap)}\n")
        say(f"{judge(test).render()}\n")

    def say_next(self, outcome: TrainOutcome) -> None:
        """Says where the results lie, and what to do with them."""
        license = self.model.license
        published = None if self.args.publishes else propose_publication(describe_data(self.found), license=license)
        say(render_next(str(outcome.folder), face=self.find_face(), publication=published))

    def find_face(self) -> str | None:
        """Returns the file of a cropped face of test; None where the data has none."""
        test = self.found.splits["test"]
        if "crop" in test.column_names:
            return None
        path = select_undecoded(test)[0]["image"]["path"]
        if not path or not os.path.isfile(path):
            return None
        return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path
