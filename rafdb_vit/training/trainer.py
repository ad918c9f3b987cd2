"""Our `Trainer`: the stock one, without the upstream faults that give wrong weights, losses or learning rates."""

import copy
import math
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import save_fsdp_optimizer
from datasets import Dataset
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from transformers import EarlyStoppingCallback, PreTrainedModel, PrinterCallback, ProgressCallback
from transformers.trainer import SCHEDULER_NAME
from transformers.trainer_utils import SchedulerType, TrainOutput

from rafdb_vit.evaluation.metrics import CLASS_METRICS
from rafdb_vit.evaluation.results import AVERAGES, flat_name
from rafdb_vit.model.download import quiet_saving
from rafdb_vit.model.load import build_from_weights, load_trained, load_weights
from rafdb_vit.model.preprocessing import (
    TrainTransform,
    build_collator,
    build_eval_transform,
    build_train_transform,
    with_face_transform,
)
from rafdb_vit.model.trial import fit_batch, takes_one_picture
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.signals import shield_workers
from rafdb_vit.training.arguments import ExpressionTrainingArguments
from rafdb_vit.training.callbacks import BarsCallback, EpochCallback, EpochLineCallback
from rafdb_vit.training.compute_metrics import build_compute_metrics
from rafdb_vit.training.duration import DurationCallback
from rafdb_vit.training.flags import ModelArguments
from rafdb_vit.training.loss import ExpressionLoss, ignore_padding
from rafdb_vit.training.optimizer import build_parameter_groups, default_layer_decay
from rafdb_vit.training.resume import ResumableTrainer
from rafdb_vit.training.sampler import EpochSampler
from rafdb_vit.training.trackers import gather_trackers
from rafdb_vit.training.training_flags import StepSchedule


def _step_factor(schedule: StepSchedule, steps_per_epoch: int, warmup: int, step: int) -> float:
    """Returns what the peak rate is multiplied with at a step (from 0) of the schedule `step`."""
    decay = schedule.gamma ** (step // (schedule.step_size * steps_per_epoch))
    return decay * min(1.0, step / warmup if warmup else 1.0)


def _take_logits(logits: Any, labels: Any) -> torch.Tensor:
    """Returns the logits of what a model gave; some give those of each of their heads, too."""
    return logits if isinstance(logits, torch.Tensor) else logits[0]


class ExpressionTrainer(ResumableTrainer):
    """`ResumableTrainer` for faces.

    Differences from the stock Trainer, besides `ResumableTrainer`'s:

    - weights of a checkpoint are loaded through `from_pretrained`, all of them (`rafdb_vit.model.load`), and every
      checkpoint holds the whole model, also when training shards it (FSDP);
    - a step's loss is the mean over its faces, however many processes and accumulated batches they come from, and no
      face counts twice (`rafdb_vit.training.loss`);
    - the optimizer's groups have weight decay on matrices only and layer-wise learning-rate decay;
    - `--dataloader_drop_last` leaves out the faces that fill no whole step, of training alone;
    - `reduce_lr_on_plateau` knows whether the metric should rise or fall;
    - a tracker that fails during training does not end it (`rafdb_vit.training.trackers`);
    - the schedule `step` exists.

    Args:
        transform: The transform of the training faces, which is told each epoch.
        layer_decay: Layer-wise learning-rate decay in (0, 1].
    """

    args: ExpressionTrainingArguments

    def __init__(
        self,
        *,
        args: ExpressionTrainingArguments,
        train_dataset: Any,
        transform: TrainTransform,
        layer_decay: float,
        **kwargs: Any,
    ) -> None:
        self.layer_decay = layer_decay
        seed = args.seed if args.data_seed is None else args.data_seed
        whole = args.effective_batch_size if args.drops_last else 1
        self.sampler = EpochSampler(len(train_dataset), seed=seed, whole=whole)
        loss = ExpressionLoss(args.label_smoothing_factor)
        super().__init__(
            args=args,
            train_dataset=train_dataset,
            compute_loss_func=loss,
            preprocess_logits_for_metrics=_take_logits,
            **kwargs,
        )
        # Upstream looks for them in the model's `forward`, where LeViT and a distilled DeiT have none.
        self.label_names = ["labels"]
        self.transform = transform
        self.add_callback(EpochCallback(transform, self.sampler))
        self.trackers = gather_trackers(self.callback_handler.callbacks)
        self.add_callback(self.trackers)

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """Trains as the stock method does, and closes the progress bars also when training fails."""
        if self.is_fsdp_enabled:
            self._prepare_sharding(resume_from_checkpoint)
        try:
            return super().train(resume_from_checkpoint, *args, **kwargs)
        finally:
            for callback in self.callback_handler.callbacks:
                if isinstance(callback, BarsCallback):
                    callback.close()

    def _prepare_sharding(self, resume_from_checkpoint: Any) -> None:
        """Loads the weights to resume from while the model is whole, and says which layers are sharded."""
        if resume_from_checkpoint:
            load_weights(self.network, resume_from_checkpoint)
        plugin: Any = self.accelerator.state.fsdp_plugin
        if plugin.transformer_cls_names_to_wrap is None:
            # accelerate shards the input embedding by itself, which fails within a class that is sharded too: seen with
            # accelerate 1.15 and ViTEmbeddings. Delete when fsdp2_prepare_model leaves sharded modules alone.
            names = self.network._no_split_modules or []
            plugin.transformer_cls_names_to_wrap = [name for name in names if not name.endswith("Embeddings")]

    # ---- Faces ----

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self.sampler

    def get_train_dataloader(self) -> Any:
        """Returns the stock loader, its workers leaving signals to this process."""
        return shield_workers(super().get_train_dataloader())

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Returns the stock loader, its workers leaving signals to this process."""
        return shield_workers(super().get_eval_dataloader(eval_dataset))

    def check_batches(self) -> None:
        """Refuses a size of batches that leaves no step, or a batch of one face to a model that normalizes batches.

        Raises:
            UserError: It does; found out without computing anything.
        """
        size, faces = self.args.per_device_train_batch_size, self.sampler.length
        if not len(self.sampler):
            raise UserError(
                f"--dataloader_drop_last: leaves out all {faces} faces of train, since a step takes "
                f"{self.args.effective_batch_size}; lower --per_device_train_batch_size, or leave the flag out"
            )
        left = math.ceil(len(self.sampler) / self.args.world_size) % size
        if 1 in (left, size) and not takes_one_picture(self.network, self.processing_class):
            mend = "give another size" if size == 1 else "add --dataloader_drop_last, or give another size"
            raise UserError(
                f"--per_device_train_batch_size {size}: leaves a batch of a single face ({faces} in train), which the "
                f"batch normalization of this model does not take; {mend}"
            )

    def _get_dataloader(  # type: ignore[override]
        self, *, batch_size: int, is_training: bool = False, **settings: Any
    ) -> Any:
        """Makes a loader as the stock method does, of smaller batches to evaluate where a batch would take too much."""
        if not is_training:
            batch_size = fit_batch(batch_size, self.network, self.processing_class)
        return super()._get_dataloader(batch_size=batch_size, is_training=is_training, **settings)

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: Any) -> tuple[list[Any], Any]:
        """Fetches the batches of a step, as the stock method does; faces that only fill up do not count."""
        return super().get_batch_samples(self._without_padding(epoch_iterator), num_batches, device)

    def _without_padding(self, batches: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        faces, processes, process = len(self.sampler), self.args.world_size, self.args.process_index
        for batch in batches:
            if self.accelerator.gradient_state.end_of_dataloader:
                labels = ignore_padding(batch["labels"], faces=faces, processes=processes, process=process)
                batch = {**batch, "labels": labels}
            yield batch

    # ---- Optimizer and schedule ----

    def check_optimizer(self) -> None:
        """Makes optimizer and schedule once and drops them, before anything is written.

        Raises:
            UserError: `layer_decay` does not go with the model, or a setting not with the optimizer or the schedule.
        """
        args = self.args
        optimizer, schedule = (getattr(flag, "value", flag) for flag in (args.optim, args.lr_scheduler_type))
        try:
            self._refuse_ignored_optim_args(optimizer)
            self.create_optimizer()
        except (ValueError, TypeError, ImportError, RuntimeError) as error:
            raise UserError(f"--optim {optimizer}: {error}") from error
        try:
            self.create_scheduler(100)
        except (ValueError, TypeError, KeyError, AssertionError) as error:
            raise UserError(f"--lr_scheduler_type {schedule}: {error}; see --lr_scheduler_kwargs") from error
        self.optimizer = self.lr_scheduler = None

    def _refuse_ignored_optim_args(self, optimizer: str) -> None:
        """Refuses settings of `--optim_args` that upstream would not pass on to this optimizer."""
        plain = copy.copy(self.args)
        plain.optim_args = None
        for setting in filter(None, (self.args.optim_args or "").replace(" ", "").split(",")):
            own = copy.copy(self.args)
            own.optim_args = setting
            passed = [self.get_optimizer_cls_and_kwargs(args, self.network)[1] for args in (plain, own)]
            if passed[0] == passed[1]:
                raise UserError(f"--optim_args {setting}: has no effect on --optim {optimizer}; leave it out")

    def _build_groups(self, model: Any) -> list[dict[str, Any]]:
        return build_parameter_groups(
            model,
            learning_rate=self.args.learning_rate,
            weight_decay=self.args.weight_decay,
            layer_decay=self.layer_decay,
        )

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Makes the optimizer that `--optim` names, over the groups of `build_parameter_groups`."""
        if self.optimizer is None:
            model = self.model if model is None else model
            optimizer_class, kwargs = self.get_optimizer_cls_and_kwargs(self.args, model)
            self.optimizer = optimizer_class(self._build_groups(model), **kwargs)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> LRScheduler:
        """Makes the schedule: those of transformers, and `step` (x gamma every step_size epochs)."""
        if self.lr_scheduler is None and self.args.step_schedule is not None:
            warmup = self.args.get_warmup_steps(num_training_steps)
            factor = partial(_step_factor, self.args.step_schedule, self.steps_per_epoch(), warmup)
            self.lr_scheduler = LambdaLR(optimizer or self.create_optimizer(), factor)
            self._created_lr_scheduler = True
        elif self.lr_scheduler is None and self.args.lr_scheduler_type == SchedulerType.REDUCE_ON_PLATEAU:
            # The Trainer leaves torch's default, "min": with macro-F1 the rate would fall while things improve.
            mode = "max" if self.args.greater_is_better else "min"
            given: Any = self.args.lr_scheduler_kwargs or {}
            self.args.lr_scheduler_kwargs = {"mode": mode, **given}
        return super().create_scheduler(num_training_steps, optimizer)

    # ---- Weights ----

    @property
    def network(self) -> PreTrainedModel:
        """The model in training, unwrapped."""
        model: Any = self.model
        return model

    def _load_best_model(self) -> None:
        """Loads the best checkpoint, every weight of it.

        The stock method leaves every encoder layer of a ViT as the last epoch left it (huggingface/transformers#48805,
        #48822). Delete with the first release that carries the fix.
        """
        best = str(self.state.best_model_checkpoint)
        if self.is_fsdp_enabled:
            trained, _ = load_trained(best)
            set_model_state_dict(self.network, trained.state_dict(), options=StateDictOptions(full_state_dict=True))
        else:
            load_weights(self.network, best)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Loads the weights to resume from, every one; see `_load_best_model`.

        Under FSDP, `train` has loaded them before the model was sharded.
        """
        if not self.is_fsdp_enabled:
            load_weights(self.network if model is None else model, resume_from_checkpoint)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Saves the whole model, also when it is sharded; the stock method then depends on accelerate's settings."""
        if not self.is_fsdp_enabled:
            return super().save_model(output_dir, _internal_call=_internal_call)
        gathered = StateDictOptions(full_state_dict=True, cpu_offload=True)
        weights: Any = get_model_state_dict(self.network, options=gathered)
        folder, processor = Path(output_dir or self.args.output_dir), self.processing_class
        if self.args.should_save:
            with quiet_saving(folder):
                build_from_weights(self.network.config, weights).save_pretrained(folder)
                if processor is not None:
                    processor.save_pretrained(folder)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """Saves as the stock method does, without a second copy of a sharded model's weights."""
        if not self.is_fsdp_enabled:
            return super()._save_optimizer_and_scheduler(output_dir)
        plugin: Any = self.accelerator.state.fsdp_plugin
        save_fsdp_optimizer(plugin, self.accelerator, self.optimizer, self.model, output_dir)
        if self.args.should_save:
            schedule: Any = self.lr_scheduler
            torch.save(schedule.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Saves as the stock method does, without its progress bar for each checkpoint."""
        with quiet_saving(Path(output_dir or self.args.output_dir), writes=self.args.should_save):
            super()._save(output_dir, state_dict)


def build_trainer(
    model: PreTrainedModel,
    processor: Any,
    *,
    args: ExpressionTrainingArguments,
    train: Dataset,
    validation: Dataset,
    layer_decay: float | None = None,
    random_erasing: float = ModelArguments.random_erasing,
    early_stopping_patience: int = ModelArguments.early_stopping_patience,
    **run: Any,
) -> ExpressionTrainer:
    """Builds the trainer of an expression classifier: transforms, collator, metrics and callbacks in place.

    Args:
        model: From `load_model` or `rafdb_vit.model.scratch.build_model`.
        processor: Its image processor.
        args: Training arguments.
        train: A split of `load_rafdb`.
        validation: Another; the best checkpoint is chosen on it.
        layer_decay: Layer-wise learning-rate decay in (0, 1]; 1 is off. None is what `default_layer_decay` returns.
        random_erasing: Probability of RandomErasing in [0, 1]; 0 is off.
        early_stopping_patience: Evaluations without an improvement after which training ends; 0: never.
        **run: `signals` and `identity`, for `ResumableTrainer`.

    Raises:
        UserError: A value is out of range, or `args` would starve the transforms of their columns.
    """
    names = train.features["label"].names
    _check_settings(args, names, random_erasing)
    transform = build_train_transform(processor, seed=args.seed, random_erasing=random_erasing)
    trainer = ExpressionTrainer(
        model=model,
        args=args,
        train_dataset=with_face_transform(train, transform),
        eval_dataset=with_face_transform(validation, build_eval_transform(processor)),
        data_collator=build_collator(processor),
        processing_class=processor,
        compute_metrics=build_compute_metrics(names),
        transform=transform,
        layer_decay=default_layer_decay(model) if layer_decay is None else layer_decay,
        **run,
    )
    _set_callbacks(trainer, early_stopping_patience)
    return trainer


def _set_callbacks(trainer: ExpressionTrainer, early_stopping_patience: int) -> None:
    """Adds early stopping, and puts a line an epoch in place of the dictionaries that the stock callbacks print."""
    if early_stopping_patience:
        trainer.add_callback(EarlyStoppingCallback(early_stopping_patience=early_stopping_patience))
    trainer.remove_callback(PrinterCallback)
    if trainer.pop_callback(ProgressCallback) is not None:
        trainer.add_callback(BarsCallback())
    trainer.add_callback(EpochLineCallback())
    trainer.add_callback(DurationCallback(trainer.steps_per_epoch, may_stop_early=bool(early_stopping_patience)))


def _check_settings(args: ExpressionTrainingArguments, names: list[str], random_erasing: float) -> None:
    if args.remove_unused_columns:
        raise UserError("--remove_unused_columns True: the transforms need every column; leave the flag out")
    known = [*AVERAGES, *(flat_name(figure, name) for name in names for figure in CLASS_METRICS)]
    if str(args.metric_for_best_model).removeprefix("eval_") not in known:
        raise UserError(f"--metric_for_best_model {args.metric_for_best_model}: expected one of {', '.join(known)}")
    if not 0 <= random_erasing <= 1:
        raise UserError(f"--random_erasing {random_erasing}: expected a probability, 0 (off) to 1")
