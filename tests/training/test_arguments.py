import os

import pytest
from transformers import TrainingArguments
from transformers.trainer_utils import IntervalStrategy

from rafdb_vit.runtime.errors import UserError
from rafdb_vit.training.arguments import ExpressionTrainingArguments
from rafdb_vit.training.flag_checks import refuse_sharding
from rafdb_vit.training.flags import ModelArguments


def arguments(tmp_path, **changes):
    return ExpressionTrainingArguments(output_dir=str(tmp_path), use_cpu=True, **changes)


def test_defaults(tmp_path):
    args = arguments(tmp_path, bf16=False)
    assert (args.precision, args.fp16, args.bf16, args.mixed_precision) == ("fp32", False, False, "no")
    assert (args.metric_for_best_model, args.greater_is_better) == ("macro_f1", True)
    assert args.load_best_model_at_end and not args.remove_unused_columns
    assert args.report_to == []
    assert isinstance(args.dataloader_num_workers, int)
    assert args.get_warmup_steps(200) == 20


def test_bf16_on_a_cpu(tmp_path):
    args = ExpressionTrainingArguments(output_dir=str(tmp_path), bf16=True, use_cpu=True)
    assert (args.precision, args.bf16, args.mixed_precision) == ("bf16", True, "bf16")


def test_a_flag_wins_over_accelerates_choice(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert arguments(tmp_path).mixed_precision == "bf16"
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    with pytest.raises(UserError, match="fp16 needs a CUDA GPU"):
        arguments(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eval_strategy": "no"}, "--eval_strategy no"),
        ({"save_strategy": "no"}, "--save_strategy no"),
        ({"eval_strategy": IntervalStrategy.NO}, "--eval_strategy no"),
        ({"eval_delay": 25}, "--eval_delay 25"),
        ({"dataloader_persistent_workers": True, "dataloader_num_workers": 0}, "--dataloader_persistent_workers"),
        ({"optim": "galore_adamw"}, "--optim galore_adamw"),
        ({"lr_scheduler_type": "greedy"}, "greedy"),
        ({"lr_scheduler_type": "step"}, "step_size"),
        ({"lr_scheduler_type": "step", "lr_scheduler_kwargs": "{"}, "step_size"),
        ({"lr_scheduler_type": "step", "lr_scheduler_kwargs": {"step_size": 0, "gamma": 0.1}}, "step_size 1 or more"),
        ({"lr_scheduler_type": "step", "lr_scheduler_kwargs": {"step_size": 1, "gamma": 2}}, "gamma"),
    ],
)
def test_what_could_not_be_honoured_is_refused_at_once(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        arguments(tmp_path, **changes)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "ACCELERATE_USE_DEEPSPEED .*take FSDP"),
        ({"ACCELERATE_USE_MEGATRON_LM": "true"}, "ACCELERATE_USE_MEGATRON_LM"),
        ({"ACCELERATE_USE_PARALLELISM_CONFIG": "true"}, "only data parallelism and FSDP"),
        ({"ACCELERATE_USE_FSDP": "true"}, "FSDP_VERSION 1 .*expected 2"),
        ({"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}, "ACCELERATE_USE_FSDP .*GPUs only"),
    ],
)
def test_sharding_that_could_not_be_done_truly_is_refused(tmp_path, monkeypatch, variables, message):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        arguments(tmp_path)


def test_fsdp_never_leaves_a_process_with_random_weights(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "true")
    refuse_sharding(use_cpu=False)
    assert os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] == "false"


def test_one_process_uses_one_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(TrainingArguments, "n_gpu", property(lambda self: 4))
    assert arguments(tmp_path)._n_gpu == 1


def test_sizes_are_for_models_from_scratch():
    with pytest.raises(UserError, match="--patch_size: goes with --from_scratch"):
        ModelArguments(patch_size=8)
