"""The walk over every flag of `TrainingArguments`: each has the effect it promises, or is refused with its reason."""

from dataclasses import fields

import pytest
import torch
from transformers import TrainingArguments
from transformers.utils import logging

from rafdb_vit.commands.train import parse_training_arguments
from rafdb_vit.data.dataset import load_rafdb
from rafdb_vit.model.load import load_model
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.training.arguments import ExpressionTrainingArguments
from rafdb_vit.training.flag_checks import UNSUPPORTED_FLAGS
from rafdb_vit.training.trainer import build_trainer

STEPS = "--eval_strategy steps --save_strategy steps"


def group(trainer, name):
    return trainer.optimizer.param_groups[0][name]


def history(trainer, name):
    return [row["step"] for row in trainer.state.log_history if name in row]


def saved(trainer):
    return sorted(int(path.name.split("-")[1]) for path in trainer.run_folder.glob("checkpoint-*"))


def loader(trainer):
    return trainer.get_train_dataloader().base_dataloader


TRAINED = {
    "per_device_train_batch_size": ("5", lambda t: loader(t).batch_sampler.batch_size == 5),
    "per_device_eval_batch_size": ("5", lambda t: t.get_eval_dataloader().batch_sampler.batch_size == 5),
    "num_train_epochs": ("1.5 --max_steps -1", lambda t: (t.state.global_step, t.state.epoch) == (6, 1.5)),
    "max_steps": ("3", lambda t: t.state.global_step == 3),
    "learning_rate": ("5e-4", lambda t: group(t, "initial_lr") == 5e-4),
    "lr_scheduler_type": ("linear", lambda t: "linear" in str(t.lr_scheduler.lr_lambdas[0])),
    "lr_scheduler_kwargs": ('{"num_cycles":1}', lambda t: t.lr_scheduler.lr_lambdas[0].keywords["num_cycles"] == 1),
    "warmup_steps": ("1", lambda t: t.lr_scheduler.lr_lambdas[0].keywords["num_warmup_steps"] == 1),
    "optim": ("sgd", lambda t: isinstance(t.optimizer.optimizer, torch.optim.SGD)),
    "optim_args": ("momentum=0.5 --optim sgd", lambda t: group(t, "momentum") == 0.5),
    "weight_decay": ("0.2", lambda t: {g["weight_decay"] for g in t.optimizer.param_groups} == {0.2, 0.0}),
    "adam_beta1": ("0.8", lambda t: group(t, "betas")[0] == 0.8),
    "adam_beta2": ("0.8", lambda t: group(t, "betas")[1] == 0.8),
    "adam_epsilon": ("1e-5", lambda t: group(t, "eps") == 1e-5),
    "gradient_accumulation_steps": ("2", lambda t: t.state.epoch == 1.0),
    "max_grad_norm": ("1e-9", lambda t: t.optimizer.state[group(t, "params")[0]]["exp_avg"].abs().max() < 1e-8),
    "label_smoothing_factor": ("0.3", lambda t: t.compute_loss_func.label_smoothing == 0.3),
    "bf16": ("True", lambda t: t.accelerator.mixed_precision == "bf16"),
    "activation_checkpointing": ("True", lambda t: t.model.is_gradient_checkpointing),
    "activation_checkpointing_kwargs": (
        '{"use_reentrant":false} --activation_checkpointing True',
        lambda t: t.model.is_gradient_checkpointing,
    ),
    "gradient_checkpointing": ("True", lambda t: t.model.is_gradient_checkpointing),
    "gradient_checkpointing_kwargs": (
        '{"use_reentrant":false} --gradient_checkpointing True',
        lambda t: t.model.is_gradient_checkpointing,
    ),
    "torch_compile": ("True --torch_compile_backend eager", lambda t: t.args.torch_compile),
    "torch_compile_backend": ("eager", lambda t: t.accelerator.state.dynamo_plugin.backend.value.lower() == "eager"),
    "torch_compile_mode": (
        "reduce-overhead --torch_compile_backend eager",
        lambda t: t.accelerator.state.dynamo_plugin.mode == "reduce-overhead",
    ),
    "torch_empty_cache_steps": ("1", lambda t: t.state.global_step == 2),
    "logging_strategy": ("steps --logging_steps 1", lambda t: history(t, "loss") == [1, 2]),
    "logging_steps": ("2 --logging_strategy steps", lambda t: history(t, "loss") == [2]),
    "logging_first_step": ("True", lambda t: history(t, "loss") == [1, 2]),
    "log_level": ("error", lambda t: logging.get_verbosity() == logging.ERROR),
    "disable_tqdm": ("False", lambda t: "BarsCallback" in t.callback_handler.callback_list),
    "eval_strategy": ("steps --save_strategy steps --eval_steps 1 --save_steps 1", lambda t: saved(t) == [1, 2]),
    "eval_steps": (f"1 {STEPS} --save_steps 1", lambda t: history(t, "eval_loss") == [1, 2]),
    "eval_delay": ("2 --eval_strategy steps --save_strategy best --eval_steps 1", lambda t: saved(t) == [2]),
    "eval_on_start": ("True", lambda t: history(t, "eval_loss") == [0, 2]),
    "eval_accumulation_steps": ("1", lambda t: history(t, "eval_loss") == [2]),
    "save_strategy": ("best", lambda t: saved(t) == [2]),
    "save_steps": (f"1 {STEPS} --eval_steps 1", lambda t: saved(t) == [1, 2]),
    "save_total_limit": (f"1 {STEPS} --save_steps 1 --eval_steps 1", lambda t: len(saved(t)) == 1),
    "metric_for_best_model": ("f1_fear", lambda t: t.state.best_metric == t.state.log_history[1]["eval_f1_fear"]),
    "greater_is_better": ("True --metric_for_best_model loss", lambda t: t.args.greater_is_better is True),
    "full_determinism": ("True", lambda t: torch.are_deterministic_algorithms_enabled()),
    "seed": ("7", lambda t: t.sampler.seed == 7),
    "data_seed": ("7", lambda t: t.sampler.seed == 7),
    "dataloader_drop_last": (
        "True --max_steps -1 --num_train_epochs 1",
        lambda t: t.state.global_step == len(t.train_dataset) // t.args.effective_batch_size,
    ),
    "dataloader_num_workers": ("1", lambda t: loader(t).num_workers == 1),
    "dataloader_pin_memory": ("False", lambda t: not loader(t).pin_memory),
    "dataloader_prefetch_factor": ("3 --dataloader_num_workers 1", lambda t: loader(t).prefetch_factor == 3),
    "debug": ("underflow_overflow", lambda t: t.state.global_step == 2),
    "skip_memory_metrics": ("False", lambda t: any("mem" in name for row in t.state.log_history for name in row)),
}
"""Flags whose effect shows after two steps of training: their value, and what it does."""

PASSED_ON = {
    "output_dir": ("elsewhere", lambda a: a.output_dir == "elsewhere"),
    "resume_from_checkpoint": ("", lambda a: a.resume_from_checkpoint == "newest"),
    "use_cpu": ("", lambda a: a.device.type == "cpu"),
    "fp16": ("False", lambda a: a.precision != "fp16"),
    "log_level_replica": ("error", lambda a: a.log_level_replica == "error"),
    "log_on_each_node": ("False", lambda a: a.log_on_each_node is False),
    "report_to": ("none", lambda a: a.report_to == []),
    "remove_unused_columns": ("False", lambda a: a.remove_unused_columns is False),
    "dataloader_persistent_workers": ("True --dataloader_num_workers 1", lambda a: a.dataloader_persistent_workers),
    "dataloader_multiprocessing_context": (
        "spawn --dataloader_num_workers 1",
        lambda a: a.dataloader_multiprocessing_context == "spawn",
    ),
    "ddp_find_unused_parameters": ("True", lambda a: a.ddp_find_unused_parameters is True),
    "ddp_bucket_cap_mb": ("10", lambda a: a.ddp_bucket_cap_mb == 10),
    "ddp_broadcast_buffers": ("False", lambda a: a.ddp_broadcast_buffers is False),
    "ddp_static_graph": ("True", lambda a: a.ddp_static_graph is True),
    "ddp_timeout": ("60", lambda a: a.ddp_timeout == 60),
    "push_to_hub": ("True --hub_model_id a/b", lambda a: a.publishes and not a.push_to_hub),
    "hub_model_id": ("a/b --push_to_hub", lambda a: a.hub_model_id == "a/b"),
    "hub_private_repo": ("True --push_to_hub --hub_model_id a/b", lambda a: a.hub_private_repo is True),
    "hub_revision": ("c --push_to_hub --hub_model_id a/b", lambda a: a.hub_revision == "c"),
}
"""Flags that are handed to the libraries as they are, or whose effect other tests show."""

NEED = {
    "tf32": ("True", "tf32"),
    "ddp_backend": ("gloo", "several processes"),
    "run_name": ("x", "--report_to"),
    "project": ("x", "--report_to trackio"),
    "trackio_space_id": ("x", "--report_to trackio"),
    "trackio_bucket_id": ("x", "--report_to trackio"),
    "trackio_static_space_id": ("x", "--report_to trackio"),
}
"""Flags that need what this machine or command lacks, and say so."""

FLAGS = [field.name for field in fields(ExpressionTrainingArguments) if field.init]


def test_the_walk_misses_no_flag():
    known = [*UNSUPPORTED_FLAGS, *TRAINED, *PASSED_ON, *NEED]
    assert not set(FLAGS) - set(known)
    double = {name for name in known if known.count(name) > 1}
    assert double == {"remove_unused_columns"}  # its default may be given


@pytest.fixture(scope="module")
def faces(faces_dir):
    return load_rafdb(faces_dir, validation_fraction=0.3)


@pytest.fixture(autouse=True)
def as_before():
    """Takes back what flags do to the whole process."""
    verbosity = logging.get_verbosity()
    yield
    logging.set_verbosity(verbosity)
    torch.use_deterministic_algorithms(False)


def parse(flag, value, *more):
    words = ["--data_dir", ".", "--bf16", "False", "--use_cpu", "--dataloader_num_workers", "0", *more]
    return parse_training_arguments([*words, f"--{flag}", *value.split()])[2].resolve()


def skip_if_unknown(flag):
    if flag not in FLAGS:
        pytest.skip("another release of transformers has it")


@pytest.mark.parametrize("flag", TRAINED)
def test_it_has_its_effect(flag, faces, tiny_vit, tmp_path):
    skip_if_unknown(flag)
    value, shows = TRAINED[flag]
    quick = ["--max_steps", "2", "--per_device_train_batch_size", "14", "--disable_tqdm", "True"]
    args = parse(flag, value, "--output_dir", str(tmp_path), *quick)
    model, processor = load_model(str(tiny_vit), faces["train"].features["label"].names)
    trainer = build_trainer(model, processor, args=args, train=faces["train"], validation=faces["validation"])
    trainer.check_optimizer()
    trainer.train()
    assert shows(trainer)


@pytest.mark.parametrize("flag", PASSED_ON)
def test_it_is_passed_on(flag):
    skip_if_unknown(flag)
    value, shows = PASSED_ON[flag]
    assert shows(parse(flag, value))


@pytest.mark.parametrize("flag", NEED)
def test_it_says_what_it_needs(flag):
    skip_if_unknown(flag)
    value, needs = NEED[flag]
    with pytest.raises(UserError, match=needs):
        parse(flag, value)


OTHER_VALUES = {
    "load_best_model_at_end": "False",
    "restore_callback_states_from_checkpoint": "False",
    "average_tokens_across_devices": "False",
    "dataloader_in_order": "False",
    "eval_do_concat_batches": "False",
    "train_sampling_strategy": "group_by_length",
    "hub_strategy": "end",
    "include_for_metrics": "loss",
    "label_names": "x",
    "optim_target_modules": "x",
    "length_column_name": "x",
    "hub_token": "x",
    "neftune_noise_alpha": "5",
    "fsdp": "full_shard",
    "local_rank": "3",
    **dict.fromkeys(("fsdp_config", "deepspeed", "accelerator_config"), '{"a":1}'),
}


@pytest.mark.parametrize("flag", UNSUPPORTED_FLAGS)
def test_it_is_refused_with_its_reason(flag):
    skip_if_unknown(flag)
    if flag in ("parallelism_config", "liger_kernel_config"):
        pytest.skip("an object, which no command line can give")
    with pytest.raises(UserError) as refused:
        parse(flag, OTHER_VALUES.get(flag, "True"))
    assert str(refused.value) == f"--{flag}: {UNSUPPORTED_FLAGS[flag]}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--logging_steps 5", "--logging_steps: has no effect without --logging_strategy steps"),
        ("--eval_steps 5", "--eval_steps: has no effect without --eval_strategy steps"),
        ("--save_steps 5", "--save_steps: has no effect without --save_strategy steps"),
        ("--save_strategy steps", "--save_strategy steps: expected --eval_strategy's, epoch, or best"),
        ('--gradient_checkpointing_kwargs {"a":1}', "has no effect without --gradient_checkpointing True"),
        ("--adam_beta1 0.5 --optim sgd", "--adam_beta1: has no effect on --optim sgd"),
        ("--warmup_steps 5 --lr_scheduler_type constant", "--warmup_steps: .*constant_with_warmup"),
        ("--report_to wandb", "--report_to: .*wandb"),
        ("--report_to nonsense", "--report_to: nonsense is not supported"),
        ("--torch_compile_backend nonsense", "--torch_compile_backend nonsense: expected .*inductor"),
        ("--num_train_epochs 0", "--num_train_epochs 0: expected more than 0"),
        ("--per_device_train_batch_size 0", "--per_device_train_batch_size 0: expected 1 or more"),
        ("--label_smoothing_factor 3", "--label_smoothing_factor 3"),
        ("--seed -1", "--seed -1: expected 0 or more"),
        ("--seed 4294967296", "--seed 4294967296: expected less than 4294967296"),
        ("--eval_accumulation_steps 0", "expected 1 or more"),
        ("--per_device_eval_batch_size 2147483648", "expected less than 2147483648"),
        ("--dataloader_num_workers 1024", "expected less than 1024"),
        ("--save_total_limit -1", "--save_total_limit -1"),
        ("--debug tpu_metrics_debug", "TPUs"),
        ("--dataloader_prefetch_factor 2", "dataloader_prefetch_factor"),
        ("--optim schedule_free_adamw", "schedule_free"),
        ("--push_to_hub True", "--push_to_hub: needs --hub_model_id USER/NAME"),
        ("--hub_model_id a/b", "--hub_model_id: has no effect without --push_to_hub"),
        ("--license mit", "--license: has no effect without --push_to_hub"),
        ("--push_to_hub True --hub_model_id a/b --max_test_samples 9", "--push_to_hub: demo and subsampled"),
    ],
)
def test_what_would_be_ignored_or_fail_late_is_refused_at_once(words, message):
    flag, value = words.removeprefix("--").split(" ", 1)
    with pytest.raises(UserError, match=message):
        parse(flag, value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--optim_args momentum=0.5", "--optim_args momentum=0.5: has no effect on --optim adamw_torch_fused"),
        ("--optim_args momentum=0.5,rho=1 --optim sgd", "--optim_args rho=1: has no effect"),
        ("--optim_args momentum --optim sgd", "--optim sgd"),
        ("--optim adamw_bnb_8bit", "--optim adamw_bnb_8bit: .*bitsandbytes"),
        ("--lr_scheduler_type cosine_with_min_lr", "--lr_scheduler_type cosine_with_min_lr: .*min_lr"),
        ('--lr_scheduler_kwargs {"foo":1}', "--lr_scheduler_type cosine: .*foo"),
        ("--adam_beta1 2", "--optim adamw_torch_fused: .*beta"),
    ],
)
def test_optimizers_and_schedules_are_tried_before_anything_is_written(words, message, faces, tiny_vit, tmp_path):
    flag, value = words.removeprefix("--").split(" ", 1)
    args = parse(flag, value, "--output_dir", str(tmp_path / "run"))
    model, processor = load_model(str(tiny_vit), faces["train"].features["label"].names)
    trainer = build_trainer(model, processor, args=args, train=faces["train"], validation=faces["validation"])
    with pytest.raises(UserError, match=message):
        trainer.check_optimizer()
    assert not list((tmp_path / "run").iterdir())  # upstream makes the folder


def test_upstream_has_no_flag_that_is_missing_here():
    assert {field.name for field in fields(TrainingArguments)} == set(FLAGS)
