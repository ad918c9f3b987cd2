"""How a run's figures came about: the `protocol` part of `results.json`."""

import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from datasets import Dataset, DatasetDict
from transformers import PreTrainedModel, TrainerState

from rafdb_vit.data import hash_files
from rafdb_vit.intervals import METHOD
from rafdb_vit.refusals import REFUSED_FLAGS, is_fsdp_chosen
from rafdb_vit.training_arguments import ExpressionTrainingArguments

_MAY_DIFFER = frozenset(
    """output_dir overwrite_output_dir resume_from_checkpoint use_cpu
    per_device_train_batch_size gradient_accumulation_steps per_device_eval_batch_size eval_accumulation_steps
    dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers dataloader_prefetch_factor
    dataloader_multiprocessing_context disable_tqdm report_to run_name project logging_dir
    trackio_space_id trackio_bucket_id trackio_static_space_id log_level log_level_replica log_on_each_node
    save_total_limit ddp_timeout ddp_backend ddp_bucket_cap_mb ddp_broadcast_buffers ddp_static_graph
    ddp_find_unused_parameters skip_memory_metrics torch_empty_cache_steps eval_on_start debug fp16 bf16
    push_to_hub hub_model_id hub_private_repo hub_revision""".split()
)

_IDENTIFYING = ("file", "label", "crop", "distribution")
_LIBRARIES = (
    "rafdb-vit",
    "transformers",
    "torch",
    "torchvision",
    "datasets",
    "accelerate",
    "evaluate",
    "scikit-learn",
    "pillow",
    "numpy",
)


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
        "batch_size": args.train_batch_size * processes * args.gradient_accumulation_steps,
        "batch": {
            "per_device": args.per_device_train_batch_size,
            "processes": processes,
            "gradient_accumulation_steps": args.gradient_accumulation_steps,
        },
        "max_grad_norm": args.max_grad_norm,
        "label_smoothing": args.label_smoothing_factor,
        "sharding": "FSDP" if is_fsdp_chosen() else None,
        "precision": args.precision,
        "device": args.device.type,
        "seed": args.seed,
    }


def describe_model(model: PreTrainedModel, *, source: str, from_scratch: bool) -> dict[str, Any]:
    """Returns what was trained.

    Args:
        model: The model as saved.
        source: A name on the Hub, a folder (of which only the name is kept) or a size from scratch.
        from_scratch: It is a size.
    """
    commit = getattr(model.config, "_commit_hash", None)
    is_folder = commit is None and not from_scratch
    return {
        "source": Path(source).name if is_folder else source,
        "origin": "scratch" if from_scratch else "folder" if is_folder else "Hub",
        "commit": commit,
        "type": model.config.model_type,
        "parameters": sum(p.numel() for p in model.parameters()),
        "image_size": getattr(model.config, "image_size", None),
        "patch_size": getattr(model.config, "patch_size", None),
    }


def describe_checkpoint(args: ExpressionTrainingArguments, state: TrainerState) -> dict[str, Any]:
    """Returns which checkpoint was kept, and why."""
    direction = "highest" if args.greater_is_better else "lowest"
    metric = str(args.metric_for_best_model).removeprefix("eval_")
    return {
        "chosen_by": f"{direction} {metric} on validation",
        "value": state.best_metric,
        "step": state.best_global_step,
        "epoch": epoch_of_step(state, state.best_global_step),
        "epochs_trained": state.epoch,
        "steps_trained": state.global_step,
    }


def describe_identity(
    args: ExpressionTrainingArguments, *, splits: DatasetDict, model: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns what has to be the same when a run goes on from a checkpoint, by name.

    Every training flag counts but those of `_MAY_DIFFER`: some would be ignored by a run that goes on, since optimizer
    and early stopping are restored, and with any of them the figures would be those of neither run.

    Args:
        args: The training arguments.
        splits: What is trained, validated and tested on: names, labels and sizes of the files count.
        model: From `describe_model`.
        settings: This package's own settings.
    """
    free = _MAY_DIFFER | REFUSED_FLAGS.keys()
    flags = {name: value for name, value in args.to_dict().items() if name not in free}
    return {
        **{f"{split} data": f"{len(faces)} faces {_hash_faces(faces)}" for split, faces in splits.items()},
        **{f"model {name}": value for name, value in model.items()},
        "batch size": args.train_batch_size * args.world_size * args.gradient_accumulation_steps,
        "sharding": "FSDP" if is_fsdp_chosen() else None,
        **flags,
        **settings,
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

    What was not a finite number is None: JSON has no other.
    """
    kept = ("epoch", "step", "loss", "eval_loss", "eval_accuracy", "eval_macro_f1")
    rows = [{name: _finite(row[name]) for name in kept if name in row} for row in state.log_history]
    return [row for row in rows if "loss" in row or "eval_loss" in row]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def build_protocol(
    *,
    data: Mapping[str, Any],
    validation: Mapping[str, Any],
    model: Mapping[str, Any],
    training: Mapping[str, Any],
    checkpoint: Mapping[str, Any],
    history: Sequence[Mapping[str, float | None]],
    files: Mapping[str, str],
) -> dict[str, Any]:
    """Puts the protocol together: no times and no paths, so that the same command gives the same bytes.

    Args:
        data: What was trained, validated and tested on, from `rafdb_vit.data.RunData`.
        validation: How it came about, and `files_sha256` of its file list.
        model: What was trained.
        training: From `describe_training`, and this package's own settings.
        checkpoint: From `describe_checkpoint`.
        history: From `describe_history`.
        files: SHA-256 by name of the files that were scored.
    """
    return {
        "data": dict(data),
        "validation": dict(validation),
        "test": "scored once, at the end, with the chosen checkpoint",
        "scoring": "fp32, without autocast, by the model reloaded from the run folder",
        "files_sha256": dict(files),
        "model": dict(model),
        "training": dict(training),
        "checkpoint": dict(checkpoint),
        "intervals": METHOD,
        "history": list(history),
        "versions": describe_versions(),
    }


def describe_evaluation(
    *, data: Mapping[str, Any], split: str, model: Mapping[str, Any], device: str
) -> dict[str, Any]:
    """Returns how the figures of an evaluation came about.

    Args:
        data: What was found, from `rafdb_vit.data.RunData`.
        split: The split that was scored.
        model: From `rafdb_vit.classifier.describe_classifier`.
        device: What it ran on.
    """
    return {
        "data": dict(data),
        "model": dict(model),
        "scoring": f"fp32, without autocast, on {device}; {sum(data['used'][split].values())} faces",
        "intervals": METHOD,
        "versions": describe_versions(),
    }


def describe_versions() -> dict[str, str]:
    """Returns the versions of Python and of the libraries that bear on figures."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}
