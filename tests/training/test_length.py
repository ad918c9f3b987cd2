"""Runs that go on to more steps than they were begun with."""

import json

import pytest
import torch
from transformers import ViTForImageClassification, ViTImageProcessor

from rafdb_vit.data.dataset import load_rafdb
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.training.arguments import ExpressionTrainingArguments
from rafdb_vit.training.checkpoints import list_checkpoints, step_of
from rafdb_vit.training.trainer import build_trainer
from tests.support.checkpoint_content import difference
from tests.support.models import QUICK_TRAINING
from tests.support.refusals import refused

STEPWISE = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 2, "save_steps": 2}


@pytest.fixture(scope="module")
def make(faces_dir, tiny_vit, tmp_path_factory):
    """Builds a trainer of 4 steps an epoch, with dropout, so that every random draw matters."""
    root, splits = tmp_path_factory.mktemp("runs"), load_rafdb(faces_dir, validation_fraction=0.3)

    def make(out, *, patience=2, **changes):
        args = ExpressionTrainingArguments(output_dir=str(root / out), **{**QUICK_TRAINING, **changes})
        model = ViTForImageClassification.from_pretrained(tiny_vit, hidden_dropout_prob=0.1)
        data = {split: splits[split] for split in ("train", "validation")}
        processor = ViTImageProcessor.from_pretrained(tiny_vit)
        return build_trainer(model, processor, args=args, layer_decay=1.0, early_stopping_patience=patience, **data)

    return make


@pytest.mark.parametrize(
    "settings",
    [
        {"lr_scheduler_type": "step", "lr_scheduler_kwargs": {"step_size": 1, "gamma": 0.5}, "warmup_steps": 3},
        {"lr_scheduler_type": "reduce_lr_on_plateau", "lr_scheduler_kwargs": {"patience": 0}, "patience": 3},
        {"lr_scheduler_type": "inverse_sqrt", "warmup_steps": 2, **STEPWISE},
    ],
    ids=lambda settings: settings["lr_scheduler_type"],
)
def test_two_epochs_and_two_more_are_four(make, settings):
    name = settings["lr_scheduler_type"]
    whole = make(f"{name}-whole", num_train_epochs=4, **settings)
    whole.train()
    make(f"{name}-short", num_train_epochs=2, **settings).train()
    longer = make(f"{name}-short", num_train_epochs=4, **settings)
    longer.train(resume_from_checkpoint=str(list_checkpoints(longer.run_folder)[0]))
    assert longer.state.global_step == whole.state.global_step > 8
    for checkpoint in list_checkpoints(whole.run_folder):
        if step_of(checkpoint) > 8:
            assert difference(longer.run_folder / checkpoint.name, checkpoint) == [], checkpoint.name
    expected = whole.model.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in longer.model.state_dict().items())
    assert longer.state.best_global_step == whole.state.best_global_step


def test_early_stopping_at_the_old_end_holds(make, capsys):
    settings = {"learning_rate": 0.0, "lr_scheduler_type": "constant", "patience": 1}
    make("stopped", num_train_epochs=2, **settings).train()
    longer = make("stopped", num_train_epochs=4, **settings)
    longer.train(resume_from_checkpoint=str(longer.run_folder / "checkpoint-8"))
    assert longer.state.global_step == 8
    assert "Early stopping ended the run at step 8: more steps train it no further" in capsys.readouterr().out


@pytest.fixture
def check(make, tmp_path):
    """Asks whether a run of 2 epochs of 4 steps, at a step of it, may go on to more."""

    def check(*, step=4, begun=8, evaluated=True, **settings):
        checkpoint = tmp_path / f"checkpoint-{step}"
        checkpoint.mkdir(exist_ok=True)
        row = {"step": step, "epoch": step / 4, "eval_loss": 1.0}
        state = {"global_step": step, "max_steps": begun, "epoch": step / 4, "best_global_step": None}
        state |= {"best_metric": None, "best_model_checkpoint": None, "stateful_callbacks": {}}
        state["log_history"] = [row] if evaluated else []
        (checkpoint / "trainer_state.json").write_text(json.dumps(state))
        make("asked", **{"num_train_epochs": 4, **settings}).check_length(checkpoint)

    return check


@pytest.mark.parametrize(
    "settings",
    [
        {"lr_scheduler_type": "constant"},
        {"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 3},
        {"lr_scheduler_type": "inverse_sqrt", "warmup_steps": 3},
        {"lr_scheduler_type": "reduce_lr_on_plateau"},
        {
            "lr_scheduler_type": "warmup_stable_decay",
            "lr_scheduler_kwargs": {"num_decay_steps": 2},  # in the stable part so far
            "warmup_steps": 2,
        },
        {"lr_scheduler_type": "constant", "max_steps": 30},
        {"lr_scheduler_type": "cosine", "num_train_epochs": 2},  # as many as before
        {"lr_scheduler_type": "constant", "step": 8},
        {"lr_scheduler_type": "constant", "step": 6, "begun": 6, **STEPWISE},
        {"lr_scheduler_type": "constant", "step": 6, "begun": 6, "evaluated": False},
    ],
    ids=str,
)
def test_it_is_the_same_run_only_longer(check, settings):
    check(**settings)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"lr_scheduler_type": "cosine"}, "(--lr_scheduler_type cosine, --warmup_steps 0.1)"),
        ({"lr_scheduler_type": "linear", "warmup_steps": 0}, "(--lr_scheduler_type linear), it was 0.00263 at step 2"),
        ({"lr_scheduler_type": "polynomial", "warmup_steps": 0}, "polynomial"),
        ({"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 0.5}, "--warmup_steps 0.5"),
        ({"lr_scheduler_type": "inverse_sqrt"}, "--warmup_steps 0.1"),
        ({"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 6}}, "stable_decay"),
        ({"lr_scheduler_type": "constant", "num_train_epochs": 1}, "only more steps than that"),
        ({"lr_scheduler_type": "constant", **STEPWISE, "eval_steps": 0.5, "save_steps": 0.5}, "--eval_steps 0.5"),
        ({"lr_scheduler_type": "constant", "step": 6, "begun": 6}, "the evaluation at its end, step 6"),
        ({"lr_scheduler_type": "constant", "step": 7, "begun": 7, **STEPWISE}, "the evaluation at its end, step 7"),
    ],
    ids=str,
)
def test_another_run_is_refused_with_the_reason_and_what_to_do(check, settings, reason):
    name = f"--num_train_epochs {settings.get('num_train_epochs', 4)}: "
    with refused(name, reason, "start a new run from its weights: --model_name_or_path ", "/checkpoint-"):
        check(**settings)


def test_a_finished_run_goes_on_from_the_command_line(train):
    constant = ("--lr_scheduler_type", "constant")
    whole = train("--num_train_epochs", "2", *constant, out="whole")
    short = train("--num_train_epochs", "1", *constant)
    before = (short.folder / "results.json").read_bytes()
    with pytest.raises(UserError, match=rf"start a new run from its weights: --model_name_or_path {short.folder}, "):
        train("--num_train_epochs", "0.5", *constant, "--resume_from_checkpoint")
    assert (short.folder / "results.json").read_bytes() == before
    longer = train("--num_train_epochs", "2", *constant, "--resume_from_checkpoint")
    assert (longer.folder / "results.json").read_bytes() == (whole.folder / "results.json").read_bytes()
