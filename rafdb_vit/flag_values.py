"""Values of training flags that are out of range, would fail only after training has begun, or have no effect."""

import os
from collections.abc import Collection, Mapping
from typing import Any

from accelerate.utils import DynamoBackend

from rafdb_vit.errors import UserError

_AT_LEAST = {
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "dataloader_num_workers": 0,
    "ddp_timeout": 1,
    "save_total_limit": 0,
    "max_grad_norm": 0,
    "learning_rate": 0,
    "weight_decay": 0,
    "label_smoothing_factor": 0,
    "seed": 0,
    "data_seed": 0,
}
_EFFECT_NEEDS = {
    "logging_steps": ("logging_strategy", "steps"),
    "eval_steps": ("eval_strategy", "steps"),
    "save_steps": ("save_strategy", "steps"),
}
_RECOMPUTING = ("activation_checkpointing", "gradient_checkpointing")  # the second is the first one's older name
_ADAM_ONLY = ("adam_beta1", "adam_beta2", "adam_epsilon")
_NOT_ADAM = ("sgd", "adagrad", "rmsprop", "adafactor")
_WITHOUT_WARM_UP = ("constant", "reduce_lr_on_plateau")
_PUBLISHING = ("hub_model_id", "hub_private_repo", "hub_revision", "license")
_TRACKED = ("run_name", "project", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id")


def refuse_values(values: Mapping[str, Any]) -> None:
    """Refuses what upstream accepts and would not honour, or only find out about after an epoch.

    Args:
        values: Training arguments by name.

    Raises:
        UserError: The first of them that cannot work.
    """
    for name, least in _AT_LEAST.items():
        if values[name] is not None and values[name] < least:
            raise UserError(f"--{name} {values[name]}: expected {least} or more")
    if values["label_smoothing_factor"] >= 1:
        raise UserError(f"--label_smoothing_factor {values['label_smoothing_factor']}: expected less than 1")
    if values["num_train_epochs"] <= 0 and values["max_steps"] <= 0:
        raise UserError(f"--num_train_epochs {values['num_train_epochs']:g}: expected more than 0")
    if values["dataloader_num_workers"] == 0 and values["dataloader_persistent_workers"]:
        raise UserError("--dataloader_persistent_workers: needs --dataloader_num_workers 1 or more")
    if "tpu_metrics_debug" in (values["debug"] or ""):
        raise UserError("--debug tpu_metrics_debug: is for TPUs, which are not supported; leave it out")
    backends = [backend.value.lower() for backend in DynamoBackend]
    if values["torch_compile_backend"] and values["torch_compile_backend"].lower() not in backends:
        raise UserError(f"--torch_compile_backend {values['torch_compile_backend']}: expected {', '.join(backends)}")
    if values["lr_scheduler_type"] == "greedy":
        raise UserError("--lr_scheduler_type greedy: does not know whether the figure should rise; take another")
    if values["ddp_backend"] and "RANK" not in os.environ:
        raise UserError(f"--ddp_backend {values['ddp_backend']}: is for several processes, which a launcher starts")
    _refuse_strategies(values)


def _refuse_strategies(values: Mapping[str, Any]) -> None:
    evaluation, saving = (getattr(values[name], "value", values[name]) for name in ("eval_strategy", "save_strategy"))
    for name, strategy in (("eval_strategy", evaluation), ("save_strategy", saving)):
        if strategy == "no":
            raise UserError(f"--{name} no: the checkpoint is chosen on validation; expected steps or epoch")
    if saving not in ("best", evaluation):
        raise UserError(f"--save_strategy {saving}: expected --eval_strategy's, {evaluation}, or best")
    never = values["eval_delay"] >= values["num_train_epochs"] and values["max_steps"] <= 0
    if evaluation == "epoch" and never:
        raise UserError(f"--eval_delay {values['eval_delay']:g}: leaves no evaluation to choose a checkpoint by")


def refuse_without_effect(asked: Collection[str], values: Mapping[str, Any]) -> None:
    """Refuses flags that were given and would be ignored beside the others.

    Args:
        asked: Names of the flags that were given.
        values: Training arguments by name, as resolved.

    Raises:
        UserError: The first of them, and what to add or to leave out.
    """
    for name, (other, wanted) in _EFFECT_NEEDS.items():
        if name in asked and values[other] != wanted:
            raise UserError(f"--{name}: has no effect without --{other} {wanted}; add that, or leave this out")
    for name in _RECOMPUTING:
        if f"{name}_kwargs" in asked and not any(values.get(other) for other in _RECOMPUTING):
            raise UserError(f"--{name}_kwargs: has no effect without --{name} True; add that, or leave this out")
    _refuse_publishing(asked, values)
    optimizer = str(getattr(values["optim"], "value", values["optim"]))
    schedule = str(getattr(values["lr_scheduler_type"], "value", values["lr_scheduler_type"]))
    for name in _ADAM_ONLY:
        if name in asked and optimizer in _NOT_ADAM:
            raise UserError(f"--{name}: has no effect on --optim {optimizer}; leave it out")
    if "warmup_steps" in asked and values["warmup_steps"] and schedule in _WITHOUT_WARM_UP:
        instead = ", or take constant_with_warmup" if schedule == "constant" else ""
        raise UserError(f"--warmup_steps: has no effect on --lr_scheduler_type {schedule}; leave it out{instead}")
    for name in _TRACKED:
        tracker = "trackio" if name.startswith(("trackio", "project")) else None
        if name in asked and not (tracker in values["report_to"] if tracker else values["report_to"]):
            raise UserError(f"--{name}: has no effect without --report_to {tracker or 'TRACKER'}; leave it out")


def _refuse_publishing(asked: Collection[str], values: Mapping[str, Any]) -> None:
    if values["publishes"] and not values["hub_model_id"]:
        raise UserError("--push_to_hub: needs --hub_model_id USER/NAME")
    for name in _PUBLISHING:
        if name in asked and not values["publishes"]:
            raise UserError(f"--{name}: has no effect without --push_to_hub; add that, or leave this out")
