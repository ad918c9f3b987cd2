import pytest

from rafdb_vit.commands.train import parse_training_arguments
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.training.training_flags import StepSchedule, read_step_schedule, read_training_flags


def parse(*words):
    return parse_training_arguments(["--data_dir", ".", "--use_cpu", "--bf16", "False", *words])[2]


def test_what_was_given_wins_and_all_else_has_its_default():
    flags = read_training_flags()(seed=3)
    assert (flags.seed, flags.learning_rate, flags.given) == (3, 1e-4, {"seed": 3})
    assert flags.values["report_to"] == [] and flags.values["publishes"] is False


@pytest.mark.parametrize(
    ("words", "trackers"),
    [
        ([], []),
        (["none"], []),
        (["tensorboard"], ["tensorboard"]),
        (["tensorboard", "wandb"], ["tensorboard", "wandb"]),
    ],
)
def test_several_trackers_may_be_named(words, trackers):
    assert parse(*(["--report_to", *words] if words else [])).values["report_to"] == trackers


def test_choices_in_a_list_reach_upstream_as_it_reads_them():
    args = parse("--debug", "underflow_overflow").resolve()
    assert [of.value for of in args.debug] == ["underflow_overflow"] and type(args.debug[0]).__name__ == "DebugOption"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fp16"], "--fp16: fp16 needs a CUDA GPU, and this run is on cpu"),
        (["--optim", "schedule_free_adamw"], "--optim schedule_free_adamw: trains other weights"),
        (["--lr_scheduler_type", "step", "--lr_scheduler_kwargs", "{}"], "expected .*step_size"),
        (["--warmup_steps", "-1"], "--warmup_steps -1.0: expected 0 or more"),
    ],
)
def test_what_cannot_work_is_refused_without_torch(words, message, monkeypatch):
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    monkeypatch.setattr("rafdb_vit.training.training_flags.TrainingFlags.resolve", None)
    with pytest.raises(UserError, match=message):
        parse(*words)


def test_the_step_schedule():
    assert read_step_schedule("cosine", None) is None
    assert read_step_schedule("step", '{"step_size": 10, "gamma": 0.1}') == StepSchedule(10, 0.1)
    for settings in (None, "{", {"step_size": 0, "gamma": 0.1}, {"step_size": 1, "gamma": 2}, {"size": 1}):
        with pytest.raises(UserError, match="--lr_scheduler_kwargs"):
            read_step_schedule("step", settings)
