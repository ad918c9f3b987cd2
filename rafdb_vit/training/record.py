"""What a training run writes down: its part of the protocol, and what a resumed run has to share with it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from datasets import Dataset
from transformers import TrainerState

from rafdb_vit.data.splits import hash_files
from rafdb_vit.evaluation.protocol import CheckpointProtocol, ModelProtocol
from rafdb_vit.evaluation.reading import MOST_ENTRIES
from rafdb_vit.training.arguments import ExpressionTrainingArguments
from rafdb_vit.training.flag_checks import UNSUPPORTED_FLAGS, is_fsdp_chosen

_MAY_DIFFER = frozenset(
    """output_dir overwrite_output_dir resume_from_checkpoint use_cpu
    per_device_train_batch_size gradient_accumulation_steps per_device_eval_batch_size eval_accumulation_steps
    dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers dataloader_prefetch_factor
    dataloader_multiprocessing_context disable_tqdm report_to run_name project logging_dir
    trackio_space_id trackio_bucket_id trackio_static_space_id log_level log_level_replica log_on_each_node
    save_total_limit ddp_timeout ddp_backend ddp_bucket_cap_mb ddp_broadcast_buffers ddp_static_graph
    ddp_find_unused_parameters skip_memory_metrics torch_empty_cache_steps eval_on_start debug fp16 bf16
    num_train_epochs max_steps push_to_hub hub_model_id hub_private_repo hub_revision""".split()
)
_IDENTIFYING = ("file", "label", "crop", "distribution")


def describe_training(args: ExpressionTrainingArguments, *, processes: int) -> dict[str, Any]:
    """Returns the training settings as they were resolved, those that bear on the weights."""
    schedule = args.step_schedule
    return {
        "optimizer": getattr(args.optim, "value", args.optim),
        "learning_rate": args.learning_rate,
        "weight_decay": args.weight_decay,
        "schedule": "step" if schedule else getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type),
        "schedule_settings": schedule._asdict() if schedule else args.lr_scheduler_kwargs or {},
        "warmup_steps": args.warmup_steps,
        "epochs": args.num_train_epochs,
        "max_steps": args.max_steps,
        "batch_size": args.effective_batch_size,
        "batch": {
            "per_device": args.per_device_train_batch_size,
            "processes": processes,
            "gradient_accumulation_steps": args.gradient_accumulation_steps,
        },
        **({"drop_last": True} if args.drops_last else {}),
        "max_grad_norm": args.max_grad_norm,
        "label_smoothing": args.label_smoothing_factor,
        "sharding": "FSDP" if is_fsdp_chosen() else None,
        "precision": args.precision,
        "device": args.device.type,
        "seed": args.seed,
    }


def describe_checkpoint(
    args: ExpressionTrainingArguments, state: TrainerState, *, diverged_at: int | None = None
) -> CheckpointProtocol:
    """Returns which checkpoint was kept, and why; `diverged_at` is the step at which training diverged."""
    direction = "highest" if args.greater_is_better else "lowest"
    metric = str(args.metric_for_best_model).removeprefix("eval_")
    best: Any = state.best_metric
    step: Any = state.best_global_step
    epochs: Any = state.epoch
    return CheckpointProtocol(
        chosen_by=f"{direction} {metric} on validation",
        value=best,
        step=step,
        epoch=epoch_of_step(state, step),
        epochs_trained=epochs,
        steps_trained=state.global_step,
        diverged_at=diverged_at,
    )


def describe_identity(
    args: ExpressionTrainingArguments,
    *,
    splits: Mapping[str, Dataset],
    model: ModelProtocol,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns what has to be the same when a run is resumed from a checkpoint, by name.

    Every training flag counts but those of `_MAY_DIFFER`: a resumed run would ignore some of them, since optimizer
    and early stopping are restored, and with any of them the metrics would be those of neither run. Of another number
    of steps `rafdb_vit.training.length` decides.

    Args:
        args: The training arguments.
        splits: What is trained, validated and tested on: names, labels and sizes of the files count.
        model: What is trained.
        settings: This package's own settings.
    """
    free = _MAY_DIFFER | UNSUPPORTED_FLAGS.keys()
    flags = {name: value for name, value in args.to_dict().items() if name not in free}
    return {
        **{f"{split} data": f"{len(faces)} faces {_hash_faces(faces)}" for split, faces in splits.items()},
        **{f"model {name}": value for name, value in asdict(model).items()},
        "batch size": args.effective_batch_size,
        "sharding": "FSDP" if is_fsdp_chosen() else None,
        **flags,
        **settings,
        "dataloader_drop_last": args.drops_last,
        "precision": args.precision,
        "schedule": args.step_schedule,
    }


def _hash_faces(faces: Dataset) -> str:
    """Returns a short hash of a split, whatever its order: each face's name, label, size in bytes, crop and vector."""
    rows: list[str] = []
    for table in faces.with_format("arrow").iter(1000):
        image = table.column("image").combine_chunks()
        sizes = pc.binary_length(image.field("bytes")).to_pylist()
        paths = image.field("path").to_pylist()
        for i, (size, path) in enumerate(zip(sizes, paths, strict=True)):
            row = [table.column(name)[i].as_py() for name in _IDENTIFYING if name in table.column_names]
            rows.append(f"{row} {Path(path).stat().st_size if size is None else size}")
    return hash_files(rows)[:12]


def epoch_of_step(state: TrainerState, step: int | None) -> float | None:
    """Returns the epoch at which a step was evaluated, from the Trainer's history."""
    return next((row["epoch"] for row in state.log_history if row["step"] == step and "eval_loss" in row), None)


def describe_history(state: TrainerState) -> list[dict[str, float | None]]:
    """Returns the learning curves, without times: a row for each time that something was logged.

    What was not a finite number is None: JSON has no other. Of more rows than `results.json` may have, every so many
    are left out, evenly, and evaluations last.
    """
    kept = ("epoch", "step", "loss", "eval_loss", "eval_accuracy", "eval_macro_f1")
    rows = [{name: _finite(row[name]) for name in kept if name in row} for row in state.log_history]
    rows = [row for row in rows if "loss" in row or "eval_loss" in row]
    evaluations = [i for i, row in enumerate(rows) if "eval_loss" in row]
    losses = [i for i, row in enumerate(rows) if "eval_loss" not in row]
    kept_evaluations = _thin(evaluations, MOST_ENTRIES)
    kept_losses = _thin(losses, MOST_ENTRIES - len(kept_evaluations))
    return [rows[i] for i in sorted((*kept_evaluations, *kept_losses))]


def _thin(places: Sequence[int], most: int) -> Sequence[int]:
    """Returns so many of the places at most, evenly spread, the last one among them."""
    if len(places) <= most:
        return places
    return [places[(i + 1) * len(places) // most - 1] for i in range(most)]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
