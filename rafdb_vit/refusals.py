"""Flags and settings of the Hugging Face libraries that are refused here, each with its reason."""

import os

from rafdb_vit.errors import UserError

_ALWAYS = "train.py always trains, validates after each epoch and scores test once at the end; leave it out"
_PUBLISH = "training publishes nothing; upload the run folder once you have looked at it"
_TEXT = "is for language models; leave it out"
_METRICS = "the figures need the logits of every face of validation; leave it out"
_SHARDED = "sharded training is not supported: the best checkpoint could not be loaded back truly; leave it out"

REFUSED_FLAGS: dict[str, str] = {
    "hub_token": "a token on the command line ends up in logs and files; use `hf auth login` or HF_TOKEN",
    **dict.fromkeys(
        (
            "push_to_hub",
            "hub_model_id",
            "hub_strategy",
            "hub_private_repo",
            "hub_always_push",
            "hub_revision",
        ),
        _PUBLISH,
    ),
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
    **dict.fromkeys(("fsdp", "fsdp_config", "deepspeed", "parallelism_config"), _SHARDED),
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
    "auto_find_batch_size": "the run could not be repeated or resumed; set --per_device_train_batch_size",
    "optim_target_modules": "optimizers that choose their own parameters would drop the parameter groups; leave it out",
    "local_rank": "launchers set it; leave it out",
}
"""Flags of `TrainingArguments` that cannot be honoured here, each with its reason; their defaults may be given."""

_OPTIMIZERS_WITHOUT_GROUPS = ("galore", "apollo", "lomo", "adalomo")


def refuse_sharding(optimizer: str) -> None:
    """Refuses what arrives another way than by a flag: accelerate's environment, optimizers of their own mind.

    Args:
        optimizer: The value of `--optim`.

    Raises:
        UserError: Sharded training was chosen, or an optimizer that takes no parameter groups.
    """
    if optimizer.startswith(_OPTIMIZERS_WITHOUT_GROUPS):
        raise UserError(f"--optim {optimizer}: {REFUSED_FLAGS['optim_target_modules']}")
    for name in ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED"):
        if os.environ.get(name, "false").lower() in ("1", "true"):
            raise UserError(f"{name} (from `accelerate config` or `accelerate launch`): {_SHARDED}")
