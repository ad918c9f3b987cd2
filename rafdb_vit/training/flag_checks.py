"""Training flags that are refused, each with its reason.

Some cannot be honoured here at all. Others have values that are out of range or would fail only after training has
begun, or would have no effect beside the others.
"""

import os
from collections.abc import Collection, Mapping
from typing import Any

from rafdb_vit.runtime.errors import UserError
from rafdb_vit.training.flags import WORKERS_LIMIT

_ALWAYS = "train.py always trains, validates after each epoch and scores test once at the end; leave it out"
_PUBLISH = "a run is published once, whole, when it has been scored; leave it out"
_TEXT = "is for language models; leave it out"
_METRICS = "the metrics need the logits of every face of validation; leave it out"
_FSDP = "shard with `accelerate launch --config_file rafdb_vit/recipes/accelerate/fsdp.yaml`, and leave it out"
_DEEPSPEED = "DeepSpeed is not supported: whether its checkpoints load back correctly has never been tested; take FSDP"
_RESUMING = "a run could not be resumed to the same metrics; leave it out"
_LANGUAGE = "neftune_noise_alpha use_liger_kernel liger_kernel_config use_cache include_num_input_tokens_seen"
_LOGITS = "prediction_loss_only batch_eval_metrics include_for_metrics eval_do_concat_batches eval_use_gather_object"
_EXACT = "save_only_model restore_callback_states_from_checkpoint dataloader_in_order"

UNSUPPORTED_FLAGS: dict[str, str] = {
    "hub_token": "a token on the command line ends up in logs and files; use `hf auth login` or HF_TOKEN",
    **dict.fromkeys(("hub_strategy", "hub_always_push"), _PUBLISH),
    **dict.fromkeys(("do_train", "do_eval", "do_predict"), _ALWAYS),
    **dict.fromkeys(_LANGUAGE.split(), _TEXT),
    **dict.fromkeys(("length_column_name", "train_sampling_strategy"), "images have no length; leave it out"),
    **dict.fromkeys(_LOGITS.split(), _METRICS),
    **dict.fromkeys(("fsdp", "fsdp_config"), _FSDP),
    "deepspeed": _DEEPSPEED,
    "parallelism_config": "only data parallelism and FSDP are supported; leave it out",
    **dict.fromkeys(("fp16_full_eval", "bf16_full_eval"), "the metrics are always computed in fp32; leave it out"),
    "remove_unused_columns": "the transforms need every column; leave it out",
    "label_names": "the collator names the labels; leave it out",
    "logging_nan_inf_filter": "training ends at the first loss that is not finite; leave it out",
    "load_best_model_at_end": "the run folder always holds the best checkpoint; leave it out",
    "enable_jit_checkpoint": "a run that it stops looks finished; leave it out",
    "ignore_data_skip": "a resumed run would see other faces than an uninterrupted one; leave it out",
    **dict.fromkeys(_EXACT.split(), _RESUMING),
    "save_on_each_node": "all machines have to see one run folder; leave it out",
    "average_tokens_across_devices": "a step's loss is the mean over the faces of all processes; leave it out",
    "accelerator_config": "it would change which faces make up a step; leave it out",
    "auto_find_batch_size": "the run could not be repeated or resumed; set --per_device_train_batch_size",
    "optim_target_modules": "optimizers that choose their own parameters would drop the parameter groups; leave it out",
    "local_rank": "launchers set it; leave it out",
}
"""Flags of `TrainingArguments` that cannot be honoured here, each with its reason; their defaults may be given."""

_OPTIMIZERS_WITHOUT_GROUPS = ("galore", "apollo", "lomo", "adalomo")


def refuse_optimizer(optimizer: str) -> None:
    """Refuses optimizers that would not do what the package promises.

    Args:
        optimizer: The value of `--optim`.

    Raises:
        UserError: It takes no parameter groups, or keeps weights that a checkpoint does not hold.
    """
    if optimizer.startswith(_OPTIMIZERS_WITHOUT_GROUPS):
        raise UserError(f"--optim {optimizer}: {UNSUPPORTED_FLAGS['optim_target_modules']}")
    if optimizer.startswith("schedule_free"):
        raise UserError(f"--optim {optimizer}: trains other weights than it saves; {_RESUMING}")


def refuse_sharding(*, use_cpu: bool) -> None:
    """Refuses the sharded training of accelerate's environment that is not supported here.

    Args:
        use_cpu: The run is on CPUs, where accelerate would leave FSDP out without a word.

    Raises:
        UserError: DeepSpeed, Megatron-LM, the first version of FSDP, or FSDP on a CPU was chosen.
    """
    for name, reason in (
        ("ACCELERATE_USE_DEEPSPEED", _DEEPSPEED),
        ("ACCELERATE_USE_MEGATRON_LM", "Megatron-LM is for language models"),
        ("ACCELERATE_USE_PARALLELISM_CONFIG", UNSUPPORTED_FLAGS["parallelism_config"]),
    ):
        if _is_set(name):
            raise UserError(f"{name} (from `accelerate config` or `accelerate launch`): {reason}")
    if not is_fsdp_chosen():
        return
    version = os.environ.get("FSDP_VERSION", "1")
    if version != "2":
        raise UserError(f"FSDP_VERSION {version} (from accelerate): expected 2; give its launcher --fsdp_version 2")
    if use_cpu:
        raise UserError("ACCELERATE_USE_FSDP (from accelerate): shards on GPUs only; leave it out on a CPU")
    # Each process loads the model whole: it is small, and with this on, all but the first would get random weights
    # wherever a model is loaded, the scoring at the end included.
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"


def is_fsdp_chosen() -> bool:
    """Tells whether accelerate was told to shard with FSDP."""
    return _is_set("ACCELERATE_USE_FSDP")


def _is_set(name: str) -> bool:
    return os.environ.get(name, "false").lower() in ("1", "true")


_AT_LEAST = {
    **dict.fromkeys(("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"), 1),
    "dataloader_num_workers": 0,
    **dict.fromkeys(("ddp_timeout", "eval_accumulation_steps"), 1),
    **dict.fromkeys(("save_total_limit", "max_grad_norm", "learning_rate", "weight_decay", "warmup_steps"), 0),
    **dict.fromkeys(("label_smoothing_factor", "seed", "data_seed"), 0),
}
_BELOW = {
    "label_smoothing_factor": 1,
    "seed": 2**32,  # numpy's seeds
    "per_device_eval_batch_size": 2**31,  # torch counts the bytes of a batch
    "dataloader_num_workers": WORKERS_LIMIT,
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
_TRACKED = ("run_name", "trackio_space_id", "trackio_bucket_id", "trackio_static_space_id")


def refuse_values(values: Mapping[str, Any]) -> None:
    """Refuses what upstream accepts and would not honour, or only find out about after an epoch.

    Args:
        values: Training arguments by name.

    Raises:
        UserError: The first of them that cannot work.
    """
    _refuse_out_of_range(values)
    if values["num_train_epochs"] <= 0 and values["max_steps"] <= 0:
        raise UserError(f"--num_train_epochs {values['num_train_epochs']:g}: expected more than 0")
    if values["dataloader_num_workers"] == 0 and values["dataloader_persistent_workers"]:
        raise UserError("--dataloader_persistent_workers: needs --dataloader_num_workers 1 or more")
    if "tpu_metrics_debug" in (values["debug"] or ""):
        raise UserError("--debug tpu_metrics_debug: is for TPUs, which are not supported; leave it out")
    if values["torch_compile_backend"]:
        _refuse_backend(values["torch_compile_backend"])
    if values["lr_scheduler_type"] == "greedy":
        raise UserError("--lr_scheduler_type greedy: does not know whether the metric should rise; take another")
    if values["ddp_backend"] and "RANK" not in os.environ:
        raise UserError(f"--ddp_backend {values['ddp_backend']}: is for several processes, which a launcher starts")
    _refuse_strategies(values)


def _refuse_backend(backend: str) -> None:
    from accelerate.utils import DynamoBackend

    known = [of.value.lower() for of in DynamoBackend]
    if backend.lower() not in known:
        raise UserError(f"--torch_compile_backend {backend}: expected {', '.join(known)}")


def _refuse_out_of_range(values: Mapping[str, Any]) -> None:
    for name, least in _AT_LEAST.items():
        if values[name] is not None and values[name] < least:
            raise UserError(f"--{name} {values[name]}: expected {least} or more")
    for name, limit in _BELOW.items():
        if values[name] is not None and values[name] >= limit:
            raise UserError(f"--{name} {values[name]}: expected less than {limit}")


def _refuse_strategies(values: Mapping[str, Any]) -> None:
    evaluation, saving = (getattr(values[name], "value", values[name]) for name in ("eval_strategy", "save_strategy"))
    for name, strategy in (("eval_strategy", evaluation), ("save_strategy", saving)):
        if strategy == "no":
            raise UserError(f"--{name} no: the checkpoint is chosen on validation; expected steps or epoch")
    if saving not in ("best", evaluation):
        raise UserError(f"--save_strategy {saving}: expected --eval_strategy's, {evaluation}, or best")
    _refuse_unscored_checkpoints(values, saving)
    never = values["eval_delay"] >= values["num_train_epochs"] and values["max_steps"] <= 0
    if evaluation == "epoch" and never:
        raise UserError(f"--eval_delay {values['eval_delay']:g}: leaves no evaluation to choose a checkpoint by")


def _refuse_unscored_checkpoints(values: Mapping[str, Any], saving: str) -> None:
    """Refuses checkpoints at steps after which validation is not scored."""
    saved, scored = values["save_steps"], values["eval_steps"] or values["logging_steps"]
    if saving != "steps" or not saved or not scored:
        return
    mixed = (saved < 1) != (scored < 1)  # shares of all steps
    if mixed or round(saved * 10**6) % round(scored * 10**6):
        raise UserError(
            f"--save_steps {saved:g}: expected a multiple of --eval_steps, {scored:g}: only a checkpoint that was "
            "scored on validation can be the best"
        )


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
    _refuse_untracked(asked, values["report_to"])


def _refuse_untracked(asked: Collection[str], trackers: Collection[str]) -> None:
    """Refuses flags for a tracker that is not asked for."""
    if "project" in asked and "trackio" not in trackers:
        raise UserError(
            "--project: is for --report_to trackio; a run is named by its folder, --output_dir, and a project of wandb "
            "by the environment variable WANDB_PROJECT"
        )
    for name in _TRACKED:
        tracker = "trackio" if name.startswith("trackio") else None
        if name in asked and not (tracker in trackers if tracker else trackers):
            raise UserError(f"--{name}: has no effect without --report_to {tracker or 'TRACKER'}; leave it out")


def _refuse_publishing(asked: Collection[str], values: Mapping[str, Any]) -> None:
    if values["publishes"] and not values["hub_model_id"]:
        raise UserError("--push_to_hub: needs --hub_model_id USER/NAME")
    for name in _PUBLISHING:
        if name in asked and not values["publishes"]:
            raise UserError(f"--{name}: has no effect without --push_to_hub; add that, or leave this out")
