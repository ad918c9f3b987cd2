"""Puts the trainer of an expression classifier together: transforms, order, loss, metrics and callbacks."""

from typing import Any

from datasets import Dataset
from transformers import EarlyStoppingCallback, PreTrainedModel, PrinterCallback, ProgressCallback

from rafdb_vit.callbacks import BarsCallback, EpochLineCallback
from rafdb_vit.errors import UserError
from rafdb_vit.expression_trainer import ExpressionTrainer
from rafdb_vit.metrics import build_compute_metrics
from rafdb_vit.results import AVERAGES, CLASS_FIGURES, flat_name
from rafdb_vit.training_arguments import ExpressionTrainingArguments
from rafdb_vit.transforms import (
    build_collator,
    build_eval_transform,
    build_train_transform,
    with_face_transform,
)


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
    **run: Any,
) -> ExpressionTrainer:
    """Builds the trainer of an expression classifier: transforms, collator, metrics and callbacks in place.

    Args:
        model: From `load_model` or `rafdb_vit.scratch.build_model`.
        processor: Its image processor.
        args: Training arguments.
        train: A split of `load_rafdb`.
        validation: Another; the best checkpoint is chosen on it.
        layer_decay: Layer-wise learning-rate decay in (0, 1]; 1 is off.
        random_erasing: Probability of RandomErasing in [0, 1]; 0 is off.
        early_stopping_patience: Evaluations without an improvement after which training ends; None: never.
        **run: `interruption` and `identity`, for `ResumableTrainer`.

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
        layer_decay=layer_decay,
        **run,
    )
    _set_callbacks(trainer, early_stopping_patience)
    return trainer


def _set_callbacks(trainer: ExpressionTrainer, early_stopping_patience: int | None) -> None:
    """Adds early stopping, and puts a line an epoch in place of the dictionaries that the stock callbacks print."""
    if early_stopping_patience is not None:
        trainer.add_callback(EarlyStoppingCallback(early_stopping_patience=early_stopping_patience))
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
