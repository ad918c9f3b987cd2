"""Flags and settings of the Hugging Face libraries that are refused here, each with its reason."""

import os

from rafdb_vit.errors import UserError

_ALWAYS = "train.py always trains, validates after each epoch and scores test once at the end; leave it out"
_PUBLISH = "a run is published once, whole, when it has been scored; leave it out"
_TEXT = "is for language models; leave it out"
_METRICS = "the figures need the logits of every face of validation; leave it out"
_FSDP = "shard with `accelerate launch --config_file rafdb_vit/recipes/accelerate/fsdp.yaml`, and leave it out"
_DEEPSPEED = "DeepSpeed is not supported: that its checkpoints load back truly has never been tested here; take FSDP"
_RESUMING = "a run could not be resumed to the same figures; leave it out"

REFUSED_FLAGS: dict[str, str] = {
    "hub_token": "a token on the command line ends up in logs and files; use `hf auth login` or HF_TOKEN",
    **dict.fromkeys(("hub_strategy", "hub_always_push"), _PUBLISH),
    **dict.fromkeys(("do_train", "do_eval", "do_predict"), _ALWAYS),
    **dict.fromkeys(
        (
            "neftune_noise_alpha",
            "use_liger_kernel",
            "liger_kernel_config",
            "use_cache",
            "include_num_input_tokens_seen",
        ),
        _TEXT,
    ),
    **dict.fromkeys(
        ("length_column_name", "train_sampling_strategy"), "images have no length to group by; leave it out"
    ),
    **dict.fromkeys(
        (
            "prediction_loss_only",
            "batch_eval_metrics",
            "include_for_metrics",
            "eval_do_concat_batches",
            "eval_use_gather_object",
        ),
        _METRICS,
    ),
    **dict.fromkeys(("fsdp", "fsdp_config"), _FSDP),
    "deepspeed": _DEEPSPEED,
    "parallelism_config": "only data parallelism and FSDP are supported; leave it out",
    **dict.fromkeys(
        ("fp16_full_eval", "bf16_full_eval"),
        "the figures are computed in fp32, without exception; leave it out",
    ),
    "remove_unused_columns": "the transforms need every column; leave it out",
    "label_names": "the collator names the labels; leave it out",
    "dataloader_drop_last": "it would drop faces of validation too; leave it out",
    "load_best_model_at_end": "the run folder holds the best checkpoint, always; leave it out",
    "enable_jit_checkpoint": "a run that it stops looks finished; leave it out",
    "ignore_data_skip": "a resumed run would see other faces than an uninterrupted one; leave it out",
    **dict.fromkeys(
        ("save_only_model", "restore_callback_states_from_checkpoint", "dataloader_in_order"),
        _RESUMING,
    ),
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
        raise UserError(f"--optim {optimizer}: {REFUSED_FLAGS['optim_target_modules']}")
    if optimizer.startswith("schedule_free"):
        raise UserError(f"--optim {optimizer}: trains other weights than it saves; {_RESUMING}")


def refuse_sharding(*, use_cpu: bool) -> None:
    """Refuses the sharded training of accelerate's environment that could not be done truly here.

    Args:
        use_cpu: The run is on CPUs, where accelerate would leave FSDP out without a word.

    Raises:
        UserError: DeepSpeed, Megatron-LM, the first version of FSDP, or FSDP on a CPU was chosen.
    """
    for name, reason in (
        ("ACCELERATE_USE_DEEPSPEED", _DEEPSPEED),
        ("ACCELERATE_USE_MEGATRON_LM", "Megatron-LM is for language models"),
        ("ACCELERATE_USE_PARALLELISM_CONFIG", REFUSED_FLAGS["parallelism_config"]),
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
