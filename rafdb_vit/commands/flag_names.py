"""What to say of a flag that does not exist: what it is called here, what there is instead, or which was meant."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

_DEVICE = (
    "a GPU is chosen by the environment, such as CUDA_VISIBLE_DEVICES=0; several work with `accelerate launch "
    "--multi_gpu`, and --use_cpu takes none"
)
_TRAINED = "there is no such flag: every weight is trained; --layer_decay trains the first layers more slowly"
_AUGMENTED = "there is no such flag: training faces are augmented in one way, of which --random_erasing sets a part"
_PRETRAINED = "a model is pretrained unless --from_scratch is given; --model_name_or_path says which"
_RATIO = "here it is --warmup_steps, a share of all steps where it is below 1"
_SCRATCH = "here it is --image_size, with --from_scratch; a pretrained model has its own"
_TRACKED = "here it is --report_to, with the tracker's name (wandb, tensorboard, mlflow)"
_NAMED = "a run is named by its folder, --output_dir; for a tracker (--report_to) its name is --run_name"
_PRECISION = "here it is --fp16, or --bf16; without them the device decides"
_BARS = "bars are silenced by the environment variable TQDM_DISABLE=1"
_BALANCED = "there is no such flag: every face counts alike, and --metric_for_best_model is macro-F1 by default"
_LOG_IN = "a token is never taken from the command line; use `hf auth login` or HF_TOKEN"


@dataclass(frozen=True)
class _Foreign:
    """Names that other tools have for something, what it is called here, and in which words that is said.

    Attributes:
        names: Theirs, with a space between.
        flags: Ours, of which the first is told that the command has.
        words: What is said in place of that; it is said where the command has one of the flags.
    """

    names: str
    flags: str
    words: str = ""


_FOREIGN = (
    _Foreign("lr base_lr init_lr max_lr learning_rate_init", "learning_rate"),
    _Foreign("epochs epoch num_epochs n_epochs max_epochs total_epochs", "num_train_epochs"),
    _Foreign(
        "batch_size batch bs batchsize train_batch_size",
        "per_device_train_batch_size per_device_eval_batch_size batch_size",
    ),
    _Foreign("eval_batch_size val_batch_size test_batch_size", "per_device_eval_batch_size"),
    _Foreign(
        "model model_name arch backbone checkpoint ckpt weights pretrained_model model_path model_id",
        "model_name_or_path model run",
    ),
    _Foreign("data data_path data_root root dataset_dir train_dir input_dir folder", "data_dir images"),
    _Foreign("dataset dataset_id", "dataset_name data_dir"),
    _Foreign("image img input file files source picture pictures photo", "images data_dir"),
    _Foreign("run run_dir run_folder experiment_dir", "run model runs"),
    _Foreign("device devices gpu gpus gpu_id gpu_ids cuda num_gpus n_gpu accelerator", "use_cpu", _DEVICE),
    _Foreign("cpu no_cuda cpu_only no_gpu", "use_cpu"),
    _Foreign("workers num_workers n_workers", "dataloader_num_workers"),
    _Foreign("wandb use_wandb tensorboard mlflow tracker log_with logger", "report_to", _TRACKED),
    _Foreign("name exp_name experiment experiment_name project_name wandb_project", "run_name", _NAMED),
    _Foreign("save_dir output out out_dir outdir output_path output_folder save_path", "output_dir figures"),
    _Foreign("resume resume_from resume_training auto_resume", "resume_from_checkpoint"),
    _Foreign("patience early_stopping early_stop", "early_stopping_patience"),
    _Foreign("wd decay l2", "weight_decay"),
    _Foreign("amp half use_amp mixed_precision precision", "fp16", _PRECISION),
    _Foreign("img_size imgsz image_dim img_dim input_size resolution", "image_size", _SCRATCH),
    _Foreign("optimizer opt", "optim"),
    _Foreign("scheduler lr_scheduler sched lr_schedule schedule", "lr_scheduler_type"),
    _Foreign("warmup warmup_epochs warmup_ratio warmup_proportion", "warmup_steps", _RATIO),
    _Foreign("grad_accum accumulation_steps grad_accumulation_steps accumulate", "gradient_accumulation_steps"),
    _Foreign("clip_grad grad_clip gradient_clip clip", "max_grad_norm"),
    _Foreign("label_smoothing smoothing", "label_smoothing_factor"),
    _Foreign("random_seed manual_seed random_state", "seed"),
    _Foreign("val_split val_fraction valid_fraction validation_split val_size", "validation_fraction"),
    _Foreign("test_split test_size test_ratio", "test_fraction"),
    _Foreign("groups group subject_column person_column", "group_column"),
    _Foreign("drop_classes exclude_classes ignore_classes exclude", "leave_out"),
    _Foreign("drop_last", "dataloader_drop_last"),
    _Foreign("overwrite exist_ok", "overwrite_output_dir"),
    _Foreign("reprob erasing", "random_erasing"),
    _Foreign("llrd layer_lr_decay", "layer_decay"),
    _Foreign("monitor metric best_metric", "metric_for_best_model"),
    _Foreign("compile", "torch_compile"),
    _Foreign("repo repo_name hub_id", "repo_id hub_model_id"),
    _Foreign("repo_id", "hub_model_id"),
    _Foreign("branch", "revision hub_revision model_revision"),
    _Foreign("no_progress quiet silent", "disable_tqdm"),
    _Foreign("pretrained use_pretrained", "from_scratch", _PRETRAINED),
    _Foreign("freeze freeze_backbone frozen lora use_lora peft linear_probe unfreeze", "layer_decay", _TRAINED),
    _Foreign("augment augmentation augmentations aug mixup cutmix auto_augment", "random_erasing", _AUGMENTED),
    _Foreign("class_weights class_weight weighted_loss balanced", "metric_for_best_model", _BALANCED),
)
UNKNOWN = "no such flag; see --help"
_EVERYWHERE = {
    **dict.fromkeys(("disable_tqdm", "no_progress", "quiet", "silent", "progress"), _BARS),
    **dict.fromkeys(("token", "hf_token", "auth_token", "use_auth_token"), _LOG_IN),
}
"""What is said whether or not the command has a flag for it."""


def fold_flag(name: str) -> str:
    """Returns the name of a flag as it stands here: without dashes before it, underscores for hyphens within it."""
    return name.lstrip("-").replace("-", "_").lower()


def describe_unknown(
    name: str,
    known: Collection[str],
    *,
    refused: Mapping[str, str],
    positionals: Sequence[str] = (),
    dashes: str = "--",
) -> str:
    """Returns what a message says of a flag that a command does not have, after its name.

    Args:
        name: As it was written, with or without dashes.
        known: Names of the command's flags.
        refused: Those of flags that it does not take, with the reason for each.
        positionals: Names of what stands on its command line without a flag.
        dashes: What stands before the names of flags in the message.
    """
    folded = fold_flag(name)
    usable = sorted(flag for flag in known if flag not in refused)
    if folded in refused:
        return refused[folded]
    if folded in usable:
        return f"here it is {dashes}{folded}"
    if answer := _translate(folded, usable, positionals, dashes):
        return answer
    if near := find_near(folded, usable):
        return f"no such flag; did you mean {dashes}{near}?"
    return UNKNOWN


def _translate(name: str, flags: Collection[str], positionals: Sequence[str], dashes: str) -> str | None:
    """Returns what a name of another tool is called here; None if it is none of those that are known."""
    if positional := find_positional(name, positionals):
        return f"here it stands without a flag, as {positional.upper()}"
    for foreign in _FOREIGN:
        if name not in foreign.names.split():
            continue
        for flag in foreign.flags.split():
            if flag in flags:
                return foreign.words or f"here it is {dashes}{flag}"
    return _EVERYWHERE.get(name)


def find_positional(name: str, positionals: Sequence[str]) -> str | None:
    """Returns what stands on a command line without a flag that is meant by the name of one; None if nothing is."""
    flags = [flag for foreign in _FOREIGN if name in foreign.names.split() for flag in foreign.flags.split()]
    return next((flag for flag in (name, *flags) if flag in positionals), None)


def find_near(name: str, flags: Collection[str]) -> str | None:
    """Returns the flag of the same words, of which some are misspelt; None if there is none."""
    near = [(distance, flag) for flag in flags if (distance := _measure(name, flag)) is not None]
    return min(near)[1] if near else None


def _measure(name: str, flag: str) -> int | None:
    """Returns in how many letters two names of as many words differ; None if a word is another."""
    if name.replace("_", "") == flag.replace("_", ""):
        return 0
    words, theirs = name.split("_"), flag.split("_")
    if len(words) != len(theirs):
        return None
    distances = [_count_edits(word, other) for word, other in zip(words, theirs, strict=True)]
    longest = [max(len(word), len(other)) for word, other in zip(words, theirs, strict=True)]
    digits = re.sub(r"\D", "", name) == re.sub(r"\D", "", flag)
    alike = all(edits <= length // 4 for edits, length in zip(distances, longest, strict=True))
    return sum(distances) if digits and alike and sum(distances) <= 2 else None


def _count_edits(word: str, other: str) -> int:
    """Returns how many letters have to be added, left out, replaced or swapped with the next (Damerau)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(word):
        above, row = row, [i + 1]
        for j, theirs in enumerate(other):
            edits = min(above[j + 1] + 1, row[j] + 1, above[j] + (letter != theirs))
            if i and j and letter == other[j - 1] and word[i - 1] == theirs:
                edits = min(edits, before[j - 1] + 1)
            row.append(edits)
        before = above
    return row[-1]
