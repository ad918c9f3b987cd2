"""Our `Trainer`: the stock one, less the upstream faults that give wrong weights or a wrong learning rate."""

import math
from functools import partial
from typing import Any

import torch
from datasets import Dataset
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    PrinterCallback,
    ProgressCallback,
    Trainer,
)
from transformers.trainer_utils import SchedulerType, TrainOutput

from rafdb_vit.arguments import ExpressionTrainingArguments, StepSchedule
from rafdb_vit.callbacks import BarsCallback, EpochLineCallback, TransformEpochCallback
from rafdb_vit.checkpoint import quiet_loading
from rafdb_vit.errors import UserError
from rafdb_vit.metrics import build_compute_metrics
from rafdb_vit.model import load_weights
from rafdb_vit.optim import build_parameter_groups
from rafdb_vit.results import AVERAGES, CLASS_FIGURES, flat_name
from rafdb_vit.transforms import (
    build_collator,
    build_eval_transform,
    build_train_transform,
    with_face_transform,
)


def _step_factor(schedule: StepSchedule, steps_per_epoch: int, warmup: int, step: int) -> float:
    """Returns what the peak rate is multiplied with at a step (from 0) of the schedule `step`."""
    decay = schedule.gamma ** (step // (schedule.step_size * steps_per_epoch))
    return decay * min(1.0, step / warmup if warmup else 1.0)


class ExpressionTrainer(Trainer):
    """`transformers.Trainer` with four methods replaced.

    Differences from the stock Trainer:

    - weights of a checkpoint are loaded through `from_pretrained`, all of them (`rafdb_vit.model.load_weights`);
    - the optimizer's groups have weight decay on matrices only and layer-wise learning-rate decay;
    - `reduce_lr_on_plateau` watches the metric in its own direction;
    - the schedule `step` exists.
    """

    args: ExpressionTrainingArguments

    def __init__(self, *args: Any, layer_decay: float = 1.0, **kwargs: Any) -> None:
        self.layer_decay = layer_decay
        super().__init__(*args, **kwargs)

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """Trains as the stock method does, and closes the progress bars also when training fails."""
        try:
            return super().train(*args, **kwargs)
        finally:
            for callback in self.callback_handler.callbacks:
                if isinstance(callback, BarsCallback):
                    callback.close()

    def check_optimizer(self) -> None:
        """Builds the parameter groups once and drops them.

        Raises:
            UserError: `layer_decay` does not go with the model.
        """
        self._build_groups(self.model)

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
            factor = partial(_step_factor, self.args.step_schedule, self._steps_per_epoch(), warmup)
            self.lr_scheduler = LambdaLR(optimizer or self.create_optimizer(), factor)
            self._created_lr_scheduler = True
        elif self.lr_scheduler is None and self.args.lr_scheduler_type == SchedulerType.REDUCE_ON_PLATEAU:
            # The Trainer leaves torch's default, "min": with macro-F1 the rate would fall while things improve.
            mode = "max" if self.args.greater_is_better else "min"
            given: Any = self.args.lr_scheduler_kwargs or {}
            self.args.lr_scheduler_kwargs = {"mode": mode, **given}
        return super().create_scheduler(num_training_steps, optimizer)

    def _steps_per_epoch(self) -> int:
        faces: Any = self.train_dataset
        batches = math.ceil(len(faces) / (self.args.train_batch_size * self.args.world_size))
        return math.ceil(batches / self.args.gradient_accumulation_steps)

    @property
    def network(self) -> PreTrainedModel:
        """The model in training, unwrapped."""
        model: Any = self.model
        return model

    def _load_best_model(self) -> None:
        """Loads the best checkpoint truly.

        The stock method leaves every encoder layer of a ViT as the last epoch left it (huggingface/transformers#48805,
        #48822). Delete with the first release that carries the fix.
        """
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            super()._load_best_model()
        else:
            load_weights(self.network, str(self.state.best_model_checkpoint))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Loads the weights to resume from truly; see `_load_best_model`."""
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            load_weights(self.network if model is None else model, resume_from_checkpoint)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Saves as the stock method does, without its progress bar for each checkpoint."""
        with quiet_loading():
            super()._save(output_dir, state_dict)


def build_trainer(
    model: PreTrainedModel,
    processor: Any,
    *,
    args: ExpressionTrainingArguments,
    train: Dataset,
    validation: Dataset,
    layer_decay: float = 0.75,
    random_erasing: float = 0.25,
    early_stopping_patience: int | None = 5,
) -> ExpressionTrainer:
    """Builds the trainer of an expression classifier: transforms, collator, metrics and callbacks in place.

    Args:
        model: From `load_model` or `build_model`.
        processor: Its image processor.
        args: Training arguments.
        train: A split of `load_rafdb`.
        validation: Another; the best checkpoint is chosen on it.
        layer_decay: Layer-wise learning-rate decay in (0, 1]; 1 is off.
        random_erasing: Probability of RandomErasing in [0, 1]; 0 is off.
        early_stopping_patience: Evaluations without an improvement after which training ends; None: never.

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
        callbacks=[TransformEpochCallback(transform)],
        layer_decay=layer_decay,
    )
    if early_stopping_patience is not None:
        trainer.add_callback(EarlyStoppingCallback(early_stopping_patience=early_stopping_patience))
    _tidy_output(trainer)
    return trainer


def _tidy_output(trainer: ExpressionTrainer) -> None:
    """Puts a line an epoch in place of the dictionaries that the stock callbacks print."""
    trainer.remove_callback(PrinterCallback)
    if trainer.pop_callback(ProgressCallback) is not None:
        trainer.add_callback(BarsCallback())
    trainer.add_callback(EpochLineCallback())


def _check_settings(args: ExpressionTrainingArguments, names: list[str], random_erasing: float) -> None:
    if args.remove_unused_columns:
        raise UserError("--remove_unused_columns True: the transforms need every column; leave the flag out")
    known = [*AVERAGES, *(flat_name(figure, name) for name in names for figure in CLASS_FIGURES)]
    if str(args.metric_for_best_model).removeprefix("eval_") not in known:
        raise UserError(f"--metric_for_best_model {args.metric_for_best_model}: expected one of {', '.join(known)}")
    if not 0 <= random_erasing <= 1:
        raise UserError(f"--random_erasing {random_erasing}: expected a probability, 0 (off) to 1")
